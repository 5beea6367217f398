"""Names that a server cannot have are missing when read, and invalid when written."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote

import pytest
from boto3.s3.transfer import TransferConfig
from django.core.files.base import ContentFile

from devilry_storage.exceptions import InvalidName, StoreDenied, StoreFailure
from devilry_storage.storages import S3DeliveryStore
from devilry_storage.testing import PlainFileMeta

from ...harness import s3servers
from ...harness.http_faults import Answer, Fault
from ...harness.http_proxy import HttpProxy
from ...harness.s3wire import Request

pytestmark = pytest.mark.servers

DATA = b"some bytes"
LONG = "/".join(["folder" * 10] * 20)
NAMES = {"long": LONG, "long and not ASCII": "/".join(["ø" * 100] * 6)}

#: Responses to a key of more than 1,024 bytes: of S3, of Ceph, of MinIO, and of a web server.
RESPONSES = [
    (400, "KeyTooLongError"),
    (400, "InvalidURI"),
    (400, "InvalidObjectName"),
    (400, "XMinioInvalidObjectName"),
    (414, ""),
]


class LimitedServer(HttpProxy):
    """A server that rejects keys of more than 1,024 bytes with a given response."""

    response = Answer(400, "KeyTooLongError")

    def _take_fault(self, request: Request) -> Fault | None:
        fault = super()._take_fault(request)
        key = unquote(request.path).strip("/").partition("/")[2]
        return self.response if len(key.encode()) > 1024 else fault


@pytest.fixture
def server() -> Iterator[LimitedServer]:
    server = LimitedServer(s3servers.need("seaweedfs").endpoint_url)
    with server:
        yield server


@pytest.fixture
def options(bucket: str) -> dict[str, Any]:
    parts = TransferConfig(multipart_threshold=100_000, multipart_chunksize=5 << 20)
    options = s3servers.get("seaweedfs").options(bucket)
    return {**options, "location": uuid.uuid4().hex, "transfer_config": parts}


def rewrite(store: S3DeliveryStore, name: str) -> None:
    with store.open(name, "wb") as writer:
        writer.write(DATA)


def duplicate(store: S3DeliveryStore, name: str) -> None:
    source = store.save("source.txt", ContentFile(DATA))
    known = {"size": len(DATA), "sha256": hashlib.sha256(DATA).hexdigest()}
    store.duplicate(source, name, **known)  # type: ignore[arg-type]


READS: dict[str, Callable[[S3DeliveryStore, str], Any]] = {
    "open": lambda store, name: store.open(name),
    "stream": lambda store, name: list(store.stream(name)),
    "range": lambda store, name: list(store.stream(name, 2, 5)),
    "size": lambda store, name: store.size(name),
    "time": lambda store, name: store.get_modified_time(name),
}
WRITES: dict[str, Callable[[S3DeliveryStore, str], Any]] = {
    "save": lambda store, name: store.save(name, ContentFile(DATA)),
    "save in parts": lambda store, name: store.save(name, ContentFile(DATA * 20_000)),
    "rewrite": rewrite,
    "duplicate": duplicate,
}


def check(store: S3DeliveryStore, name: str) -> None:
    """Check all operations with a name that the server cannot have."""
    store.save("before.txt", ContentFile(DATA))
    assert not store.exists(name)
    for read in READS.values():
        with pytest.raises(FileNotFoundError):
            read(store, name)
    for write in WRITES.values():
        with pytest.raises(InvalidName, match="cannot have this name: use a shorter name"):
            write(store, name)
    store.delete(name)
    assert store.delete_many([name, "before.txt"]) == {}
    assert not store.exists("before.txt")


@pytest.mark.parametrize(("status", "code"), RESPONSES)
@pytest.mark.parametrize("kind", NAMES)
def test_name_that_a_server_rejects(
    server: LimitedServer, options: dict[str, Any], status: int, code: str, kind: str
) -> None:
    """The response to HEAD has no code, so the reason is that of a GET request."""
    server.response = Answer(status, code)
    check(S3DeliveryStore(**{**options, "endpoint_url": server.endpoint_url}), NAMES[kind])


@pytest.mark.parametrize("kind", NAMES)
def test_name_that_seaweedfs_cannot_have(options: dict[str, Any], kind: str) -> None:
    check(S3DeliveryStore(**options), NAMES[kind])


def test_name_with_a_long_part_on_seaweedfs(options: dict[str, Any]) -> None:
    """The server has a limit for the parts of a name, too."""
    store, name = S3DeliveryStore(**options), "n" * 256
    assert not store.exists(name)
    with pytest.raises(InvalidName, match="KeyTooLongError"):
        store.save(name, ContentFile(DATA))


def test_long_name_is_valid_on_a_server_without_a_limit() -> None:
    """The server decides, because it may have such files."""
    moto = s3servers.need("moto")
    store = S3DeliveryStore(**moto.options(moto.bucket()))
    assert store.save(LONG, ContentFile(DATA)) == LONG
    assert b"".join(store.stream(LONG)) == DATA
    assert store.delete_many([LONG]) == {}
    assert not store.exists(LONG)


def test_long_name_does_not_block_other_names(
    server: LimitedServer, options: dict[str, Any]
) -> None:
    """It is deleted on its own, because a server may reject a batch that contains it."""
    store = S3DeliveryStore(**{**options, "endpoint_url": server.endpoint_url})
    store.save("a.txt", ContentFile(DATA))
    server.forget()
    assert store.delete_many(["a.txt", LONG]) == {}
    assert server.operations() == ["DeleteObject", "DeleteObjects"]


def test_location_counts(server: LimitedServer, options: dict[str, Any]) -> None:
    """The longest location has room for delivered files."""
    address = {
        "endpoint_url": server.endpoint_url,
        "location": f"{uuid.uuid4().hex}/{'l/' * 433}l",
    }
    store = S3DeliveryStore(**{**options, **address})
    row = PlainFileMeta(store, 2**63 - 1, 2**63 - 1)
    with store.write_open(row) as writer:
        writer.write(DATA)
    assert store.read_open(row).read() == DATA
    with pytest.raises(InvalidName, match="or a shorter location"):
        store.save("a" * 200, ContentFile(DATA))


def test_other_reason_for_status_400_is_reported(
    proxy: HttpProxy, options: dict[str, Any]
) -> None:
    """A file never counts as missing because credentials have expired."""
    store = S3DeliveryStore(**{**options, "endpoint_url": proxy.endpoint_url})
    name = store.save("a.txt", ContentFile(DATA))
    proxy.forget()
    proxy.fault("HeadObject", Answer(400, "ExpiredToken"))
    proxy.fault("GetObject", Answer(400, "ExpiredToken"))
    with pytest.raises(StoreDenied, match="session token is invalid or expired"):
        store.exists(name)
    assert proxy.operations()[-1] == "GetObject"
    proxy.fault("HeadObject", Answer(400, ""))
    with pytest.raises(StoreFailure, match="Possible causes"):
        store.exists(name)
