// Progressive enhancement of the upload form: drag and drop, files from several folders, early
// validation and progress. Without this script the form is submitted as usual.
"use strict";

(() => {
  const form = document.querySelector("form[data-upload]");
  const part = (name) => form.querySelector(`[data-${name}]`);
  const input = form.querySelector("input[type=file]");
  const progress = form.querySelector("progress");
  let chosen = [];
  let request = null; // the current upload

  const size = (bytes) => {
    const units = ["bytes", "KB", "MB", "GB"];
    let power = 0;
    for (; bytes >= 1024 && power < 3; power++) bytes /= 1024;
    return `${power ? bytes.toFixed(1) : bytes} ${units[power]}`;
  };
  const total = () => chosen.reduce((sum, file) => sum + file.size, 0);
  const showState = (text) => { part("state").textContent = text; };

  // -- Choosing --

  const element = (tag, text, name) => {
    const node = document.createElement(tag);
    node.textContent = text;
    node.className = name;
    return node;
  };

  const row = (file) => {
    const remove = element("button", "Remove", "quiet");
    remove.type = "button";
    remove.setAttribute("aria-label", `Remove ${file.name}`);
    remove.addEventListener("click", () => choose(chosen.filter((other) => other !== file)));
    const node = document.createElement("li");
    node.append(element("span", file.name, "name"), element("span", size(file.size), "size"), remove);
    return node;
  };

  const choose = (files) => {
    const transfer = new DataTransfer();
    for (const file of files) transfer.items.add(file);
    chosen = files;
    input.files = transfer.files;
    part("list").replaceChildren(...files.map(row));
    part("chosen").hidden = !files.length;
    showState(files.length ? `${files.length} ${files.length === 1 ? "file" : "files"} chosen, ${size(total())}.` : "");
    showErrors([]);
  };

  const same = (one, other) => one.name === other.name && one.size === other.size && one.lastModified === other.lastModified;
  const add = (files) => {
    choose([...chosen, ...[...files].filter((file) => !chosen.some((other) => same(file, other)))]);
  };

  // -- Errors --

  const showErrors = (errors, { perhapsDelivered = false } = {}) => {
    const box = part("faults");
    box.replaceChildren();
    if (!errors.length) return;
    const list = document.createElement("ul");
    list.append(...errors.map((error) => element("li", error, "")));
    if (!perhapsDelivered) box.append(element("p", "Nothing was delivered.", ""));
    box.append(list);
    box.focus();
  };

  // The server validates the files again. This only avoids uploads that it would reject.
  const validate = () => {
    const { maxFiles, maxBytes, maxTotalBytes } = form.dataset;
    const errors = chosen
      .filter((file) => file.size > maxBytes)
      .map((file) => `“${file.name}”: the file is too large: it is ${size(file.size)}, the maximum is ${size(maxBytes)}.`);
    if (chosen.length > maxFiles) {
      errors.push(`You chose ${chosen.length} files. At most ${maxFiles} files are allowed.`);
    }
    if (total() > maxTotalBytes) {
      errors.push(`The files are too large: together they are ${size(total())}, the maximum is ${size(maxTotalBytes)}.`);
    }
    return errors;
  };

  // -- Sending --

  const setRequest = (started) => {
    request = started;
    progress.value = 0;
    part("sending").hidden = !started;
    part("deliver").setAttribute("aria-disabled", String(Boolean(started)));
    part("cancel").setAttribute("aria-disabled", "false");
  };

  // The server may store the delivery from now on, even if the connection breaks.
  const isAllSent = () => progress.value === progress.max;

  const failed = (errors, options) => {
    setRequest(null);
    showState("");
    showErrors(errors, options);
  };

  const serverFailed = (status, perhapsDelivered) => {
    const advice = perhapsDelivered
      ? "Check in another tab whether your delivery was recorded before trying again."
      : "Try again later, or contact the administrators.";
    failed([`The server reported an error (${status}). ${advice}`], { perhapsDelivered });
  };

  const loggedOut = () => failed(["You are no longer logged in. Use another tab to log in again, then press Deliver here."]);

  const broken = () => {
    const perhapsDelivered = isAllSent();
    failed(
      perhapsDelivered
        ? ["The connection was lost after all files were sent. Check in another tab whether your delivery was recorded before trying again. Your files are still selected."]
        : ["The connection was lost. Your files are still selected. Please try again."],
      { perhapsDelivered },
    );
  };

  const advance = ({ loaded, total: all }) => {
    const percent = Math.floor((100 * loaded) / all);
    const tenth = Math.floor(percent / 10);
    // Announce every 10 % only: screen readers would read every change.
    if (tenth > Math.floor(progress.value / 10)) showState(`${10 * tenth} % sent.`);
    progress.value = percent;
    if (!isAllSent()) return;
    showState("All files were sent and are being stored.");
    part("cancel").setAttribute("aria-disabled", "true");
  };

  const handleLoad = () => {
    const { status, response } = request;
    if (status === 201) {
      const { url } = response;
      request = null;
      location.assign(url);
    } else if (response && response.errors) {
      failed(response.errors, { perhapsDelivered: response.perhaps_delivered });
    } else if (status === 413) {
      failed(["The files are too large for this server."]);
    } else if (status === 403 || request.responseURL !== form.action) {
      loggedOut();
    } else {
      serverFailed(status, true);
    }
  };

  // After another login the page's CSRF token is out of date.
  const renewToken = (html) => {
    const page = new DOMParser().parseFromString(html, "text/html");
    const token = page.querySelector("form[data-upload] [name=csrfmiddlewaretoken]");
    if (token) form.elements.csrfmiddlewaretoken.value = token.value;
    return Boolean(token);
  };

  const send = async () => {
    const started = new XMLHttpRequest();
    showErrors([]);
    setRequest(started);
    showState("Sending files.");
    let response;
    let html;
    try {
      response = await fetch(form.action);
      html = await response.text();
    } catch {
      if (request === started) broken();
      return;
    }
    if (request !== started) return; // cancelled
    if (!response.ok) {
      serverFailed(response.status, false);
      return;
    }
    if (!renewToken(html)) {
      loggedOut();
      return;
    }
    started.open("POST", form.action);
    started.responseType = "json";
    started.setRequestHeader("Accept", "application/json");
    started.upload.addEventListener("progress", advance);
    started.addEventListener("load", handleLoad);
    started.addEventListener("error", broken);
    started.send(new FormData(form));
  };

  const cancel = () => {
    if (!request || isAllSent()) return;
    request.abort();
    failed(["You cancelled the upload. Your files are still selected."]);
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
    const errors = validate();
    if (errors.length) showErrors(errors);
    else send();
  });

  // A file dropped outside of the field must not replace the page.
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
    showErrors([...names].map((name) => `“${name}” is a folder. Drop the files in it instead.`));
  });
  addEventListener("beforeunload", (event) => {
    if (request) event.preventDefault();
  });
  add(input.files); // files that the browser keeps after a reload
})();
