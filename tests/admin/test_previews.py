"""Previews: what of a file is shown, and that nothing of it is run."""

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

from devilry_storage.admin.preview_text import TEXT_BYTES, text_of, visible
from devilry_storage.deliveries.admin import FileMetaAdmin
from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.storages import FsHierDeliveryStore
from tests.harness.users import make_user
from tests.storages.test_hostile_names import TABLE
from tests.testapp.stores import HookedStore, failure

from .pages import Page, url_for, url_of

#: The smallest PNG there is.
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c63f8cfc0f01f00050001ff89993d1d0000000049454e44ae426082"
)


def lines(browser: Client, row: FileMeta) -> list[str]:
    """Return the lines of a preview, as somebody sees them."""
    page = Page.get(browser, url_of(row, "preview"))
    assert page.status == 200
    found = list(page.root.find("ol", class_="devilry-lines"))
    return [line.text for each in found for line in each.find("li")]


def markup(browser: Client, row: FileMeta) -> str:
    """Return the HTML of a preview's lines."""
    answer = browser.get(url_of(row, "preview")).content.decode()
    return answer.partition('<ol class="devilry-lines">')[2].partition("</ol>")[0]


# -- Text --


def test_a_text_is_shown_in_numbered_lines(browser: Client, delivery: Delivery) -> None:
    """Whichever ends they have, the last one or none."""
    row = delivery.add_file("a.txt", b"one\ntwo\r\n\r\nfour\rfive")
    assert lines(browser, row) == ["one", "two", "", "four", "five"]
    row = delivery.add_file("b.txt", "\u65e5\u672c\n".encode())
    assert lines(browser, row) == ["\u65e5\u672c"]
    assert lines(browser, delivery.add_file("empty.txt", b"")) == []


def test_a_text_that_was_shown_is_an_access(
    browser: Client, delivery: Delivery, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever wants to know who has read a file misses none."""
    caplog.set_level(logging.INFO, "devilry_storage.access")
    row = delivery.add_file("a.txt", b"one")
    lines(browser, row)
    (line,) = [each.getMessage() for each in caplog.records if each.name.endswith(".access")]
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
def test_what_could_run_is_text(
    filename: str, data: bytes, browser: Client, delivery: Delivery
) -> None:
    """HTML, SVG and scripts are shown as they are written, and are nothing but text."""
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
def test_what_cannot_be_seen_is_made_visible(line: str) -> None:
    """Control characters, and those that turn, join or hide what is around them."""
    shown = re.sub(r"</?mark[^>]*>", "", visible(line))
    assert shown == INVISIBLE[line]
    assert ("<mark title=" in visible(line)) == (shown != html.escape(line))


def test_a_bomb_of_directions_turns_nothing(browser: Client, delivery: Delivery) -> None:
    """What a student hides by direction characters is seen on the page."""
    row = delivery.add_file("a.py", "if access: \u202e # admin only\u2066".encode())
    answer = browser.get(url_of(row, "preview")).content.decode()
    assert "\u202e" not in answer
    assert "\u2066" not in answer
    assert lines(browser, row) == ["if access: U+202E # admin only U+2066"]


def test_a_text_that_is_no_utf_8_is_shown_as_latin_1(browser: Client, delivery: Delivery) -> None:
    """And the page says so."""
    row = delivery.add_file("a.txt", "caf\u00e9\n".encode("latin-1"))
    assert lines(browser, row) == ["caf\u00e9"]
    page = Page.get(browser, url_of(row, "preview"))
    assert "It is not UTF-8, and shown as ISO 8859-1 (Latin-1)." in page.text
    row = delivery.add_file("b.txt", "\ufeffcaf\u00e9".encode())
    assert lines(browser, row) == ["caf\u00e9"]
    assert "It is not UTF-8" not in Page.get(browser, url_of(row, "preview")).text


@pytest.mark.parametrize("character", ["a", "\u00e9", "\u65e5", "\U0001f600"])
def test_only_the_beginning_of_a_long_text_is_read(
    character: str, browser: Client, delivery: Delivery
) -> None:
    """10 MB in one line: 64 KiB of them, and no half of a character."""
    data = character.encode()
    row = delivery.add_file("a.txt", b"x" + data * (10_000_000 // len(data)))
    (line,) = lines(browser, row)
    assert line == "x" + character * ((TEXT_BYTES - 1) // len(data))
    assert "The first 64.0 KB of it:" in Page.get(browser, url_of(row, "preview")).text.replace(
        "\u00a0", " "
    )


def test_a_text_of_just_that_size_is_whole(delivery: Delivery) -> None:
    """The byte that would come next is asked for, too."""
    for size, is_whole in ((TEXT_BYTES - 1, True), (TEXT_BYTES, True), (TEXT_BYTES + 1, False)):
        text = text_of(delivery.add_file(f"{size}.txt", b"x" * size))
        assert text is not None
        assert (text.is_whole, len(text.lines[0])) == (is_whole, min(size, TEXT_BYTES))


def test_many_lines_are_many_lines(browser: Client, delivery: Delivery) -> None:
    """64 KiB of nothing but ends of lines."""
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
def test_what_is_no_text_has_no_preview(
    filename: str, data: bytes, browser: Client, delivery: Delivery
) -> None:
    """The page says so, and shows nothing of it."""
    page = Page.get(browser, url_of(delivery.add_file(filename, data), "preview"))
    assert "There is no preview of such a file." in page.text
    assert not list(page.root.find("ol", class_="devilry-lines"))


# -- Images and PDF --


def test_an_image_is_shown_from_a_sandboxed_url(browser: Client, delivery: Delivery) -> None:
    """Its bytes are served as those of any file are, to be shown."""
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
    """It is an attribute there."""
    row = delivery.add_file("a.png", PNG)
    filename = '"><script>alert(1)</script>.png'
    FileMeta.objects.update(filename=filename)
    page = Page.get(browser, url_of(row, "preview"))
    (image,) = page.root.find("img", class_="devilry-image")
    assert image.attributes["alt"] == filename
    assert "<script>alert" not in page.html


def test_an_image_too_large_for_a_page_is_not_shown(
    browser: Client, delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It can be downloaded."""
    monkeypatch.setattr("devilry_storage.admin.preview_text.IMAGE_BYTES", len(PNG) - 1)
    row = delivery.add_file("a.png", PNG)
    assert "There is no preview" in Page.get(browser, url_of(row, "preview")).text
    assert browser.get(url_of(row, "preview_shown")).status_code == 404


def test_a_pdf_is_a_link(browser: Client, delivery: Delivery) -> None:
    """To a download, unless the site lets browsers show them."""
    row = delivery.add_file("a.pdf", b"%PDF-1.4")
    page = Page.get(browser, url_of(row, "preview"))
    (link,) = (each for each in page.root.find("a") if each.text == "Open the PDF")
    answer = browser.get(link.attributes["href"])
    assert answer["Content-Type"] == "application/pdf"
    assert answer["Content-Disposition"].startswith("attachment")


@pytest.mark.parametrize("filename", ["a.html", "a.svg", "a.txt", "a.zip"])
def test_no_other_bytes_are_served_for_a_preview(
    filename: str, browser: Client, delivery: Delivery
) -> None:
    """What is not an image or a PDF has no such URL."""
    row = delivery.add_file(filename, b"<script>")
    assert browser.get(url_of(row, "preview_shown")).status_code == 404


def test_the_page_runs_and_loads_nothing_of_a_file(browser: Client, delivery: Delivery) -> None:
    """By its policy: scripts and styles are those of the admin."""
    row = delivery.add_file("a.html", b"<script>")
    policy = browser.get(url_of(row, "preview"))["Content-Security-Policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy


def test_the_policy_knows_where_static_files_are(
    browser: Client, delivery: Delivery, settings: Any
) -> None:
    """On another host, say."""
    settings.STATIC_URL = "https://static.example/files/"
    row = delivery.add_file("a.txt", b"a")
    policy = browser.get(url_of(row, "preview"))["Content-Security-Policy"]
    assert "script-src 'self' https://static.example;" in policy


# -- The state in the store --


def test_the_page_of_a_file_tells_its_state_in_the_store(
    browser: Client, delivery: Delivery, store: HookedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In words: whole, of another size, missing, unreachable, not stored; so does the preview."""
    row = delivery.add_file("a.txt", b"abc")

    def told(words: str, row: FileMeta = row) -> None:
        for url in (url_of(row), url_of(row, "preview")):
            assert words in Page.get(browser, url).text

    told("whole: it is in the store, with its size")
    FileMeta.objects.filter(pk=row.pk).update(size=5)
    told("wrong size: 3 bytes in the store, not 5")
    store.delete(row.content.name)
    told("missing: the store has no such file")

    def fail(name: str) -> int:
        raise failure(errno.EIO)

    monkeypatch.setattr(store, "size", fail)
    told("unreachable: the store cannot be asked (the delivery store failed: Input/output error)")
    told("not stored", FileMeta.objects.create(delivery=delivery, filename="left.txt"))


def test_lists_do_not_ask_the_store(
    browser: Client, delivery: Delivery, store: HookedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does the page of a delivery: a page of a hundred would ask a hundred times."""
    delivery.add_file("a.txt", b"abc")
    asked = []
    for name in ("size", "exists", "scan", "stream", "open"):
        monkeypatch.setattr(store, name, lambda *args, **kwargs: asked.append(args))
    for url in (url_for(FileMeta), url_for(Delivery), url_of(delivery)):
        assert Page.get(browser, url).status == 200
    assert asked == []


def test_a_text_that_breaks_off_while_it_is_read_breaks_no_page(
    browser: Client,
    delivery: Delivery,
    store: HookedStore,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The page tells why there is none."""
    caplog.set_level(logging.INFO, "devilry_storage.access")
    row = delivery.add_file("a.txt", b"abc")

    def fail(*args: Any, **kwargs: Any) -> Any:
        raise failure(errno.EIO)

    monkeypatch.setattr(store, "stream", fail)
    page = Page.get(browser, url_of(row, "preview"))
    assert page.status == 200
    assert "It cannot be read: the delivery store failed: Input/output error." in page.text
    assert caplog.records[-1].getMessage().endswith("way=preview bytes=0 outcome=failed")


# -- Who --


PAGES = ("preview", "preview_shown")


def clerk(*permissions: str, is_staff: bool = True) -> Client:
    user = make_user("clerk", is_staff=is_staff)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def test_a_preview_is_for_whoever_may_view_files(delivery: Delivery) -> None:
    """Whatever else they may do, they learn nothing of what exists."""
    row = delivery.add_file("a.png", PNG)
    absent = FileMeta(pk=row.pk + 1000)
    browser = clerk("view_delivery", "change_delivery", "add_filemeta", "delete_filemeta")
    for page in PAGES:
        there, not_there = (browser.get(url_of(each, page)) for each in (row, absent))
        assert there.status_code == not_there.status_code == 403
        assert there.content == not_there.content
    browser.logout()
    for page in PAGES:
        for each in (row, absent):
            assert browser.get(url_of(each, page))["Location"].startswith("/admin/login/")


def test_who_may_view_files_previews_them(delivery: Delivery) -> None:
    """That permission is all that it takes."""
    row = delivery.add_file("a.png", PNG)
    browser = clerk("view_filemeta")
    for page in PAGES:
        assert browser.get(url_of(row, page)).status_code == 200
        assert browser.post(url_of(row, page)).status_code == 405


@pytest.mark.parametrize("page", PAGES)
def test_rule_of_a_site_for_one_file_holds_for_its_preview(
    page: str, delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An admin may let a user view some of the files only."""
    shown, hidden = (delivery.add_file(name, PNG) for name in ("shown.png", "hidden.png"))

    def permits(self: Any, request: Any, obj: Any = None) -> bool:
        return obj is None or obj.filename == "shown.png"

    monkeypatch.setattr(FileMetaAdmin, "has_view_permission", permits)
    browser = clerk("view_filemeta")
    assert browser.get(url_of(shown, page)).status_code == 200
    assert browser.get(url_of(hidden, page)).status_code == 403


def test_a_user_who_is_no_staff_has_no_previews(delivery: Delivery) -> None:
    """The admin is not for them, whatever they may view."""
    row = delivery.add_file("a.png", PNG)
    browser = clerk("view_filemeta", is_staff=False)
    for page in PAGES:
        assert browser.get(url_of(row, page))["Location"].startswith("/admin/login/")


ODD = ["..", "../..", "..%2F..%2Fetc%2Fpasswd", "a%00b", "%2Fetc%2Fpasswd", "-1", "1e3", "9" * 30]


@pytest.mark.parametrize("odd", ODD)
def test_a_url_that_names_no_row_finds_nothing(odd: str, browser: Client) -> None:
    """Whatever stands in the place of an id: nothing outside is read."""
    for page in ("preview", "preview/shown"):
        url = f"{url_for(FileMeta)}{odd}/{page}/"
        assert browser.get(url).status_code == 404


def test_a_symlink_in_the_place_of_a_file_is_not_followed(
    browser: Client, delivery: Delivery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what lies outside of the store nothing is shown."""
    monkeypatch.setattr(FileMeta, "deliverystore", FsHierDeliveryStore(location=tmp_path / "s"))
    row = delivery.add_file("a.txt", b"abc")
    secret = tmp_path / "secret"
    secret.write_text("the secret")
    place = tmp_path / "s" / row.content.name
    place.unlink()
    place.symlink_to(secret)
    answer = browser.get(url_of(row, "preview"))
    assert "the secret" not in answer.content.decode()


# -- Names --


def test_hostile_filenames_do_nothing_on_any_page(
    browser: Client, delivery: Delivery, group: AssignmentGroup
) -> None:
    """On lists, the pages of deliveries, files, previews, and where all of it is deleted."""
    names = {line.filename for line in TABLE if line.filename}
    rows = [FileMeta(delivery=delivery, filename=name) for name in sorted(names)]
    # Written past all that validates, too.
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
        scripts = {each.attributes.get("src", "") for each in page.root.find("script")}
        assert all(each.startswith(("/static/", "/admin/jsi18n/")) for each in scripts), url
        assert all("src" in each.attributes for each in page.root.find("img")), url
