"""Full, read-only, missing, mounted into, swapped: places on disk as administrators make them."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from django.core.files.base import ContentFile

from ...harness.disk import DATA, KEY, NAME, OTHER, plant, read, store_at, visible
from ...harness.machine import MOUNTS, need
from ...harness.mounting import remount, tmpfs


def test_a_full_disk_shows_nothing_and_a_later_save_works(root: Path) -> None:
    """ENOSPC reaches the caller, nothing is visible, the space is free again."""
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


def test_a_full_disk_keeps_what_is_there(root: Path) -> None:
    """A disk that fills up takes nothing from the files that are stored already."""
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


def test_a_mount_below_the_root_is_a_clear_error(root: Path) -> None:
    """Another file system below the root cannot be linked into: the error says so."""
    need(MOUNTS)
    with tmpfs(root / "0", "256k"):
        store = store_at(root)
        with pytest.raises(OSError, match="Another file system is mounted") as caught:
            store.save(KEY, ContentFile(DATA))
        assert caught.value.errno == errno.EXDEV
        assert visible(root) == []
        assert store.save("1/0/1000000/1", ContentFile(DATA)) == "1/0/1000000/1"


def test_a_file_in_a_mount_below_the_root_is_not_replaced_halfway(root: Path) -> None:
    """Replacing across file systems fails as clearly, and the old bytes stay."""
    need(MOUNTS)
    with tmpfs(root / "avatars", "256k"):
        store = store_at(root)
        plant(root, NAME).write_bytes(b"old")
        exdev = pytest.raises(OSError, match="Another file system is mounted")
        with exdev as caught, store.open(NAME, "wb") as writer:
            writer.write(DATA)
        assert caught.value.errno == errno.EXDEV
        assert read(store, NAME) == b"old"


def test_a_store_that_is_remounted_read_only_reads_and_refuses_to_write(root: Path) -> None:
    """EROFS reaches the caller of save and delete, nothing is lost, and writable works again."""
    need(MOUNTS)
    with tmpfs(root, "256k"):
        store = store_at(root)
        store.save(KEY, ContentFile(DATA))
        remount(root, "ro")
        for act in (lambda: store.save(OTHER, ContentFile(DATA)), lambda: store.delete(KEY)):
            with pytest.raises(OSError, match="Read-only file system"):
                act()
        assert read(store, KEY) == DATA
        assert [entry.name for entry in store.scan()] == [KEY]
        remount(root, "rw")
        assert store.save(OTHER, ContentFile(DATA)) == OTHER


def test_a_missing_root_is_an_empty_store_until_something_is_saved(root: Path) -> None:
    """Reading makes no root; the first save makes it."""
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


def test_a_root_that_is_a_file_is_an_error_that_leaves_it_alone(root: Path) -> None:
    """The store neither replaces nor reads a file that lies where the root should."""
    root.write_bytes(b"not a folder")
    with pytest.raises(NotADirectoryError):
        store_at(root).save(KEY, ContentFile(DATA))
    assert root.read_bytes() == b"not a folder"


def test_a_root_that_is_a_symlink_is_resolved_at_each_use(tmp_path: Path) -> None:
    """An administrator may swap the disk under a symlink without a restart."""
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
