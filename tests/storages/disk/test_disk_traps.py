"""Entries that another program plants in a store on disk: each is an UnsafeEntry.

What any store on disk does with them is tested by the conformance suite.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile

from devilry_storage.exceptions import UnsafeEntry
from devilry_storage.storages import FsHierDeliveryStore
from devilry_storage.storages.tree import Tree

from ...harness.disk import DATA, KEY, NAME, OTHER, plant, read, store_at, visible
from ...harness.machine import DEVICES, ZERO, ZERO_DEVICE, need

Trap = Callable[[Path, Path], None]
"""Create an entry at a path, which may lead to a folder outside of the store."""


@contextmanager
def no_hang(seconds: int = 10) -> Iterator[None]:
    """Fail if the block hangs, as at a FIFO."""

    def give_up(number: int, frame: object) -> None:
        raise AssertionError(f"blocked for {seconds} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """Return a folder beside the root with one file, which must not change."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "17").write_bytes(b"not yours")
    return folder


def untouched(outside: Path) -> bool:
    return {path.name: path.read_bytes() for path in outside.iterdir()} == {"17": b"not yours"}


def symlink_to_file(path: Path, outside: Path) -> None:
    path.symlink_to(outside / "17")


def dangling_symlink(path: Path, outside: Path) -> None:
    path.symlink_to(outside / "not-there")


def fifo(path: Path, outside: Path) -> None:
    os.mkfifo(path)


def device(path: Path, outside: Path) -> None:
    need(DEVICES)
    os.mknod(path, ZERO, ZERO_DEVICE)


TRAPS = pytest.mark.parametrize("trap", [symlink_to_file, dangling_symlink, fifo, device])
READS: dict[str, Callable[[FsHierDeliveryStore], object]] = {
    "open": lambda store: store.open(KEY),
    "stream": lambda store: list(store.stream(KEY)),
    "size": lambda store: store.size(KEY),
    "get_modified_time": lambda store: store.get_modified_time(KEY),
    "get_created_time": lambda store: store.get_created_time(KEY),
    "get_accessed_time": lambda store: store.get_accessed_time(KEY),
}


@TRAPS
def test_planted_entry_is_unsafe(
    root: Path, outside: Path, trap: Trap, subtests: pytest.Subtests
) -> None:
    """It is not read, listed, deleted or replaced, and a save takes another name."""
    store = store_at(root)
    store.save(OTHER, ContentFile(DATA))
    trap(plant(root, KEY), outside)
    trap(plant(root, NAME), outside)
    for method, read_from in READS.items():
        with subtests.test(method), no_hang(), pytest.raises(UnsafeEntry):
            read_from(store)
    with no_hang():
        assert not store.exists(KEY)
        assert store.listdir("0/1/1005") == ([], ["18"])
        assert [entry.name for entry in store.scan()] == [OTHER]
        with pytest.raises(UnsafeEntry):
            store.delete(KEY)
        with pytest.raises(UnsafeEntry), store.open(NAME, "wb") as writer:
            writer.write(DATA)
        alternative = store.save(KEY, ContentFile(DATA))
    assert alternative != KEY
    assert read(store, alternative) == DATA
    assert os.path.lexists(root / KEY)
    assert os.path.lexists(root / NAME)
    assert untouched(outside)


@pytest.mark.parametrize("level", ["0", "0/1", "0/1/1005"])
def test_symlinked_folder_at_any_level_is_unsafe(root: Path, tmp_path: Path, level: str) -> None:
    """No part of a name is followed out of the root."""
    outside = tmp_path / "outside"
    victim = plant(outside, KEY.removeprefix(f"{level}/"))
    victim.write_bytes(b"not yours")
    plant(root, level).symlink_to(outside, target_is_directory=True)
    store = store_at(root)
    operations: tuple[Callable[[FsHierDeliveryStore], object], ...] = (
        *READS.values(),
        lambda store: store.save(KEY, ContentFile(DATA)),
        lambda store: store.save(OTHER, ContentFile(DATA)),
        lambda store: store.delete(KEY),
    )
    for operate in operations:
        with pytest.raises(UnsafeEntry):
            operate(store)
    assert not store.exists(KEY)
    assert list(store.scan()) == []
    assert store.listdir(os.path.dirname(level)) == ([], [])
    assert [path for path in outside.rglob("*") if path.is_file()] == [victim]
    assert victim.read_bytes() == b"not yours"


@pytest.mark.parametrize("planted", [".devilry-storage", ".devilry-storage/tmp"])
def test_symlinked_temp_folder_is_refused(root: Path, outside: Path, planted: str) -> None:
    """No temp file is written outside of the root."""
    plant(root, planted).symlink_to(outside, target_is_directory=True)
    store = store_at(root)
    with pytest.raises(UnsafeEntry):
        store.save(KEY, ContentFile(DATA))
    with pytest.raises(UnsafeEntry), store.open(NAME, "wb") as writer:
        writer.write(DATA)
    assert untouched(outside)
    assert visible(root) in ([], [planted])


def hard_link(path: Path, outside: Path) -> None:
    os.link(outside / "17", path)


@pytest.mark.parametrize("trap", [hard_link, symlink_to_file, dangling_symlink])
def test_save_does_not_open_planted_temp_files(
    root: Path, outside: Path, trap: Trap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name of the temp file exists already."""
    monkeypatch.setattr("secrets.token_hex", lambda length: "guessed")
    trap(plant(root, ".devilry-storage/tmp/guessed"), outside)
    store = store_at(root)
    with pytest.raises(FileExistsError):
        store.save(KEY, ContentFile(DATA))
    with pytest.raises(FileExistsError):
        store.open(NAME, "wb")
    assert untouched(outside)
    assert visible(root) == []


@pytest.mark.parametrize("trap", [symlink_to_file, fifo, device])
def test_entry_planted_between_stat_and_open_is_not_read(
    root: Path, outside: Path, trap: Trap, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_at(root)
    store.save(KEY, ContentFile(DATA))
    stat_in = Tree.stat_in

    def stat_and_exchange(self: Tree, fd: int, leaf: str, name: str) -> os.stat_result:
        status = stat_in(self, fd, leaf, name)
        (root / name).unlink()
        trap(root / name, outside)
        return status

    monkeypatch.setattr(Tree, "stat_in", stat_and_exchange)
    with no_hang(), pytest.raises(OSError, match="symbolic links|Not touched"):
        store.open(KEY)


@pytest.mark.parametrize("exchange", ["nothing", "file", "symlink"])
def test_scan_does_not_enter_folders_that_are_exchanged(
    root: Path, outside: Path, exchange: str
) -> None:
    """They are exchanged after the folder above them was read. The others are scanned."""
    store = store_at(root)
    store.save("0/first", ContentFile(DATA))
    names = {store.save(f"0/{folder}/file", ContentFile(DATA)) for folder in range(5)}
    found = store.scan()
    assert next(found).name == "0/first"
    exchanged = next(name for name in os.listdir(root / "0") if name != "first")
    (root / "0" / exchanged).rename(root.parent / "aside")
    if exchange == "file":
        (root / "0" / exchanged).write_bytes(DATA)
    if exchange == "symlink":
        (root / "0" / exchanged).symlink_to(outside, target_is_directory=True)
        with pytest.raises(UnsafeEntry):
            next(found)
    else:
        assert {entry.name for entry in found} == names - {f"0/{exchanged}/file"}


# -- Entries that are exchanged during a save --

TEMPS = ".devilry-storage/tmp"
FOREIGN = b"not what was saved"


def nothing(path: Path, outside: Path) -> None:
    """Leave the name free."""


def file(path: Path, outside: Path) -> None:
    # Made where a file was just removed, it may get the inode of that file.
    path.write_bytes(FOREIGN)


def folder(path: Path, outside: Path) -> None:
    path.mkdir()


def symlink_to_folder(path: Path, outside: Path) -> None:
    path.symlink_to(outside, target_is_directory=True)


EXCHANGES = [nothing, file, folder, symlink_to_file, dangling_symlink, hard_link, fifo]
FOLDER_EXCHANGES = [nothing, file, folder, symlink_to_folder, fifo]


def exchange_temp(root: Path, outside: Path, exchange: Trap) -> None:
    (temp,) = (root / TEMPS).iterdir()
    temp.unlink()
    exchange(temp, outside)


class Exchanging(ContentFile):  # type: ignore[type-arg]  # not generic at run time
    """Content that calls a function before and after its only chunk."""

    def __init__(self, before: Callable[[], object], after: Callable[[], object]) -> None:
        super().__init__(DATA)
        self._before, self._after = before, after

    def chunks(self, chunk_size: int | None = None) -> Iterator[Any]:
        self._before()
        yield DATA
        self._after()


STEPS = ["after the open", "after the write", "before the link", "after the link"]


def save_and_exchange(
    store: FsHierDeliveryStore,
    step: str,
    exchange: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    """Save DATA under KEY and call ``exchange`` at the step of the first attempt."""
    pending, original = [exchange], os.link

    def at(reached: str) -> None:
        if reached == step and pending:
            pending.pop()()

    def link(*args: Any, **kwargs: Any) -> None:
        at("before the link")
        original(*args, **kwargs)
        at("after the link")

    monkeypatch.setattr(os, "link", link)
    content = Exchanging(lambda: at("after the open"), lambda: at("after the write"))
    with no_hang():
        return store.save(KEY, content)


@pytest.mark.parametrize("exchange", EXCHANGES)
@pytest.mark.parametrize("step", STEPS[:3])
def test_exchanged_temp_file_fails_the_save(
    root: Path, outside: Path, step: str, exchange: Trap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A planted entry is not removed. One that was linked keeps the name, but is an error."""
    store, is_linked = store_at(root), step == STEPS[2]
    error = pytest.raises(
        OSError if exchange is nothing else UnsafeEntry,
        match="exchanged|was removed" if is_linked else "nothing is stored",
    )
    with error as caught:
        save_and_exchange(store, step, lambda: exchange_temp(root, outside, exchange), monkeypatch)
    if exchange is nothing:
        assert not isinstance(caught.value, (UnsafeEntry, FileNotFoundError))
        assert is_linked or "Try again" in str(caught.value)
    assert visible(root) == ([KEY] if is_linked and exchange not in {nothing, folder} else [])
    assert len(os.listdir(root / TEMPS)) == (exchange is not nothing)
    assert untouched(outside)


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_temp_file_exchanged_after_the_link_is_kept(
    root: Path,
    outside: Path,
    exchange: Trap,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The save succeeds. The planted entry may be the only name of another file."""
    store = store_at(root)
    with caplog.at_level(logging.WARNING, "devilry_storage"):
        saved = save_and_exchange(
            store, "after the link", lambda: exchange_temp(root, outside, exchange), monkeypatch
        )
    assert saved == KEY
    assert read(store, KEY) == DATA
    assert len(os.listdir(root / TEMPS)) == (exchange is not nothing)
    assert untouched(outside)
    assert "Temp file" in caplog.text


@pytest.mark.parametrize("exchange", FOLDER_EXCHANGES)
@pytest.mark.parametrize("level", [".devilry-storage", TEMPS])
@pytest.mark.parametrize("step", STEPS)
def test_save_keeps_using_an_exchanged_temp_folder(
    root: Path,
    outside: Path,
    step: str,
    level: str,
    exchange: Trap,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The folder is opened once."""
    store = store_at(root)

    def exchange_folder() -> None:
        (root / level).rename(root.parent / "aside")
        exchange(root / level, outside)

    assert save_and_exchange(store, step, exchange_folder, monkeypatch) == KEY
    assert read(store, KEY) == DATA
    assert [path for path in (root.parent / "aside").rglob("*") if path.is_file()] == []
    assert untouched(outside)


@pytest.mark.parametrize("exchange", [file, folder, symlink_to_file, dangling_symlink, fifo])
def test_entry_that_replaces_the_linked_file_fails_the_save(
    root: Path, outside: Path, exchange: Trap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name leads to another file. That entry is not deleted."""
    store = store_at(root)

    def exchange_file() -> None:
        (root / KEY).unlink()
        exchange(root / KEY, outside)

    with pytest.raises(UnsafeEntry, match="belongs to another file"):
        save_and_exchange(store, "after the link", exchange_file, monkeypatch)
    assert os.path.lexists(root / KEY)
    assert os.listdir(root / TEMPS) == []
    assert untouched(outside)


def test_file_deleted_after_the_link_is_linked_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the delete had come first: a save that returns has stored its file."""
    store = store_at(root)
    assert save_and_exchange(store, "after the link", (root / KEY).unlink, monkeypatch) == KEY
    assert read(store, KEY) == DATA


def rewrite_and_exchange(
    store: FsHierDeliveryStore,
    exchange: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    *,
    step: str,
) -> None:
    """Rewrite NAME and call ``exchange`` at the step."""
    original = os.rename

    def rename(*args: Any, **kwargs: Any) -> None:
        monkeypatch.setattr(os, "rename", original)
        if step == "before the rename":
            exchange()
        original(*args, **kwargs)
        if step == "after the rename":
            exchange()

    monkeypatch.setattr(os, "rename", rename)
    with no_hang(), store.open(NAME, "wb") as writer:
        writer.write(DATA)
        if step == "after the write":
            exchange()


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_rewrite_does_not_publish_exchanged_temp_files(
    root: Path, outside: Path, exchange: Trap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old bytes are kept, and so is the planted entry."""
    store = store_at(root)
    store.save(NAME, ContentFile(b"old"))
    error = OSError if exchange is nothing else UnsafeEntry
    with pytest.raises(error, match="nothing is stored"):
        rewrite_and_exchange(
            store,
            lambda: exchange_temp(root, outside, exchange),
            monkeypatch,
            step="after the write",
        )
    assert read(store, NAME) == b"old"
    assert len(os.listdir(root / TEMPS)) == (exchange is not nothing)
    assert untouched(outside)


@pytest.mark.parametrize("exchange", [symlink_to_file, dangling_symlink, hard_link, fifo])
def test_temp_file_exchanged_before_the_rename_fails_the_rewrite(
    root: Path, outside: Path, exchange: Trap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer does not report success for bytes that it did not write."""
    store = store_at(root)
    with pytest.raises(UnsafeEntry, match="belongs to another file"):
        rewrite_and_exchange(
            store,
            lambda: exchange_temp(root, outside, exchange),
            monkeypatch,
            step="before the rename",
        )
    assert os.path.lexists(root / NAME)
    assert untouched(outside)


def test_temp_file_moved_before_the_rename_fails_the_rewrite(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The written file has another name, so it was not replaced by another writer."""
    store = store_at(root)

    def exchange() -> None:
        (temp,) = (root / TEMPS).iterdir()
        temp.rename(root / "aside")
        temp.write_bytes(FOREIGN)

    with pytest.raises(UnsafeEntry, match="belongs to another file"):
        rewrite_and_exchange(store, exchange, monkeypatch, step="before the rename")


def test_concurrent_rewrites_both_succeed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last one wins: another writer's file under the name is not an error."""
    store = store_at(root)

    def rewrite() -> None:
        with store.open(NAME, "wb") as writer:
            writer.write(b"other")

    rewrite_and_exchange(store, rewrite, monkeypatch, step="after the rename")
    assert read(store, NAME) == b"other"


def test_delete_after_a_rewrite_is_not_an_error(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer had published its bytes."""
    store = store_at(root)
    rewrite_and_exchange(store, lambda: store.delete(NAME), monkeypatch, step="after the rename")
    assert not store.exists(NAME)
