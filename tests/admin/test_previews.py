"""Previews: how files are shown, and that none of their content is executed."""

from __future__ import annotations

import errno
import html
import itertools
import logging
import re
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from devilry_storage.admin.previews import TEXT_BYTES, text_of, visible
from devilry_storage.deliveries.admin import FileMetaAdmin
from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.storages import FsHierDeliveryStore
from tests.harness.users import make_user
from tests.storages.test_hostile_names import TABLE
from tests.testapp.stores import HookedStore, failure

from .pages import Page, url_for, url_of

#: A minimal PNG.
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c63f8cfc0f01f00050001ff89993d1d0000000049454e44ae426082"
)


def lines(browser: Client, row: FileMeta) -> list[str]:
    """Return the lines of a preview as they are shown."""
    page = Page.get(browser, url_of(row, "preview"))
    assert page.status == 200
    lists = page.root.find("ol", class_="devilry-lines")
    return [line.text for part in lists for line in part.find("li")]


def markup(browser: Client, row: FileMeta) -> str:
    """Return the HTML of the lines of a preview."""
    answer = browser.get(url_of(row, "preview")).content.decode()
    return answer.partition('<ol class="devilry-lines">')[2].partition("</ol>")[0]


# -- Text --


def test_text_is_shown_in_numbered_lines(browser: Client, delivery: Delivery) -> None:
    """All line endings are supported; the last line may lack one."""
    row = delivery.add_file("a.txt", b"one\ntwo\r\n\r\nfour\rfive")
    assert lines(browser, row) == ["one", "two", "", "four", "five"]
    row = delivery.add_file("b.txt", "\u65e5\u672c\n".encode())
    assert lines(browser, row) == ["\u65e5\u672c"]
    assert lines(browser, delivery.add_file("empty.txt", b"")) == []


def test_preview_is_in_the_access_log(
    browser: Client, delivery: Delivery, caplog: pytest.LogCaptureFixture
) -> None:
    """The log is complete."""
    caplog.set_level(logging.INFO, "devilry_storage.access")
    row = delivery.add_file("a.txt", b"one")
    lines(browser, row)
    messages = [r.getMessage() for r in caplog.records if r.name.endswith(".access")]
    (line,) = messages
    assert f"file=devilry_deliveries.filemeta:{row.pk} method=GET way=preview bytes=3" in line


HOSTILE = [
    ("page.html", b"<script>alert(1)</script><img src=x onerror=alert(2)>"),
    ("drawing.svg", b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"></svg>'),
    ("script.js", b"alert('&lt;')"),
    ("script.txt", b"</code></li></ol><script>alert(1)</script>"),
    ("data.xml", b'<?xml version="1.0"?><x xmlns="http://www.w3.org/1999/xhtml"/>'),
    ("Makefile", b"all:\n\techo '<b>'"),
]


@pytest.mark.parametrize(("filename", "data"), HOSTILE, ids=lambda it: str(it)[:12])
def test_active_content_is_shown_as_text(
    filename: str, data: bytes, browser: Client, delivery: Delivery
) -> None:
    """HTML, SVG and scripts are escaped."""
    shown = markup(browser, delivery.add_file(filename, data))
    assert set(re.findall(r"</?(\w+)", shown)) == {"li", "code"}
    text = "\n".join(re.findall(r"<code>(.*?)</code>", shown))
    assert html.unescape(text) == data.decode()


INVISIBLE = {
    "a\0b": "a\u2400b",
    "a\x1b[31mred": "a\u241b[31mred",
    "a\x7fb": "a\u2421b",
    "a\x85b": "aU+0085b",
    "a\u202eb": "aU+202Eb",
    "\u2066a\u2069": "U+2066aU+2069",
    "a\u200bb": "aU+200Bb",
    "a\u2028b": "aU+2028b",
    "a\ufeffb": "aU+FEFFb",
    "a\U000e0041b": "aU+E0041b",
    "<\u202e>": "&lt;U+202E&gt;",
    "a\tb": "a\tb",
    "\u00e9 \u05d0 \U0001f600": "\u00e9 \u05d0 \U0001f600",
}


@pytest.mark.parametrize("line", INVISIBLE, ids=ascii)
def test_invisible_characters_are_marked(line: str) -> None:
    """Control characters, and those that change direction, join or hide."""
    shown = re.sub(r"</?mark[^>]*>", "", visible(line))
    assert shown == INVISIBLE[line]
    assert ("<mark title=" in visible(line)) == (shown != html.escape(line))


def test_bidirectional_controls_have_no_effect(browser: Client, delivery: Delivery) -> None:
    """They would hide the real order of a program's text."""
    row = delivery.add_file("a.py", "if access: \u202e # admin only\u2066".encode())
    answer = browser.get(url_of(row, "preview")).content.decode()
    assert "\u202e" not in answer
    assert "\u2066" not in answer
    assert lines(browser, row) == ["if access: U+202E # admin only U+2066"]


def test_text_in_other_encoding_is_shown_as_latin_1(browser: Client, delivery: Delivery) -> None:
    """The page names the encoding."""
    row = delivery.add_file("a.txt", "caf\u00e9\n".encode("latin-1"))
    assert lines(browser, row) == ["caf\u00e9"]
    page = Page.get(browser, url_of(row, "preview"))
    assert "It is shown as ISO 8859-1 (Latin-1)." in page.text
    row = delivery.add_file("b.txt", "\ufeffcaf\u00e9".encode())
    assert lines(browser, row) == ["caf\u00e9"]
    assert "It is shown as" not in Page.get(browser, url_of(row, "preview")).text


@pytest.mark.parametrize("character", ["a", "\u00e9", "\u65e5", "\U0001f600"])
def test_long_text_is_truncated(character: str, browser: Client, delivery: Delivery) -> None:
    """64 KiB of 10 MB are shown, without partial characters."""
    data = character.encode()
    row = delivery.add_file("a.txt", b"x" + data * (10_000_000 // len(data)))
    (line,) = lines(browser, row)
    assert line == "x" + character * ((TEXT_BYTES - 1) // len(data))
    text = Page.get(browser, url_of(row, "preview")).text.replace("\u00a0", " ")
    assert "Only the first 64.0 KB are shown:" in text


def test_text_of_the_maximum_size_is_whole(delivery: Delivery) -> None:
    """One byte more is read to find out."""
    for size, is_whole in ((TEXT_BYTES - 1, True), (TEXT_BYTES, True), (TEXT_BYTES + 1, False)):
        text = text_of(delivery.add_file(f"{size}.txt", b"x" * size))
        assert text is not None
        assert (text.is_whole, len(text.lines[0])) == (is_whole, min(size, TEXT_BYTES))


def test_text_of_empty_lines_is_shown(browser: Client, delivery: Delivery) -> None:
    """64 KiB of line endings are as many lines."""
    row = delivery.add_file("a.txt", b"\n" * TEXT_BYTES)
    assert len(lines(browser, row)) == TEXT_BYTES


@pytest.mark.parametrize(
    ("filename", "data"),
    [
        ("a.zip", b"PK\x03\x04\xff\xfe"),
        ("a.class", b"\xca\xfe\xba\xbe\x00\x00"),
        ("noextension", b"\0\1\2\3"),
        ("a.docx", b"PK\x03\x04" + bytes(range(256))),
        ("a.exe", b"MZ\x90\x00"),
    ],
)
def test_binary_file_has_no_preview(
    filename: str, data: bytes, browser: Client, delivery: Delivery
) -> None:
    """The page says so."""
    page = Page.get(browser, url_of(delivery.add_file(filename, data), "preview"))
    assert "This file has no preview." in page.text
    assert not list(page.root.find("ol", class_="devilry-lines"))


# -- Images and PDF --


def test_image_is_shown_from_a_sandboxed_url(browser: Client, delivery: Delivery) -> None:
    """Its response has the headers of downloads."""
    row = delivery.add_file("a.png", PNG)
    page = Page.get(browser, url_of(row, "preview"))
    (image,) = page.root.find("img", class_="devilry-image")
    assert image.attributes["alt"] == "a.png"
    answer = browser.get(image.attributes["src"])
    assert b"".join(answer.streaming_content) == PNG  # type: ignore[attr-defined]
    assert answer["Content-Type"] == "image/png"
    assert "sandbox" in answer["Content-Security-Policy"]
    assert answer["X-Content-Type-Options"] == "nosniff"


def test_filename_of_an_image_is_escaped(browser: Client, delivery: Delivery) -> None:
    """It is the alternative text of the image."""
    row = delivery.add_file("a.png", PNG)
    filename = '"><script>alert(1)</script>.png'
    FileMeta.objects.update(filename=filename)
    page = Page.get(browser, url_of(row, "preview"))
    (image,) = page.root.find("img", class_="devilry-image")
    assert image.attributes["alt"] == filename
    assert "<script>alert" not in page.html


def test_large_image_is_not_shown(
    browser: Client, delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It can be downloaded."""
    monkeypatch.setattr("devilry_storage.admin.previews.IMAGE_BYTES", len(PNG) - 1)
    row = delivery.add_file("a.png", PNG)
    assert "This file has no preview." in Page.get(browser, url_of(row, "preview")).text
    assert browser.get(url_of(row, "preview_shown")).status_code == 404


def test_pdf_is_a_link(browser: Client, delivery: Delivery) -> None:
    """It is downloaded unless the site allows browsers to show PDFs."""
    row = delivery.add_file("a.pdf", b"%PDF-1.4")
    page = Page.get(browser, url_of(row, "preview"))
    (link,) = (a for a in page.root.find("a") if a.text == "Open the PDF")
    answer = browser.get(link.attributes["href"])
    assert answer["Content-Type"] == "application/pdf"
    assert answer["Content-Disposition"].startswith("attachment")


@pytest.mark.parametrize("filename", ["a.html", "a.svg", "a.txt", "a.zip"])
def test_previews_send_only_images_and_pdfs(
    filename: str, browser: Client, delivery: Delivery
) -> None:
    """Other types do not have such a URL."""
    row = delivery.add_file(filename, b"<script>")
    assert browser.get(url_of(row, "preview_shown")).status_code == 404


def test_policy_allows_only_static_files(browser: Client, delivery: Delivery) -> None:
    """Scripts and styles are those of the admin."""
    row = delivery.add_file("a.html", b"<script>")
    policy = browser.get(url_of(row, "preview"))["Content-Security-Policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy


def test_policy_includes_the_host_of_static_files(
    browser: Client, delivery: Delivery, settings: Any
) -> None:
    """Static files may have another host."""
    settings.STATIC_URL = "https://static.example/files/"
    row = delivery.add_file("a.txt", b"a")
    policy = browser.get(url_of(row, "preview"))["Content-Security-Policy"]
    assert "script-src 'self' https://static.example;" in policy


# -- State in the store --


def test_page_of_a_file_shows_its_state(
    browser: Client, delivery: Delivery, store: HookedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The preview shows it, too."""
    row = delivery.add_file("a.txt", b"abc")

    def check(state: str, row: FileMeta = row) -> None:
        for url in (url_of(row), url_of(row, "preview")):
            assert state in Page.get(browser, url).text

    check("Whole: the file is in the store with its recorded size")
    FileMeta.objects.filter(pk=row.pk).update(size=5)
    check("Wrong size: 3 bytes in the store, but 5 bytes are recorded")
    store.delete(row.content.name)
    check("Missing: the file is not in the store")

    def fail(name: str) -> int:
        raise failure(errno.EIO)

    monkeypatch.setattr(store, "size", fail)
    check("Unknown: the delivery store failed: Input/output error")
    check("Not stored", FileMeta.objects.create(delivery=delivery, filename="pending.txt"))


def test_lists_send_no_requests_to_the_store(
    browser: Client, delivery: Delivery, store: HookedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither does the page of a delivery."""
    delivery.add_file("a.txt", b"abc")
    calls = []
    for name in ("size", "exists", "scan", "stream", "open"):
        monkeypatch.setattr(store, name, lambda *args, **kwargs: calls.append(args))
    for url in (url_for(FileMeta), url_for(Delivery), url_of(delivery)):
        assert Page.get(browser, url).status == 200
    assert calls == []


def test_failure_while_reading_a_text_is_reported(
    browser: Client,
    delivery: Delivery,
    store: HookedStore,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The page shows the reason."""
    caplog.set_level(logging.INFO, "devilry_storage.access")
    row = delivery.add_file("a.txt", b"abc")

    def fail(*args: Any, **kwargs: Any) -> Any:
        raise failure(errno.EIO)

    monkeypatch.setattr(store, "stream", fail)
    page = Page.get(browser, url_of(row, "preview"))
    assert page.status == 200
    assert "The file cannot be read: the delivery store failed: Input/output error." in page.text
    assert caplog.records[-1].getMessage().endswith("way=preview bytes=0 outcome=failed")


# -- Permissions --


PAGES = ("preview", "preview_shown")


def clerk(*permissions: str, is_staff: bool = True) -> Client:
    user = make_user("clerk", is_staff=is_staff)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def test_preview_needs_view_permission(delivery: Delivery) -> None:
    """Without it the response does not reveal which files exist."""
    row = delivery.add_file("a.png", PNG)
    absent = FileMeta(pk=row.pk + 1000)
    browser = clerk("view_delivery", "change_delivery", "add_filemeta", "delete_filemeta")
    for page in PAGES:
        existing, missing = (browser.get(url_of(file, page)) for file in (row, absent))
        assert existing.status_code == missing.status_code == 403
        assert existing.content == missing.content
    browser.logout()
    for page in PAGES:
        for file in (row, absent):
            assert browser.get(url_of(file, page))["Location"].startswith("/admin/login/")


def test_view_permission_allows_previews(delivery: Delivery) -> None:
    """No other permission is needed."""
    row = delivery.add_file("a.png", PNG)
    browser = clerk("view_filemeta")
    for page in PAGES:
        assert browser.get(url_of(row, page)).status_code == 200
        assert browser.post(url_of(row, page)).status_code == 405


@pytest.mark.parametrize("page", PAGES)
def test_preview_respects_object_permissions(
    page: str, delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An admin may restrict has_view_permission() to some files."""
    shown, hidden = (delivery.add_file(name, PNG) for name in ("shown.png", "hidden.png"))

    def permits(self: Any, request: Any, obj: Any = None) -> bool:
        return obj is None or obj.filename == "shown.png"

    monkeypatch.setattr(FileMetaAdmin, "has_view_permission", permits)
    browser = clerk("view_filemeta")
    assert browser.get(url_of(shown, page)).status_code == 200
    assert browser.get(url_of(hidden, page)).status_code == 403


def test_preview_needs_staff_user(delivery: Delivery) -> None:
    """The permission alone is not enough."""
    row = delivery.add_file("a.png", PNG)
    browser = clerk("view_filemeta", is_staff=False)
    for page in PAGES:
        assert browser.get(url_of(row, page))["Location"].startswith("/admin/login/")


ODD = ["..", "../..", "..%2F..%2Fetc%2Fpasswd", "a%00b", "%2Fetc%2Fpasswd", "-1", "1e3", "9" * 30]


@pytest.mark.parametrize("odd", ODD)
def test_invalid_id_in_url_of_preview_is_404(odd: str, browser: Client) -> None:
    """Paths and NUL in place of an id are rejected."""
    for page in ("preview", "preview/shown"):
        url = f"{url_for(FileMeta)}{odd}/{page}/"
        assert browser.get(url).status_code == 404


def test_preview_does_not_follow_symlinks(
    browser: Client, delivery: Delivery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No file outside of the store is shown."""
    monkeypatch.setattr(FileMeta, "deliverystore", FsHierDeliveryStore(location=tmp_path / "s"))
    row = delivery.add_file("a.txt", b"abc")
    secret = tmp_path / "secret"
    secret.write_text("the secret")
    path = tmp_path / "s" / row.content.name
    path.unlink()
    path.symlink_to(secret)
    answer = browser.get(url_of(row, "preview"))
    assert "the secret" not in answer.content.decode()


# -- Names --


def test_hostile_filenames_are_harmless_on_all_pages(
    browser: Client, delivery: Delivery, group: AssignmentGroup
) -> None:
    """In lists, on pages of files and deliveries, and in confirmations."""
    names = {line.filename for line in TABLE if line.filename}
    rows = [FileMeta(delivery=delivery, filename=name) for name in sorted(names)]
    # Also names that validation would reject.
    rows += [
        FileMeta(delivery=delivery, filename=name) for name in ("<script>", '"><img>', "\r\n")
    ]
    FileMeta.objects.bulk_create(rows)
    urls = [f"{url_for(FileMeta)}?p={page}" for page in (1, 2)]
    urls += [url_of(delivery), url_of(delivery, "delete")]
    pages = itertools.cycle(("change", "preview", "delete"))
    urls += [
        url_of(row, page) for row, page in zip(FileMeta.objects.all()[::4], pages, strict=False)
    ]
    for url in urls:
        page = Page.get(browser, url)
        assert page.status == 200, url
        scripts = {script.attributes.get("src", "") for script in page.root.find("script")}
        assert all(src.startswith(("/static/", "/admin/jsi18n/")) for src in scripts), url
        assert all("src" in image.attributes for image in page.root.find("img")), url
