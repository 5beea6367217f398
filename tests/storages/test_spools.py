"""What waits in a temporary file is whole, or its writer is told that there was no room."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from devilry_storage.storages import MemoryDeliveryStore
from devilry_storage.storages.spool import MEMORY, Spool
from devilry_storage.testing import PlainFileMeta
from devilry_storage.testing._support.disk import in_processes

CHUNK = 64 * 1024
ROOM = MEMORY // 2


class Cramped(io.FileIO):
    """A file on a disk that has little room: the last write that fits in part takes that part."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w+b")

    def write(self, data: Any) -> int:
        room = ROOM - self.tell()
        if room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(memoryview(data)[:room])


@pytest.fixture
def cramped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let every temporary file lie on such a disk, as the system's full /tmp would be."""
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **given: Cramped(tmp_path / "spool"))


class Halting(io.FileIO):
    """A file of which each write takes a part of what it is given, as any write may."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w+b")

    def write(self, data: Any) -> int:
        return super().write(memoryview(data)[:10_000])


def in_one_write(add: Callable[[bytes], object]) -> None:
    add(b"x" * (2 * MEMORY))


def in_chunks(add: Callable[[bytes], object]) -> None:
    for _ in range(MEMORY // CHUNK + 2):
        add(b"x" * CHUNK)


WAYS = pytest.mark.parametrize("write", [in_one_write, in_chunks])


@WAYS
@pytest.mark.usefixtures("cramped")
def test_no_room_for_a_spool_is_an_error(write: Callable[..., None]) -> None:
    """Also at the moment when it moves from memory to the disk."""
    with Spool(MEMORY) as spool, pytest.raises(OSError, match="No space left"):
        write(spool.add)


@WAYS
@pytest.mark.usefixtures("cramped")
def test_no_room_for_a_writer_stores_nothing(write: Callable[..., None]) -> None:
    """Else the row would know a size and a SHA-256 of bytes that are nowhere."""
    store = MemoryDeliveryStore()
    row = PlainFileMeta(store, 1005, 17)
    with pytest.raises(OSError, match="No space left"), store.write_open(row) as writer:
        write(writer.write)
    assert list(store.scan()) == []
    assert row.content is None


@WAYS
@pytest.mark.usefixtures("cramped")
def test_a_writer_whose_write_failed_stores_nothing_whatever_follows(
    write: Callable[..., None],
) -> None:
    """Who goes on after the error would store a file with a hole."""
    store = MemoryDeliveryStore()
    row = PlainFileMeta(store, 1005, 17)
    writer = store.write_open(row)
    with pytest.raises(OSError, match="No space left"):
        write(writer.write)
    with suppress(OSError):
        writer.write(b"more")
    with pytest.raises(OSError, match="Cannot store '0/1/1005/17', because a write failed"):
        writer.close()
    assert list(store.scan()) == []


@pytest.mark.parametrize("error", [TimeoutError, KeyboardInterrupt])
def test_a_writer_that_was_interrupted_in_a_write_stores_nothing(
    error: type[BaseException],
) -> None:
    """The bytes may be there already, but not be counted yet: a task's time limit, a signal."""
    store = MemoryDeliveryStore()
    row = PlainFileMeta(store, 1005, 17)
    writer = store.write_open(row)
    writer.write(b"counted")

    class Interrupted:
        def update(self, data: bytes) -> None:
            raise error("time is over")

        def hexdigest(self) -> str:
            return hashlib.sha256(b"counted").hexdigest()

    writer._hash = Interrupted()  # type: ignore[assignment]
    with pytest.raises(error):
        writer.write(b"not counted")
    with pytest.raises(OSError, match="because a write failed"):
        writer.close()
    assert list(store.scan()) == []


@WAYS
def test_a_spool_gives_back_what_a_disk_took_in_parts(
    write: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also what moved there from memory: SpooledTemporaryFile would leave a hole."""
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **given: Halting(tmp_path / "spool"))
    added = []
    with Spool(MEMORY) as spool:

        def add(data: bytes) -> None:
            added.append(data)
            spool.add(data)

        spool.add(b"first")
        write(add)
        assert b"".join(spool.chunks()) == b"".join([b"first", *added])


@WAYS
def test_a_spool_gives_back_what_was_added(write: Callable[..., None]) -> None:
    """From memory and from the disk."""
    added = []
    with Spool(MEMORY) as spool:

        def add(data: bytes) -> None:
            added.append(data)
            spool.add(data)

        write(add)
        assert b"".join(spool.chunks()) == b"".join(added)
        spool.add(b"more")
        assert b"".join(spool.chunks()) == b"".join([*added, b"more"])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork()")
def test_forked_child_that_ends_leaves_a_spool_on_disk_alone() -> None:
    """Its copy of the writer has nothing in it that would be written a second time."""
    store, data = MemoryDeliveryStore(), os.urandom(MEMORY + 1000)
    row = PlainFileMeta(store, 1005, 17)
    writer = store.write_open(row)
    writer.write(data[:MEMORY])
    writer.write(data[MEMORY:])
    assert in_processes(writer.discard) == [None]
    writer.close()
    assert b"".join(store.stream("0/1/1005/17", sha256=row.sha256)) == data


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork()")
def test_forked_child_cannot_add_to_a_spool() -> None:
    """Parent and child share the file on disk, and the position in it."""
    data = os.urandom(MEMORY + 1000)
    with Spool(MEMORY, "essay.txt") as spool:
        spool.add(data)
        (found,) = in_processes(lambda: spool.add(b"of the child"))
        assert "belongs to process" in found["raised"]
        spool.add(b"more")
        assert b"".join(spool.chunks()) == data + b"more"
