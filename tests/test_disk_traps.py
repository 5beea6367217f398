"""Never outside: symlinks, FIFOs, devices and hard links planted below the root."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.core.files.base import ContentFile

from devilry_storage.exceptions import UnsafeEntry
from devilry_storage.storages import FsHierDeliveryStore
from devilry_storage.storages.tree import Tree

from .disk import DATA, KEY, NAME, OTHER, plant, read, store_at, visible
from .machine import DEVICES, ZERO, ZERO_DEVICE, need


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
    with no_hang(), pytest.raises(OSError, match="symbolic links|Not a stored file"):
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
