"""Pages for tests: parse the HTML of a response, and submit its forms as a browser does."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin

from django.contrib.auth.models import Permission
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from devilry_storage.deliveries.models import FileMeta
from devilry_storage.resolving import store_for
from tests.harness.users import make_user

INLINE = frozenset({"a", "b", "code", "em", "i", "span", "strong", "wbr"})
VOID = frozenset({"br", "hr", "img", "input", "link", "meta", "wbr"})


class Element:
    """A tag with its attributes, children and text."""

    def __init__(self, tag: str, attributes: dict[str, str]) -> None:
        self.tag = tag
        self.attributes = attributes
        self.children: list[Element | str] = []

    def find(self, tag: str = "", **attributes: str) -> Iterator[Element]:
        """Yield the descendants with this tag and these attributes (``class_`` is one class)."""
        for child in self.children:
            if isinstance(child, Element):
                if child.matches(tag, attributes):
                    yield child
                yield from child.find(tag, **attributes)

    def matches(self, tag: str, attributes: dict[str, str]) -> bool:
        return (not tag or self.tag == tag) and all(
            value in self.attributes.get("class", "").split()
            if name == "class_"
            else self.attributes.get(name) == value
            for name, value in attributes.items()
        )

    @property
    def text(self) -> str:
        return " ".join("".join(self._texts()).split())

    def _texts(self) -> Iterator[str]:
        around = "" if self.tag in INLINE else " "
        yield around
        for child in self.children:
            if isinstance(child, str):
                yield child
            else:
                yield from child._texts()
        yield around


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open = [Element("", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        if any(element.tag == tag for element in self.open):
            while self.open.pop().tag != tag:
                pass

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


class Form:
    """A form with the values that its page has filled in."""

    def __init__(self, element: Element) -> None:
        self.action = element.attributes.get("action", "")
        self.values: dict[str, list[Any]] = {}
        self.files: set[str] = set()
        self.boxes: dict[str, list[str]] = {}
        self.buttons: dict[str, str] = {}
        for field in element.find():
            name = field.attributes.get("name", "")
            if name and "disabled" not in field.attributes:
                self._read(field, name, field.attributes.get("value", ""))

    def _read(self, field: Element, name: str, value: str) -> None:
        kind = field.attributes.get("type", "text")
        if field.tag == "select":
            options = list(field.find("option"))
            chosen = [option for option in options if "selected" in option.attributes]
            if not chosen and "multiple" not in field.attributes:
                chosen = options[:1]
            values = [option.attributes.get("value", option.text) for option in chosen]
            self.values.setdefault(name, []).extend(values)
        elif field.tag == "textarea":
            self.values.setdefault(name, []).append(field.text)
        elif field.tag == "button" or kind in {"submit", "image"}:
            self.buttons[name] = value
        elif field.tag == "input" and kind == "file":
            self.files.add(name)
        elif field.tag == "input" and kind in {"checkbox", "radio"}:
            self.boxes.setdefault(name, []).append(value or "on")
            if "checked" in field.attributes:
                self.values.setdefault(name, []).append(value or "on")
        elif field.tag == "input":
            self.values.setdefault(name, []).append(value)

    def filled(self, changes: dict[str, Any], button: str) -> dict[str, Any]:
        """Return the data to send; raise KeyError for a field that the form does not have."""
        sent: dict[str, Any] = dict(self.values)
        for name, value in changes.items():
            if name in self.boxes:
                wanted = self.boxes[name] if value is True else list(value)
                assert set(wanted) <= set(self.boxes[name]), f"{name!r} has no box {wanted}"
                sent[name] = wanted
            elif name in self.files or name in self.values:
                sent[name] = value
            else:
                raise KeyError(f"The form does not have a field {name!r}: {sorted(self.names)}")
        if button:
            sent[button] = self.buttons[button]
        return sent

    @property
    def names(self) -> set[str]:
        return {*self.values, *self.files, *self.boxes}


class Page:
    """The response to a request, after redirects."""

    def __init__(self, client: Client, response: Any, url: str) -> None:
        self.client = client
        self.status = response.status_code
        self.url = response.redirect_chain[-1][0] if response.redirect_chain else url
        self.html = response.content.decode()
        parser = _Parser()
        parser.feed(self.html)
        self.root = parser.open[0]

    @classmethod
    def get(cls, client: Client, url: str) -> Page:
        return cls(client, client.get(url, follow=True), url)

    def form(self, id_: str) -> Form:
        return Form(next(self.root.find("form", id=id_)))

    def submit(self, id_: str, changes: Any = (), button: str = "") -> Page:
        """Submit a form with these changes, as if the button had been pressed.

        The value of a file input is an upload, that of a checkbox True or the values to tick.
        Without an id, the only form of the page is submitted.
        """
        form = self.form(id_) if id_ else self.only_post_form()
        url = urljoin(self.url, form.action)
        data = form.filled(dict(changes), button)
        return Page(self.client, self.client.post(url, data, follow=True), url)

    def only_post_form(self) -> Form:
        """Return the only form of the page that is not part of every page."""
        common = {"logout-form"}
        forms = [
            form
            for form in self.root.find("form", method="post")
            if form.attributes.get("id") not in common
        ]
        (form,) = forms
        return Form(form)

    @property
    def text(self) -> str:
        return self.root.text

    @property
    def messages(self) -> list[str]:
        lists = self.root.find("ul", class_="messagelist")
        return [item.text for part in lists for item in part.find("li")]

    @property
    def errors(self) -> list[str]:
        lists = self.root.find("ul", class_="errorlist")
        return [item.text for part in lists for item in part.find("li")]

    @property
    def is_rejected(self) -> bool:
        """Return whether the page reports that a form was not saved."""
        failures = [text for text in self.messages if text.startswith("Nothing was saved: ")]
        return self.status == 200 and bool(self.errors or failures)

    def rows(self) -> list[str]:
        """Return the texts of the rows of a list."""
        (table,) = self.root.find("table", id="result_list")
        return [row.text for body in table.find("tbody") for row in body.find("tr")]


# -- Helpers --


def url_of(row: Any, page: str = "change") -> str:
    """Return the URL of a page of a row."""
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_{page}", args=[row.pk])


def url_for(model: Any, page: str = "changelist") -> str:
    """Return the URL of a page of a model."""
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}")


def staff(*permissions: str) -> Client:
    """Return the client of a staff user with exactly these permissions."""
    user = make_user("clerk", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    assert user.user_permissions.count() == len(permissions)
    client = Client()
    client.force_login(user)
    return client


def upload(name: str = "upload.txt", data: bytes = b"uploaded") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, data)


def add_files(page: Page, *files: tuple[str, SimpleUploadedFile], button: str = "_save") -> Page:
    """Fill in new files, pairs of filename and upload, and save the page."""
    filled: dict[str, Any] = {}
    for number, (filename, file) in enumerate(files):
        filled[f"filemetas-{number}-filename"] = filename
        filled[f"filemetas-{number}-content"] = file
    return page.submit("delivery_form", filled, button)


def add_file(page: Page, delivery: Any, file: SimpleUploadedFile, filename: str = "") -> Page:
    """Fill in the page of a new file and save it."""
    filled = {"delivery": delivery.pk, "filename": filename, "content": file}
    return page.submit("filemeta_form", filled, "_save")


def contents(delivery: Any) -> dict[str, bytes]:
    """Return the contents of a delivery's files; check their recorded sizes and digests."""
    found = {}
    for row in delivery.files:
        with row.content.open() as file:
            data = found[row.filename] = file.read()
        assert (row.size, row.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    return found


def stored_names() -> list[str]:
    """Return the names of all files in the store."""
    return sorted(entry.name for entry in store_for(FileMeta).scan())
