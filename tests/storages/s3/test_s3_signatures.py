"""Requests and URLs are signed with version 4, which all regions of S3 accept."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.config import Config

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
