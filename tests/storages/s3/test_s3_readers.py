"""Readers of large files on S3: their requests, connections and bytes."""

from __future__ import annotations

import io
import os
import random
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.config import Config
from django.core.files import File

from devilry_storage.exceptions import StoreUnavailable
from devilry_storage.storages import S3DeliveryStore

from ...harness import s3servers
from ...harness.http_faults import Answer, CutReply, StallReply
from ...harness.http_proxy import HttpProxy
from ...harness.waiting import eventually

pytestmark = pytest.mark.servers

MIB = 1 << 20
NAME = "large.bin"
DATA = random.Random(1).randbytes(6 * MIB + 1000)


@pytest.fixture(scope="module")
def options(bucket: str) -> dict[str, Any]:
    server = s3servers.get("seaweedfs")
    server.client().put_object(Bucket=bucket, Key=NAME, Body=DATA)
    return server.options(bucket)


@pytest.fixture
def proxy() -> Iterator[HttpProxy]:
    """A proxy of one test, so that a store behind it has no open connection."""
    with HttpProxy(s3servers.need("seaweedfs").endpoint_url) as proxy:
        yield proxy


@pytest.fixture
def store(options: dict[str, Any], proxy: HttpProxy) -> S3DeliveryStore:
    return S3DeliveryStore(
        **{**options, "endpoint_url": proxy.endpoint_url},
        client_config=Config(read_timeout=0.3),
        attempts=2,
        deadline=5,
    )


def test_chunks_of_a_large_file_are_two_requests(store: S3DeliveryStore, proxy: HttpProxy) -> None:
    """The second one asks for the rest of the same object."""
    with store.open(NAME) as file:
        assert b"".join(file.chunks()) == DATA
    assert proxy.operations() == ["GetObject"] * 2
    first, second = (request.headers for request in proxy.requests)
    assert first["range"] == f"bytes=0-{MIB - 1}"
    assert second["range"] == f"bytes={MIB}-"
    assert second["if-match"]


def whole(file: File[Any]) -> None:
    assert file.read() == DATA


def rest(file: File[Any]) -> None:
    file.seek(3 * MIB)
    assert file.read() == DATA[3 * MIB :]


def rest_of_a_response(file: File[Any]) -> None:
    assert file.read(2 * MIB) == DATA[: 2 * MIB]
    assert file.read() == DATA[2 * MIB :]


def gaps(file: File[Any]) -> None:
    """Skip a little now and then, as readers of archives do."""
    for start in range(0, len(DATA), 600_000):
        file.seek(start)
        assert file.read(300_000) == DATA[start : start + 300_000]


def again(file: File[Any]) -> None:
    assert b"".join(file.chunks()) == DATA
    assert b"".join(file.chunks()) == DATA


def from_the_end(file: File[Any]) -> None:
    file.seek(-100_000, io.SEEK_END)
    assert file.read(65_536) == DATA[-100_000:-34_464]
    file.seek(-900_000, io.SEEK_END)
    assert file.read() == DATA[-900_000:]
    assert file.read() == b""


def back(file: File[Any]) -> None:
    assert file.read(2 * MIB) == DATA[: 2 * MIB]
    file.seek(100)
    assert file.read(2 * MIB) == DATA[100 : 100 + 2 * MIB]


#: Ways to read a file, and their number of requests.
WAYS = [(whole, 2), (rest, 2), (rest_of_a_response, 2), (gaps, 2), (again, 4)]
WAYS += [(from_the_end, 2), (back, 4)]


@pytest.mark.parametrize(("way", "requests"), WAYS)
def test_requests_of_ways_to_read(
    store: S3DeliveryStore, proxy: HttpProxy, way: Callable[[File[Any]], None], requests: int
) -> None:
    with store.open(NAME) as file:
        way(file)
    assert proxy.operations() == ["GetObject"] * requests


def test_random_reads(store: S3DeliveryStore) -> None:
    """Whatever is read in whatever order, the bytes are those of the position."""
    chance = random.Random(2)
    with store.open(NAME) as file:
        for _ in range(60):
            near = file.tell() + chance.randrange(-200_000, 1_300_000)
            start = max(0, chance.choice([near, near, chance.randrange(len(DATA) + 9)]))
            length = chance.choice([1, 70_000, 400_000])
            file.seek(start)
            assert file.read(length) == DATA[start : start + length]


def test_connection_is_closed_with_the_reader(store: S3DeliveryStore, proxy: HttpProxy) -> None:
    """By close(), by a seek elsewhere, by an exception, or if the reader is dropped."""

    def begun() -> Any:
        file = store.open(NAME)
        file.read(2 * MIB)
        return file

    files = [begun() for _ in range(4)]
    assert proxy.open_connections == 4
    files[0].close()
    assert eventually(lambda: proxy.open_connections == 3)
    files[1].seek(0)
    files[1].read(10)
    assert eventually(lambda: proxy.open_connections == 3)  # one that is kept for the next request
    files[1].close()
    with pytest.raises(ZeroDivisionError), files[2]:
        1 / 0  # noqa: B018
    assert eventually(lambda: proxy.open_connections == 2)
    del files
    assert eventually(lambda: proxy.open_connections == 1)


def test_many_readers_at_once(options: dict[str, Any]) -> None:
    """More readers than the pool keeps connections do not wait for each other."""
    store = S3DeliveryStore(**options, client_config=Config(max_pool_connections=2))
    readers = [store.open(NAME) for _ in range(5)]
    for reader in readers:
        assert reader.read(MIB + 10) == DATA[: MIB + 10]
    for reader in readers:
        assert reader.read(10) == DATA[MIB + 10 : MIB + 20]
        reader.close()


@pytest.mark.parametrize("fault", [CutReply(MIB), StallReply(2 * MIB)], ids=["cut", "stalled"])
def test_response_that_ends_early_is_resumed(
    store: S3DeliveryStore, proxy: HttpProxy, fault: Any
) -> None:
    """Servers and proxies close connections whose reader is slow."""
    with store.open(NAME) as file:
        proxy.fault("GetObject", fault)
        assert b"".join(file.chunks()) == DATA
    ranges = [request.headers["range"] for request in proxy.requests]
    assert ranges == ["bytes=0-1048575", "bytes=1048576-", f"bytes={MIB + fault.after}-"]
    assert proxy.requests[2].headers["if-match"]


def test_reader_goes_on_after_an_error(store: S3DeliveryStore, proxy: HttpProxy) -> None:
    with store.open(NAME) as file:
        assert file.read(MIB) == DATA[:MIB]
        proxy.fault("GetObject", CutReply(256 * 1024))
        proxy.fault("GetObject", Answer(503, "SlowDown"), 2)
        with pytest.raises(StoreUnavailable):
            file.read()
        assert file.tell() == MIB  # nothing that was received before the error is skipped
        assert DATA[MIB:] == file.read()


def test_replaced_file_is_stale(store: S3DeliveryStore, options: dict[str, Any]) -> None:
    """A response that is resumed never goes on with the bytes of another object."""
    client, bucket = s3servers.get("seaweedfs").client(), options["bucket_name"]
    client.put_object(Bucket=bucket, Key="replaced.bin", Body=DATA)
    with store.open("replaced.bin") as file:
        file.read(10)
        client.put_object(Bucket=bucket, Key="replaced.bin", Body=DATA[::-1])
        with pytest.raises(OSError, match="was replaced"):
            file.read()


def test_forked_child_has_a_connection_of_its_own(store: S3DeliveryStore) -> None:
    """Parent and child go on at the same position, and both get all bytes."""
    with store.open(NAME) as file:
        assert file.read(2 * MIB) == DATA[: 2 * MIB]
        pid = os.fork()
        if not pid:
            signal.alarm(20)
            os._exit(0 if file.read() == DATA[2 * MIB :] else 3)
        assert file.read(MIB) == DATA[2 * MIB : 3 * MIB]
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert file.read() == DATA[3 * MIB :]
