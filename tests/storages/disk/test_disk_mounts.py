"""Disks that are full, read-only, missing, mounted over or swapped."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from django.core.files.base import ContentFile

from ...harness.disk import DATA, KEY, NAME, OTHER, plant, read, store_at, visible
from ...harness.machine import MOUNTS, need
from ...harness.mounting import remount, tmpfs


def test_full_disk_stores_nothing_and_a_later_save_succeeds(root: Path) -> None:
    """The space of the failed save is free again."""
    need(MOUNTS)
    with tmpfs(root, "256k"):
        store = store_at(root)
        content = ContentFile(bytes(1 << 20))
        with pytest.raises(OSError, match="No space left"):
            store.save(KEY, content)
        assert not content.closed
        assert visible(root) == []
        assert store.save(KEY, ContentFile(bytes(200_000))) == KEY
        assert store.size(KEY) == 200_000


def test_full_disk_keeps_stored_files(root: Path) -> None:
    need(MOUNTS)
    with tmpfs(root, "256k"):
        store = store_at(root)
        store.save(KEY, ContentFile(DATA))
        store.save(NAME, ContentFile(DATA))
        with pytest.raises(OSError, match="No space left"):
            store.save(KEY, ContentFile(bytes(1 << 20)))
        with pytest.raises(OSError, match="No space left"), store.open(NAME, "wb") as writer:
            writer.write(bytes(1 << 20))
        assert visible(root) == [KEY, NAME]
        assert read(store, KEY) == read(store, NAME) == DATA


def test_save_into_a_mount_below_the_root_is_rejected(root: Path) -> None:
    """Another file system cannot be linked into."""
    need(MOUNTS)
    with tmpfs(root / "0", "256k"):
        store = store_at(root)
        with pytest.raises(OSError, match="Another file system is mounted") as caught:
            store.save(KEY, ContentFile(DATA))
        assert caught.value.errno == errno.EXDEV
        assert visible(root) == []
        assert store.save("1/0/1000000/1", ContentFile(DATA)) == "1/0/1000000/1"


def test_rewrite_in_a_mount_below_the_root_keeps_old_bytes(root: Path) -> None:
    need(MOUNTS)
    with tmpfs(root / "avatars", "256k"):
        store = store_at(root)
        plant(root, NAME).write_bytes(b"old")
        exdev = pytest.raises(OSError, match="Another file system is mounted")
        with exdev as caught, store.open(NAME, "wb") as writer:
            writer.write(DATA)
        assert caught.value.errno == errno.EXDEV
        assert read(store, NAME) == b"old"


def test_read_only_store_reads_and_rejects_writes(root: Path) -> None:
    """It can be written again once it is remounted."""
    need(MOUNTS)
    with tmpfs(root, "256k"):
        store = store_at(root)
        store.save(KEY, ContentFile(DATA))
        remount(root, "ro")
        for operate in (lambda: store.save(OTHER, ContentFile(DATA)), lambda: store.delete(KEY)):
            with pytest.raises(OSError, match="Read-only file system"):
                operate()
        assert read(store, KEY) == DATA
        assert [entry.name for entry in store.scan()] == [KEY]
        remount(root, "rw")
        assert store.save(OTHER, ContentFile(DATA)) == OTHER


def test_missing_root_is_an_empty_store(root: Path) -> None:
    """Only a save creates it."""
    store = store_at(root / "deep" / "down")
    assert not store.exists(KEY)
    assert store.listdir("") == ([], [])
    assert list(store.scan()) == []
    with pytest.raises(FileNotFoundError):
        store.open(KEY)
    store.delete(KEY)
    assert not root.exists()
    assert store.save(KEY, ContentFile(DATA)) == KEY
    assert read(store, KEY) == DATA


def test_root_that_is_a_file_is_left_alone(root: Path) -> None:
    root.write_bytes(b"not a folder")
    with pytest.raises(NotADirectoryError):
        store_at(root).save(KEY, ContentFile(DATA))
    assert root.read_bytes() == b"not a folder"


def test_root_that_is_a_symlink_is_resolved_at_each_use(tmp_path: Path) -> None:
    """An administrator may swap the disk without a restart."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    link = tmp_path / "root"
    link.symlink_to("first")
    store = store_at(link)
    store.save(KEY, ContentFile(DATA))
    link.unlink()
    link.symlink_to("second")
    assert not store.exists(KEY)
    store.save(OTHER, ContentFile(DATA))
    assert visible(tmp_path / "first") == [KEY]
    assert visible(tmp_path / "second") == [OTHER]
