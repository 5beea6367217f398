"""What may pass is tried again, and what was damaged on the way up is sent again."""

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
    """Options of a store that signs no bodies, as over TLS: only checksums tell what arrives."""
    server = s3servers.get("seaweedfs")
    return {
        **server.options(server.bucket()),
        "endpoint_url": proxy.endpoint_url,
        "transfer_config": TransferConfig(multipart_threshold=100_000, multipart_chunksize=PART),
        "client_config": Config(s3=S3),
    }


@pytest.fixture
def store(options: dict[str, Any], proxy: HttpProxy) -> S3DeliveryStore:
    """A store that knows already that its server honours conditional writes."""
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
    """A second request, which succeeds."""
    proxy.fault("PutObject", Answer(status, code))
    assert store.save("a.txt", ContentFile(b"data")) == "a.txt"
    assert [request.status for request in proxy.requests] == [status, 200]


def test_permanent_error_is_not_retried(store: S3DeliveryStore, proxy: HttpProxy) -> None:
    """One request, and the server's own code."""
    proxy.fault("PutObject", Answer(400, "InvalidRequest"))
    with pytest.raises(StoreFailure, match="InvalidRequest") as raised:
        store.save("a.txt", ContentFile(b"data"))
    assert raised.value.code == "InvalidRequest"
    assert proxy.operations() == ["PutObject"]


@pytest.mark.parametrize(("size", "operation"), [(50_000, "PutObject"), (100_001, "UploadPart")])
def test_upload_damaged_in_transit_is_sent_again(
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


@pytest.mark.parametrize(
    ("calculation", "header", "header_of_a_part"),
    [
        ("when_supported", "x-amz-checksum-sha256", "x-amz-checksum-crc32"),
        ("when_required", "content-md5", "content-md5"),
    ],
)
def test_each_upload_has_a_checksum(
    options: dict[str, Any],
    proxy: HttpProxy,
    calculation: Any,
    header: str,
    header_of_a_part: str,
) -> None:
    """The older one for servers that know no other."""
    options["client_config"] = Config(s3=S3, request_checksum_calculation=calculation)
    store = S3DeliveryStore(**options)
    for size in (50_000, 100_001):
        store.save("a.bin", ContentFile(os.urandom(size)))
    requests = {each.operation: each for each in proxy.requests if each.path.endswith(".bin")}
    assert requests["PutObject"].headers.get(header)
    assert requests["UploadPart"].headers.get(header_of_a_part)


def test_stalling_download_ends_at_the_deadline(
    store: S3DeliveryStore, options: dict[str, Any], proxy: HttpProxy
) -> None:
    """However many attempts are left."""
    store.save("a.bin", ContentFile(bytes(90_000)))
    options["client_config"] = Config(s3=S3, read_timeout=0.4)
    # Long enough for a second attempt on a machine that is slow.
    hasty = S3DeliveryStore(**options, attempts=20, deadline=4)
    proxy.fault("GetObject", StallReply(0), 100)
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match=r"at byte 0 of 90000, [2-9] times"):
        list(hasty.stream("a.bin"))
    assert 4 <= time.monotonic() - began < 10


def test_deadline_excludes_time_of_the_reader(options: dict[str, Any], proxy: HttpProxy) -> None:
    """A connection that broke while the bytes before were being used is taken up again."""
    hasty, data = S3DeliveryStore(**options, deadline=1), os.urandom(2 << 20)
    hasty.save("a.bin", ContentFile(data))
    proxy.fault("GetObject", CutReply(1 << 20))
    chunks = hasty.stream("a.bin")
    received = next(chunks)
    time.sleep(1.2)
    assert received + b"".join(chunks) == data


def change_ranges(monkeypatch: pytest.MonkeyPatch, change: Callable[[str], str | None]) -> None:
    """Let the server see another range than is asked for, or none."""
    really = Bucket._send_body

    def send(self: Bucket, send: Any, parameters: Mapping[str, Any]) -> Any:
        given = dict(parameters)
        if "Range" in given and (changed := change(given.pop("Range"))):
            given["Range"] = changed
        return really(self, send, given)

    monkeypatch.setattr(Bucket, "_send_body", send)


def test_server_that_ignores_ranges_is_an_error(
    store: S3DeliveryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 9110 allows it; what comes are other bytes than were asked for."""
    data = os.urandom(90_000)
    store.save("a.bin", ContentFile(data))
    change_ranges(monkeypatch, lambda asked: None)
    with pytest.raises(StoreFailure, match="other bytes .*'bytes=1000-1999'.*ignores Range"):
        list(store.stream("a.bin", 1000, 2000))
    assert b"".join(store.stream("a.bin")) == data


@pytest.mark.parametrize(
    "then",
    [
        Answer(409, "ConditionalRequestConflict"),
        # As S3 tells what it finds out after it has begun its answer.
        Answer(200, "NoSuchUpload"),
        Answer(200, "PreconditionFailed"),
        Answer(404, "NoSuchUpload"),
    ],
    ids=lambda answer: f"{answer.status} {answer.code}",
)
def test_upload_with_lost_response_keeps_its_name(
    store: S3DeliveryStore, proxy: HttpProxy, then: Answer
) -> None:
    """Whatever the server says to the next attempt: the object there is ours, and the only one."""
    data = os.urandom(100_001)
    proxy.fault("CompleteMultipartUpload", LoseReply())
    # What is final is said as often as it is asked for, which has to be once.
    proxy.fault("CompleteMultipartUpload", then, times=1 if then.status == 409 else 9)
    assert store.save("a.bin", ContentFile(data)) == "a.bin"
    assert [entry.name for entry in store.scan() if entry.name.startswith("a")] == ["a.bin"]
    assert b"".join(store.stream("a.bin")) == data
    assert proxy.fired == 2


def test_upload_to_the_name_of_a_rival_takes_an_alternative(
    store: S3DeliveryStore, proxy: HttpProxy
) -> None:
    """Begun again after a conflict, it finds an object without its own token."""
    rival = S3DeliveryStore(**s3servers.get("seaweedfs").options(store.bucket_name))
    proxy.fault("CompleteMultipartUpload", Answer(409, "ConditionalRequestConflict"))
    really = store.exists

    def taken_meanwhile(name: str) -> bool:
        there = really(name)
        rival.save("a.bin", ContentFile(b"rival"))
        return there

    store.exists = taken_meanwhile  # type: ignore[method-assign]
    assert store.save("a.bin", ContentFile(os.urandom(100_001))) != "a.bin"
    assert b"".join(store.stream("a.bin")) == b"rival"


def test_conflict_without_a_rival_restarts_the_upload(
    store: S3DeliveryStore, proxy: HttpProxy
) -> None:
    """The other writer gave up: the name is free, and the first upload is aborted."""
    data = os.urandom(100_001)
    proxy.fault("CompleteMultipartUpload", Answer(409, "ConditionalRequestConflict"))
    assert store.save("a.bin", ContentFile(data)) == "a.bin"
    attempt = ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"]
    begun = ["HeadObject", *attempt, "AbortMultipartUpload"]
    assert proxy.operations() == [*begun, *attempt]
    assert b"".join(store.stream("a.bin")) == data


def test_repeated_conflicts_end_with_the_attempts(
    options: dict[str, Any], proxy: HttpProxy
) -> None:
    """An error, not another name: the name may still be free."""
    store = S3DeliveryStore(**options, attempts=2)
    store.save("warm", ContentFile(bytes(100_001)))
    proxy.forget()
    proxy.fault("CompleteMultipartUpload", Answer(409, "ConditionalRequestConflict"), 9)
    with pytest.raises(StoreFailure, match="ConditionalRequestConflict"):
        store.save("a.bin", ContentFile(bytes(100_001)))
    assert proxy.operations().count("CompleteMultipartUpload") == 2
    assert proxy.operations().count("AbortMultipartUpload") == 2
    assert not store.exists("a.bin")


def test_aborted_upload_is_not_reported_as_success(
    store: S3DeliveryStore, proxy: HttpProxy
) -> None:
    """A completion that finds no upload may have been carried out before, or not."""
    proxy.fault("CompleteMultipartUpload", Answer(404, "NoSuchUpload"), 9)
    with pytest.raises(StoreFailure, match="NoSuchUpload"):
        store.save("a.bin", ContentFile(bytes(100_001)))
    assert not store.exists("a.bin")


def test_save_with_lost_response_keeps_its_name(store: S3DeliveryStore, proxy: HttpProxy) -> None:
    """The second attempt finds the name taken, by the first one's own object."""
    proxy.fault("PutObject", LoseReply())
    assert store.save("a.txt", ContentFile(b"data")) == "a.txt"
    assert [entry.name for entry in store.scan() if entry.name.startswith("a")] == ["a.txt"]


def test_save_repeated_by_a_balancer_keeps_its_name(
    store: S3DeliveryStore, proxy: HttpProxy
) -> None:
    """The reply to the repetition is all that the client sees, in its first attempt."""
    warm = {entry.name for entry in store.scan()}
    proxy.fault("PutObject", REPEATED)
    assert store.save("a.txt", ContentFile(b"data")) == "a.txt"
    proxy.fault("CompleteMultipartUpload", REPEATED)
    assert store.save("b.bin", ContentFile(bytes(100_001))) == "b.bin"
    assert {entry.name for entry in store.scan()} - warm == {"a.txt", "b.bin"}


def test_failed_check_of_a_used_name_is_an_error(store: S3DeliveryStore, proxy: HttpProxy) -> None:
    """The object may be the save's own: another name would leave it behind."""
    proxy.fault("PutObject", REPEATED)
    proxy.fault("HeadObject", Answer(403, "AccessDenied"))
    with pytest.raises(StoreDenied, match="head_object of 'a.txt'"):
        store.save("a.txt", ContentFile(b"data"))
    assert proxy.operations() == ["PutObject", "HeadObject"]


def test_condition_that_always_fails_is_an_error(store: S3DeliveryStore, proxy: HttpProxy) -> None:
    """Neither success nor a search for free names without end."""
    proxy.fault("PutObject", Answer(412, "PreconditionFailed"), times=999)
    with pytest.raises(FileExistsError, match="100 alternative names are taken"):
        store.save("a.txt", ContentFile(b"data"))


def test_replaced_file_is_stale_without_if_match(
    store: S3DeliveryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ETag of each range is compared, too."""
    data = os.urandom(3 << 20)
    store.save("a.bin", ContentFile(data))
    really = Bucket._send_body

    def send(self: Bucket, send: Any, parameters: Mapping[str, Any]) -> Any:
        given = {key: value for key, value in parameters.items() if key != "IfMatch"}
        return really(self, send, given)

    monkeypatch.setattr(Bucket, "_send_body", send)
    with store.open("a.bin") as file:
        file.read(10)
        with store.open("a.bin", "wb") as writer:
            writer.write(bytes(3 << 20))
        with pytest.raises(OSError, match="replaced while it was being read"):
            file.read()


def test_download_damaged_in_transit_is_an_error(store: S3DeliveryStore, proxy: HttpProxy) -> None:
    """The server sends the checksum of the whole file with it."""
    store.save("a.bin", ContentFile(os.urandom(50_000)))
    proxy.fault("GetObject", FlipBit(20_000))
    with pytest.raises(ChecksumMismatch, match="it is damaged, there or on the way"):
        list(store.stream("a.bin"))


def test_response_with_the_wrong_range_is_an_error(
    store: S3DeliveryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its bytes are not those from the position that was asked for."""
    store.save("a.bin", ContentFile(os.urandom(90_000)))
    change_ranges(monkeypatch, lambda asked: asked.replace("1000-", "1001-"))
    with pytest.raises(StoreFailure, match="'bytes 1001-1999/90000'.*were asked for"):
        list(store.stream("a.bin", 1000, 2000))


def test_rest_of_a_partial_range_is_requested(
    store: S3DeliveryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 9110 lets a server, or a cache before it, give less: then the rest is asked for."""
    data = os.urandom(90_000)
    store.save("a.bin", ContentFile(data))

    def at_most_10_000(asked: str) -> str:
        start, last = asked.removeprefix("bytes=").split("-")
        most = int(start) + 9_999
        return f"bytes={start}-{min(int(last or most), most)}"

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
    """A circle of any length is found, though only one marker is remembered."""
    pages = [{"IsTruncated": True, "NextContinuationToken": f"{each}"} for each in range(length)]
    answers = itertools.islice(itertools.cycle(pages), 100)
    monkeypatch.setattr(Bucket, "call", lambda *_, **given: next(answers))
    with pytest.raises(StoreFailure, match="list_objects_v2 of .* does not end.* comes again"):
        list(store.scan())


def test_listing_of_empty_pages_ends(
    store: S3DeliveryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them has another marker."""
    monkeypatch.setattr(bucket, "_EMPTY_PAGES", 5)
    pages = ({"IsTruncated": True, "NextContinuationToken": f"{each}"} for each in range(100))
    monkeypatch.setattr(Bucket, "call", lambda *_, **given: next(pages))
    with pytest.raises(StoreFailure, match="does not end: after 5 pages 5 were empty"):
        list(store.scan())


def test_error_of_an_unknown_key_is_reported_for_all_names(
    store: S3DeliveryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server may spell a key in its own way."""
    answer = {"Errors": [{"Key": "A.txt", "Code": "InternalError", "Message": "planned"}]}
    monkeypatch.setattr(Bucket, "call", lambda *_, **given: answer)
    failures = store.delete_many(["a.txt", "b.txt"])
    assert set(failures) == {"a.txt", "b.txt"}
    assert all("InternalError" in str(failure) for failure in failures.values())
