"""Checksums and other headers of requests, which some servers reject."""

from __future__ import annotations

import uuid
from base64 import b64encode
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from hashlib import md5
from pathlib import Path
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.httpsession import URLLib3Session
from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import ContentFile

from devilry_storage.exceptions import StoreFailure
from devilry_storage.storages import S3DeliveryStore
from devilry_storage.storages.s3 import bucket, writing
from devilry_storage.testing import PlainFileMeta

from ...harness import s3servers
from ...harness.http_faults import Answer, Fault
from ...harness.http_proxy import HttpProxy
from ...harness.s3wire import Request

pytestmark = pytest.mark.servers

PART = 5 << 20

#: Headers of HTTP and of the signature, and those that botocore sends to every server.
EVERYWHERE = {
    *("host", "user-agent", "accept-encoding", "content-length", "connection", "expect"),
    *("authorization", "x-amz-date", "x-amz-content-sha256"),
    *("amz-sdk-invocation-id", "amz-sdk-request"),
}
OBJECT = {"content-type", "content-disposition", "x-amz-meta-sha256", "x-amz-meta-devilry-token"}
CONDITION = {"if-none-match"}

#: For each operation, the other headers that the store may send.
HEADERS: dict[str, set[str]] = {
    "PutObject": OBJECT | CONDITION,
    "CopyObject": OBJECT | {"x-amz-copy-source", "x-amz-metadata-directive"},
    "CreateMultipartUpload": OBJECT,
    "UploadPart": set(),
    "UploadPartCopy": {"x-amz-copy-source", "x-amz-copy-source-range"},
    "CompleteMultipartUpload": set(),
    "AbortMultipartUpload": set(),
    "HeadObject": set(),
    "GetObject": {"range", "if-match"},
    "DeleteObject": set(),
    "DeleteObjects": set(),
    "ListObjectsV2": set(),
    "ListMultipartUploads": set(),
}

#: The headers of new checksums, by the value of ``request_checksum_calculation``.
CHECKSUMS: dict[str, dict[str, set[str]]] = {
    "when_supported": {
        "PutObject": {"x-amz-sdk-checksum-algorithm", "x-amz-checksum-sha256"},
        "CreateMultipartUpload": {"x-amz-checksum-algorithm"},
        "UploadPart": {"x-amz-checksum-crc32"},
    },
    "when_required": {},
}


def is_new_checksum(request: Request) -> bool:
    """Return whether an older server rejects the request for a checksum that it does not know."""
    return (
        any("checksum" in name or name == "x-amz-trailer" for name in request.headers)
        or "aws-chunked" in request.headers.get("content-encoding", "")
        or request.headers.get("x-amz-content-sha256", "").startswith("STREAMING")
    )


class OlderServer(HttpProxy):
    """A server that rejects the checksums that S3 has had since 2022, in both directions."""

    def _take_fault(self, request: Request) -> Fault | None:
        fault = super()._take_fault(request)
        if is_new_checksum(request):
            return Answer(400, "InvalidArgument", "Unsupported header 'x-amz-checksum-crc32'")
        return fault


@pytest.fixture
def older() -> Iterator[OlderServer]:
    server = OlderServer(s3servers.need("seaweedfs").endpoint_url)
    with server:
        yield server


@pytest.fixture
def options(bucket: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(writing, "LARGEST_COPY", PART)
    return {
        **s3servers.get("seaweedfs").options(bucket),
        "location": uuid.uuid4().hex,
        "transfer_config": TransferConfig(multipart_threshold=100_000, multipart_chunksize=PART),
    }


def use(store: S3DeliveryStore) -> None:
    """Use every operation of the store."""
    list(store.probe())
    for number, size in enumerate((1000, 99_000, PART + 1000), 1):
        row, copy, data = PlainFileMeta(store, 1, number), PlainFileMeta(store, 2, 1), b"x" * size
        with store.write_open(row) as writer:
            writer.write(data)
        store.copy(row, copy)
        name = str(copy.content)
        assert store.read_open(copy).read() == b"".join(store.stream(name)) == data
        assert b"".join(store.stream(name, 10, 20)) == data[10:20]
        assert store.size(name) == size
    with store.open("notes.txt", "wb") as writer:
        writer.write(b"old")
    assert store.own_objects is not None
    assert store.own_objects.create("note", b"data")
    store.own_objects.replace("note", b"more")
    store.delete("notes.txt")
    assert store.listdir("0/0") == (["1", "2"], [])
    store.remote.call("create_multipart_upload", "0/0/1/9")
    assert list(store.remove_stale_uploads(datetime.now(timezone.utc) + timedelta(minutes=1)))
    assert store.delete_many(["0/0/1/1", "0/0/1/2"]) == {}


def recorded(store: S3DeliveryStore, endpoint_url: str) -> list[tuple[Request, bytes]]:
    """Send the store's requests to another address, and record them with their bodies."""
    seen: list[tuple[Request, bytes]] = []
    session, own = URLLib3Session(), store.endpoint_url

    def send(request: Any, **kwargs: Any) -> Any:
        headers = {
            name.lower(): value.decode() if isinstance(value, bytes) else value
            for name, value in request.headers.items()
        }
        body = request.body or b""
        body = body if isinstance(body, (bytes, bytearray)) else body.read()
        seen.append((Request(request.method, request.url, headers, 0), bytes(body)))
        # The signature covers the host.
        headers["host"] = own.partition("://")[2]
        headers.pop("transfer-encoding", None)
        url = request.url.replace(own, endpoint_url)
        return session.send(
            AWSRequest(
                request.method, url, headers, bytes(body), stream_output=request.stream_output
            ).prepare()
        )

    store.remote.client.meta.events.register("before-send.s3", send)
    return seen


# -- The site's configuration --


def configured(
    source: str, folder: Path, monkeypatch: pytest.MonkeyPatch, **values: str
) -> dict[str, Any]:
    """Configure botocore in the given way, and return the options of a store.

    Clients that are open already have the configuration of other tests.
    """
    monkeypatch.setattr(bucket, "_clients", bucket._Clients())
    if source == "environment":
        for name, value in values.items():
            monkeypatch.setenv(f"AWS_{name.upper()}", value)
    elif source == "client_config":
        return {"client_config": Config(**values)}
    else:
        lines = "".join(f"{name} = {value}\n" for name, value in values.items())
        section = "default" if source == "file" else "profile deliveries"
        (folder / "config").write_text(f"[{section}]\n{lines}")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(folder / "config"))
        if source == "profile":
            monkeypatch.setenv("AWS_PROFILE", "deliveries")
    return {}


SOURCES = ["environment", "file", "profile", "client_config"]
REQUIRED = {
    "request_checksum_calculation": "when_required",
    "response_checksum_validation": "when_required",
}


@pytest.mark.parametrize("source", SOURCES)
def test_older_server_gets_no_new_checksum(
    older: OlderServer,
    options: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
) -> None:
    """The setting of botocore for such servers counts for every request, wherever it is set."""
    options |= configured(source, tmp_path, monkeypatch, **REQUIRED)
    use(S3DeliveryStore(**{**options, "endpoint_url": older.endpoint_url}))
    assert set(older.operations()) == set(HEADERS)
    assert [request for request in older.requests if is_new_checksum(request)] == []


@pytest.mark.parametrize("source", SOURCES)
def test_checksums_of_responses_are_a_setting_of_their_own(
    proxy: HttpProxy,
    options: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
) -> None:
    options |= configured(
        source, tmp_path, monkeypatch, response_checksum_validation="when_required"
    )
    store = S3DeliveryStore(**{**options, "endpoint_url": proxy.endpoint_url})
    name = store.save("a.txt", ContentFile(b"data"))
    assert b"".join(store.stream(name)) == b"data"
    put, get = proxy.requests[-2:]
    assert "x-amz-checksum-sha256" in put.headers
    assert "x-amz-checksum-mode" not in get.headers


def test_invalid_value_is_reported(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket, "_clients", bucket._Clients())
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "never")
    store = S3DeliveryStore(**options)
    with pytest.raises(ImproperlyConfigured, match="request_checksum_calculation.*never"):
        store.exists("a.txt")


def test_rejected_checksum_names_the_setting(older: OlderServer, options: dict[str, Any]) -> None:
    store = S3DeliveryStore(**{**options, "endpoint_url": older.endpoint_url})
    with pytest.raises(StoreFailure, match=r"Unsupported.*AWS_REQUEST_CHECKSUM_CALCULATION"):
        store.save("a.txt", ContentFile(b"data"))


# -- All headers --


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("calculation", CHECKSUMS)
@pytest.mark.parametrize("validation", CHECKSUMS)
def test_each_operation_sends_only_known_headers(
    options: dict[str, Any], scheme: str, calculation: Any, validation: Any
) -> None:
    """Neither trailers nor other headers of botocore. Each body has a checksum, the new or MD5."""
    config = Config(
        request_checksum_calculation=calculation, response_checksum_validation=validation
    )
    endpoint_url = options["endpoint_url"]
    options |= {"endpoint_url": f"{scheme}://{uuid.uuid4().hex}.example.com"}
    store = S3DeliveryStore(**options, client_config=config)
    requests = recorded(store, endpoint_url)
    use(store)
    found: defaultdict[str, set[str]] = defaultdict(set)
    for request, body in requests:
        operation, checksums = request.operation, CHECKSUMS[calculation]
        names = request.headers.keys() - EVERYWHERE
        if operation == "GetObject" and "range" not in names and validation == "when_supported":
            names.remove("x-amz-checksum-mode")  # raises KeyError if it is missing
        if body and "content-md5" not in names and operation != "CompleteMultipartUpload":
            assert names >= checksums[operation]
        elif "content-md5" in names:
            digest = md5(body, usedforsecurity=False).digest()
            assert request.headers["content-md5"] == b64encode(digest).decode()
            assert not is_new_checksum(request)
            names.remove("content-md5")
        found[operation] |= names - checksums.get(operation, set())
    assert found == HEADERS
