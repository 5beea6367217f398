"""The stores under test, and stores that each break one promise, to make the harnesses fail."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

from django.core.files.base import ContentFile, File
from django.core.files.storage import FileSystemStorage, Storage

from devilry_storage.storages import FsDeliveryStore, FsHierDeliveryStore
from devilry_storage.storages.received import Received

WINDOW = 0.001
"""Seconds that a sabotaged store waits between its check and its act."""


def hier(root: Path) -> Storage:
    """Return the recommended store, durable."""
    return FsHierDeliveryStore(location=str(root))


class ReceivesUploads(FsHierDeliveryStore):
    """The recommended store; what is saved is received first, as by the upload handler."""

    def save(self, name: str | None, content: Any, max_length: int | None = None) -> str:
        upload = Received(self._sink(), "upload.bin", "", 0, None, None)
        try:
            for chunk in content.chunks():
                upload.write(chunk)
            upload.complete()
            return super().save(name, upload, max_length)
        finally:
            upload.close()


def receiving(root: Path) -> Storage:
    """Return the recommended store, durable, which receives what is saved."""
    return ReceivesUploads(location=str(root))


def flat(root: Path) -> Storage:
    """Return the store with one folder per delivery, durable."""
    return FsDeliveryStore(location=str(root))


def hier_without_fsync(root: Path) -> Storage:
    """Return the recommended store with ``durable=False``: atomic, but not safe in a power cut."""
    return FsHierDeliveryStore(location=str(root), durable=False)


def django(root: Path) -> Storage:
    """Return Django's own storage."""
    return FileSystemStorage(location=str(root))


class AssumesFolders(FileSystemStorage):
    """A storage that removes empty folders, but assumes that a folder it created stays."""

    def delete(self, name: str) -> None:
        super().delete(name)
        with suppress(OSError):
            Path(self.path(name)).parent.rmdir()

    def _save(self, name: str, content: Any) -> str:
        path = Path(self.path(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        time.sleep(WINDOW)
        path.write_bytes(content.read())
        return name


def assumes_folders(root: Path) -> Storage:
    return AssumesFolders(location=str(root))


class LoadsWholeFiles(FileSystemStorage):
    """A storage that keeps the whole file in memory in every operation."""

    def _save(self, name: str, content: Any) -> str:
        whole = ContentFile(b"".join(content.chunks()))
        return str(super()._save(name, whole))  # type: ignore[misc]

    def stream(self, name: str) -> Iterator[bytes]:
        yield self._whole(name)

    def _open(self, name: str, mode: str = "rb") -> File[Any]:
        return ContentFile(self._whole(name))

    def _whole(self, name: str) -> bytes:
        return Path(self.path(name)).read_bytes()


def loads_whole_files(root: Path) -> Storage:
    return LoadsWholeFiles(location=str(root))


class StreamsWholeFiles(FsHierDeliveryStore):
    """A store that keeps the whole file in memory while it is streamed."""

    def _stream(self, name: str, start: int, stop: int | None) -> Iterator[bytes]:
        yield b"".join(super()._stream(name, start, stop))


def streams_whole_files(root: Path) -> Storage:
    return StreamsWholeFiles(location=str(root), durable=False)


class LeaksDescriptors(FsHierDeliveryStore):
    """A store that leaks a descriptor if a stream is not read to its end."""

    def _stream(self, name: str, start: int, stop: int | None) -> Iterator[bytes]:
        descriptor = os.open(self.path(name), os.O_RDONLY)
        yield from super()._stream(name, start, stop)
        os.close(descriptor)


def leaks_descriptors(root: Path) -> Storage:
    return LeaksDescriptors(location=str(root), durable=False)


class ScansBeforeSaving(FsHierDeliveryStore):
    """A store that scans all files of a delivery before it saves another."""

    def save(self, name: str | None, content: Any, max_length: int | None = None) -> str:
        assert name is not None
        assert all(entry.size >= 0 for entry in self.scan(str(Path(name).parent)))
        return super().save(name, content, max_length)


def scans_before_saving(root: Path) -> Storage:
    return ScansBeforeSaving(location=str(root))


@contextmanager
def link_by_check_then_act() -> Iterator[None]:
    """Replace ``os.link`` by a check followed by a rename, as in most code."""

    def check_then_act(
        source: str,
        target: str,
        *,
        src_dir_fd: int | None = None,
        dst_dir_fd: int | None = None,
        follow_symlinks: bool = True,
    ) -> None:
        try:
            os.stat(target, dir_fd=dst_dir_fd, follow_symlinks=False)
        except FileNotFoundError:
            time.sleep(WINDOW)
            os.rename(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        else:
            raise FileExistsError(target)

    with patch("os.link", check_then_act):
        yield


@contextmanager
def fsync_that_does_nothing() -> Iterator[None]:
    """Replace ``os.fsync`` by a no-op, as on a disk that ignores flushes."""
    with patch("os.fsync", lambda fd: None):
        yield
