"""What storages of others are handed, and what they hand out, made to fit."""

from __future__ import annotations

import io
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

from django.core.files import File
from django.core.files.base import ContentFile
from django.db.models.fields.files import FieldFile

from .chunks import read_chunks
from .reader import Reader
from .spool import Spool

if TYPE_CHECKING:
    _BytesFile = File[bytes]
    _AnyFile = File[Any]
else:
    # Generic for the type checker alone.
    _BytesFile = _AnyFile = File


@contextmanager
def seekable(content: _AnyFile) -> Iterator[_AnyFile]:
    """Give the content as a file of bytes that seeks, for as long as ``with`` lasts.

    A disk is written in chunks, as Django's contents come; a client of a network's service reads,
    asks for the size and seeks, which a pipe, a text or chunks that are made as they are asked
    for do not bear. Those are spooled in a temporary file, but only once they are read so.
    """
    if _is_seekable(content):
        yield content
        return
    spooled = _Spooled(content)
    try:
        yield spooled
    finally:
        spooled.let_go()


def _is_seekable(content: _AnyFile) -> bool:
    if not _has_djangos_chunks(content):
        return False
    try:
        content.tell()
        return isinstance(content.read(0), bytes)
    # No such method, no position, closed.
    except (AttributeError, TypeError, OSError, ValueError):
        return False


@contextmanager
def rereadable(content: _AnyFile, memory: int) -> Iterator[_AnyFile]:
    """Give the content as a file whose chunks can be read again, for as long as ``with`` lasts.

    What may not bear it is kept while it is read: up to ``memory`` bytes in memory, more in a
    temporary file.
    """
    if _is_rereadable(content):
        yield content
        return
    with Spool(memory) as spool:
        yield _Kept(content, spool)


def _is_rereadable(content: _AnyFile) -> bool:
    """Tell whether each call of ``chunks()`` surely gives the whole from its beginning.

    What a file says of itself is not believed: Django's ``seekable()`` is True where there is no
    such method, that of gzip is True on a pipe.
    """
    file: Any = content
    while isinstance(file, File):
        if isinstance(file, (Spool, Reader)):
            return True
        if not _has_djangos_chunks(file):
            return False
        file = file.file
    if isinstance(file, (io.BytesIO, io.StringIO)):
        return True
    try:
        regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
        return regular and file.seek(0) == 0
    # No descriptor, no such method, closed.
    except (AttributeError, TypeError, OSError, ValueError):
        return False


def _has_djangos_chunks(content: _AnyFile) -> bool:
    # What Django's own chunks() yield is what the file reads; others' may be anything.
    return getattr(content.chunks, "__module__", "").startswith("django.core.files.")


class _Copied(_BytesFile):
    """A content whose file is a copy of it; what else is asked for, the content answers."""

    def __init__(self, content: _AnyFile) -> None:
        self._content = content
        self.name = content.name

    @property
    def size(self) -> int:
        file: Any = self.file
        position = file.tell()
        size: int = file.seek(0, io.SEEK_END)
        file.seek(position)
        return size

    def __getattr__(self, name: str) -> Any:
        # The type that a browser gave, the path of a temporary upload.
        return getattr(self._content, name)


class _Kept(_Copied):
    """A content that is read once, and whose bytes come again from a spool."""

    def __init__(self, content: _AnyFile, spool: Spool) -> None:
        super().__init__(content)
        self._spool = spool
        self._rest = read_chunks(content)
        self._failure: BaseException | None = None
        self._complete = False

    def chunks(self, chunk_size: int | None = None) -> Iterator[Any]:
        if self._failure is not None:
            raise self._failure
        yield from self._spool.chunks(chunk_size)
        yield from self._reading()

    def _reading(self) -> Iterator[bytes]:
        while True:
            try:
                chunk = next(self._rest, None)
                if chunk is None:
                    return
                self._spool.add(chunk)
            except BaseException as exception:
                # Of a source that broke nobody is to take what came before for the whole.
                self._failure = exception
                raise
            yield chunk

    @property
    def file(self) -> Any:  # type: ignore[override]  # made when it is asked for
        if not self._complete:
            for _ in self.chunks():
                pass
            self._complete = True
            self._spool.seek(0)
        return self._spool.file

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        # Its chunks() begin at the beginning anyway; nothing is read for that.
        if not self._complete and (offset, whence) == (0, io.SEEK_SET):
            return 0
        return int(self.file.seek(offset, whence))


class _Spooled(_Copied):
    """A content whose chunks are its own; its file is spooled when it is asked for."""

    def __init__(self, content: _AnyFile) -> None:
        super().__init__(content)
        self._copy: IO[bytes] | None = None

    @property
    def file(self) -> IO[bytes]:  # type: ignore[override]  # made when it is asked for
        if self._copy is None:
            self._copy = tempfile.TemporaryFile()  # noqa: SIM115  # see let_go()
            for chunk in read_chunks(self._content):
                self._copy.write(chunk)
            self._copy.seek(0)
        return self._copy

    def chunks(self, chunk_size: int | None = None) -> Iterator[Any]:
        return self._content.chunks(chunk_size)

    def let_go(self) -> None:
        if self._copy is not None:
            self._copy.close()


class _Raw(io.RawIOBase):
    """An open file of bytes as the standard library wants one below a text."""

    def __init__(self, file: _AnyFile) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._file.seek(offset, whence)
        return int(self._file.tell())

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def as_text(file: _AnyFile) -> _AnyFile:
    """Return the open file as one of text, UTF-8, where its storage gave bytes all the same."""
    if isinstance(file.read(0), str):
        return file
    return File(io.TextIOWrapper(io.BufferedReader(_Raw(file)), encoding="utf-8"), file.name)


class IterableFile(_AnyFile):
    """A file of chunks that come from an iterable, once."""

    def __init__(self, chunks: Iterable[Any], name: str) -> None:
        super().__init__(None, name)
        self._chunks = chunks

    def chunks(self, chunk_size: int | None = None) -> Iterator[Any]:
        return iter(self._chunks)


@contextmanager
def opened(file: File[Any]) -> Iterator[File[Any]]:
    """Give a file to read; a row's file that is not open is opened, and closed again."""
    if not isinstance(file, FieldFile) or not file.closed:
        yield file
        return
    file.open("rb")
    try:
        yield file
    finally:
        file.close()


def refuse_second_reading(file: Any) -> None:
    """Raise ValueError for a file that can be read only once, and was.

    What is left of it (nothing, maybe) would be stored as if it were the whole.
    """
    if getattr(file, "was_read", False) and not _rewinds(file):
        raise ValueError(
            f"The file {file.name!r} was read and cannot be read again: assign a new one."
        )
    file.was_read = True


def _rewinds(file: Any) -> bool:
    # Asked by doing it: seekable() of Django's File is True where there is no such method, that
    # of gzip on a pipe.
    try:
        file.seek(0)
    except (AttributeError, TypeError, OSError, ValueError):
        return False
    return True


@contextmanager
def as_file(content: Any, name: str) -> Iterator[File[Any]]:
    """Give content as a file: one bytes or str (a chunk), a path, an open file, or chunks.

    A path is opened and closed; an open file is left open. Raises TypeError for anything else.
    """
    if isinstance(content, (bytes, bytearray, memoryview, str)):
        yield ContentFile(content if isinstance(content, str) else bytes(content), name)
    elif isinstance(content, os.PathLike):
        with open(content, "rb") as source:
            yield File(source, name)
    elif isinstance(content, File):
        with opened(content) as file:
            yield file
    elif hasattr(content, "read"):
        yield File(content, name)
    elif isinstance(content, Iterable):
        yield IterableFile(content, name)
    else:
        raise TypeError(
            f"{content!r} is no content for {name!r}: give bytes, text, a path, an open file or "
            "an iterable of chunks."
        )
