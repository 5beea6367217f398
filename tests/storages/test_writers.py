"""Writers seek, read and truncate like open files."""

from __future__ import annotations

import hashlib
import io
import random
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from devilry_storage.storages import DeliveryStoreMixin, FsHierDeliveryStore
from devilry_storage.storages.spool import MEMORY
from devilry_storage.testing import MemoryDeliveryStore, PlainFileMeta

STORES: dict[str, Callable[[Path], DeliveryStoreMixin]] = {
    "disk": lambda root: FsHierDeliveryStore(root, durable=False),
    "memory": lambda root: MemoryDeliveryStore(),
}
every_store = pytest.mark.parametrize("make", STORES.values(), ids=list(STORES))


def apply(file: Any, chosen: random.Random, longest: int) -> list[object]:
    """Do the same to each file, and return what it returned."""
    results: list[object] = []
    for _ in range(30):
        match chosen.randrange(7):
            case 0 | 1 | 2:
                results.append(file.write(chosen.randbytes(chosen.randrange(longest))))
            case 3:
                results.append(file.seek(chosen.randrange(2 * longest)))
            case 4:
                results.append(file.seek(0, io.SEEK_END))
            case 5:
                results.append(file.read(chosen.randrange(longest)))
            case 6:
                results.append(file.truncate(chosen.randrange(3 * longest)))
        results.append(file.tell())
    return results


@every_store
def test_writer_behaves_like_a_file(
    make: Callable[[Path], DeliveryStoreMixin], tmp_path: Path, subtests: pytest.Subtests
) -> None:
    """Size and SHA-256 are those of the bytes that are stored, in memory and on disk."""
    store = make(tmp_path / "store")
    for seed, longest in enumerate([50] * 20 + [MEMORY // 4] * 6):
        with subtests.test(seed=seed):
            expected = (tmp_path / "expected").open("w+b")
            row = PlainFileMeta(store, 1, seed)
            with expected, store.write_open(row) as writer:
                assert apply(writer, random.Random(seed), longest) == apply(
                    expected, random.Random(seed), longest
                )
                expected.seek(0)
                data = expected.read()
            with store.read_open(row) as file:
                assert file.read() == data
            digest = hashlib.sha256(data).hexdigest()
            assert (row.size, row.sha256) == (len(data), digest)
            assert (writer.size, writer.sha256) == (len(data), digest)


@every_store
def test_truncated_writer_records_the_final_bytes(
    make: Callable[[Path], DeliveryStoreMixin], tmp_path: Path
) -> None:
    store = make(tmp_path / "store")
    for number, (size, data) in enumerate([(1, b"a"), (5, b"abc\0\0"), (0, b"")]):
        row = PlainFileMeta(store, 1, number)
        with store.write_open(row) as writer:
            writer.write(b"abc")
            assert writer.truncate(size) == size
        assert (row.size, row.sha256) == (size, hashlib.sha256(data).hexdigest())
        assert b"".join(store.stream(str(row.content))) == data


@every_store
@pytest.mark.parametrize("method", ["seek", "read", "truncate"])
def test_writer_stores_nothing_else_after_an_interruption(
    method: str,
    make: Callable[[Path], DeliveryStoreMixin],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The sink may have moved or cut the file already."""
    store = make(tmp_path / "store")
    writer: Any = store.open("a.txt", "wb")
    writer.write(b"abcdef")
    real = getattr(writer.sink, method)

    def interrupted(sink: object, number: int) -> None:
        real(number)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(type(writer.sink), method, interrupted)
        writer.seek(1)
        writer.truncate(2) if method == "truncate" else writer.read(2)
    if method == "truncate":
        with pytest.raises(OSError, match="because a write failed"):
            writer.close()
        assert not store.exists("a.txt")
        return
    # Where the sink was before the interrupted call.
    position, expected = {"seek": (6, b"abcdefX"), "read": (1, b"aXcdef")}[method]
    writer.seek(position)
    writer.write(b"X")
    writer.close()
    assert b"".join(store.stream("a.txt")) == expected


def test_spool_keeps_its_position_when_it_moves_to_the_disk() -> None:
    """The write that exceeds the memory begins before the end."""
    store = MemoryDeliveryStore()
    with store.open("a.bin", "wb") as writer:
        writer.write(b"a" * MEMORY)
        writer.seek(MEMORY - 1)
        writer.write(b"bb")
    assert b"".join(store.stream("a.bin")) == b"a" * (MEMORY - 1) + b"bb"


@every_store
def test_formats_that_seek_can_be_written(
    make: Callable[[Path], DeliveryStoreMixin], tmp_path: Path
) -> None:
    """Such as a sound whose header is corrected at the end."""
    store = make(tmp_path / "store")
    with store.open("sound.wav", "wb") as writer, wave.open(writer, "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        for _ in range(3):
            sound.writeframes(b"\0\1" * 100)
    with store.open("sound.wav") as file, wave.open(file) as sound:
        assert sound.getnframes() == 300


@every_store
def test_misused_writer_raises(make: Callable[[Path], DeliveryStoreMixin], tmp_path: Path) -> None:
    store = make(tmp_path / "store")
    with store.open("a.txt", "w") as writer:
        writer.write("text")
        assert not writer.readable()
        with pytest.raises(io.UnsupportedOperation):
            writer.read()
        with pytest.raises(ValueError, match="Cannot seek to -1"):
            writer.seek(-1)
        with pytest.raises(ValueError, match="Cannot seek with whence 7"):
            writer.seek(0, 7)
        with pytest.raises(io.UnsupportedOperation):
            writer.fileno()
    for call in (writer.read, writer.truncate, lambda: writer.seek(0)):
        with pytest.raises(ValueError, match="is closed"):
            call()
