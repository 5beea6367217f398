"""The probe names what a server does, and deletes what it stored.

Faults of servers are imitated by a proxy in front of moto, or by the handlers of the client.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from django.core.files.base import ContentFile

from devilry_storage.storages import S3DeliveryStore
from devilry_storage.storages.protocols import Finding
from devilry_storage.storages.s3 import probing

from ...harness import s3servers
from ...harness.http_faults import Answer, Fault, Replace, Reply
from ...harness.http_proxy import HttpProxy
from ...harness.odd_responses import PAGE, page, wire, with_body

pytestmark = pytest.mark.servers

ATOMIC = "{} is conditional and atomic"
PUT, COMPLETE, COPY = (
    ATOMIC.format(operation)
    for operation in ("put_object", "complete_multipart_upload", "copy_object")
)
# moto keeps the checksum of the parts for the copy, which is not in parts.
COPIES = "files can be copied right after their upload"
ALWAYS = 10_000


@pytest.fixture
def proxy() -> Iterator[HttpProxy]:
    with HttpProxy(s3servers.need("moto").endpoint_url) as proxy:
        yield proxy


@pytest.fixture
def store(proxy: HttpProxy, monkeypatch: pytest.MonkeyPatch) -> S3DeliveryStore:
    """A store behind the proxy, with a client of its own."""
    monkeypatch.setattr(probing, "PAIRS", 2)
    server = s3servers.get("moto")
    options = {**server.options(server.bucket()), "endpoint_url": proxy.endpoint_url}
    return S3DeliveryStore(**options, location="site", attempts=2)


def wrong(store: S3DeliveryStore, *endpoints: str) -> dict[str, Finding]:
    """Return the findings that do not hold, by what they are about."""
    found = [finding for finding in store.examine(endpoints) if not finding.holds]
    end = re.compile(r":| \((?:the store needs neither|not needed)\)")
    return {end.split(finding.sentence)[0]: finding for finding in found}


def remaining(store: S3DeliveryStore) -> list[str]:
    """Return the keys in the bucket, and those of unfinished uploads."""
    client = s3servers.get("moto").client()
    objects = client.list_objects_v2(Bucket=store.bucket_name).get("Contents", ())
    uploads = client.list_multipart_uploads(Bucket=store.bucket_name).get("Uploads", ())
    return [entry["Key"] for entry in (*objects, *uploads)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("seaweedfs", set()),
        ("moto", {COPY, COPIES}),
        (
            "rclone",
            {
                "the server honours If-None-Match in put_object",
                *(PUT, COMPLETE, COPY, "delete_object honours If-Match"),
            },
        ),
    ],
)
def test_findings_about_real_servers(
    name: str, expected: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what the store relies on has a remedy."""
    monkeypatch.setattr(probing, "PAIRS", 3)
    server = s3servers.need(name)
    store = S3DeliveryStore(**server.options(server.bucket()), location="site")
    found = wrong(store)
    # SeaweedFS completes uploads without a lock, and moto has no locks at all.
    by_chance = {COMPLETE} if name == "seaweedfs" else {PUT, COMPLETE} - expected
    assert found.keys() - by_chance == expected
    advised = {sentence for sentence, finding in found.items() if finding.remedy}
    relied_on = {sentence for sentence in expected if "put_object" in sentence}
    assert advised - {COPIES, PUT} == relied_on - {PUT}
    assert list(store.scan()) == []
    listed = server.client().list_objects_v2(Bucket=store.bucket_name)["Contents"]
    assert [entry["Key"] for entry in listed] == ["site/.devilry-storage/conditional-writes"]


def test_probe_touches_only_its_own_objects(store: S3DeliveryStore, proxy: HttpProxy) -> None:
    """The file of the site, and everything else in the bucket, stays as it is."""
    store.save("a.txt", ContentFile(b"data"))
    proxy.forget()
    assert wrong(store).keys() - {PUT, COMPLETE} == {COPY, COPIES}
    written = {
        request.path
        for request in proxy.requests
        if request.method in {"PUT", "POST", "DELETE"} and request.operation != "DeleteObjects"
    }
    own = f"/{store.bucket_name}/site/.devilry-storage/"
    assert written
    assert all(path.startswith(own) for path in written)
    assert sorted(remaining(store)) == ["site/.devilry-storage/conditional-writes", "site/a.txt"]


def test_probe_uses_each_endpoint(store: S3DeliveryStore) -> None:
    """Files are read at each, and writers race through different ones."""
    with HttpProxy(s3servers.get("moto").endpoint_url) as other:
        assert wrong(store, other.endpoint_url).keys() - {PUT, COMPLETE} == {COPY, COPIES}
        operations = set(other.operations())
        assert {"GetObject", "PutObject", "CompleteMultipartUpload", "CopyObject"} <= operations
        assert "DeleteObject" not in operations


def test_endpoint_that_does_not_respond_ends_the_probe(store: S3DeliveryStore) -> None:
    """Nothing was tried, so no other line says anything about the server."""
    *found, cleaned, _names = store.examine(["http://127.0.0.1:9"])
    assert [finding.holds for finding in found] == [True, False]
    assert found[-1].remedy == "check the URLs"
    assert cleaned.holds
    assert remaining(store) == ["site/.devilry-storage/conditional-writes"]


@pytest.mark.parametrize(
    ("operation", "sentence"),
    [
        ("PutObject", PUT),
        ("CreateMultipartUpload", COMPLETE),
        ("UploadPart", COMPLETE),
        ("CompleteMultipartUpload", COMPLETE),
        ("CopyObject", COPY),
    ],
)
def test_endpoint_that_refuses_to_write_is_named(
    store: S3DeliveryStore, operation: str, sentence: str
) -> None:
    """A refused request is not a lost race, and no upload remains."""
    with HttpProxy(s3servers.get("moto").endpoint_url) as other:
        other.fault(operation, Answer(403, "AccessDenied"), ALWAYS)
        finding = wrong(store, other.endpoint_url)[sentence]
    assert "AccessDenied" in finding.sentence or "denied" in finding.sentence
    assert remaining(store) == ["site/.devilry-storage/conditional-writes"]


def test_stale_endpoint_is_named(store: S3DeliveryStore) -> None:
    """A gateway with a cache of its own returns the bytes from before."""
    first: dict[str, bytes] = {}

    def stale(reply: Reply) -> bytes:
        part = reply.headers.get("content-range") or str(len(reply.body))
        return wire(replace(reply, body=first.setdefault(part, reply.body)))

    with HttpProxy(s3servers.get("moto").endpoint_url) as other:
        other.fault("GetObject", Replace(stale, closes=True), ALWAYS)
        found = wrong(store, other.endpoint_url)["small files are read as they were stored"]
    assert "its old bytes are read" in found.sentence
    assert found.remedy == "use another server"


# -- Imitated faults --


def framed(body: bytes) -> bytes:
    return b"%x;chunk-signature=%b\r\n%b\r\n0;chunk-signature=%b\r\n\r\n" % (
        *(len(body), b"0" * 64),
        *(body, b"0" * 64),
    )


def flipped(body: bytes) -> bytes:
    return body[:-1] + bytes([body[-1] ^ 1]) if len(body) > 1000 else body


def without_last(body: bytes) -> bytes:
    """Return a listing without its last entry, and without a next page."""
    start, end = body.rfind(b"<Contents>"), body.rfind(b"</Contents>") + len(b"</Contents>")
    body = body[:start] + body[end:] if start >= 0 else body
    body = re.sub(rb"<NextContinuationToken>.*?</NextContinuationToken>", b"", body)
    body = re.sub(rb"<KeyCount>\d+</KeyCount>", b"", body)
    return body.replace(b"<IsTruncated>true", b"<IsTruncated>false")


def changed(change: Callable[[bytes], bytes]) -> Replace:
    # moto closes each connection.
    return Replace(with_body(change), closes=True)


ACKNOWLEDGED = Replace(lambda reply: wire(Reply(reply.method, 204)), reaches=False)
DELETED = Replace(
    with_body(lambda body: b"<DeleteResult><Deleted><Key>any</Key></Deleted></DeleteResult>"),
    reaches=False,
)
SMALL, PARTS = (
    f"{files} are read as they were stored" for files in ("small files", "files in parts")
)
LISTINGS = "listings have all files"
DELETIONS = "deleted files are gone"
CLEANED = "the files of the probe can be deleted"

FAULTS: dict[str, tuple[str, Fault, int, str, str]] = {
    # The operation, the fault and how often it occurs; the finding, and a part of its reason.
    "framing is stored": ("GetObject", changed(framed), ALWAYS, SMALL, "aws-chunked"),
    "bytes are wrong": ("GetObject", changed(flipped), ALWAYS, SMALL, "different checksum"),
    "parts are refused": (
        *("UploadPart", Answer(501, "NotImplemented"), ALWAYS),
        *(PARTS, "501 NotImplemented"),
    ),
    "copies fail at first": (
        *("CopyObject", Answer(400, "InvalidRequest"), 1),
        *(COPIES, "InvalidRequest"),
    ),
    "copies find no source": ("CopyObject", Answer(404, "NoSuchKey"), 1, COPIES, "no file under"),
    "DeleteObject is ignored": (
        *("DeleteObject", ACKNOWLEDGED, ALWAYS),
        *(DELETIONS, "after delete_object the file still exists"),
    ),
    "DeleteObjects is ignored": (
        *("DeleteObjects", DELETED, ALWAYS),
        *(DELETIONS, "after delete_objects the file still exists"),
    ),
    "deletions are refused": (
        *("DeleteObject", Answer(403, "AccessDenied"), ALWAYS),
        *(CLEANED, "s3:DeleteObject"),
    ),
    "listings are cut": (
        *("ListObjectsV2", changed(without_last), ALWAYS),
        *(LISTINGS, "of 5 files are missing"),
    ),
    "a proxy sends a page": (
        *("CopyObject", Replace(page, reaches=False), ALWAYS),
        *(COPIES, "Check whether a proxy"),
    ),
    "reading is denied": (
        *("GetObject", Answer(403, "AccessDenied"), ALWAYS),
        *(SMALL, "s3:GetObject"),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_of_a_server_is_named(store: S3DeliveryStore, proxy: HttpProxy, fault: str) -> None:
    """The finding has the reason and a remedy, and the other trials are made, too."""
    operation, harm, times, sentence, reason = FAULTS[fault]
    proxy.fault(operation, harm, times)
    found = [*store.examine()]
    assert len(found) == 13
    (finding,) = (finding for finding in found if finding.sentence.startswith(f"{sentence}: "))
    assert reason in finding.sentence
    assert finding.remedy
    assert not finding.holds
    proxy.forget()


def without_condition(request: Any, **kwargs: Any) -> None:
    del request.headers["If-None-Match"]


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ("PutObject", {"the server honours If-None-Match in put_object", PUT, COPY, COPIES}),
        ("CompleteMultipartUpload", {COMPLETE, COPY, COPIES}),
    ],
)
def test_ignored_condition_is_named(
    store: S3DeliveryStore, operation: str, expected: set[str]
) -> None:
    """Of these, only that of PutObject has a remedy."""
    event = f"before-sign.s3.{operation}"
    store.remote.client.meta.events.register(event, without_condition)
    found = wrong(store)
    assert found.keys() >= expected >= found.keys() - {PUT, COMPLETE}
    advised = {sentence for sentence, finding in found.items() if finding.remedy}
    relied_on = {sentence for sentence in expected if "put_object" in sentence}
    assert advised - {COPIES, PUT} == relied_on - {PUT}


def test_operation_without_a_lock_is_named(
    store: S3DeliveryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server honours the condition of a later request, but not that of two at once."""
    original = probing._succeeds

    def succeeds(act: Callable[[], object], gate: Any = None) -> bool:
        at_once.append(gate)
        return original(act, gate)

    def handler(request: Any, **kwargs: Any) -> None:
        if at_once and at_once[-1]:
            without_condition(request)

    at_once: list[Any] = []
    store.remote.client.meta.events.register("before-sign.s3.CompleteMultipartUpload", handler)
    monkeypatch.setattr(probing, "_succeeds", succeeds)
    found = wrong(store)
    assert found.keys() - {PUT} == {COMPLETE, COPY, COPIES}
    assert "of 2 races a file that was stored is lost" in found[COMPLETE].sentence


def test_page_instead_of_every_response_is_an_error(
    store: S3DeliveryStore, proxy: HttpProxy
) -> None:
    """The command reports it; there is nothing to try."""
    proxy.fault("", Replace(page, reaches=False), ALWAYS)
    with pytest.raises(OSError, match="Check whether a proxy") as raised:
        list(store.examine())
    assert PAGE.decode() not in str(raised.value)
