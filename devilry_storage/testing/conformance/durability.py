"""Promise 3 on disk: files and folders are fsynced before a call returns."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from .._support.case import needs, on_disk
from .._support.disk import DiskCase


class DurabilityCases(DiskCase):
    """The files and folders that a call fsyncs."""

    @contextmanager
    def synced(self) -> Iterator[list[int]]:
        """Record the inodes that are fsynced inside the block, in order."""
        inodes: list[int] = []
        fsync = os.fsync

        def recording(fd: int) -> None:
            inodes.append(os.fstat(fd).st_ino)
            fsync(fd)

        with mock.patch("os.fsync", recording), mock.patch("os.fdatasync", recording):
            yield inodes

    def inode(self, name: str) -> int:
        return Path(self.disk, name).stat().st_ino

    @on_disk
    @needs("durable")
    def test_saved_file_is_fsynced(self) -> None:
        """Promise 3: save() fsyncs the file and then its folder."""
        self.save("folder/other.txt")
        with self.synced() as inodes:
            self.save("folder/file.txt")
        file, folder = self.inode("folder/file.txt"), self.inode("folder")
        self.assertIn(file, inodes, "the file was not fsynced")
        self.assertIn(folder, inodes[inodes.index(file) :], "its folder was not fsynced after it")

    @on_disk
    @needs("durable")
    def test_new_folders_are_fsynced(self) -> None:
        """Promise 3: save() fsyncs every folder with a new entry, the root included."""
        self.save("other.txt")
        with self.synced() as inodes:
            self.save("a/b/c/file.txt")
        for folder in ("", "a", "a/b", "a/b/c"):
            self.assertIn(self.inode(folder), inodes, f"folder {folder!r} was not fsynced")

    @on_disk
    @needs("durable")
    def test_written_file_is_fsynced(self) -> None:
        """Promise 3: close() of write_open() fsyncs the file and its folder."""
        with self.synced() as inodes:
            name = str(self.stored(b"data").content)
        for path in (name, name.rpartition("/")[0]):
            self.assertIn(self.inode(path), inodes, f"{path!r} was not fsynced")

    @on_disk
    @needs("durable")
    def test_rewritten_file_is_fsynced(self) -> None:
        """Promise 3: close() of open(name, "wb") fsyncs the file and its folder."""
        self.save("folder/notes.txt", b"old")
        with self.synced() as inodes, self.store.open("folder/notes.txt", "wb") as writer:
            writer.write(b"new")
        for path in ("folder/notes.txt", "folder"):
            self.assertIn(self.inode(path), inodes, f"{path!r} was not fsynced")

    @on_disk
    @needs("durable")
    def test_temporary_upload_is_fsynced(self) -> None:
        """Promise 3: save() of a temporary upload fsyncs the file and its folder."""
        upload = self.temporary_upload(b"data")
        upload.flush()
        with self.synced() as inodes:
            self.store.save("folder/upload.bin", upload)
        for path in ("folder/upload.bin", "folder"):
            self.assertIn(self.inode(path), inodes, f"{path!r} was not fsynced")

    @on_disk
    @needs("durable")
    def test_failed_fsync_fails_the_save(self) -> None:
        """Promise 3: if fsync fails, save() raises and the file does not exist."""
        error = OSError(5, "Input/output error")
        with mock.patch("os.fsync", side_effect=error), self.assertRaises(OSError):
            self.save("folder/file.txt")
        self.assertFalse(self.store.exists("folder/file.txt"))

    @on_disk
    @needs("durable")
    def test_deletion_is_fsynced(self) -> None:
        """Promise 3: delete() fsyncs the folder."""
        self.save("folder/other.txt")
        name = self.save("folder/file.txt")
        with self.synced() as inodes:
            self.store.delete(name)
        self.assertIn(self.inode("folder"), inodes)
