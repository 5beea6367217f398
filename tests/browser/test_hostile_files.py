"""Hostile files of students, and their effects in the Chromium of an examiner."""

from __future__ import annotations

import base64
import time
from typing import Any, NamedTuple

import pytest
from django.urls import reverse
from playwright.sync_api import Error, Page

from devilry_storage.deliveries.models import AssignmentGroup, Delivery
from tests.harness.users import make_user

from .window import Window, Windows

#: A path that executed scripts request.
RAN = "/ran/"

_SCRIPT = f"fetch('{RAN}'); new Image().src = '{RAN}?image'; alert('ran'); document.title = 'ran';"
_RUN = f"<script>{_SCRIPT}</script>"
_HTML = f'<!doctype html>{_RUN}<img src=x onerror="{_SCRIPT}">'
_SVG = f'<svg xmlns="http://www.w3.org/2000/svg" onload="{_SCRIPT}">{_RUN}</svg>'
_XHTML = f'<html xmlns="http://www.w3.org/1999/xhtml">{_RUN}</html>'


def pdf(script: str = "", content: str = "") -> bytes:
    """Return a PDF page of 200 by 200 points with this content, and a script run on opening."""
    action = f"/OpenAction << /S /JavaScript /JS ({script}) >>" if script else ""
    objects = [
        f"<< /Type /Catalog /Pages 2 0 R {action} >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 200] /Contents 4 0 R >>",
        f"<< /Length {len(content)} >>\nstream\n{content}\nendstream",
    ]
    body, offsets = "%PDF-1.7\n", []
    for number, text in enumerate(objects, 1):
        offsets.append(len(body))
        body += f"{number} 0 obj\n{text}\nendobj\n"
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    trailer = f"trailer << /Root 1 0 R /Size {len(objects) + 1} >>"
    ends = f"startxref\n{len(body)}\n%%EOF\n"
    size = len(objects) + 1
    return f"{body}xref\n0 {size}\n0000000000 65535 f \n{table}{trailer}\n{ends}".encode()


FILES = {
    "page.html": _HTML.encode(),
    "page.htm": _HTML.encode(),
    "page.xhtml": _XHTML.encode(),
    "page.mhtml": _HTML.encode(),
    "page.xml": _XHTML.encode(),
    "drawing.svg": _SVG.encode(),
    "script.js": _SCRIPT.encode(),
    "script.mjs": _SCRIPT.encode(),
    "no extension": _HTML.encode(),
    "text.txt": _HTML.encode(),
    "picture.png": _HTML.encode(),
    "picture.gif": b"GIF89a=1;" + _SCRIPT.encode(),
    "essay.pdf": pdf("app.alert('ran');"),
    "page.pdf": _HTML.encode(),
}

#: The types with which a server without protection sends the files.
NAIVE = {
    "page.html": "text/html",
    "page.xhtml": "application/xhtml+xml",
    "drawing.svg": "image/svg+xml",
}


class Mail(NamedTuple):
    """Files of a student, and the window of an examiner that records executed scripts."""

    window: Window
    rows: dict[str, Any]
    ran: list[str]

    def path(self, name: str, query: str = "") -> str:
        row = self.rows[name]
        path = reverse("devilry_storage:download", args=[row._meta.label_lower, row.pk])
        return path + query

    def open(self, path: str) -> None:
        """Follow a link to a path, which is shown or saved."""
        try:
            self.window.go(path)
        except Error as error:
            if "Download is starting" not in error.message:
                raise


def delivered(open_browser: Windows, files: dict[str, bytes]) -> Mail:
    """Deliver these files to an examiner."""
    group = AssignmentGroup.objects.create(name="group")
    examiner = make_user("examiner")
    group.examiners.add(examiner)
    delivery = Delivery.begin(group)
    rows = delivery.add_files({name: [data] for name, data in files.items()})
    delivery.finish()
    window = open_browser(examiner)
    ran: list[str] = []
    watch(window.page, ran)
    return Mail(window, dict(zip(files, rows, strict=True)), ran)


@pytest.fixture
def mail(open_browser: Windows) -> Mail:
    return delivered(open_browser, FILES)


def watch(page: Page, ran: list[str]) -> None:
    """Record the visible effects of scripts of the page."""

    def dismiss(dialog: Any) -> None:
        ran.append(f"a dialog: {dialog.message}")
        dialog.dismiss()

    page.on("dialog", dismiss)
    page.on("request", lambda request: ran.append(request.url) if RAN in request.url else None)


@pytest.mark.parametrize("name", NAIVE)
def test_files_are_dangerous_without_protection(mail: Mail, name: str) -> None:
    """A server that sends their types lets them run, and this is recorded."""
    page = mail.window.page
    page.route(
        "**/naive/", lambda route: route.fulfill(body=FILES[name], content_type=NAIVE[name])
    )
    mail.window.go("/naive/")
    assert any(RAN in effect for effect in mail.ran)
    assert "a dialog: ran" in mail.ran


@pytest.mark.parametrize("query", ["", "?inline"])
def test_opening_a_file_executes_nothing(mail: Mail, query: str) -> None:
    """It is saved, or shown as text or as an image."""
    for name in FILES:
        mail.open(mail.path(name, query))
    # Scripts would have run before this page is loaded.
    mail.window.go("/accounts/login/")
    assert mail.ran == []


def test_embedding_a_file_executes_nothing(mail: Mail) -> None:
    """As a frame, an object, a script, a style or an image."""
    page = mail.window.page
    for name in FILES:
        mail.window.go("/accounts/login/")
        page.evaluate(
            """url => Promise.all([
                ["iframe", "src"], ["embed", "src"], ["object", "data"], ["script", "src"],
                ["img", "src"], ["link", "href"],
            ].map(([tag, attribute]) => new Promise(resolve => {
                const element = document.createElement(tag);
                element.rel = "stylesheet";
                element.onload = element.onerror = resolve;
                // No event is sent if the file of a frame is saved.
                setTimeout(resolve, 300);
                element[attribute] = url;
                document.body.append(element);
            })))""",
            mail.path(name, "?inline"),
        )
    assert mail.ran == []


def test_text_file_is_shown_as_text(mail: Mail) -> None:
    """HTML in it is not interpreted."""
    mail.open(mail.path("text.txt", "?inline"))
    page = mail.window.page
    assert page.evaluate("document.contentType") == "text/plain"
    assert "<script>" in page.inner_text("body")
    assert page.evaluate("origin") == "null"


def share_of(color: tuple[int, int, int], page: Page) -> float:
    """Return the share of the pixels of a page that have this colour."""
    picture = base64.b64encode(page.screenshot()).decode()
    blank = page.context.new_page()
    try:
        share: float = blank.evaluate(
            """async ([picture, color]) => {
                const image = new Image();
                image.src = `data:image/png;base64,${picture}`;
                await image.decode();
                const canvas = new OffscreenCanvas(image.width, image.height).getContext("2d");
                canvas.drawImage(image, 0, 0);
                const pixels = canvas.getImageData(0, 0, image.width, image.height).data;
                let count = 0;
                for (let i = 0; i < pixels.length; i += 4)
                    if (color.every((value, j) => Math.abs(value - pixels[i + j]) < 8)) count++;
                return count / (image.width * image.height);
            }""",
            [picture, color],
        )
    finally:
        blank.close()
    return share


def test_pdf_is_shown_only_if_allowed(open_browser: Windows, settings: Any) -> None:
    """If it is shown, its pixels have the colour that it draws."""
    mail = delivered(open_browser, {"green.pdf": pdf(content="0 1 0 rg 0 0 200 200 re f")})
    page = mail.window.page
    with page.expect_download() as saved:
        mail.open(mail.path("green.pdf", "?inline"))
    assert saved.value.suggested_filename == "green.pdf"
    settings.DELIVERY_STORE_INLINE_TYPES = ["application/pdf"]
    # Another URL, as Chromium caches the response to the first one.
    mail.open(mail.path("green.pdf", "?inline=1"))
    until = time.monotonic() + 30
    while (share := share_of((0, 255, 0), page)) < 0.05 and time.monotonic() < until:
        page.wait_for_timeout(100)
    assert share >= 0.05
