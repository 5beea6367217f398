"""What may pass is tried again, and what was damaged on the way up is sent again."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from django.core.files.base import ContentFile

from devilry_storage.exceptions import StoreFailure
from devilry_storage.storages import S3DeliveryStore

from . import s3servers
from .http_faults import Answer, FlipRequestBit
from .http_proxy import HttpProxy

pytestmark = pytest.mark.servers

PART = 5 << 20


@pytest.fixture
def proxy() -> Iterator[HttpProxy]:
    with HttpProxy(s3servers.need("seaweedfs").endpoint_url) as proxy:
        yield proxy


@pytest.fixture
def store(proxy: HttpProxy) -> S3DeliveryStore:
    """A store that signs no bodies, as over TLS: only checksums tell what arrives."""
    server = s3servers.get("seaweedfs")
    store = S3DeliveryStore(
        **{**server.options(server.bucket()), "endpoint_url": proxy.endpoint_url},
        transfer_config=TransferConfig(multipart_threshold=100_000, multipart_chunksize=PART),
        client_config=Config(s3={"addressing_style": "path", "payload_signing_enabled": False}),
    )
    for size in (0, 100_001):
        store.save("warm", ContentFile(bytes(size)))
    proxy.forget()
    return store


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (500, "InternalError"),
        (503, "SlowDown"),
        (429, "TooManyRequests"),
        (400, "RequestTimeout"),
        (400, "BadDigest"),
        (400, "XAmzContentSHA256Mismatch"),
        (400, "IncompleteBody"),
        (409, "OperationAborted"),
        (409, "ConditionalRequestConflict"),
    ],
)
def test_what_may_pass_is_tried_again(
    store: S3DeliveryStore, proxy: HttpProxy, status: int, code: str
) -> None:
    """A second request, which succeeds."""
    proxy.fault("PutObject", Answer(status, code))
    assert store.save("a.txt", ContentFile(b"data")) == "a.txt"
    assert [request.status for request in proxy.requests] == [status, 200]


def test_what_will_not_pass_is_not_tried_again(store: S3DeliveryStore, proxy: HttpProxy) -> None:
    """One request, and the server's own code."""
    proxy.fault("PutObject", Answer(400, "InvalidRequest"))
    with pytest.raises(StoreFailure, match="InvalidRequest") as raised:
        store.save("a.txt", ContentFile(b"data"))
    assert raised.value.code == "InvalidRequest"
    assert proxy.operations() == ["PutObject"]


@pytest.mark.parametrize(("size", "operation"), [(50_000, "PutObject"), (100_001, "UploadPart")])
def test_bytes_that_changed_on_the_way_up_are_refused_and_sent_again(
    store: S3DeliveryStore, proxy: HttpProxy, size: int, operation: str
) -> None:
    """By the server, which compares the checksum."""
    data = os.urandom(size)
    proxy.fault(operation, FlipRequestBit(size // 2))
    assert store.save("a.bin", ContentFile(data)) == "a.bin"
    sent = [request.status for request in proxy.requests if request.operation == operation]
    assert sent == [400, 200]
    with store.open("a.bin") as file:
        assert file.read() == data
