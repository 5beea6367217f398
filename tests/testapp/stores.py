"""Stores of the test models, and a store that can be made to fail."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.core.files import File
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import transaction
from django.utils.module_loading import import_string

from devilry_storage.storages import DeliveryStoreMixin
from devilry_storage.storages.protocols import FileMetaLike
from devilry_storage.storages.reader import Reader
from devilry_storage.storages.writer import Sink
from tests.harness import chosen

if TYPE_CHECKING:
    from devilry_storage.testing import MemoryDeliveryStore as _ChosenStore
else:
    _ChosenStore = import_string(chosen.BACKEND)

#: The content of the stored row of the fixtures.
OLD_BYTES = b"old bytes"


def notes_store() -> DeliveryStoreMixin:
    """Return the store of the notes, whose keys could be those of files in deliveries."""
    return chosen.store("notes")


def papers_store() -> DeliveryStoreMixin:
    """Return the store of the papers."""
    return chosen.store("papers")


def handouts_store() -> DeliveryStoreMixin:
    """Return the store of the handouts."""
    return chosen.store("handouts")


def readings_store() -> DeliveryStoreMixin:
    """Return the store of the readings."""
    return chosen.store("readings")


def reports_store() -> DeliveryStoreMixin:
    """Return the store of the reports."""
    return chosen.store("reports")


def failure(number: int) -> OSError:
    """Return the error of a system call."""
    return OSError(number, os.strerror(number))


_opened: list[File[Any]] = []


def close_opened() -> None:
    """Close the files that a test has opened and not closed."""
    while _opened:
        _opened.pop().close()


class HookedStore(_ChosenStore):
    """An empty store of the kind that the test run has chosen.

    It calls ``before`` with each name before it creates a file.
    """

    before: Callable[[str], object] = staticmethod(lambda name: None)

    def __init__(self, **options: Any) -> None:
        super().__init__(**(options or chosen.fresh_options()))

    def _candidates(self, *args: Any, **kwargs: Any) -> Iterator[str]:
        for name in super()._candidates(*args, **kwargs):
            self.before(name)
            yield name

    def _open(self, name: str, mode: str = "rb") -> File[Any]:
        file: File[Any] = super()._open(name, mode)
        _opened.append(file)
        return file

    def fill_up(self, room_for: int = 0) -> None:
        """Let the store be full after ``room_for`` more files."""
        room = iter(range(room_for))

        def before(name: str) -> None:
            if next(room, None) is None:
                raise failure(errno.ENOSPC)

        self.before = before


class FailingStore(HookedStore):
    """A store that fails as long as one of its attributes is set."""

    #: There is no space for another file, which is detected when the file is published.
    full = False
    #: There is space for 4 bytes of another file.
    nearly_full = False
    #: Only the first 4 bytes of a stored file can be read.
    unreadable = False

    def before(self, name: str) -> None:
        if self.full:
            raise failure(errno.ENOSPC)

    def _sink(self, filename: str = "") -> Sink:
        return (
            _NearlyFull(super()._sink(filename)) if self.nearly_full else super()._sink(filename)
        )

    def copy(self, source: FileMetaLike, target: FileMetaLike) -> None:
        # In a server-side copy, the server has no space or cannot read.
        if getattr(self, "server_side_copy", False):
            if self.full or self.nearly_full:
                raise failure(errno.ENOSPC)
            if self.unreadable:
                raise failure(errno.EIO)
        super().copy(source, target)

    def _open(self, name: str, mode: str = "rb") -> File[Any]:
        file: File[Any] = super()._open(name, mode)
        if self.unreadable:
            with file:
                return Reader(self, name, _Unreadable(file.read()))
        return file

    def _stream(self, name: str, start: int, stop: int | None) -> Iterator[bytes]:
        if not self.unreadable:
            yield from super()._stream(name, start, stop)
            return
        with self.open(name) as file:
            yield from file.chunks()


@contextmanager
def taken_back(store: FailingStore) -> Iterator[None]:
    """Undo all changes to rows and bytes at the end, and let the store work again."""
    try:
        with transaction.atomic():
            yield
            transaction.set_rollback(True)
    finally:
        store.full = store.nearly_full = store.unreadable = False
        vars(store).pop("before", None)
        store.delete_many([entry.name for entry in store.scan()])


class _NearlyFull:
    """A sink that takes 4 bytes."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sink, name)

    def write(self, data: bytes) -> None:
        self._sink.write(data[:4])
        raise failure(errno.ENOSPC)


class _Unreadable(io.BytesIO):
    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell():
            raise failure(errno.EIO)
        return super().read(4)


class Source(SimpleUploadedFile):
    """An upload that fails after 4 bytes as long as ``broken`` is set."""

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
