"""Never outside: symlinks, FIFOs, devices and hard links planted below the root."""

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


@contextmanager
def no_hang(seconds: int = 10) -> Iterator[None]:
    """Turn a call that blocks for ever into a failure."""

    def give_up(number: int, frame: object) -> None:
        raise AssertionError(f"it hung for {seconds} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder beside the root, with one file that no store may touch."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "17").write_bytes(b"not yours")
    return folder


def untouched(outside: Path) -> bool:
    return [path.name for path in outside.iterdir()] == ["17"] and (
        outside / "17"
    ).read_bytes() == b"not yours"


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
def test_a_planted_entry_is_not_read(
    root: Path, outside: Path, trap: Callable[[Path, Path], None], subtests: pytest.Subtests
) -> None:
    """A symlink, FIFO or device in place of a stored file is refused, at once."""
    trap(plant(root, KEY), outside)
    for act, read_it in READS.items():
        with subtests.test(act), no_hang(), pytest.raises(UnsafeEntry):
            read_it(store_at(root))


@TRAPS
def test_a_planted_entry_is_in_no_listing(
    root: Path, outside: Path, trap: Callable[[Path, Path], None]
) -> None:
    """Listings name stored files only, and what is no stored file does not exist."""
    store = store_at(root)
    store.save(OTHER, ContentFile(DATA))
    trap(plant(root, KEY), outside)
    with no_hang():
        assert not store.exists(KEY)
        assert store.listdir("0/1/1005") == ([], ["18"])
        assert [entry.name for entry in store.scan()] == [OTHER]


@TRAPS
def test_a_save_over_a_planted_entry_takes_another_name(
    root: Path, outside: Path, trap: Callable[[Path, Path], None]
) -> None:
    """The name is taken by the trap; nothing is written through it."""
    trap(plant(root, KEY), outside)
    store = store_at(root)
    with no_hang():
        told = store.save(KEY, ContentFile(DATA))
    assert told != KEY
    assert read(store, told) == DATA
    assert untouched(outside)


@TRAPS
def test_a_planted_entry_is_neither_deleted_nor_replaced(
    root: Path, outside: Path, trap: Callable[[Path, Path], None]
) -> None:
    """Whoever planted it takes it away; deleting and replacing through us is refused."""
    trap(plant(root, KEY), outside)
    trap(plant(root, NAME), outside)
    store = store_at(root)
    with no_hang():
        with pytest.raises(UnsafeEntry):
            store.delete(KEY)
        with pytest.raises(UnsafeEntry), store.open(NAME, "wb") as writer:
            writer.write(DATA)
    assert os.path.lexists(root / KEY)
    assert os.path.lexists(root / NAME)
    assert untouched(outside)


@pytest.mark.parametrize("level", ["0", "0/1", "0/1/1005"])
def test_a_planted_symlink_of_a_folder_leads_nowhere(
    root: Path, outside: Path, level: str
) -> None:
    """No part of a name is followed out of the root, to read, list, save or delete."""
    (outside / "1" / "1005").mkdir(parents=True)
    (outside / "1005").mkdir()
    for folder in ("1/1005", "1005", "."):
        (outside / folder / "17").write_bytes(b"not yours")
    before = sorted(outside.rglob("*"))
    plant(root, level).symlink_to(outside, target_is_directory=True)
    store = store_at(root)
    for read_it in READS.values():
        with pytest.raises(UnsafeEntry):
            read_it(store)
    for refused in (
        lambda: store.save(KEY, ContentFile(DATA)),
        lambda: store.save(OTHER, ContentFile(DATA)),
        lambda: store.delete(KEY),
    ):
        with pytest.raises(UnsafeEntry):
            refused()
    assert not store.exists(KEY)
    assert list(store.scan()) == []
    assert list(store.scan("0")) == [] if level != "0" else True
    folders, files = store.listdir(os.path.dirname(level))
    assert os.path.basename(level) not in folders + files
    assert sorted(outside.rglob("*")) == before
    assert (outside / "17").read_bytes() == b"not yours"


@pytest.mark.parametrize("planted", [".devilry-storage", ".devilry-storage/tmp"])
def test_the_stores_own_folder_as_a_symlink_is_refused(
    root: Path, outside: Path, planted: str
) -> None:
    """No temp file is written out of the root either."""
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
def test_temp_file_is_never_a_planted_entry(
    root: Path,
    outside: Path,
    trap: Callable[[Path, Path], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An entry under the name that a temp file would get is not opened."""
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
def test_entry_planted_after_the_look_is_not_read(
    root: Path,
    outside: Path,
    trap: Callable[[Path, Path], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A stored file is exchanged between the look at it and the opening."""
    store = store_at(root)
    store.save(KEY, ContentFile(DATA))
    really = Tree.stat_in

    def look_and_exchange(self: Tree, fd: int, leaf: str, name: str) -> os.stat_result:
        status = really(self, fd, leaf, name)
        (root / name).unlink()
        trap(root / name, outside)
        return status

    monkeypatch.setattr(Tree, "stat_in", look_and_exchange)
    with no_hang(), pytest.raises(OSError, match="symbolic links|Not touched"):
        store.open(KEY)


def test_a_hard_link_reads_as_the_file_that_it_is(root: Path, outside: Path) -> None:
    """Deleting our name leaves the other name its bytes."""
    os.link(outside / "17", plant(root, KEY))
    store = store_at(root)
    assert read(store, KEY) == b"not yours"
    store.delete(KEY)
    assert not store.exists(KEY)
    assert untouched(outside)


def test_writing_to_a_hard_link_leaves_the_other_name_its_bytes(root: Path, outside: Path) -> None:
    """Saving takes another name, and replacing an ordinary name replaces the link."""
    os.link(outside / "17", plant(root, KEY))
    os.link(outside / "17", plant(root, NAME))
    store = store_at(root)
    assert store.save(KEY, ContentFile(DATA)) != KEY
    with store.open(NAME, "wb") as writer:
        writer.write(DATA)
    assert read(store, NAME) == DATA
    assert read(store, KEY) == b"not yours"
    assert untouched(outside)


# -- Entries that are exchanged during a save --

TEMPS = ".devilry-storage/tmp"
FOREIGN = b"not what was saved"

Exchange = Callable[[Path, Path], None]
"""Puts something else in the place of an entry; gets its path and a folder outside."""


def nothing(path: Path, outside: Path) -> None:
    """Leave the place empty."""


def file(path: Path, outside: Path) -> None:
    # Made where a file was just removed, it may get the inode of that file.
    path.write_bytes(FOREIGN)


def folder(path: Path, outside: Path) -> None:
    path.mkdir()


def symlink_to_folder(path: Path, outside: Path) -> None:
    path.symlink_to(outside, target_is_directory=True)


EXCHANGES = [nothing, file, folder, symlink_to_file, dangling_symlink, hard_link, fifo]
FOLDER_EXCHANGES = [nothing, file, folder, symlink_to_folder, fifo]


def error_of(exchange: Exchange) -> type[OSError]:
    """Return what is raised: a file that was only removed, as a purge does, is not an attack."""
    return OSError if exchange is nothing else UnsafeEntry


def exchange_temp(root: Path, outside: Path, exchange: Exchange) -> None:
    (temp,) = (root / TEMPS).iterdir()
    temp.unlink()
    exchange(temp, outside)


class Exchanging(ContentFile):  # type: ignore[type-arg]  # not generic at run time
    """A content that calls back before and after its only chunk."""

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
    """Save DATA under KEY, and exchange something once at the step."""
    left = [exchange]

    def at(this: str) -> None:
        if this == step and left:
            left.pop()()

    really = os.link

    def link(*args: Any, **kwargs: Any) -> None:
        at("before the link")
        really(*args, **kwargs)
        at("after the link")

    monkeypatch.setattr(os, "link", link)
    content = Exchanging(lambda: at("after the open"), lambda: at("after the write"))
    with no_hang():
        return store.save(KEY, content)


@pytest.mark.parametrize("exchange", EXCHANGES)
@pytest.mark.parametrize("step", STEPS[:2])
def test_exchanged_temp_file_is_not_published(
    root: Path, outside: Path, step: str, exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The save raises, nothing gets the name, and what was planted stays where it is."""
    store = store_at(root)
    with pytest.raises(error_of(exchange), match="nothing is stored"):
        save_and_exchange(store, step, lambda: exchange_temp(root, outside, exchange), monkeypatch)
    assert visible(root) == []
    assert len(os.listdir(root / TEMPS)) == (exchange is not nothing)
    assert untouched(outside)


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_temp_file_exchanged_before_the_link_fails_the_save(
    root: Path, outside: Path, exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was linked is not the file that was written: an error, and it is left there."""
    store = store_at(root)
    with pytest.raises(error_of(exchange), match="exchanged|was removed"):
        save_and_exchange(
            store, "before the link", lambda: exchange_temp(root, outside, exchange), monkeypatch
        )
    assert visible(root) == ([] if exchange in {nothing, folder} else [KEY])
    assert len(os.listdir(root / TEMPS)) == (exchange is not nothing)
    assert untouched(outside)


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_temp_file_exchanged_after_the_link_is_left_alone(
    root: Path,
    outside: Path,
    exchange: Exchange,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The file has its name; what was planted may be the only name of some other file."""
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
def test_folder_of_temp_files_exchanged_during_a_save_is_not_entered_again(
    root: Path,
    outside: Path,
    step: str,
    level: str,
    exchange: Exchange,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The save goes on in the folder that it has opened."""
    store = store_at(root)

    def exchange_folder() -> None:
        (root / level).rename(root.parent / "aside")
        exchange(root / level, outside)

    assert save_and_exchange(store, step, exchange_folder, monkeypatch) == KEY
    assert read(store, KEY) == DATA
    assert [path for path in (root.parent / "aside").rglob("*") if path.is_file()] == []
    assert untouched(outside)


@pytest.mark.parametrize("exchange", [file, folder, symlink_to_file, dangling_symlink, fifo])
def test_entry_that_replaces_a_linked_file_fails_the_save(
    root: Path, outside: Path, exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has the name is not the file that was written; it is not deleted."""
    store = store_at(root)

    def exchange_file() -> None:
        (root / KEY).unlink()
        exchange(root / KEY, outside)

    with pytest.raises(UnsafeEntry, match="belongs to another file"):
        save_and_exchange(store, "after the link", exchange_file, monkeypatch)
    assert os.path.lexists(root / KEY)
    assert os.listdir(root / TEMPS) == []
    assert untouched(outside)


def test_removed_temp_file_is_not_called_unsafe(
    root: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A purge removes those of writers that take longer than the grace time."""
    store = store_at(root)
    with pytest.raises(OSError, match="Try again") as caught:
        save_and_exchange(
            store,
            "after the write",
            lambda: exchange_temp(root, outside, nothing),
            monkeypatch,
        )
    assert not isinstance(caught.value, (UnsafeEntry, FileNotFoundError))


def test_file_deleted_right_after_the_link_is_linked_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the delete had come before: a save that returns has its file."""
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
    """Replace NAME, and exchange something after the write, before or after the rename."""
    really = os.rename

    def rename(*args: Any, **kwargs: Any) -> None:
        monkeypatch.setattr(os, "rename", really)
        if step == "before the rename":
            exchange()
        really(*args, **kwargs)
        if step == "after the rename":
            exchange()

    monkeypatch.setattr(os, "rename", rename)
    with no_hang(), store.open(NAME, "wb") as writer:
        writer.write(DATA)
        if step == "after the write":
            exchange()


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_exchanged_temp_file_replaces_no_file(
    root: Path, outside: Path, exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old bytes stay, and so does what was planted."""
    store = store_at(root)
    store.save(NAME, ContentFile(b"old"))
    with pytest.raises(error_of(exchange), match="nothing is stored"):
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
def test_temp_file_exchanged_before_the_rename_is_an_error(
    root: Path, outside: Path, exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer does not report success for what it did not write."""
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


def test_file_moved_away_before_the_rename_is_an_error(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the writer wrote has another name, so that it was not another writer's rename."""
    store = store_at(root)

    def exchange() -> None:
        (temp,) = (root / TEMPS).iterdir()
        temp.rename(root / "aside")
        temp.write_bytes(FOREIGN)

    with pytest.raises(UnsafeEntry, match="belongs to another file"):
        rewrite_and_exchange(store, exchange, monkeypatch, step="before the rename")


def test_rewrites_at_once_both_succeed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last one wins: another writer's file under the name is not an error."""
    store = store_at(root)

    def rewrite() -> None:
        with store.open(NAME, "wb") as writer:
            writer.write(b"other")

    rewrite_and_exchange(store, rewrite, monkeypatch, step="after the rename")
    assert read(store, NAME) == b"other"


def test_delete_right_after_a_rewrite_is_not_an_error(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer had published its bytes."""
    store = store_at(root)
    rewrite_and_exchange(store, lambda: store.delete(NAME), monkeypatch, step="after the rename")
    assert not store.exists(NAME)
