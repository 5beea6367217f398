"""Previews show what a file is, to whoever may view it, and run nothing."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from devilry_storage.admin.previews import SHOWN_BYTES, text_of
from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.store import store_for
from tests.users import make_user

from .pages import Page

pytestmark = pytest.mark.django_db

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de"
    "0000000c4944415408d763f8cfc000000301010018dd8db00000000049454e44ae426082"
)


@pytest.fixture
def delivery() -> Any:
    return Delivery.begin(AssignmentGroup.objects.create(name="group"))


@pytest.fixture
def client() -> Client:
    user = make_user("staff", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename="view_filemeta"))
    client = Client()
    client.force_login(user)
    return client


def url(row: Any, page: str = "preview") -> str:
    return reverse(f"admin:devilry_deliveries_filemeta_{page}", args=[row.pk])


@pytest.mark.parametrize(
    ("data", "lines", "encoding"),
    [
        (b"one\ntwo\r\nthree", ["one", "two", "three"], "UTF-8"),
        (b"", [""], "UTF-8"),
        (b"a\n\n", ["a", ""], "UTF-8"),
        ("\ufeffæøå".encode(), ["æøå"], "UTF-8"),
        ("æøå".encode("latin-1"), ["æøå"], "Latin-1"),
        (b"a\x00b\x1b[31m", ["a⟨U+0000⟩b⟨U+001B⟩[31m"], "UTF-8"),
        ("x\u202etxt.exe\u200b".encode(), ["x⟨U+202E⟩txt.exe⟨U+200B⟩"], "UTF-8"),
        (b"a\tb", ["a\tb"], "UTF-8"),
        (b"a\rb", ["a⟨U+000D⟩b"], "UTF-8"),
    ],
)
def test_everything_in_a_text_is_seen(data: bytes, lines: list[str], encoding: str) -> None:
    """Also what turns the direction of text, or has no width."""
    assert text_of(data, whole=True) == (lines, encoding)


def test_a_character_that_is_cut_off_does_not_change_the_encoding() -> None:
    """Only at the very end, and only where there is more."""
    cut = "aé".encode()[:-1]
    assert text_of(cut, whole=False) == (["a"], "UTF-8")
    assert text_of(cut, whole=True) == (["aÃ"], "Latin-1")
    assert text_of(cut + b"bbbb", whole=False).encoding == "Latin-1"


def test_a_text_is_shown_with_numbered_lines(client: Client, delivery: Any) -> None:
    """And what looks like a page in it is text."""
    row = delivery.add_file("page.txt", b"<script>alert(1)</script>\n{{ 7|add:7 }}")
    answer = client.get(url(row))
    page = answer.content.decode()
    assert "<li><code>&lt;script&gt;alert(1)&lt;/script&gt;</code></li>" in page
    assert "<script>alert" not in page
    assert "<li><code>{{ 7|add:7 }}</code></li>" in page
    assert "default-src 'none'" in answer["Content-Security-Policy"]


@pytest.mark.parametrize("filename", ["a.html", "a.svg", "a.xhtml", "a.xml", "a.zip", "a", "a.js"])
def test_what_could_run_is_never_sent_as_itself(
    client: Client, delivery: Any, filename: str
) -> None:
    """It is text in the page, or not shown; asked for by itself it is an attachment or text."""
    row = delivery.add_file(filename, b"<svg xmlns='http://www.w3.org/2000/svg' onload='x'/>")
    page = client.get(url(row)).content.decode()
    assert "<svg xmlns='" not in page
    answer = client.get(url(row, "preview_shown"))
    assert answer["Content-Type"] in {"application/octet-stream", "text/plain; charset=utf-8"}
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in answer["Content-Security-Policy"]


def test_an_image_is_shown_from_a_url_of_the_admin(client: Client, delivery: Any) -> None:
    """Which sends it inline, in a sandbox."""
    row = delivery.add_file('"><b>.png', PNG)
    page = Page.get(client, url(row))
    (image,) = [each for each in page.root.find("img") if "preview" in each.attributes["src"]]
    answer = client.get(image.attributes["src"])
    assert answer["Content-Type"] == "image/png"
    assert answer["Content-Disposition"].startswith("inline")
    assert b"".join(answer) == PNG


def test_a_pdf_is_a_link(client: Client, delivery: Any, settings: Any) -> None:
    """An attachment, unless the site allows it to be shown."""
    row = delivery.add_file("a.pdf", b"%PDF-1.4")
    assert "Open the PDF" in client.get(url(row)).content.decode()
    assert client.get(url(row, "preview_shown"))["Content-Disposition"].startswith("attachment")
    settings.DELIVERY_STORE_INLINE_TYPES = ["application/pdf"]
    answer = client.get(url(row, "preview_shown"))
    assert answer["Content-Disposition"].startswith("inline")
    assert "sandbox" not in answer["Content-Security-Policy"]


def test_of_a_large_text_the_beginning_is_shown(client: Client, delivery: Any) -> None:
    """One line of 10 MB takes no more of the page than that."""
    row = delivery.add_file("a.txt", b"x" * 10_000_000)
    page = client.get(url(row)).content.decode()
    assert "Only the first 64" in page
    assert page.count("x") < SHOWN_BYTES + 2000
    row = delivery.add_file("b.txt", b"x" * SHOWN_BYTES)
    assert "Only the first" not in client.get(url(row)).content.decode()


def test_bytes_that_are_gone_are_told(client: Client, delivery: Any) -> None:
    """And a row that has none yet."""
    row = delivery.add_file("a.txt", b"a")
    store_for(FileMeta).delete(row.content.name)
    assert "There is nothing to show" in client.get(url(row)).content.decode()
    for filename in ("b.txt", "b.png", "b.zip"):
        empty = FileMeta.objects.create(delivery=delivery, filename=filename)
        assert "the file is not stored" in client.get(url(empty)).content.decode()
        assert client.get(url(empty, "preview_shown")).status_code == 404


def test_a_preview_needs_the_permission_to_view(delivery: Any) -> None:
    """Without it an id that exists is answered as one that does not."""
    row = delivery.add_file("a.txt", b"a")
    client = Client()
    client.force_login(make_user("other", is_staff=True))
    absent = reverse("admin:devilry_deliveries_filemeta_preview", args=[10**30])
    for each in (url(row), url(row, "preview_shown"), absent):
        assert client.get(each).status_code == 403
        assert Client().get(each).status_code == 302


def test_an_id_that_is_none_is_not_found(client: Client) -> None:
    """However large, or whatever else it is."""
    for each in ("0", "9" * 40, "x", "1'", "_5F"):
        absent = reverse("admin:devilry_deliveries_filemeta_preview", args=[each])
        assert client.get(absent).status_code == 404
