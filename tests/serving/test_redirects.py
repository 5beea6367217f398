"""Redirects to SeaweedFS: signed URLs of one file, which expire."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from django.test import Client
from django.urls import reverse

from devilry_storage.deliveries.models import AssignmentGroup, Delivery
from devilry_storage.storages import S3DeliveryStore
from devilry_storage.testing import override_deliverystore

from ..harness import s3servers
from ..harness.http_proxy import HttpProxy
from ..harness.users import make_user

pytestmark = [pytest.mark.servers, pytest.mark.django_db]

DATA = b"0123456789" * 1000


@pytest.fixture
def store(bucket: str, settings: Any) -> Iterator[S3DeliveryStore]:
    """A store on SeaweedFS. Downloads of any size are redirected to it."""
    settings.DELIVERY_STORE_SERVE = "redirect"
    settings.DELIVERY_STORE_REDIRECT_MIN_BYTES = 0
    options = s3servers.need("seaweedfs").options(bucket)
    with override_deliverystore(S3DeliveryStore(**options)) as store:
        yield store


@pytest.fixture
def client(store: S3DeliveryStore) -> Client:
    """The client of the user who has delivered the files."""
    user = make_user("anna")
    AssignmentGroup.objects.create(name="group").candidates.add(user)
    client = Client()
    client.force_login(user)
    return client


def location(client: Client, filename: str = "essay.txt") -> str:
    """Return the redirect URL of a delivered file with this name."""
    delivery = Delivery.begin(AssignmentGroup.objects.get())
    row = delivery.add_file(filename, DATA)
    delivery.finish()
    response = client.get(
        reverse("devilry_storage:download", args=[row._meta.label_lower, row.pk])
    )
    assert response.status_code == 302
    assert response["Cache-Control"] == "no-store"
    assert response.content == b""
    url: str = response["Location"]
    return url


def status(url: str) -> int:
    try:
        with urlopen(url, timeout=30) as reply:
            return int(reply.status)
    except HTTPError as error:
        with error:
            return error.code


@pytest.mark.parametrize(
    ("filename", "media_type"),
    [
        ("essay.txt", "text/plain; charset=utf-8"),
        ("Øving «én» 100%25.py", "text/plain; charset=utf-8"),
        ('a"; filename="b.exe', "application/octet-stream"),
        ("page.html", "application/octet-stream"),
        ("drawing.svg", "application/octet-stream"),
        ("essay.pdf", "application/pdf"),
    ],
)
def test_s3_sends_the_same_name_and_type_as_streaming(
    client: Client, settings: Any, filename: str, media_type: str
) -> None:
    """The content is the same, and ranges work."""
    url = location(client, filename)
    with urlopen(url, timeout=30) as reply:
        assert reply.read() == DATA
        redirected = reply.headers
    settings.DELIVERY_STORE_SERVE = "stream"
    path = reverse(
        "devilry_storage:download",
        args=["devilry_deliveries.filemeta", Delivery.objects.get().files.get().pk],
    )
    streamed = client.get(path)
    assert b"".join(streamed) == DATA
    assert redirected["Content-Type"] == streamed["Content-Type"] == media_type
    assert redirected["Content-Disposition"] == streamed["Content-Disposition"]
    with urlopen(Request(url, headers={"Range": "bytes=10-14"}), timeout=30) as reply:
        assert (reply.status, reply.read()) == (206, b"01234")


def test_modified_urls_are_rejected(client: Client) -> None:
    """The signature covers file, name, type and expiry."""
    url = location(client)
    other = location(client, "other.txt")
    assert status(url) == status(other) == 200
    path, _, query = url.partition("?")
    tampered = {
        "another file": f"{other.partition('?')[0]}?{query}",
        "a longer time": re.sub(r"(X-Amz-Expires=)\d+", r"\g<1>86400", url),
        "another type": url.replace("text%2Fplain", "text%2Fhtml"),
        "another name": url.replace("essay.txt", "essay.exe"),
        "shown": url.replace("attachment", "inline"),
        "another signature": url[:-1] + ("0" if url[-1] != "0" else "1"),
        "no signature": path,
    }
    assert [what for what, address in tampered.items() if address in {url, other}] == []
    assert {what: status(address) for what, address in tampered.items()} == dict.fromkeys(
        tampered, 403
    )


def test_urls_expire_after_the_configured_time(client: Client, settings: Any) -> None:
    """DELIVERY_STORE_REDIRECT_SECONDS sets it."""
    settings.DELIVERY_STORE_REDIRECT_SECONDS = 2
    url, began = location(client), time.monotonic()
    assert status(url) == 200
    while (response := status(url)) == 200 and time.monotonic() < began + 20:
        time.sleep(0.2)
    assert response == 403
    assert time.monotonic() - began > 1


def test_redirect_leads_to_the_public_endpoint(bucket: str, settings: Any) -> None:
    """The files of an upload and their URLs have different hosts, and both work."""
    settings.DELIVERY_STORE_SERVE = "redirect"
    settings.DELIVERY_STORE_REDIRECT_MIN_BYTES = 0
    server = s3servers.need("seaweedfs")
    with HttpProxy(server.endpoint_url) as inside, HttpProxy(server.endpoint_url) as outside:
        endpoints = {
            "endpoint_url": inside.endpoint_url,
            "public_endpoint_url": outside.endpoint_url,
        }
        with override_deliverystore(S3DeliveryStore(**{**server.options(bucket), **endpoints})):
            user = make_user("anna")
            AssignmentGroup.objects.create(name="group").candidates.add(user)
            client = Client()
            client.force_login(user)
            url = location(client)
            assert url.startswith(f"{outside.endpoint_url}/{bucket}/")
            assert outside.requests == []
            assert status(url) == 200
