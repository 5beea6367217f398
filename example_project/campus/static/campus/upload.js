// Without this script the form is sent as any form. With it files can be dropped and added one after
// the other, what would be refused is told before it is sent, and the progress is announced.
"use strict";

(() => {
  const form = document.querySelector("form[data-upload]");
  const part = (name) => form.querySelector(`[data-${name}]`);
  const input = form.querySelector("input[type=file]");
  const progress = form.querySelector("progress");
  let chosen = [];
  let request = null; // the one that is on its way

  const size = (bytes) => {
    const units = ["bytes", "KB", "MB", "GB"];
    let power = 0;
    for (; bytes >= 1024 && power < 3; power++) bytes /= 1024;
    return `${power ? bytes.toFixed(1) : bytes} ${units[power]}`;
  };
  const total = () => chosen.reduce((sum, file) => sum + file.size, 0);
  const say = (text) => { part("state").textContent = text; };

  // -- Choosing --

  const element = (tag, text, name) => {
    const made = document.createElement(tag);
    made.textContent = text;
    made.className = name;
    return made;
  };

  const row = (file) => {
    const remove = element("button", "Remove", "quiet");
    remove.type = "button";
    remove.setAttribute("aria-label", `Remove ${file.name}`);
    remove.addEventListener("click", () => choose(chosen.filter((other) => other !== file)));
    const made = document.createElement("li");
    made.append(element("span", file.name, "name"), element("span", size(file.size), "size"), remove);
    return made;
  };

  const choose = (files) => {
    const transfer = new DataTransfer();
    for (const file of files) transfer.items.add(file);
    chosen = files;
    input.files = transfer.files;
    part("list").replaceChildren(...files.map(row));
    part("chosen").hidden = !files.length;
    say(files.length ? `${files.length} ${files.length === 1 ? "file" : "files"} chosen, ${size(total())}.` : "");
    tell([]);
  };

  const same = (one, other) => one.name === other.name && one.size === other.size && one.lastModified === other.lastModified;
  const add = (files) => {
    choose([...chosen, ...[...files].filter((file) => !chosen.some((other) => same(file, other)))]);
  };

  // -- Faults --

  const tell = (faults, { perhapsDelivered = false } = {}) => {
    const place = part("faults");
    place.replaceChildren();
    if (!faults.length) return;
    const list = document.createElement("ul");
    list.append(...faults.map((fault) => element("li", fault, "")));
    if (!perhapsDelivered) place.append(element("p", "Nothing was delivered.", ""));
    place.append(list);
    place.focus();
  };

  // The server judges; this only saves the time of sending what it would refuse.
  const foreseen = () => {
    const { maxFiles, maxBytes, maxTotalBytes } = form.dataset;
    const faults = chosen
      .filter((file) => file.size > maxBytes)
      .map((file) => `“${file.name}” has ${size(file.size)}, at most ${size(maxBytes)} are allowed.`);
    if (chosen.length > maxFiles) faults.push(`You chose ${chosen.length} files, at most ${maxFiles} are allowed.`);
    if (total() > maxTotalBytes) {
      faults.push(`The files have ${size(total())} together, at most ${size(maxTotalBytes)} are allowed.`);
    }
    return faults;
  };

  // -- Sending --

  const sending = (begun) => {
    request = begun;
    progress.value = 0;
    part("sending").hidden = !begun;
    part("deliver").setAttribute("aria-disabled", String(Boolean(begun)));
    part("cancel").setAttribute("aria-disabled", "false");
  };

  // From then on it is the server's: it may well deliver what nobody waits for any more.
  const isAllSent = () => progress.value === progress.max;

  const failed = (faults, certainty) => {
    sending(null);
    say("");
    tell(faults, certainty);
  };

  const serverFailed = (status, perhapsDelivered) => {
    const look = perhapsDelivered ? ": look in another tab whether this was delivered. If not, try" : ". Try";
    failed([`The server failed (${status})${look} again later, or tell those who run this site.`], { perhapsDelivered });
  };

  const loggedOut = () => failed(["You are not logged in any more: log in in another tab, and deliver again here."]);

  const broken = () => {
    const perhapsDelivered = isAllSent();
    failed(
      perhapsDelivered
        ? ["The connection broke when all was sent: look in another tab whether it was delivered. Your files are still chosen."]
        : ["The connection broke. Your files are still chosen: try again."],
      { perhapsDelivered },
    );
  };

  const advance = ({ loaded, total: all }) => {
    const percent = Math.floor((100 * loaded) / all);
    const tenth = Math.floor(percent / 10);
    // An announcement for each tenth: one for each event would be a torrent.
    if (tenth > Math.floor(progress.value / 10)) say(`${10 * tenth} % sent.`);
    progress.value = percent;
    if (!isAllSent()) return;
    say("All is sent, and being stored.");
    part("cancel").setAttribute("aria-disabled", "true");
  };

  const answered = () => {
    const { status, response } = request;
    if (status === 201) {
      const { url } = response;
      request = null;
      location.assign(url);
    } else if (response && response.errors) {
      failed(response.errors, { perhapsDelivered: response.perhaps_delivered });
    } else if (status === 413) {
      failed(["The files are more than this server takes at once."]);
    } else if (status === 403 || request.responseURL !== form.action) {
      loggedOut();
    } else {
      serverFailed(status, true);
    }
  };

  // Whoever has logged in again meanwhile has another token than the page.
  const renewToken = (html) => {
    const page = new DOMParser().parseFromString(html, "text/html");
    const token = page.querySelector("form[data-upload] [name=csrfmiddlewaretoken]");
    if (token) form.elements.csrfmiddlewaretoken.value = token.value;
    return Boolean(token);
  };

  const send = async () => {
    const begun = new XMLHttpRequest();
    tell([]);
    sending(begun);
    say("Sending.");
    let answer;
    let html;
    try {
      answer = await fetch(form.action);
      html = await answer.text();
    } catch {
      if (request === begun) broken();
      return;
    }
    if (request !== begun) return; // cancelled
    if (!answer.ok) {
      serverFailed(answer.status, false);
      return;
    }
    if (!renewToken(html)) {
      loggedOut();
      return;
    }
    begun.open("POST", form.action);
    begun.responseType = "json";
    begun.setRequestHeader("Accept", "application/json");
    begun.upload.addEventListener("progress", advance);
    begun.addEventListener("load", answered);
    begun.addEventListener("error", broken);
    begun.send(new FormData(form));
  };

  const cancel = () => {
    if (!request || isAllSent()) return;
    request.abort();
    failed(["You cancelled. Your files are still chosen."]);
  };

  // -- Events --

  input.addEventListener("change", () => add(input.files));
  part("clear").addEventListener("click", () => {
    choose([]);
    input.focus();
  });
  part("cancel").addEventListener("click", cancel);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (request) return;
    const faults = foreseen();
    if (faults.length) tell(faults);
    else send();
  });

  // A file that misses the field would replace the page.
  const over = (event) => {
    event.preventDefault();
    form.classList.toggle("over", event.type === "dragover");
  };
  for (const type of ["dragover", "dragleave", "drop"]) document.addEventListener(type, over);
  document.addEventListener("drop", (event) => {
    const items = [...event.dataTransfer.items].filter((item) => item.kind === "file");
    const folders = items.map((item) => item.webkitGetAsEntry()).filter((entry) => entry && entry.isDirectory);
    const names = new Set(folders.map((folder) => folder.name));
    add([...event.dataTransfer.files].filter((file) => !names.has(file.name)));
    tell([...names].map((name) => `“${name}” is a folder: drop the files that are in it.`));
  });
  addEventListener("beforeunload", (event) => {
    if (request) event.preventDefault();
  });
  add(input.files); // those that the browser remembers after a reload
})();
