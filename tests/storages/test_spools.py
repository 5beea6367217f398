"""Temporary files of spools and writers: whole, or an error where the disk is full."""

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

from devilry_storage.storages.spool import MEMORY, Spool
from devilry_storage.testing import MemoryDeliveryStore, PlainFileMeta
from devilry_storage.testing._support.disk import in_processes

CHUNK = 64 * 1024
ROOM = MEMORY // 2


class Cramped(io.FileIO):
    """A file on an almost full disk: the last write is short."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w+b")

    def write(self, data: Any) -> int:
        room = ROOM - self.tell()
        if room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(memoryview(data)[:room])


@pytest.fixture
def cramped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Create temporary files on an almost full disk."""
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **given: Cramped(tmp_path / "spool"))


class Halting(io.FileIO):
    """A file whose writes are short, as any write may be."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w+b")

    def write(self, data: Any) -> int:
        return super().write(memoryview(data)[:10_000])


def in_one_write(add: Callable[[bytes], object]) -> None:
    add(b"x" * (2 * MEMORY))


def in_chunks(add: Callable[[bytes], object]) -> None:
    for _ in range(MEMORY // CHUNK + 2):
        add(b"x" * CHUNK)


WRITES = pytest.mark.parametrize("write", [in_one_write, in_chunks])


@WRITES
@pytest.mark.usefixtures("cramped")
def test_full_disk_fails_the_spool(write: Callable[..., None]) -> None:
    """Even when the spool moves from memory to the disk."""
    with Spool(MEMORY) as spool, pytest.raises(OSError, match="No space left"):
        write(spool.write)


@WRITES
@pytest.mark.usefixtures("cramped")
def test_full_disk_fails_the_writer_and_stores_nothing(write: Callable[..., None]) -> None:
    """The row would have the size and SHA-256 of bytes that are not stored."""
    store = MemoryDeliveryStore()
    row = PlainFileMeta(store, 1005, 17)
    with pytest.raises(OSError, match="No space left"), store.write_open(row) as writer:
        write(writer.write)
    assert list(store.scan()) == []
    assert row.content is None


@WRITES
@pytest.mark.usefixtures("cramped")
def test_writer_with_a_failed_write_stores_nothing(write: Callable[..., None]) -> None:
    """A later write would leave a hole in the file."""
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
def test_writer_interrupted_in_a_write_stores_nothing(error: type[BaseException]) -> None:
    """The bytes may be written but not counted yet."""
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


@WRITES
@pytest.mark.parametrize("short_writes", [False, True])
def test_spool_returns_the_added_bytes(
    write: Callable[..., None], short_writes: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """From memory and from the disk. SpooledTemporaryFile would leave a hole at a short write."""
    if short_writes:
        monkeypatch.setattr(tempfile, "TemporaryFile", lambda **given: Halting(tmp_path / "spool"))
    added = []
    with Spool(MEMORY) as spool:

        def add(data: bytes) -> None:
            added.append(data)
            spool.write(data)

        add(b"first")
        write(add)
        assert b"".join(spool.chunks()) == b"".join(added)
        add(b"more")
        assert b"".join(spool.chunks()) == b"".join(added)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork()")
def test_child_that_exits_leaves_the_spool_alone() -> None:
    """Its copy has no buffer that would be written again."""
    store, data = MemoryDeliveryStore(), os.urandom(MEMORY + 1000)
    row = PlainFileMeta(store, 1005, 17)
    writer = store.write_open(row)
    writer.write(data[:MEMORY])
    writer.write(data[MEMORY:])
    assert in_processes(writer.discard) == [None]
    writer.close()
    assert b"".join(store.stream("0/1/1005/17", sha256=row.sha256)) == data


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork()")
def test_child_cannot_add_to_a_spool() -> None:
    """Parent and child share the file and its position."""
    data = os.urandom(MEMORY + 1000)
    with Spool(MEMORY, "essay.txt") as spool:
        spool.write(data)
        (found,) = in_processes(lambda: spool.write(b"of the child"))
        assert "belongs to process" in found["raised"]
        spool.write(b"more")
        assert b"".join(spool.chunks()) == data + b"more"
