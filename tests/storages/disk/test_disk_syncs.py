"""Files and folders that are synced before a call returns."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from django.core.files.base import ContentFile

from ...harness.disk import DATA, KEY, NAME, OTHER, folders_above, store_at
from ...harness.machine import PROC, need


class Syncs:
    """Replacement of os.fsync that records paths and fails once for each path in ``failing``."""

    def __init__(self) -> None:
        self.paths: list[Path] = []
        self.failing: list[Path] = []

    def __call__(self, fd: int) -> None:
        path = Path(f"/proc/self/fd/{fd}").readlink()
        if path in self.failing:
            self.failing.remove(path)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self.paths.append(path)


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch) -> Syncs:
    need(PROC)
    syncs = Syncs()
    monkeypatch.setattr(os, "fsync", syncs)
    return syncs


def test_save_syncs_the_file_and_its_new_folders(root: Path, syncs: Syncs) -> None:
    """The parent of a new root, too. A second save syncs only its own folder."""
    store = store_at(root, durable=True)
    store.save(KEY, ContentFile(DATA))
    assert {root.parent, root, *folders_above(root, KEY)} <= set(syncs.paths)
    assert any(path.parent == root / ".devilry-storage" / "tmp" for path in syncs.paths)
    syncs.paths.clear()
    store.save(OTHER, ContentFile(DATA))
    file, folder = syncs.paths
    assert file.parent == root / ".devilry-storage" / "tmp"
    assert folder == root / "0/1/1005"


def test_delete_and_rewrite_sync_the_folder(root: Path, syncs: Syncs) -> None:
    """After a power cut, no deleted file and no old bytes are back."""
    store = store_at(root, durable=True)
    store.save(KEY, ContentFile(DATA))
    store.save(NAME, ContentFile(DATA))
    syncs.paths.clear()
    store.delete(KEY)
    assert syncs.paths == [root / "0/1"]  # which had the folder, which is gone
    syncs.paths.clear()
    with store.open(NAME, "wb") as writer:
        writer.write(b"new")
    assert syncs.paths[-1] == root / "avatars"


def test_duplicate_syncs_the_folder_of_the_new_name(root: Path, syncs: Syncs) -> None:
    store = store_at(root, durable=True)
    store.save(NAME, ContentFile(DATA))
    store.save(KEY, ContentFile(DATA))
    syncs.paths.clear()
    store.duplicate(NAME, OTHER)
    assert syncs.paths == [root / "0/1/1005"]


@pytest.mark.parametrize("folder", ["", "0", "0/1"])
def test_retry_syncs_a_folder_whose_sync_failed(root: Path, syncs: Syncs, folder: str) -> None:
    """The folder exists, but its entry may not be on the disk."""
    root.mkdir()
    store = store_at(root, durable=True)
    store.save("9/9/9999999/1", ContentFile(DATA))
    syncs.paths.clear()
    syncs.failing = [root / folder]
    with pytest.raises(OSError, match="Input/output error"):
        store.save(KEY, ContentFile(DATA))
    assert store.save(KEY, ContentFile(DATA)) == KEY
    assert root / folder in syncs.paths


def test_store_that_is_not_durable_syncs_nothing(root: Path, syncs: Syncs) -> None:
    store = store_at(root)
    store.save(KEY, ContentFile(DATA))
    store.delete(KEY)
    assert syncs.paths == []
