"""The three ways of the bytes, and how each is chosen."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import ContentFile
from django.http import Http404, HttpResponseBase
from django.test import Client
from werkzeug.http import parse_options_header

from devilry_storage.deliveries.models import AssignmentGroup
from devilry_storage.exceptions import ChecksumMismatch
from devilry_storage.media_types import OCTETS
from devilry_storage.serving import serve_name
from devilry_storage.storages import FsHierDeliveryStore, S3DeliveryStore
from devilry_storage.testing import override_deliverystore

from ..harness import s3servers
from ..harness.users import make_user
from .conftest import MIDDLEWARE, deliver

pytestmark = pytest.mark.django_db

DATA = b"0123456789" * 1000
NAME = "Øving; 1.pdf"

#: What an answer says of a file, whichever way its bytes go.
OF_THE_FILE = (
    *("Content-Type", "Content-Disposition", "Content-Security-Policy", "X-Content-Type-Options"),
    *("Cross-Origin-Resource-Policy", "Referrer-Policy", "Cache-Control", "Content-Encoding"),
)


@pytest.fixture
def browser(group: Any) -> Client:
    user = make_user("candidate")
    group.candidates.add(user)
    client = Client()
    client.force_login(user)
    return client


def make_row(group: Any, data: bytes = DATA, name: str = NAME) -> Any:
    (row,) = deliver(group, file=data).values()
    type(row).objects.filter(pk=row.pk).update(filename=name)
    row.refresh_from_db()
    return row


def body(answer: HttpResponseBase) -> bytes:
    return b"".join(answer.streaming_content if answer.streaming else [answer.content])  # type: ignore[attr-defined]


# -- sendfile --


@pytest.fixture
def by_nginx(settings: Any, disk: FsHierDeliveryStore) -> None:
    settings.DELIVERY_STORE_SERVE = "sendfile"
    settings.SENDFILE_BACKEND = "django_sendfile.backends.nginx"
    settings.SENDFILE_ROOT = disk.location
    settings.SENDFILE_URL = "/the-store"


@pytest.mark.usefixtures("by_nginx")
def test_a_web_server_is_told_where_the_file_lies(
    browser: Client, group: Any, settings: Any
) -> None:
    """By a header, with those that a streamed file has; no byte is read here."""
    row = make_row(group)
    answer = browser.get(row.content.url)
    assert answer["X-Accel-Redirect"] == f"/the-store/{row.content.name}"
    assert body(answer) == b""
    settings.DELIVERY_STORE_SERVE = "stream"
    streamed = browser.get(row.content.url)
    assert body(streamed) == DATA
    assert [answer[name] for name in OF_THE_FILE] == [streamed[name] for name in OF_THE_FILE]


@pytest.mark.usefixtures("by_nginx")
@pytest.mark.parametrize(
    "header",
    [
        {"range": "bytes=0-0"},
        {"if-match": '"of the web server"'},
        {"if-unmodified-since": "Sat, 01 Jan 2000 00:00:00 GMT"},
    ],
)
def test_conditions_and_ranges_are_left_to_the_web_server(
    browser: Client, group: Any, settings: Any, header: dict[str, str]
) -> None:
    """Its validators are others than ours, and no middleware compares them."""
    settings.MIDDLEWARE = MIDDLEWARE
    row = make_row(group)
    for ask in (browser.get, browser.head):
        answer = ask(row.content.url, headers=header)
        assert (answer.status_code, "X-Accel-Redirect" in answer) == (200, True)


@pytest.mark.usefixtures("by_nginx")
def test_a_file_that_is_not_whole_is_not_left_to_the_web_server(
    browser: Client, group: Any, disk: FsHierDeliveryStore, caplog: Any
) -> None:
    """Its size is looked at, and where it is gone there is no file."""
    row = make_row(group)
    path = Path(disk.path(row.content.name))
    path.write_bytes(DATA[:-1])
    with pytest.raises(ChecksumMismatch, match=f"'{row.content.name}' has 9999 bytes"):
        browser.get(row.content.url)
    path.unlink()
    assert browser.get(row.content.url).status_code == 404
    assert repr(row.content.name) in caplog.text


@pytest.mark.usefixtures("by_nginx")
def test_a_planted_symlink_is_not_left_to_the_web_server(
    browser: Client, group: Any, disk: FsHierDeliveryStore, tmp_path: Path
) -> None:
    """However large what it leads to is."""
    row = make_row(group)
    path = Path(disk.path(row.content.name))
    outside = tmp_path / "outside"
    path.rename(outside)
    path.symlink_to(outside)
    answer = browser.get(row.content.url)
    assert answer.status_code == 400
    assert "X-Accel-Redirect" not in answer


@pytest.mark.usefixtures("by_nginx")
def test_a_store_without_paths_says_so(browser: Client, group: Any, tmp_path: Path) -> None:
    """What the setting asks for cannot be; nothing else is done in its place."""
    with override_deliverystore():
        row = make_row(group)
        with pytest.raises(ImproperlyConfigured, match="'sendfile', but MemoryDeliveryStore has"):
            browser.get(row.content.url)


# -- redirect --


@pytest.fixture
def by_s3(settings: Any) -> Iterator[S3DeliveryStore]:
    settings.DELIVERY_STORE_SERVE = "redirect"
    settings.DELIVERY_STORE_REDIRECT_MIN_BYTES = len(DATA)
    server = s3servers.need("seaweedfs")
    with override_deliverystore(S3DeliveryStore(**server.options(server.bucket()))) as store:
        yield store


@pytest.mark.servers
@pytest.mark.usefixtures("by_s3")
@pytest.mark.parametrize("query", ["", "?inline"])
def test_a_client_is_sent_to_s3(browser: Client, group: Any, query: str, caplog: Any) -> None:
    """For a minute, to an attachment of the same name and type as a streamed one has."""
    row = make_row(group)
    with caplog.at_level(logging.DEBUG):
        answer = browser.get(row.content.url + query)
    assert answer.status_code == 302
    assert answer["Cache-Control"] == "no-store"
    assert answer["Referrer-Policy"] == "no-referrer"
    assert body(answer) == b""
    url = answer["Location"]
    assert parse_qs(urlsplit(url).query)["X-Amz-Expires"] == ["60"]
    with urlopen(url, timeout=10) as fetched:
        assert fetched.read() == DATA
        assert fetched.headers["Content-Type"] == "application/pdf"
        kind, parameters = parse_options_header(fetched.headers["Content-Disposition"])
        assert (kind, parameters["filename"]) == ("attachment", NAME)
        assert fetched.headers["Cache-Control"] == "private, no-cache"
    # The URL is a secret: it stands nowhere else.
    (signature,) = parse_qs(urlsplit(url).query)["X-Amz-Signature"]
    assert signature not in repr(answer)
    assert signature not in caplog.text
    for tampered in (
        url.replace("Expires=60", "Expires=3600"),
        url.replace("attachment", "inline"),
    ):
        with pytest.raises(HTTPError, match="403"):
            urlopen(tampered, timeout=10)


@pytest.mark.servers
@pytest.mark.usefixtures("by_s3")
def test_what_needs_no_bytes_needs_no_redirect(browser: Client, group: Any) -> None:
    """A URL is signed for GET alone; a HEAD is answered here."""
    answer = browser.head(make_row(group).content.url)
    assert answer.status_code == 200
    assert answer["Content-Length"] == str(len(DATA))


@pytest.mark.servers
@pytest.mark.usefixtures("by_s3")
def test_conditions_do_not_keep_from_a_redirect(browser: Client, group: Any) -> None:
    """RFC 9110, section 13.2.1: they are for answers that have the file."""
    row = make_row(group)
    for headers in ({"if-none-match": f'"{row.sha256}"'}, {"range": "bytes=0-0"}):
        assert browser.get(row.content.url, headers=headers).status_code == 302


@pytest.mark.servers
@pytest.mark.usefixtures("by_s3")
def test_a_small_file_is_streamed_where_others_are_redirected(browser: Client, group: Any) -> None:
    """One request less, and verified."""
    answer = browser.get(make_row(group, DATA[:-1]).content.url)
    assert answer.status_code == 200
    assert body(answer) == DATA[:-1]


@pytest.mark.servers
def test_no_page_shows_a_url_of_s3(by_s3: S3DeliveryStore, admin_client: Client) -> None:
    """The admin links to the download, which asks who it is for."""
    row = make_row(AssignmentGroup.objects.create(name="group"))
    page = admin_client.get(f"/admin/devilry_deliveries/filemeta/{row.pk}/change/")
    assert row.content.url in page.content.decode()
    assert "Signature" not in page.content.decode()
    assert by_s3.bucket_name not in page.content.decode()


def test_a_store_that_signs_nothing_says_so(browser: Client, group: Any, settings: Any) -> None:
    """Nothing else is done in its place."""
    settings.DELIVERY_STORE_SERVE = "redirect"
    settings.DELIVERY_STORE_REDIRECT_MIN_BYTES = 0
    with override_deliverystore():
        row = make_row(group)
        with pytest.raises(
            ImproperlyConfigured, match="'redirect', but MemoryDeliveryStore signs"
        ):
            browser.get(row.content.url)


# -- Which way --


def test_each_store_has_its_own_way(
    browser: Client, group: Any, settings: Any, disk: FsHierDeliveryStore, tmp_path: Path
) -> None:
    """By its alias; one that is not named, or has none, is streamed."""
    del disk  # its override is in force: a store without alias
    settings.DELIVERY_STORE_SERVE = {"deliveries": "sendfile"}
    settings.SENDFILE_BACKEND = "django_sendfile.backends.nginx"
    row = make_row(group)
    assert body(browser.get(row.content.url)) == DATA
    settings.STORAGES = {
        **settings.STORAGES,
        "deliveries": {
            "BACKEND": "devilry_storage.storages.FsHierDeliveryStore",
            "OPTIONS": {"location": str(tmp_path / "aliased")},
        },
    }
    settings.SENDFILE_ROOT = str(tmp_path / "aliased")
    with override_deliverystore("deliveries"):
        row = make_row(group)
        assert "X-Accel-Redirect" in browser.get(row.content.url)


# -- What is shown instead of saved --


#: A filename, the type of its answer, and whether it is shown.
SHOWN = [
    ("a.txt", "text/plain; charset=utf-8", True),
    ("a.PY", "text/plain; charset=utf-8", True),
    ("script.js", "text/plain; charset=utf-8", True),
    ("style.css", "text/plain; charset=utf-8", True),
    ("a.png", "image/png", True),
    ("a.JPEG", "image/jpeg", True),
    ("a.webp", "image/webp", True),
    ("a.pdf", "application/pdf", False),
    ("a.html", OCTETS, False),
    ("a.htm", OCTETS, False),
    ("a.xhtml", OCTETS, False),
    ("a.svg", OCTETS, False),
    ("a.xml", OCTETS, False),
    ("a.swf", OCTETS, False),
    ("a.txt.html", OCTETS, False),
    ("a.svgz", OCTETS, False),
    ("png", OCTETS, False),
    ("a.", OCTETS, False),
    ("a.png ", OCTETS, False),
    ("a.zip", OCTETS, False),
]


@pytest.mark.usefixtures("disk")
def test_only_what_cannot_act_is_shown(
    browser: Client, group: Any, subtests: pytest.Subtests
) -> None:
    """And its type is never one that a browser would run, whoever loads it."""
    for (name, kind, shown), query in itertools.product(SHOWN, ("", "?inline")):
        with subtests.test(name=name, query=query):
            answer = browser.get(make_row(group, name=name).content.url + query)
            assert answer["Content-Type"] == kind
            disposition, _ = parse_options_header(answer["Content-Disposition"])
            assert disposition == ("inline" if shown and query else "attachment")
            assert answer["Content-Security-Policy"].endswith("sandbox")
            assert answer["X-Content-Type-Options"] == "nosniff"


@pytest.mark.usefixtures("disk")
def test_a_site_may_have_pdf_shown(browser: Client, group: Any, settings: Any) -> None:
    """Then without the directive in which a browser shows nothing of it; as attachment with it."""
    settings.DELIVERY_STORE_INLINE_TYPES = ["application/pdf"]
    row = make_row(group)
    shown = browser.get(f"{row.content.url}?inline")
    assert shown["Content-Disposition"].startswith("inline")
    assert "sandbox" not in shown["Content-Security-Policy"]
    assert browser.get(row.content.url)["Content-Security-Policy"].endswith("sandbox")
    text = make_row(group, name="a.txt")
    assert browser.get(f"{text.content.url}?inline")["Content-Disposition"].startswith("attach")


# -- Bytes that no row names --


def test_the_size_of_bytes_without_a_row_is_asked_for_once(
    disk: FsHierDeliveryStore, rf: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On S3 each question is a request."""
    name = disk.save("old/page.html", ContentFile(DATA))
    size = disk.size
    asked: list[str] = []

    def ask(name: str) -> int:
        asked.append(name)
        return size(name)

    monkeypatch.setattr(disk, "size", ask)
    assert serve_name(rf.head("/"), disk, name)["Content-Length"] == str(len(DATA))
    assert asked == [name]


def test_bytes_without_a_row_are_an_attachment_of_no_type(
    store: Any, rf: Any, admin_user: Any
) -> None:
    """Whole, in ranges, by HEAD; without a validator, for nothing is known of them."""
    name = store.save("old/page.html", ContentFile(DATA))
    request = rf.get("/")
    request.user = admin_user
    answer = serve_name(request, store, name)
    assert body(answer) == DATA
    assert answer["Content-Type"] == OCTETS
    assert answer["Content-Disposition"] == 'attachment; filename="page.html"'
    assert answer["Content-Security-Policy"].endswith("sandbox")
    assert "ETag" not in answer
    request = rf.get("/", headers={"range": "bytes=-5"})
    assert body(serve_name(request, store, name)) == DATA[-5:]
    assert serve_name(rf.head("/"), store, name)["Content-Length"] == str(len(DATA))
    with pytest.raises(Http404):
        serve_name(rf.get("/"), store, "old/none")
