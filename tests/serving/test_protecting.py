"""The headers of answers that carry what others made, by the views alone.

Without any middleware: Django's own sets some of these headers, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.test import RequestFactory
from django.urls import resolve, reverse

from devilry_storage.storages import FsHierDeliveryStore, MemoryDeliveryStore
from devilry_storage.testing import override_deliverystore

from ..harness.users import make_superuser
from .conftest import deliver

pytestmark = pytest.mark.django_db

SANDBOX = "default-src 'none'; style-src 'unsafe-inline'; sandbox"


@pytest.fixture
def ask(rf: RequestFactory, db: None) -> Callable[..., Any]:
    """What the view of a URL answers to a superuser."""
    user = make_superuser()

    def ask(url: str, method: str = "GET", **headers: str) -> Any:
        request = rf.generic(method, url, headers=headers)
        request.user = user
        view, arguments, named = resolve(request.path)
        return view(request, *arguments, **named)

    return ask


def check_headers(answer: Any, policy: str = SANDBOX, caching: str = "private, no-cache") -> None:
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Content-Security-Policy"] == policy
    assert answer["Cross-Origin-Resource-Policy"] == "same-origin"
    assert answer["Referrer-Policy"] == "no-referrer"
    assert answer["Cache-Control"] == caching
    assert answer["Vary"] == "Cookie"


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", {}, 200),
        ("HEAD", {}, 200),
        ("GET", {"range": "bytes=1-2"}, 206),
        ("GET", {"range": "bytes=99-"}, 416),
        ("GET", {"if-none-match": "*"}, 304),
        ("GET", {"if-match": '"x"'}, 412),
    ],
)
def test_every_answer_of_a_download_is_protected(
    ask: Callable[..., Any],
    method: str,
    headers: dict[str, str],
    status: int,
    group: Any,
) -> None:
    """Also one without a body, which a cache may join with an earlier one."""
    row = deliver(group, essay=b"0123456789")["essay"]
    answer = ask(row.content.url, method, **headers)
    assert answer.status_code == status
    check_headers(answer)


def test_pdf_that_is_shown_has_no_sandbox(
    ask: Callable[..., Any], group: Any, settings: Any
) -> None:
    """Other files that are shown have it, and so has a PDF that is saved."""
    settings.DELIVERY_STORE_INLINE_TYPES = ["application/pdf", "text/plain"]
    row = deliver(group, essay=b"%PDF-1.4")["essay"]
    assert ask(f"{row.content.url}?inline")["Content-Disposition"].startswith("inline")
    check_headers(ask(f"{row.content.url}?inline"))
    type(row).objects.update(filename="essay.pdf")
    check_headers(ask(row.content.url))
    viewer = "default-src 'none'; style-src 'unsafe-inline'; object-src 'self'"
    check_headers(ask(f"{row.content.url}?inline"), viewer)


def test_answer_for_the_web_server_is_protected(
    ask: Callable[..., Any],
    group: Any,
    settings: Any,
    disk: FsHierDeliveryStore,
) -> None:
    """The web server keeps the headers of the answer that names the file."""
    settings.DELIVERY_STORE_SERVE = "sendfile"
    settings.SENDFILE_BACKEND = "django_sendfile.backends.nginx"
    settings.SENDFILE_ROOT = disk.location
    settings.SENDFILE_URL = "/the-store"
    answer = ask(deliver(group, essay=b"0123456789")["essay"].content.url)
    assert answer["X-Accel-Redirect"]
    assert answer["Content-Encoding"] == "identity"
    assert "Content-Length" not in answer
    check_headers(answer)


class SigningStore(MemoryDeliveryStore):
    """A store that names a URL for each file."""

    def signed_url(self, name: str, **kwargs: Any) -> str:
        return f"https://s3.example.com/{name}?signature"


@pytest.fixture
def redirects(settings: Any) -> None:
    settings.DELIVERY_STORE_SERVE = "redirect"
    settings.DELIVERY_STORE_REDIRECT_MIN_BYTES = 10


@pytest.mark.usefixtures("redirects")
def test_redirect_is_protected_and_not_cached(ask: Callable[..., Any], group: Any) -> None:
    """Anyone who has its URL has the file: no cache, log or Referer may show it."""
    with override_deliverystore(SigningStore()):
        row = deliver(group, essay=b"0123456789")["essay"]
        answer = ask(row.content.url)
    assert answer.status_code == 302
    assert "signature" in answer["Location"]
    assert "signature" not in repr(answer)
    check_headers(answer, caching="no-store")


@pytest.mark.usefixtures("redirects")
@pytest.mark.parametrize(("method", "data"), [("HEAD", b"0123456789"), ("GET", b"012345678")])
def test_head_or_small_file_is_not_redirected(
    ask: Callable[..., Any], method: str, data: bytes, group: Any
) -> None:
    """A URL is signed for GET alone, and one request fewer is worth more than some bytes."""
    with override_deliverystore(SigningStore()):
        row = deliver(group, essay=data)["essay"]
        answer = ask(row.content.url, method)
    assert answer.status_code == 200
    check_headers(answer)


@pytest.mark.parametrize(("most", "status"), [(2, 200), (1, 413)])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_archive_is_protected(
    ask: Callable[..., Any],
    method: str,
    most: int,
    status: int,
    group: Any,
    settings: Any,
) -> None:
    """One that is too large is answered in words, which are protected as well."""
    settings.DELIVERY_STORE_ARCHIVE_MAX_FILES = most
    delivery = deliver(group, a=b"a", b=b"b")["a"].delivery
    url = reverse(
        "devilry_storage:delivery_archive", args=[delivery._meta.label_lower, delivery.pk]
    )
    answer = ask(url, method)
    assert answer.status_code == status
    if status == 200:
        assert answer["Content-Disposition"].startswith("attachment; ")
        assert answer["Content-Encoding"] == "identity"
    check_headers(answer)


@pytest.mark.parametrize("page", ["file", "archive"])
def test_bytes_from_the_store_browser_are_protected(
    ask: Callable[..., Any], page: str, disk: FsHierDeliveryStore
) -> None:
    """Nothing is known of them."""
    name = disk.save("old/page.html", ContentFile(b"<script>"))
    query = {"file": f"name={name}", "archive": "folder=old"}[page]
    url = reverse(
        f"admin:devilry_storage_storebrowser_{page}", args=["devilry_deliveries.filemeta"]
    )
    answer = ask(f"{url}?{query}")
    assert answer.status_code == 200
    assert answer["Content-Encoding"] == "identity"
    # The admin lets nothing be cached.
    check_headers(answer, caching=answer["Cache-Control"])


@pytest.mark.usefixtures("redirects")
def test_image_of_a_preview_is_protected(ask: Callable[..., Any], group: Any) -> None:
    """It comes from the admin's own URL: the policy of the page allows no other."""
    with override_deliverystore(SigningStore()):
        row = deliver(group, image=b"GIF89a" + bytes(10))["image"]
        type(row).objects.update(filename="image.gif")
        answer = ask(reverse("admin:devilry_deliveries_filemeta_preview_shown", args=[row.pk]))
    assert answer.status_code == 200
    assert answer["Content-Disposition"].startswith("inline")
    check_headers(answer, caching=answer["Cache-Control"])
