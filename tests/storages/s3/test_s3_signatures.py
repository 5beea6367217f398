"""Requests and URLs are signed with version 4, which all regions of S3 accept."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.config import Config
from django.core.exceptions import ImproperlyConfigured

from devilry_storage.storages import S3DeliveryStore


def url(**options: Any) -> str:
    """Return a URL of a store with these options; no request is sent."""
    keys: dict[str, Any] = {
        "bucket_name": "deliveries",
        "access_key": "key",
        "secret_key": "secret",
    }
    return S3DeliveryStore(**keys, **options).url("a.txt")


def query(**options: Any) -> dict[str, list[str]]:
    """Return the query of a URL of a store with these options."""
    return parse_qs(urlsplit(url(**options)).query)


@pytest.mark.parametrize("region", ["us-east-1", "eu-north-1", "af-south-1", "eu-central-2"])
@pytest.mark.parametrize("style", [None, "path", "virtual"])
def test_url_has_the_host_of_its_region(region: str, style: str | None) -> None:
    """The global host does not know buckets in newer regions, so URLs must not use it."""
    host = urlsplit(url(region_name=region, addressing_style=style)).hostname
    assert host in {
        f"{bucket}s3{suffix}.amazonaws.com"
        for bucket in ("", "deliveries.")
        for suffix in ([f".{region}"] if region != "us-east-1" else ["", f".{region}"])
    }


def test_url_has_the_host_of_the_endpoint() -> None:
    """The region does not change the host of another server."""
    signed = url(endpoint_url="https://s3.example.com", region_name="eu-north-1")
    assert urlsplit(signed).hostname == "s3.example.com"


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-1", "eu-central-1"])
@pytest.mark.parametrize("options", [{}, {"client_config": Config(read_timeout=5)}])
def test_url_is_signed_with_version_4_in_every_region(
    region: str, options: dict[str, Any]
) -> None:
    """For older regions, botocore's default is version 2."""
    signed = query(region_name=region, **options)
    assert signed["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    assert "AWSAccessKeyId" not in signed


def test_site_can_choose_another_signature_version() -> None:
    """The option and client_config can select another version."""
    options: dict[str, Any] = {"region_name": "us-east-1"}
    assert "AWSAccessKeyId" in query(signature_version="s3", **options)
    assert "AWSAccessKeyId" in query(client_config=Config(signature_version="s3"), **options)


# -- A public endpoint --

INSIDE: dict[str, Any] = {
    "bucket_name": "deliveries",
    "endpoint_url": "http://minio:9000",
    "region_name": "us-east-1",
    "access_key": "key",
    "secret_key": "secret",
}
OUTSIDE = "https://files.example.org"


@pytest.mark.parametrize(
    ("style", "start"),
    [
        ("path", "https://files.example.org/deliveries/0/0/1/1?"),
        ("virtual", "https://deliveries.files.example.org/0/0/1/1?"),
    ],
)
def test_every_url_has_the_public_endpoint(style: str, start: str) -> None:
    """Clients cannot reach the endpoint of the server itself. Requests still go there."""
    store = S3DeliveryStore(**INSIDE, addressing_style=style, public_endpoint_url=OUTSIDE)
    name = "0/0/1/1"
    for signed in (
        store.url(name),
        store.url(name, expire=60),
        store.url(name, None, 60, "HEAD", filename="essay.pdf"),
        store.with_fixed_location().url(name, expire=60),
        store.signed_url(name, expires_in=60, filename="essay.pdf", content_type="text/plain"),
    ):
        assert signed.startswith(start)
    assert store.remote.client.meta.endpoint_url == "http://minio:9000"
    assert store.location_text() == "bucket 'deliveries' at 'http://minio:9000'"


def test_public_endpoint_is_part_of_the_configuration() -> None:
    """Migrations and deliverystore_info contain it."""
    store = S3DeliveryStore(**INSIDE, public_endpoint_url=OUTSIDE)
    assert store.configuration()["public_endpoint_url"] == OUTSIDE
    _, _, options = store.deconstruct()
    assert options["public_endpoint_url"] == OUTSIDE
    store.reconfigure()
    assert store.public_endpoint_url == OUTSIDE
    assert store.url("a.txt", expire=60).startswith(OUTSIDE)


@pytest.mark.parametrize(
    "value",
    [
        *("", "files.example.org", "//files.example.org", "ftp://files.example.org", "https://"),
        *("https://files.example.org/?a=1", "https://files.example.org/#a", "https://[files"),
        *("https://files.example.org:port", "https://fi les.example.org", 7, b"https://a"),
    ],
)
def test_invalid_public_endpoint_is_rejected(value: Any) -> None:
    with pytest.raises(ImproperlyConfigured, match="public_endpoint_url.*https://files.example"):
        S3DeliveryStore(**INSIDE, public_endpoint_url=value)


def test_public_endpoint_with_a_password_is_not_shown() -> None:
    with pytest.raises(ImproperlyConfigured, match="contains a user or a password") as raised:
        S3DeliveryStore(**INSIDE, public_endpoint_url="https://me:hidden@files.example.org")
    assert "hidden" not in str(raised.value)


def test_public_endpoint_and_custom_domain_exclude_each_other() -> None:
    """CloudFront signs URLs for its own domain."""
    with pytest.raises(ImproperlyConfigured, match="custom_domain"):
        S3DeliveryStore(
            **INSIDE,
            public_endpoint_url=OUTSIDE,
            custom_domain="d.cloudfront.net",
            cloudfront_signer=object(),
        )
