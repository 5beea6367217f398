"""Security headers of responses with untrusted content.

The views are called without middleware, because Django's own sets some of these headers, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.test import RequestFactory
from django.urls import resolve, reverse

from devilry_storage.storages import FsHierDeliveryStore
from devilry_storage.testing import MemoryDeliveryStore, override_deliverystore

from ..harness.users import make_superuser
from .conftest import deliver

pytestmark = pytest.mark.django_db

SANDBOX = "default-src 'none'; style-src 'unsafe-inline'; sandbox"


@pytest.fixture
def ask(rf: RequestFactory, db: None) -> Callable[..., Any]:
    """Return a function that calls the view of a URL as a superuser."""
    user = make_superuser()

    def ask(url: str, method: str = "GET", **headers: str) -> Any:
        request = rf.generic(method, url, headers=headers)
        request.user = user
        view, arguments, named = resolve(request.path)
        return view(request, *arguments, **named)

    return ask


def check_headers(
    response: Any, policy: str = SANDBOX, caching: str = "private, no-cache"
) -> None:
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Content-Security-Policy"] == policy
    assert response["Cross-Origin-Resource-Policy"] == "same-origin"
    assert response["Referrer-Policy"] == "no-referrer"
    assert response["Cache-Control"] == caching
    assert response["Vary"] == "Cookie"


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
def test_every_response_of_a_download_is_protected(
    ask: Callable[..., Any], method: str, headers: dict[str, str], status: int, group: Any
) -> None:
    """Also responses without a body: caches may combine their headers with a stored body."""
    row = deliver(group, essay=b"0123456789")["essay"]
    response = ask(row.content.url, method, **headers)
    assert response.status_code == status
    check_headers(response)


def test_inline_pdf_has_no_sandbox(ask: Callable[..., Any], group: Any, settings: Any) -> None:
    """Other inline files and PDF attachments have one."""
    settings.DELIVERY_STORE_INLINE_TYPES = ["application/pdf", "text/plain"]
    row = deliver(group, essay=b"%PDF-1.4")["essay"]
    assert ask(f"{row.content.url}?inline")["Content-Disposition"].startswith("inline")
    check_headers(ask(f"{row.content.url}?inline"))
    type(row).objects.update(filename="essay.pdf")
    check_headers(ask(row.content.url))
    viewer = "default-src 'none'; style-src 'unsafe-inline'; object-src 'self'"
    check_headers(ask(f"{row.content.url}?inline"), viewer)


def test_sendfile_response_is_protected(
    ask: Callable[..., Any], group: Any, settings: Any, disk: FsHierDeliveryStore
) -> None:
    """The web server keeps the headers of this response."""
    settings.DELIVERY_STORE_SERVE = "sendfile"
    settings.SENDFILE_BACKEND = "django_sendfile.backends.nginx"
    settings.SENDFILE_ROOT = disk.location
    settings.SENDFILE_URL = "/the-store"
    response = ask(deliver(group, essay=b"0123456789")["essay"].content.url)
    assert response["X-Accel-Redirect"]
    assert response["Content-Encoding"] == "identity"
    assert "Content-Length" not in response
    check_headers(response)


class SigningStore(MemoryDeliveryStore):
    """A store that returns a URL for every file."""

    def signed_url(self, name: str, **kwargs: Any) -> str:
        return f"https://s3.example.com/{name}?signature"


@pytest.fixture
def redirects(settings: Any) -> None:
    settings.DELIVERY_STORE_SERVE = "redirect"
    settings.DELIVERY_STORE_REDIRECT_MIN_BYTES = 10


@pytest.mark.usefixtures("redirects")
def test_redirect_is_protected_and_not_cached(ask: Callable[..., Any], group: Any) -> None:
    """The URL gives access to the file: caches, logs and Referer headers must not contain it."""
    with override_deliverystore(SigningStore()):
        row = deliver(group, essay=b"0123456789")["essay"]
        response = ask(row.content.url)
    assert response.status_code == 302
    assert "signature" in response["Location"]
    assert "signature" not in repr(response)
    check_headers(response, caching="no-store")


@pytest.mark.usefixtures("redirects")
@pytest.mark.parametrize(("method", "data"), [("HEAD", b"0123456789"), ("GET", b"012345678")])
def test_head_or_small_file_is_not_redirected(
    ask: Callable[..., Any], method: str, data: bytes, group: Any
) -> None:
    """URLs are signed for GET only. For small files, the extra request costs more."""
    with override_deliverystore(SigningStore()):
        row = deliver(group, essay=data)["essay"]
        response = ask(row.content.url, method)
    assert response.status_code == 200
    check_headers(response)


@pytest.mark.parametrize(("limit", "status"), [(2, 200), (1, 413)])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_archive_is_protected(
    ask: Callable[..., Any], method: str, limit: int, status: int, group: Any, settings: Any
) -> None:
    """So is the error message for an archive that is too large."""
    settings.DELIVERY_STORE_ARCHIVE_MAX_FILES = limit
    delivery = deliver(group, a=b"a", b=b"b")["a"].delivery
    url = reverse(
        "devilry_storage:delivery_archive", args=[delivery._meta.label_lower, delivery.pk]
    )
    response = ask(url, method)
    assert response.status_code == status
    if status == 200:
        assert response["Content-Disposition"].startswith("attachment; ")
        assert response["Content-Encoding"] == "identity"
    check_headers(response)


@pytest.mark.parametrize("page", ["file", "archive"])
def test_files_from_the_store_browser_are_protected(
    ask: Callable[..., Any], page: str, disk: FsHierDeliveryStore
) -> None:
    """Their content is unknown."""
    name = disk.save("old/page.html", ContentFile(b"<script>"))
    query = {"file": f"name={name}", "archive": "folder=old"}[page]
    url = reverse(
        f"admin:devilry_storage_storebrowser_{page}", args=["devilry_deliveries.filemeta"]
    )
    response = ask(f"{url}?{query}")
    assert response.status_code == 200
    assert response["Content-Encoding"] == "identity"
    # The admin forbids caching.
    check_headers(response, caching=response["Cache-Control"])


@pytest.mark.usefixtures("redirects")
def test_preview_image_is_protected(ask: Callable[..., Any], group: Any) -> None:
    """It is served by the admin, because the policy of the page allows no other origin."""
    with override_deliverystore(SigningStore()):
        row = deliver(group, image=b"GIF89a" + bytes(10))["image"]
        type(row).objects.update(filename="image.gif")
        response = ask(reverse("admin:devilry_deliveries_filemeta_preview_shown", args=[row.pk]))
    assert response.status_code == 200
    assert response["Content-Disposition"].startswith("inline")
    check_headers(response, caching=response["Cache-Control"])
