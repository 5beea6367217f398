"""Files on disk that are removed together: their results, fsyncs and threads."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile

from devilry_storage.exceptions import InvalidName, UnsafeEntry, WrongSize
from devilry_storage.layout import HierLayout
from devilry_storage.storages import FsDeliveryStore, FsHierDeliveryStore

from ...harness.disk import DATA, KEY, OTHER, plant, store_at, visible
from ...harness.machine import PROC, need


def path_of(fd: int) -> str:
    """Return the path of a descriptor, also after its folder was removed."""
    return os.readlink(f"/proc/self/fd/{fd}").removesuffix(" (deleted)")


class Disk:
    """Records which folders would have an old entry after a power cut, and all fsyncs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        need(PROC)
        self.syncs: list[str] = []
        self.stale: set[str] = set()
        self.failing: set[str] = set()
        self._unlink, self._rmdir = os.unlink, os.rmdir
        for call in ("unlink", "rmdir", "fsync"):
            monkeypatch.setattr(os, call, getattr(self, call))

    def remove(self, path: Path) -> None:
        """Remove a file or folder as another process does."""
        (self._rmdir if path.is_dir() else self._unlink)(path)

    def unlink(self, name: str, *, dir_fd: int) -> None:
        self._unlink(name, dir_fd=dir_fd)
        self.stale.add(path_of(dir_fd))

    def rmdir(self, name: str, *, dir_fd: int) -> None:
        self._rmdir(name, dir_fd=dir_fd)
        # What was in the folder is gone as soon as the folder is.
        self.stale.discard(f"{path_of(dir_fd)}/{name}")
        self.stale.add(path_of(dir_fd))

    def fsync(self, fd: int) -> None:
        path = path_of(fd)
        self.syncs.append(path)
        if path in self.failing:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self.stale.discard(path)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def stored(root: Path, names: list[str]) -> FsHierDeliveryStore:
    """Create files without the store, and return a durable store."""
    for name in names:
        plant(root, name).write_bytes(DATA)
    return store_at(root, durable=True)


def keys(deliveries: int, files: int) -> list[str]:
    """Return the keys of files of deliveries, in two branches."""
    numbers = [delivery % 2 * 1000 + delivery // 2 for delivery in range(deliveries)]
    return [HierLayout().key(number, file) for number in numbers for file in range(files)]


@pytest.mark.parametrize(
    ("names", "kept", "syncs"),
    [
        # Folders that become empty cost one fsync of the folder above them.
        (keys(3, 3), [], {"0/0": 1, "0/1": 1}),
        (keys(1, 9), [], {"0/0": 1}),
        # A folder with other files costs one.
        (keys(3, 3), ["0/0/0/99"], {"0/0/0": 1, "0/0": 1, "0/1": 1}),
        # Ordinary folders are not removed.
        (["avatars/a", "avatars/b", "a/b/c"], [], {"avatars": 1, "a/b": 1}),
        (["top.txt", "other.txt"], [], {"": 1}),
    ],
)
def test_delete_many_syncs_each_folder_once(
    root: Path, disk: Disk, names: list[str], kept: list[str], syncs: dict[str, int]
) -> None:
    """Every removed entry is durable before the call returns."""
    store = stored(root, [*names, *kept])
    assert store.delete_many(reversed(names)) == {}
    assert visible(root) == kept
    assert disk.stale == set()
    assert sorted(disk.syncs) == sorted(str(root / folder) for folder in syncs)


def test_flat_store_syncs_its_top_once(root: Path, disk: Disk) -> None:
    names = [f"{delivery}/1" for delivery in range(10)]
    stored(root, names)
    assert FsDeliveryStore(root).delete_many(names) == {}
    assert disk.syncs == [str(root)]
    assert disk.stale == set()


@pytest.mark.parametrize("left", ["file", "empty folder", "neighbour", "nothing"])
def test_removal_after_a_crash_syncs_what_was_removed_before(
    root: Path, disk: Disk, left: str
) -> None:
    """The process that unlinked a file may have died before the fsync."""
    store = stored(root, [KEY] + [OTHER] * (left == "neighbour") + ["0/1/7/1"])
    if left != "file":
        disk.remove(root / KEY)
    if left == "nothing":
        disk.remove((root / KEY).parent)
    assert store.delete_many([KEY]) == {}
    folder = "0/1/1005" if left == "neighbour" else "0/1"
    assert disk.syncs == [str(root / folder)]
    assert visible(root) == [OTHER] * (left == "neighbour") + ["0/1/7/1"]
    assert (root / KEY).parent.exists() == (left == "neighbour")


def test_removal_syncs_a_folder_that_another_process_removed(
    root: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That process may die before its fsync."""
    store = stored(root, [KEY])

    def rmdir(name: str, *, dir_fd: int) -> None:
        disk.rmdir(name, dir_fd=dir_fd)
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)

    monkeypatch.setattr(os, "rmdir", rmdir)
    assert store.delete_many([KEY]) == {}
    assert disk.syncs == [str(root / "0/1")]


def test_failing_names_do_not_stop_the_others(
    root: Path, disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each failure is reported for its name only."""
    good = keys(300, 2)
    good.append("7/7/7007006/6")
    kept = ["0/0/4/99", "0/1/1001/99", "7/7/7007006/99"]
    store = stored(root, [*good, *kept, "0/0/0/7", "0/0/2/7", "7/7/7007007/7"])
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/1").write_bytes(b"not yours")
    (root / "0/0/0/8").symlink_to(tmp_path / "outside/1")
    (root / "0/0/700").symlink_to(tmp_path / "outside", target_is_directory=True)
    (root / "5").symlink_to(root / "0", target_is_directory=True)
    denied = os.unlink

    def unlink(name: str, *, dir_fd: int) -> None:
        if name == "7" and path_of(dir_fd).endswith("0/0/2"):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), name)
        denied(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", unlink)
    disk.failing = {str(root / "0/0/4"), str(root / "7/7")}
    bad: dict[str, type[Exception]] = {
        "../outside/1": InvalidName,
        "0/0/0/7": WrongSize,
        "0/0/0/8": UnsafeEntry,
        "0/0/700/1": UnsafeEntry,
        "5/0/0/1": UnsafeEntry,
        "0/0/2/7": PermissionError,
        # Removed, but not durably.
        "0/0/4/0": OSError,
        "0/0/4/1": OSError,
        "7/7/7007007/7": OSError,
    }
    missing = ["0/0/0/77", "0/0/999999/1", "9/9/9009009/1", "0/1/1001/99/1", f"{'x' * 300}/1"]
    sizes = dict.fromkeys(good, len(DATA)) | {"0/0/0/7": 1}
    failures = store.delete_many([*bad, *good, *missing], sizes=sizes)
    assert {name: type(failure) for name, failure in failures.items()} == bad
    # os.walk() does not enter the symlinks.
    left = [
        os.path.relpath(os.path.join(folder, file), root)
        for folder, _, files in os.walk(root)
        for file in files
    ]
    assert sorted(left) == sorted([*kept, "0/0/0/7", "0/0/0/8", "0/0/2/7"])
    assert (tmp_path / "outside/1").read_bytes() == b"not yours"
    assert disk.stale == disk.failing
    disk.failing.clear()
    again = store.delete_many(failures, sizes=sizes)
    assert set(again) == {name for name in bad if bad[name] is not OSError}
    assert disk.stale == set()


def test_delete_raises_the_failure(root: Path, disk: Disk) -> None:
    store = stored(root, [KEY])
    disk.failing = {str(root / "0/1")}
    with pytest.raises(OSError, match="Input/output error"):
        store.delete(KEY)
    disk.failing.clear()
    store.delete(KEY)
    assert disk.stale == set()


def test_delete_many_removes_in_several_threads(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They wait for the disk together."""
    names = [HierLayout().key(number * 1000, 1) for number in range(100)]
    store = stored(root, names)
    threads, together = set(), threading.Event()

    def fsync(fd: int) -> None:
        threads.add(threading.get_ident())
        if len(threads) > 1 or not together.wait(timeout=2):
            together.set()

    monkeypatch.setattr(os, "fsync", fsync)
    assert store.delete_many(names) == {}
    assert visible(root) == []
    assert len(threads) > 1


def test_delete_many_validates_in_the_thread_of_the_caller(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The layout or location may be that of the thread's tenant."""
    threads = set()
    original: Callable[..., bool] = FsHierDeliveryStore.is_key

    def is_key(self: FsHierDeliveryStore, name: str) -> bool:
        threads.add(threading.current_thread())
        return original(self, name)

    monkeypatch.setattr(FsHierDeliveryStore, "is_key", is_key)
    names = keys(200, 1)
    assert stored(root, names).delete_many(names) == {}
    assert threads == {threading.current_thread()}


def test_store_that_is_not_durable_removes_without_fsync(root: Path, disk: Disk) -> None:
    names: Any = keys(10, 2)
    stored(root, names)
    assert store_at(root).delete_many(names) == {}
    assert disk.syncs == []
    assert visible(root) == []


def test_file_saved_while_its_folder_is_removed_is_kept(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another file of the delivery is stored after the last one was unlinked."""
    store = stored(root, [KEY])
    original = os.rmdir

    def rmdir(name: str, *, dir_fd: int) -> None:
        monkeypatch.setattr(os, "rmdir", original)
        store.save(OTHER, ContentFile(DATA))
        original(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "rmdir", rmdir)
    assert store.delete_many([KEY]) == {}
    assert visible(root) == [OTHER]
