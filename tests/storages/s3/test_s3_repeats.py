"""Retries after temporary errors, damaged uploads, lost responses and broken downloads."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from django.core.files.base import ContentFile

from devilry_storage.exceptions import (
    ChecksumMismatch,
    StoreDenied,
    StoreFailure,
    StoreUnavailable,
)
from devilry_storage.storages import S3DeliveryStore
from devilry_storage.storages.s3 import bucket
from devilry_storage.storages.s3.bucket import Bucket

from ...harness import s3servers
from ...harness.http_faults import (
    Answer,
    CutReply,
    FlipBit,
    FlipRequestBit,
    LoseReply,
    Replace,
    StallReply,
)
from ...harness.http_proxy import HttpProxy
from ...harness.odd_responses import wire

pytestmark = pytest.mark.servers

PART = 5 << 20
REPEATED = Replace(
    lambda reply: wire(
        replace(reply, status=412, body=b"<Error><Code>PreconditionFailed</Code></Error>")
    )
)
S3 = {"addressing_style": "path", "payload_signing_enabled": False}


@pytest.fixture
def proxy() -> Iterator[HttpProxy]:
    with HttpProxy(s3servers.need("seaweedfs").endpoint_url) as proxy:
        yield proxy


@pytest.fixture
def options(proxy: HttpProxy) -> dict[str, Any]:
    """Options of a store that does not sign bodies, as with TLS: only checksums protect them."""
    server = s3servers.get("seaweedfs")
    return {
        **server.options(server.bucket()),
        "endpoint_url": proxy.endpoint_url,
        "transfer_config": TransferConfig(multipart_threshold=100_000, multipart_chunksize=PART),
        "client_config": Config(s3=S3),
    }


@pytest.fixture
def store(options: dict[str, Any], proxy: HttpProxy) -> S3DeliveryStore:
    """A store whose server has been tested for conditional writes."""
    store = S3DeliveryStore(**options)
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
def test_temporary_error_is_retried(
    store: S3DeliveryStore, proxy: HttpProxy, status: int, code: str
) -> None:
    """The second request succeeds."""
    proxy.fault("PutObject", Answer(status, code))
    assert store.save("a.txt", ContentFile(b"data")) == "a.txt"
    assert [request.status for request in proxy.requests] == [status, 200]


def test_permanent_error_is_not_retried(store: S3DeliveryStore, proxy: HttpProxy) -> None:
    """There is one request, and the exception has the server's error code."""
    proxy.fault("PutObject", Answer(400, "InvalidRequest"))
    with pytest.raises(StoreFailure, match="InvalidRequest") as raised:
        store.save("a.txt", ContentFile(b"data"))
    assert raised.value.code == "InvalidRequest"
    assert proxy.operations() == ["PutObject"]


@pytest.mark.parametrize(("size", "operation"), [(50_000, "PutObject"), (100_001, "UploadPart")])
def test_upload_damaged_in_transit_is_sent_again(
    store: S3DeliveryStore, proxy: HttpProxy, size: int, operation: str
) -> None:
    """The server compares the checksum and rejects the damaged bytes."""
    data = os.urandom(size)
    proxy.fault(operation, FlipRequestBit(size // 2))
    name = store.save("a.bin", ContentFile(data))
    sent = [request.status for request in proxy.requests if request.operation == operation]
    assert sent == [400, 200]
    with store.open(name) as file:
        assert file.read() == data


@pytest.mark.parametrize(
    ("calculation", "header", "header_of_a_part"),
    [
        ("when_supported", "x-amz-checksum-sha256", "x-amz-checksum-crc32"),
        ("when_required", "content-md5", "content-md5"),
    ],
)
def test_each_upload_has_a_checksum(
    options: dict[str, Any], proxy: HttpProxy, calculation: Any, header: str, header_of_a_part: str
) -> None:
    """With ``when_required``, the checksum is MD5, for servers that support only that."""
    options["client_config"] = Config(s3=S3, request_checksum_calculation=calculation)
    store = S3DeliveryStore(**options)
    for size in (50_000, 100_001):
        store.save("a.bin", ContentFile(os.urandom(size)))
    requests = {
        request.operation: request for request in proxy.requests if request.path.endswith(".bin")
    }
    assert requests["PutObject"].headers.get(header)
    assert requests["UploadPart"].headers.get(header_of_a_part)


def test_stalling_download_ends_at_the_deadline(
    store: S3DeliveryStore, options: dict[str, Any], proxy: HttpProxy
) -> None:
    """The deadline applies even if attempts are left."""
    store.save("a.bin", ContentFile(bytes(90_000)))
    options["client_config"] = Config(s3=S3, read_timeout=0.4)
    # Long enough for a second attempt on a slow machine.
    hasty = S3DeliveryStore(**options, attempts=20, deadline=4)
    proxy.fault("GetObject", StallReply(0), 100)
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match=r"at byte 0 of 90000, [2-9] times"):
        list(hasty.stream("a.bin"))
    assert 4 <= time.monotonic() - began < 10


def test_deadline_excludes_time_of_the_reader(options: dict[str, Any], proxy: HttpProxy) -> None:
    """A slow reader does not prevent that a broken download is resumed."""
    hasty, data = S3DeliveryStore(**options, deadline=1), os.urandom(2 << 20)
    name = hasty.save("a.bin", ContentFile(data))
    proxy.fault("GetObject", CutReply(1 << 20))
    chunks = hasty.stream(name)
    received = next(chunks)
    time.sleep(1.2)
    assert received + b"".join(chunks) == data


def change_ranges(monkeypatch: pytest.MonkeyPatch, change: Callable[[str], str | None]) -> None:
    """Change the ranges in requests, or remove them if the function returns None."""
    original = Bucket._send_body

    def send(self: Bucket, send: Any, parameters: Mapping[str, Any]) -> Any:
        changed_parameters = dict(parameters)
        if "Range" in parameters:
            del changed_parameters["Range"]
            if changed := change(parameters["Range"]):
                changed_parameters["Range"] = changed
        return original(self, send, changed_parameters)

    monkeypatch.setattr(Bucket, "_send_body", send)


def test_server_that_ignores_ranges_is_an_error(
    store: S3DeliveryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 9110 allows servers to ignore ranges, but then the response has other bytes."""
    data = os.urandom(90_000)
    store.save("a.bin", ContentFile(data))
    change_ranges(monkeypatch, lambda requested: None)
    with pytest.raises(StoreFailure, match="but 'bytes=1000-1999' was requested.*ignores Range"):
        list(store.stream("a.bin", 1000, 2000))
    assert b"".join(store.stream("a.bin")) == data


@pytest.mark.parametrize(
    "then",
    [
        # S3 sends errors with status 200 if it detects them after it has begun the response.
        Answer(200, "NoSuchUpload"),
        Answer(200, "PreconditionFailed"),
        Answer(404, "NoSuchUpload"),
    ],
    ids=lambda response: f"{response.status} {response.code}",
)
def test_upload_with_lost_response_keeps_its_name(
    store: S3DeliveryStore, proxy: HttpProxy, then: Answer
) -> None:
    """After any response to the next attempt, the store recognises its own object."""
    data = os.urandom(100_001)
    proxy.fault("CompleteMultipartUpload", LoseReply())
    # The fault would occur nine times, but the store must send only one request.
    proxy.fault("CompleteMultipartUpload", then, times=9)
    name = store.save("a.bin", ContentFile(data))
    assert [entry.name for entry in store.scan() if entry.name.startswith("a")] == [name]
    assert b"".join(store.stream(name)) == data
    assert proxy.fired == 2


def test_conflict_is_retried_until_the_attempts_end(
    options: dict[str, Any], proxy: HttpProxy
) -> None:
    """The save raises instead of taking another name, because the name may still be free."""
    store = S3DeliveryStore(**options, attempts=2)
    store.save("warm", ContentFile(b""))
    proxy.forget()
    proxy.fault("PutObject", Answer(409, "ConditionalRequestConflict"), 9)
    with pytest.raises(StoreUnavailable, match="ConditionalRequestConflict"):
        store.save("a.txt", ContentFile(b"data"))
    assert proxy.operations() == ["PutObject", "PutObject"]


def test_aborted_upload_is_not_reported_as_success(
    store: S3DeliveryStore, proxy: HttpProxy
) -> None:
    """If the upload does not exist, it may be completed or aborted; the store must check."""
    proxy.fault("CompleteMultipartUpload", Answer(404, "NoSuchUpload"), 9)
    with pytest.raises(StoreFailure, match="NoSuchUpload"):
        store.save("a.bin", ContentFile(bytes(100_001)))
    assert not any(entry.name.startswith("a") for entry in store.scan())


def test_save_with_lost_response_keeps_its_name(store: S3DeliveryStore, proxy: HttpProxy) -> None:
    """The second attempt finds the object of the first."""
    proxy.fault("PutObject", LoseReply())
    assert store.save("a.txt", ContentFile(b"data")) == "a.txt"
    assert [entry.name for entry in store.scan() if entry.name.startswith("a")] == ["a.txt"]


def test_save_repeated_by_a_balancer_keeps_its_name(
    store: S3DeliveryStore, proxy: HttpProxy
) -> None:
    """The client receives only the response to the repeated request."""
    warm = {entry.name for entry in store.scan()}
    proxy.fault("PutObject", REPEATED)
    assert store.save("a.txt", ContentFile(b"data")) == "a.txt"
    proxy.fault("CompleteMultipartUpload", REPEATED)
    name = store.save("b.bin", ContentFile(bytes(100_001)))
    assert {entry.name for entry in store.scan()} - warm == {"a.txt", name}


def test_failed_check_of_a_used_name_is_an_error(store: S3DeliveryStore, proxy: HttpProxy) -> None:
    """The object may be the store's own, so another name would leave it unrecorded."""
    proxy.fault("PutObject", REPEATED)
    proxy.fault("HeadObject", Answer(403, "AccessDenied"))
    with pytest.raises(StoreDenied, match="head_object of 'a.txt'"):
        store.save("a.txt", ContentFile(b"data"))
    assert proxy.operations() == ["PutObject", "HeadObject"]


def test_condition_that_always_fails_is_an_error(store: S3DeliveryStore, proxy: HttpProxy) -> None:
    """The save does not succeed, and it does not search for free names without end."""
    proxy.fault("PutObject", Answer(412, "PreconditionFailed"), times=999)
    with pytest.raises(FileExistsError, match="100 alternative names are taken"):
        store.save("a.txt", ContentFile(b"data"))


def test_replaced_file_is_stale_without_if_match(
    store: S3DeliveryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store also compares the ETags, for servers that ignore If-Match."""
    data = os.urandom(3 << 20)
    with store.open("a.bin", "wb") as first:
        first.write(data)
    original = Bucket._send_body

    def send(self: Bucket, send: Any, parameters: Mapping[str, Any]) -> Any:
        changed = {key: value for key, value in parameters.items() if key != "IfMatch"}
        return original(self, send, changed)

    monkeypatch.setattr(Bucket, "_send_body", send)
    with store.open("a.bin") as file:
        file.read(10)
        with store.open("a.bin", "wb") as writer:
            writer.write(bytes(3 << 20))
        with pytest.raises(OSError, match="replaced while it was being read"):
            file.read()


def test_download_damaged_in_transit_is_an_error(store: S3DeliveryStore, proxy: HttpProxy) -> None:
    """The server sends the checksum of the file, which does not match."""
    store.save("a.bin", ContentFile(os.urandom(50_000)))
    proxy.fault("GetObject", FlipBit(20_000))
    with pytest.raises(ChecksumMismatch, match="was damaged in the store or in transit"):
        list(store.stream("a.bin"))


def test_response_with_the_wrong_range_is_an_error(
    store: S3DeliveryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes from another position are not returned."""
    store.save("a.bin", ContentFile(os.urandom(90_000)))
    change_ranges(monkeypatch, lambda requested: requested.replace("1000-", "1001-"))
    with pytest.raises(StoreFailure, match="'bytes 1001-1999/90000', but .* was requested"):
        list(store.stream("a.bin", 1000, 2000))


def test_rest_of_a_partial_range_is_requested(
    store: S3DeliveryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 9110 allows a server, or a cache in front of it, to send a part of the range."""
    data = os.urandom(90_000)
    store.save("a.bin", ContentFile(data))

    def at_most_10_000(requested: str) -> str:
        start, last = requested.removeprefix("bytes=").split("-")
        limit = int(start) + 9_999
        return f"bytes={start}-{min(int(last or limit), limit)}"

    change_ranges(monkeypatch, at_most_10_000)
    with store.open("a.bin") as file:
        assert file.size == 90_000
        assert file.read() == data
    assert b"".join(store.stream("a.bin", 1)) == data[1:]
    assert b"".join(store.stream("a.bin", 5, 25_000)) == data[5:25_000]


@pytest.mark.parametrize("length", [2, 3, 7])
def test_listing_with_repeated_markers_ends(
    store: S3DeliveryStore, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    """A cycle of any length is detected, although only one marker is remembered."""
    pages = [{"IsTruncated": True, "NextContinuationToken": f"{page}"} for page in range(length)]
    responses = itertools.islice(itertools.cycle(pages), 100)
    monkeypatch.setattr(Bucket, "call", lambda *_, **kwargs: next(responses))
    with pytest.raises(StoreFailure, match="list_objects_v2 of .* does not end.* is repeated"):
        list(store.scan())


def test_listing_of_empty_pages_ends(
    store: S3DeliveryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The listing ends even if each page has a new marker."""
    monkeypatch.setattr(bucket, "_EMPTY_PAGES", 5)
    pages = ({"IsTruncated": True, "NextContinuationToken": f"{page}"} for page in range(100))
    monkeypatch.setattr(Bucket, "call", lambda *_, **kwargs: next(pages))
    with pytest.raises(StoreFailure, match="does not end: after 5 pages 5 were empty"):
        list(store.scan())


def test_error_of_an_unknown_key_is_reported_for_all_names(
    store: S3DeliveryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server may return a key in another spelling."""
    response = {"Errors": [{"Key": "A.txt", "Code": "InternalError", "Message": "planned"}]}
    monkeypatch.setattr(Bucket, "call", lambda *_, **kwargs: response)
    failures = store.delete_many(["a.txt", "b.txt"])
    assert set(failures) == {"a.txt", "b.txt"}
    assert all("InternalError" in str(failure) for failure in failures.values())
