"""A browser for tests: it reads a page's forms and sends what a real one would."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin

from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from devilry_storage.deliveries.models import FileMeta
from devilry_storage.resolving import store_for

INLINE = frozenset({"a", "b", "code", "em", "i", "span", "strong", "wbr"})
VOID = frozenset({"br", "hr", "img", "input", "link", "meta", "wbr"})


class Element:
    """A tag with its attributes, children and text."""

    def __init__(self, tag: str, attributes: dict[str, str]) -> None:
        self.tag = tag
        self.attributes = attributes
        self.children: list[Element | str] = []

    def find(self, tag: str = "", **attributes: str) -> Iterator[Element]:
        """Yield what lies below and has the tag and attributes (``class_`` is one of its)."""
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
    """A form, filled in as its page is."""

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
        """Return what is sent; KeyError for what nobody could fill in."""
        sent: dict[str, Any] = dict(self.values)
        for name, value in changes.items():
            if name in self.boxes:
                wanted = self.boxes[name] if value is True else list(value)
                assert set(wanted) <= set(self.boxes[name]), f"{name!r} has no box {wanted}"
                sent[name] = wanted
            elif name in self.files or name in self.values:
                sent[name] = value
            else:
                raise KeyError(f"{name!r} is no field of the form: {sorted(self.names)}")
        if button:
            sent[button] = self.buttons[button]
        return sent

    @property
    def names(self) -> set[str]:
        return {*self.values, *self.files, *self.boxes}


class Page:
    """A page as it was answered, after redirects."""

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
        """Send a form with these changes, as if the button had been pressed.

        A file input is given an upload, a box True or the values to tick. Without an id it is
        the page's only form.
        """
        form = self.form(id_) if id_ else self.only_post_form()
        url = urljoin(self.url, form.action)
        data = form.filled(dict(changes), button)
        return Page(self.client, self.client.post(url, data, follow=True), url)

    def only_post_form(self) -> Form:
        """Return the form of a page that has but one besides those around every page."""
        around = {"logout-form"}
        forms = [
            form
            for form in self.root.find("form", method="post")
            if form.attributes.get("id") not in around
        ]
        (form,) = forms
        return Form(form)

    @property
    def text(self) -> str:
        return self.root.text

    @property
    def messages(self) -> list[str]:
        lists = self.root.find("ul", class_="messagelist")
        return [item.text for each in lists for item in each.find("li")]

    @property
    def errors(self) -> list[str]:
        lists = self.root.find("ul", class_="errorlist")
        return [item.text for each in lists for item in each.find("li")]

    @property
    def refused(self) -> bool:
        """Whether the page says that a form was not saved."""
        told = [message for message in self.messages if message.startswith("Nothing was saved: ")]
        return self.status == 200 and bool(self.errors or told)

    def rows(self) -> list[str]:
        """Return the texts of a list page's rows."""
        (table,) = self.root.find("table", id="result_list")
        return [row.text for body in table.find("tbody") for row in body.find("tr")]


# -- What the tests of the admin say of pages and files --


def url_of(row: Any, page: str = "change") -> str:
    """Return the URL of a row's page."""
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_{page}", args=[row.pk])


def url_for(model: Any, page: str = "changelist") -> str:
    """Return the URL of a model's page."""
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}")


def upload(name: str = "upload.txt", data: bytes = b"uploaded") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, data)


def add_files(page: Page, *files: tuple[str, SimpleUploadedFile], button: str = "_save") -> Page:
    """Fill in the page's new files, (filename, upload) each, and save it."""
    filled: dict[str, Any] = {}
    for number, (filename, file) in enumerate(files):
        filled[f"filemetas-{number}-filename"] = filename
        filled[f"filemetas-{number}-content"] = file
    return page.submit("delivery_form", filled, button)


def add_file(page: Page, delivery: Any, file: SimpleUploadedFile, filename: str = "") -> Page:
    """Fill in the page of one new file, and save it."""
    filled = {"delivery": delivery.pk, "filename": filename, "content": file}
    return page.submit("filemeta_form", filled, "_save")


def contents(delivery: Any) -> dict[str, bytes]:
    """Return the bytes of the delivery's rows, checked against what the rows say of them."""
    found = {}
    for row in delivery.files:
        with row.content.open() as file:
            data = found[row.filename] = file.read()
        assert (row.size, row.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    return found


def stored_names() -> list[str]:
    """Return the names of all that lies in the store."""
    return sorted(entry.name for entry in store_for(FileMeta).scan())
