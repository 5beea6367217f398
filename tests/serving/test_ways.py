"""The three ways to serve files, and how they are chosen."""

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

#: What an response says of a file, whichever way its bytes go.
FILE_HEADERS = (
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


def body(response: HttpResponseBase) -> bytes:
    return b"".join(response.streaming_content if response.streaming else [response.content])  # type: ignore[attr-defined]


# -- sendfile --


@pytest.fixture
def by_nginx(settings: Any, disk: FsHierDeliveryStore) -> None:
    settings.DELIVERY_STORE_SERVE = "sendfile"
    settings.SENDFILE_BACKEND = "django_sendfile.backends.nginx"
    settings.SENDFILE_ROOT = disk.location
    settings.SENDFILE_URL = "/the-store"


@pytest.mark.usefixtures("by_nginx")
def test_sendfile_sets_header_and_sends_no_bytes(
    browser: Client, group: Any, settings: Any
) -> None:
    """The other headers are those of a streamed file."""
    row = make_row(group)
    response = browser.get(row.content.url)
    assert response["X-Accel-Redirect"] == f"/the-store/{row.content.name}"
    assert body(response) == b""
    settings.DELIVERY_STORE_SERVE = "stream"
    streamed = browser.get(row.content.url)
    assert body(streamed) == DATA
    assert [response[name] for name in FILE_HEADERS] == [streamed[name] for name in FILE_HEADERS]


@pytest.mark.usefixtures("by_nginx")
@pytest.mark.parametrize(
    "header",
    [
        {"range": "bytes=0-0"},
        {"if-match": '"of the web server"'},
        {"if-unmodified-since": "Sat, 01 Jan 2000 00:00:00 GMT"},
    ],
)
def test_sendfile_leaves_conditions_and_ranges_to_the_web_server(
    browser: Client, group: Any, settings: Any, header: dict[str, str]
) -> None:
    """The web server's validators differ from ours, and no middleware compares them."""
    settings.MIDDLEWARE = MIDDLEWARE
    row = make_row(group)
    for method in (browser.get, browser.head):
        response = method(row.content.url, headers=header)
        assert (response.status_code, "X-Accel-Redirect" in response) == (200, True)


@pytest.mark.usefixtures("by_nginx")
def test_sendfile_checks_the_size_of_the_file(
    browser: Client, group: Any, disk: FsHierDeliveryStore, caplog: Any
) -> None:
    """A missing file is not found."""
    row = make_row(group)
    path = Path(disk.path(row.content.name))
    path.write_bytes(DATA[:-1])
    with pytest.raises(ChecksumMismatch, match=f"'{row.content.name}': it has 9999 bytes"):
        browser.get(row.content.url)
    path.unlink()
    assert browser.get(row.content.url).status_code == 404
    assert repr(row.content.name) in caplog.text


@pytest.mark.usefixtures("by_nginx")
def test_sendfile_rejects_symlinks(
    browser: Client, group: Any, disk: FsHierDeliveryStore, tmp_path: Path
) -> None:
    """Even if the target has the recorded size."""
    row = make_row(group)
    path = Path(disk.path(row.content.name))
    outside = tmp_path / "outside"
    path.rename(outside)
    path.symlink_to(outside)
    response = browser.get(row.content.url)
    assert response.status_code == 400
    assert "X-Accel-Redirect" not in response


@pytest.mark.usefixtures("by_nginx")
def test_sendfile_requires_a_store_with_paths(browser: Client, group: Any, tmp_path: Path) -> None:
    """There is no silent fallback to another way."""
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
def test_redirect_to_s3_is_signed_for_a_minute(
    browser: Client, group: Any, query: str, caplog: Any
) -> None:
    """The download is an attachment with the same name and type as a streamed file."""
    row = make_row(group)
    with caplog.at_level(logging.DEBUG):
        response = browser.get(row.content.url + query)
    assert response.status_code == 302
    assert response["Cache-Control"] == "no-store"
    assert response["Referrer-Policy"] == "no-referrer"
    assert body(response) == b""
    url = response["Location"]
    assert parse_qs(urlsplit(url).query)["X-Amz-Expires"] == ["60"]
    with urlopen(url, timeout=10) as fetched:
        assert fetched.read() == DATA
        assert fetched.headers["Content-Type"] == "application/pdf"
        kind, parameters = parse_options_header(fetched.headers["Content-Disposition"])
        assert (kind, parameters["filename"]) == ("attachment", NAME)
        assert fetched.headers["Cache-Control"] == "private, no-cache"
    # The URL is secret: it must not appear anywhere else.
    (signature,) = parse_qs(urlsplit(url).query)["X-Amz-Signature"]
    assert signature not in repr(response)
    assert signature not in caplog.text
    for tampered in (
        url.replace("Expires=60", "Expires=3600"),
        url.replace("attachment", "inline"),
    ):
        with pytest.raises(HTTPError, match="403"):
            urlopen(tampered, timeout=10)


@pytest.mark.servers
@pytest.mark.usefixtures("by_s3")
def test_head_is_not_redirected(browser: Client, group: Any) -> None:
    """The URL is signed for GET only."""
    response = browser.head(make_row(group).content.url)
    assert response.status_code == 200
    assert response["Content-Length"] == str(len(DATA))


@pytest.mark.servers
@pytest.mark.usefixtures("by_s3")
def test_conditional_requests_are_redirected(browser: Client, group: Any) -> None:
    """RFC 9110, section 13.2.1: conditions apply to the response with the file."""
    row = make_row(group)
    for headers in ({"if-none-match": f'"{row.sha256}"'}, {"range": "bytes=0-0"}):
        assert browser.get(row.content.url, headers=headers).status_code == 302


@pytest.mark.servers
@pytest.mark.usefixtures("by_s3")
def test_small_files_are_streamed_instead_of_redirected(browser: Client, group: Any) -> None:
    """That saves a request, and the bytes are verified."""
    response = browser.get(make_row(group, DATA[:-1]).content.url)
    assert response.status_code == 200
    assert body(response) == DATA[:-1]


@pytest.mark.servers
def test_admin_pages_contain_no_url_of_s3(by_s3: S3DeliveryStore, admin_client: Client) -> None:
    """The admin links to the download view, which checks permissions."""
    row = make_row(AssignmentGroup.objects.create(name="group"))
    page = admin_client.get(f"/admin/devilry_deliveries/filemeta/{row.pk}/change/")
    assert row.content.url in page.content.decode()
    assert "Signature" not in page.content.decode()
    assert by_s3.bucket_name not in page.content.decode()


def test_redirect_requires_a_store_that_signs_urls(
    browser: Client, group: Any, settings: Any
) -> None:
    """There is no silent fallback to another way."""
    settings.DELIVERY_STORE_SERVE = "redirect"
    settings.DELIVERY_STORE_REDIRECT_MIN_BYTES = 0
    with override_deliverystore():
        row = make_row(group)
        with pytest.raises(
            ImproperlyConfigured, match="'redirect', but MemoryDeliveryStore does not sign"
        ):
            browser.get(row.content.url)


# -- Choosing the way --


def test_serve_setting_per_alias(
    browser: Client, group: Any, settings: Any, disk: FsHierDeliveryStore, tmp_path: Path
) -> None:
    """Stores that are not listed, or have no alias, are streamed."""
    del disk  # the fixture's override is active: a store without an alias
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


# -- Inline files --


#: A filename, the type of its response, and whether it is shown.
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
def test_only_safe_types_are_displayed_inline(
    browser: Client, group: Any, subtests: pytest.Subtests
) -> None:
    """Browsers never execute the types that are sent, wherever they are loaded from."""
    for (name, kind, shown), query in itertools.product(SHOWN, ("", "?inline")):
        with subtests.test(name=name, query=query):
            response = browser.get(make_row(group, name=name).content.url + query)
            assert response["Content-Type"] == kind
            disposition, _ = parse_options_header(response["Content-Disposition"])
            assert disposition == ("inline" if shown and query else "attachment")
            assert response["Content-Security-Policy"].endswith("sandbox")
            assert response["X-Content-Type-Options"] == "nosniff"


@pytest.mark.usefixtures("disk")
def test_pdf_may_be_displayed_inline(browser: Client, group: Any, settings: Any) -> None:
    """Without the sandbox, in which browsers show a blank page. Attachments are sandboxed."""
    settings.DELIVERY_STORE_INLINE_TYPES = ["application/pdf"]
    row = make_row(group)
    shown = browser.get(f"{row.content.url}?inline")
    assert shown["Content-Disposition"].startswith("inline")
    assert "sandbox" not in shown["Content-Security-Policy"]
    assert browser.get(row.content.url)["Content-Security-Policy"].endswith("sandbox")
    text = make_row(group, name="a.txt")
    assert browser.get(f"{text.content.url}?inline")["Content-Disposition"].startswith("attach")


# -- Files without a row --


def test_serve_name_queries_the_size_once(
    disk: FsHierDeliveryStore, rf: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On S3 every query is a request."""
    name = disk.save("old/page.html", ContentFile(DATA))
    size = disk.size
    queried: list[str] = []

    def count(name: str) -> int:
        queried.append(name)
        return size(name)

    monkeypatch.setattr(disk, "size", count)
    assert serve_name(rf.head("/"), disk, name)["Content-Length"] == str(len(DATA))
    assert queried == [name]


def test_serve_name_sends_an_attachment_of_generic_type(
    store: Any, rf: Any, admin_user: Any
) -> None:
    """GET, ranges and HEAD work. There is no validator, because the content is unknown."""
    name = store.save("old/page.html", ContentFile(DATA))
    request = rf.get("/")
    request.user = admin_user
    response = serve_name(request, store, name)
    assert body(response) == DATA
    assert response["Content-Type"] == OCTETS
    assert response["Content-Disposition"] == 'attachment; filename="page.html"'
    assert response["Content-Security-Policy"].endswith("sandbox")
    assert "ETag" not in response
    request = rf.get("/", headers={"range": "bytes=-5"})
    assert body(serve_name(request, store, name)) == DATA[-5:]
    assert serve_name(rf.head("/"), store, name)["Content-Length"] == str(len(DATA))
    with pytest.raises(Http404):
        serve_name(rf.get("/"), store, "old/none")
