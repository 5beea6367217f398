"""Stores of the tests' own models, and one that fails when it is told to."""

from __future__ import annotations

import errno
import io
import os
from functools import cache
from typing import Any

from django.conf import settings
from django.core.files import File
from django.core.files.uploadedfile import SimpleUploadedFile

from devilry_storage.storages import FsHierDeliveryStore, MemoryDeliveryStore
from devilry_storage.storages.files import Reader, Sink, SpoolSink

#: What the stored row of the fixtures holds.
OLD_BYTES = b"old bytes"


@cache
def notes_store() -> FsHierDeliveryStore:
    """Return the store of the notes, which would share keys with the deliveries' files."""
    return FsHierDeliveryStore(location=str(settings.DIRECTORY / "notes"))


@cache
def papers_store() -> FsHierDeliveryStore:
    """Return the store of the papers."""
    return FsHierDeliveryStore(location=str(settings.DIRECTORY / "papers"))


def failure(number: int) -> OSError:
    """Return the error of a system call."""
    return OSError(number, os.strerror(number))


class FailingStore(MemoryDeliveryStore):
    """A store in memory that fails in the given ways for as long as they are set."""

    #: There is no room for another file: found out when it is published.
    full = False
    #: There is room for 4 bytes of another file.
    nearly_full = False
    #: Only 4 bytes of a stored file can be read.
    unreadable = False

    def _create(self, name: str, content: File[Any]) -> str:
        if self.full:
            raise failure(errno.ENOSPC)
        return super()._create(name, content)

    def _sink(self) -> Sink:
        return _NearlyFull(self) if self.nearly_full else super()._sink()

    def _open(self, name: str, mode: str = "rb") -> File[Any]:
        file = super()._open(name, mode)
        if self.unreadable:
            return Reader(self, name, _Unreadable(file.read()))
        return file


class _NearlyFull(SpoolSink):
    def write(self, data: bytes) -> None:
        super().write(data[:4])
        raise failure(errno.ENOSPC)


class _Unreadable(io.BytesIO):
    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell():
            raise failure(errno.EIO)
        return super().read(4)


class Source(SimpleUploadedFile):
    """An upload that breaks off after 4 bytes for as long as ``broken`` is set."""

    broken = False

    def __init__(self, data: bytes, name: str = "upload.txt") -> None:
        super().__init__(name, data, "text/plain")

    def chunks(self, chunk_size: int | None = None) -> Any:
        if not self.broken:
            yield from super().chunks(chunk_size)
            return
        self.seek(0)
        yield self.read(4)
        raise failure(errno.EIO)
