"""Interrupted and damaged transfers: what clients receive, and what stays open."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import django
import pytest
from asgiref.testing import ApplicationCommunicator
from django.core.asgi import get_asgi_application
from django.core.files.base import ContentFile
from django.test import Client

from devilry_storage.storages import FsHierDeliveryStore, S3DeliveryStore
from devilry_storage.testing import MemoryDeliveryStore, override_deliverystore

from ..harness import s3servers
from ..harness.http_faults import CutReply, FlipBit
from ..harness.http_proxy import HttpProxy
from ..harness.http_servers import Site
from ..harness.machine import PROC, need
from ..harness.waiting import eventually
from .conftest import deliver, make_store

DATA = os.urandom(1_200_000)

Damage = Callable[[bytes], bytes]


def flipped(position: int) -> Damage:
    def flip(data: bytes) -> bytes:
        position_ = position % len(data)
        return data[:position_] + bytes([data[position_] ^ 1]) + data[position_ + 1 :]

    return flip


DAMAGES: dict[str, Damage] = {
    "a bit in the first byte": flipped(0),
    "a bit in the middle": flipped(150_000),
    "a bit in the last byte": flipped(-1),
    "one byte less": lambda data: data[:-1],
    "only the beginning": lambda data: data[:70_000],
    "only whole chunks": lambda data: data[: 4 * 262_144],
    "nothing": lambda data: b"",
    "one byte more": lambda data: data + b"x",
    "twice": lambda data: data + data,
    "others": lambda data: bytes(len(data)),
}


def write(store: FsHierDeliveryStore, row: Any, data: bytes) -> None:
    Path(store.path(row.content.name)).write_bytes(data)


@pytest.fixture
def accesses(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[str]]]:
    """Return the lines of the access log so far."""
    logger = logging.getLogger("devilry_storage.access")
    with caplog.at_level(logging.INFO, logger=logger.name):
        yield lambda: [
            record.getMessage() for record in caplog.records if record.name == logger.name
        ]


# -- Damaged files --


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_file_breaks_the_transfer(
    site: Site, disk: FsHierDeliveryStore, group: Any, damage: Damage, caplog: Any, accesses: Any
) -> None:
    """The client gets less than announced, or an error, and the key is logged."""
    (row,) = deliver(group, file=DATA).values()
    write(disk, row, damage(DATA))
    reply = site.ask(row.content.url)
    if reply.status == 200:
        assert not reply.is_whole
        assert len(reply.body) < len(DATA)
    else:
        assert reply.status == 500
        assert DATA[:100] not in reply.body
    assert repr(row.content.name) in caplog.text
    assert eventually(lambda: len(accesses()) == 1)
    assert accesses()[0].endswith("outcome=failed")


@pytest.mark.parametrize("damage", ["a bit in the middle", "one byte less", "one byte more"])
def test_small_damaged_file_is_a_server_error(
    site: Site, disk: FsHierDeliveryStore, group: Any, damage: str, caplog: Any
) -> None:
    """It is read before the headers are sent, so the connection need not be broken."""
    (row,) = deliver(group, file=b"0123456789").values()
    write(disk, row, DAMAGES[damage](b"0123456789"))
    reply = site.ask(row.content.url)
    assert (reply.status, reply.is_whole) == (500, True)
    assert row.content.name in caplog.text


def test_file_recorded_as_empty_must_be_empty(
    site: Site, disk: FsHierDeliveryStore, group: Any
) -> None:
    """An empty response would look complete."""
    (row,) = deliver(group, file=b"").values()
    assert site.ask(row.content.url).status == 200
    write(disk, row, b"x")
    assert site.ask(row.content.url).status == 500


def test_truncated_range_breaks_the_transfer(
    site: Site, disk: FsHierDeliveryStore, group: Any, caplog: Any
) -> None:
    """The checksum does not cover a range, but its length is checked."""
    (row,) = deliver(group, file=DATA).values()
    write(disk, row, flipped(0)(DATA))
    assert site.ask(row.content.url, {"Range": "bytes=1-199999"}).body == DATA[1:200_000]
    write(disk, row, DATA[:150_000])
    reply = site.ask(row.content.url, {"Range": "bytes=1-199999"})
    assert (reply.status, reply.is_whole) == (206, False)
    assert repr(row.content.name) in caplog.text


def test_range_of_the_whole_file_is_verified(
    site: Site, disk: FsHierDeliveryStore, group: Any
) -> None:
    """The checksum covers it, as for a request without a range."""
    (row,) = deliver(group, file=DATA).values()
    write(disk, row, flipped(-1)(DATA))
    reply = site.ask(row.content.url, {"Range": "bytes=0-"})
    assert (reply.status, reply.is_whole) == (206, False)


def test_length_is_checked_without_a_checksum(
    site: Site, disk: FsHierDeliveryStore, group: Any
) -> None:
    """Adopted and imported rows may have none. Their entity tag is made of name and size."""
    (row,) = deliver(group, file=DATA).values()
    type(row).objects.update(sha256="")
    reply = site.ask(row.content.url)
    assert reply.body == DATA
    assert site.ask(row.content.url, {"If-None-Match": reply.headers["ETag"]}).status == 304
    for data in (DATA[:-1], DATA + b"x", DATA[: 4 * 262_144]):
        write(disk, row, data)
        assert not site.ask(row.content.url).is_whole


def test_missing_file_is_not_found_and_logged(
    site: Site, disk: FsHierDeliveryStore, group: Any, caplog: Any, accesses: Any
) -> None:
    """Also for requests whose response has no body."""
    (row,) = deliver(group, file=DATA).values()
    disk.delete(row.content.name)
    requests: list[tuple[str, dict[str, str]]] = [
        ("GET", {}),
        ("HEAD", {}),
        ("GET", {"If-None-Match": f'"{row.sha256}"'}),
        ("GET", {"If-Match": '"another"'}),
        ("GET", {"Range": f"bytes={len(DATA)}-"}),
    ]
    for method, headers in requests:
        caplog.clear()
        assert site.ask(row.content.url, headers, method).status == 404
        assert repr(row.content.name) in caplog.text
        assert accesses()[-1].endswith("outcome=failed")


@pytest.mark.parametrize("damage", ["one byte less", "one byte more"])
def test_head_checks_the_size(
    site: Site, disk: FsHierDeliveryStore, group: Any, damage: str, caplog: Any
) -> None:
    """If GET could not send the file, HEAD is an error, too."""
    (row,) = deliver(group, file=DATA).values()
    assert site.ask(row.content.url, method="HEAD").headers["Content-Length"] == str(len(DATA))
    write(disk, row, DAMAGES[damage](DATA))
    assert site.ask(row.content.url, method="HEAD").status == 500
    assert repr(row.content.name) in caplog.text


@pytest.mark.servers
@pytest.mark.parametrize(
    "faults",
    # Interrupted responses are resumed. Two attempts without progress are the maximum.
    [[FlipBit(800_000)], [CutReply(800_000), CutReply(0), CutReply(0)]],
    ids=["flip", "cut"],
)
def test_damaged_response_of_s3_breaks_the_transfer(
    site: Site, group: Any, proxy: HttpProxy, bucket: str, faults: Any, caplog: Any
) -> None:
    """A flipped bit, or a response that is interrupted on every attempt."""
    options = s3servers.need("seaweedfs").options(bucket)
    store = S3DeliveryStore(**{**options, "endpoint_url": proxy.endpoint_url}, attempts=2)
    with override_deliverystore(store):
        (row,) = deliver(group, file=DATA * 4).values()
        assert site.ask(row.content.url).body == DATA * 4
        for fault in faults:
            proxy.fault("GetObject", fault)
        reply = site.ask(row.content.url)
        proxy.forget()
    assert (reply.status, reply.is_whole) == (200, False)
    assert len(reply.body) < len(DATA) * 4
    assert repr(row.content.name) in caplog.text


@pytest.mark.servers
def test_truncated_object_breaks_the_transfer(
    site: Site, group: Any, bucket: str, caplog: Any
) -> None:
    """S3 itself considers the object complete."""
    server = s3servers.need("seaweedfs")
    with override_deliverystore(S3DeliveryStore(**server.options(bucket))):
        (row,) = deliver(group, file=DATA + DATA).values()
        server.client().put_object(Bucket=bucket, Key=row.content.name, Body=DATA)
        reply = site.ask(row.content.url)
    assert not reply.is_whole
    assert repr(row.content.name) in caplog.text


# -- Slow sources and clients --


class Paced(MemoryDeliveryStore):
    """A store whose streams wait for ``go`` after two chunks, and set ``closed`` at their end."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.closed = threading.Event()
        self.threads: set[int] = set()

    def _stream(self, name: str, start: int, stop: int | None) -> Iterator[bytes]:
        data = self.open(name).read()
        try:
            # Two chunks, because one is withheld until the next has arrived.
            for position in range(0, len(data), 50_000):
                if position >= 100_000:
                    assert self.go.wait(20)
                self.threads.add(threading.get_ident())
                yield data[position : position + 50_000]
        finally:
            self.closed.set()


@pytest.fixture
def paced() -> Iterator[Paced]:
    with override_deliverystore(Paced()) as store:
        yield store
        store.go.set()


def received(connection: Any, size: int) -> bytes:
    """Return the first bytes of a response's body."""
    data = b""
    while b"\r\n\r\n" not in data or len(data.split(b"\r\n\r\n", 1)[1]) < size:
        data += connection.recv(65_536)
    return bytes(data.split(b"\r\n\r\n", 1)[1])


def test_first_bytes_are_sent_before_the_last_are_read(
    site: Site, paced: Paced, group: Any
) -> None:
    """The server responds to other requests meanwhile."""
    rows = deliver(group, file=DATA, other=b"small")
    connection = site.begin(rows["file"].content.url)
    assert received(connection, 50_000)[:50_000] == DATA[:50_000]
    assert site.ask(rows["other"].content.url).body == b"small"
    paced.go.set()
    data = b""
    while len(data) < len(DATA) - 50_000:
        piece = connection.recv(65_536)
        assert piece
        data += piece
    connection.close()
    assert DATA.endswith(data[-100_000:])


def test_client_disconnect_closes_the_source(
    server: str, site: Site, paced: Paced, group: Any, accesses: Any
) -> None:
    """Most of the file is never read, and the outcome is logged."""
    if server == "asgi" and django.VERSION < (5, 0):
        pytest.skip("Django 4.2 does not notice under ASGI that a client has left.")
    (row,) = deliver(group, file=DATA * 20).values()
    connection = site.begin(row.content.url)
    received(connection, 50_000)
    connection.close()
    paced.go.set()
    assert paced.closed.wait(20)
    assert eventually(lambda: len(accesses()) == 1)
    assert accesses()[0].endswith("outcome=aborted")


@pytest.mark.parametrize("kind", ["disk", pytest.param("moto", marks=pytest.mark.servers)])
def test_client_disconnects_leak_no_descriptors(
    site: Site, group: Any, kind: str, tmp_path: Path, accesses: Any
) -> None:
    """Neither of files nor of connections to S3 and databases."""
    need(PROC)
    with override_deliverystore(make_store(kind, tmp_path / "store")):
        (row,) = deliver(group, file=DATA * 20).values()

        def leave(times: int) -> None:
            before = len(accesses())
            for _ in range(times):
                connection = site.begin(row.content.url, room=4096)
                received(connection, 1)
                connection.close()
            assert eventually(lambda: len(accesses()) == before + times)

        leave(3)
        # A pool may still grow, and threads of the server may still be running.
        limit = len(os.listdir("/proc/self/fd")) + 3
        leave(10)
        assert eventually(lambda: len(os.listdir("/proc/self/fd")) <= limit)


# -- Under ASGI --


def test_files_are_not_read_in_the_event_loop(candidate: Any, paced: Paced, group: Any) -> None:
    """A slow disk would block all requests of the process."""
    rows = deliver(group, file=DATA)
    paced.go.set()
    client = Client()
    client.force_login(candidate)
    cookie = client.cookies.output(attrs=[], header="").strip()
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "path": rows["file"].content.url,
        "query_string": b"",
        "headers": [(b"host", b"testserver"), (b"cookie", cookie.encode())],
    }

    async def download() -> bytes:
        # asgiref does not say what its methods return.
        communicator: Any = cast(Any, ApplicationCommunicator)(get_asgi_application(), scope)
        await communicator.send_input({"type": "http.request", "body": b"", "more_body": False})
        assert (await communicator.receive_output(20))["status"] == 200
        body: bytes = b""
        while True:
            message = await communicator.receive_output(20)
            body += message.get("body", b"")
            if not message.get("more_body"):
                await communicator.wait(20)
                return body

    assert asyncio.run(download()) == DATA
    assert threading.get_ident() not in paced.threads


# -- Rows without a size --


def test_file_without_recorded_size_uses_the_size_in_the_store(
    site: Site, disk: FsHierDeliveryStore, group: Any
) -> None:
    """Imported rows may have neither size nor checksum."""
    (row,) = deliver(group, file=DATA).values()
    type(row).objects.update(sha256="", size=None)
    assert site.ask(row.content.url).body == DATA
    disk.delete(row.content.name)
    assert site.ask(row.content.url).status == 404
    disk.save(row.content.name, ContentFile(b"other"))
    assert site.ask(row.content.url).body == b"other"
