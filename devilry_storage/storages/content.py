"""Adapters between content, Django files and third-party storages."""

import io
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeGuard

from django.core.files import File
from django.core.files.base import ContentFile
from django.core.files.uploadedfile import UploadedFile
from django.db.models.fields.files import FieldFile

from .chunks import AnyFile, read_chunks
from .reader import Reader
from .spool import Spool


def seekable(content: AnyFile) -> AbstractContextManager[AnyFile]:
    """Give the content as a seekable file of bytes.

    Clients of network services call ``read()``, ``seek()`` and ``size``, which a pipe, a text
    file or generated chunks cannot provide. Such content is spooled while it is read.
    """
    return nullcontext(content) if _is_seekable(content) else _kept(content)


def _is_seekable(content: AnyFile) -> bool:
    if not _has_djangos_chunks(content):
        return False
    try:
        content.tell()
        return isinstance(content.read(0), bytes)
    # No such method, not seekable, closed.
    except (AttributeError, TypeError, OSError, ValueError):
        return False


def rereadable(content: AnyFile) -> AbstractContextManager[AnyFile]:
    """Give the content as a file whose chunks can be read more than once.

    Content that may be readable only once is spooled while it is read.
    """
    return nullcontext(content) if _is_rereadable(content) else _kept(content)


@contextmanager
def _kept(content: AnyFile) -> Iterator[AnyFile]:
    with Spool() as spool:
        yield _Kept(content, spool)


def _is_rereadable(content: AnyFile) -> bool:
    """Return whether every call of ``chunks()`` certainly starts at the beginning.

    ``seekable()`` is not used: Django's returns True for objects without this method, and gzip's
    returns True for a pipe.
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
    # No file descriptor, no such method, closed.
    except (AttributeError, TypeError, OSError, ValueError):
        return False


def _has_djangos_chunks(content: AnyFile) -> bool:
    # Only Django's own chunks() is known to yield what read() returns.
    return getattr(content.chunks, "__module__", "").startswith("django.core.files.")


class _Kept(AnyFile):
    """Content that is read once; its bytes are kept in a spool and read again from there."""

    def __init__(self, content: AnyFile, spool: Spool) -> None:
        self._content = content
        self.name = content.name
        self._spool = spool
        self._rest = read_chunks(content)
        self._failure: BaseException | None = None
        self._complete = False
        #: Whether a part of the content was read.
        self.started = False

    def chunks(self, chunk_size: int | None = None) -> Iterator[Any]:
        if self._failure is not None:
            raise self._failure
        yield from self._spool.chunks(chunk_size)
        yield from self._reading()

    def last_chunks(self) -> Iterator[bytes]:
        """Yield the chunks a last time: those that were not read yet are not kept."""
        if self._failure is not None:
            raise self._failure
        self.started = True
        yield from self._spool.chunks()
        yield from self._rest

    def _reading(self) -> Iterator[bytes]:
        self.started = True
        while True:
            try:
                chunk = next(self._rest, None)
                if chunk is None:
                    return
                self._spool.write(chunk)
            except BaseException as exception:
                # A later attempt must not take the bytes so far for the whole content.
                self._failure = exception
                raise
            yield chunk

    @property
    def file(self) -> Any:  # type: ignore[override]  # made on first use
        if not self._complete:
            for _ in self.chunks():
                pass
            self._complete = True
            self._spool.seek(0)
        return self._spool.file

    @property
    def size(self) -> int:
        return int(File(self.file).size)

    def __getattr__(self, name: str) -> Any:
        # Such as the content type of an upload, or the path of a temporary upload.
        return getattr(self._content, name)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        # chunks() starts at the beginning anyway, so nothing has to be read.
        if not self._complete and (offset, whence) == (0, io.SEEK_SET):
            return 0
        return int(self.file.seek(offset, whence))


class _KeptOpen(AnyFile):
    """An open file that its TextIOWrapper neither closes nor writes to."""

    def writable(self) -> bool:
        return False

    def close(self) -> None:
        pass


def as_text(file: AnyFile, mode: str) -> AnyFile:
    """Return a UTF-8 text file that reads the open file, and that leaves it open."""
    if isinstance(file.read(0), str):
        return file
    text = File(io.TextIOWrapper(_KeptOpen(file), encoding="utf-8"), file.name)
    text.mode = mode
    return text


class IterableFile(AnyFile):
    """A file whose chunks come from an iterable, and can be read once."""

    def __init__(self, chunks: Iterable[Any], name: str) -> None:
        super().__init__(None, name)
        self._chunks = chunks

    def chunks(self, chunk_size: int | None = None) -> Iterator[Any]:
        return iter(self._chunks)


def reopen(file: AnyFile) -> None:
    """Return to the beginning of a file, which is opened if it is closed.

    Raises ValueError for a closed upload. Django would open another file: the one that has the
    name of the upload in the current folder of the process.
    """
    inner: Any = file
    while isinstance(inner, FieldFile) and not inner._committed:  # type: ignore[attr-defined]
        inner = inner._file  # type: ignore[attr-defined]
    if isinstance(inner, UploadedFile) and inner.closed:
        raise ValueError(f"The upload {inner.name!r} is closed, so it cannot be read.")
    file.open("rb")


@contextmanager
def opened(file: AnyFile) -> Iterator[AnyFile]:
    """Give an open file; a closed FieldFile is opened, and closed again afterwards.

    A FieldFile that is open as text is opened as bytes: text has other ends of lines.
    """
    if not isinstance(file, FieldFile) or not file.closed:
        if _is_text(file):
            reopen(file)
        # Django's open() only returns to the beginning of an open file. The name of an upload that
        # is not committed may be that of another file.
        if _is_text(file) and file._committed:  # type: ignore[attr-defined]
            file.close()
            file.file = file.storage.open(str(file.name), "rb")
        yield file
        return
    reopen(file)
    try:
        yield file
    finally:
        file.close()


def _is_text(file: AnyFile) -> TypeGuard[FieldFile]:
    return isinstance(file, FieldFile) and isinstance(file.read(0), str)


def source_of(content: Any) -> Any:
    """Return the object that content is read from: the innermost file, or the content itself."""
    while isinstance(content, File) and not isinstance(content, FieldFile):
        if content.file is None:
            break
        content = content.file
    return content


def shared_sources(contents: Iterable[Any]) -> set[int]:
    """Return the ids of the sources that several contents have, except constants and paths."""
    constants = (bytes, bytearray, memoryview, str, os.PathLike)
    sources = map(source_of, contents)
    counts = Counter(id(source) for source in sources if not isinstance(source, constants))
    return {source for source, count in counts.items() if count > 1}


@contextmanager
def shown(file: Any) -> Iterator[AnyFile]:
    """Give a file at its beginning that can be read before :func:`last_chunks`.

    Raises ValueError for a file that was read before and cannot be read again.
    """
    _refuse_second_reading(file)
    with rereadable(file) as again:
        rewinds(again)
        try:
            yield again
        finally:
            if isinstance(again, _Kept):
                file.was_read = again.started


def last_chunks(file: Any) -> Iterator[bytes]:
    """Yield the bytes of a file from its beginning, perhaps for the last time.

    Raises ValueError for a file that was read before and cannot be read again.
    """
    if isinstance(file, _Kept):
        return file.last_chunks()
    _refuse_second_reading(file)
    file.was_read = True
    return read_chunks(file)


def _refuse_second_reading(file: Any) -> None:
    # Otherwise the rest of it, perhaps nothing, would be stored as the whole.
    if getattr(file, "was_read", False) and not rewinds(file):
        raise ValueError(f"Cannot read the file {file.name!r} a second time: assign a new file.")


def rewinds(file: Any) -> bool:
    """Return to the beginning of a file, and return False if it cannot be read again."""
    # seekable() is not used, see _is_rereadable().
    try:
        if isinstance(file, FieldFile):  # it may be closed
            reopen(file)
        else:
            file.seek(0)
    except (AttributeError, TypeError, OSError, ValueError):
        return False
    return True


@contextmanager
def as_file(content: Any, name: str) -> Iterator[AnyFile]:
    """Give content as a file: bytes, str, a path, an open file, or an iterable of chunks.

    A path is opened and closed; an open file is left open. Raises TypeError for other types.
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
            f"Cannot store {content!r} as {name!r}: pass bytes, str, a path, an open file or an "
            "iterable of chunks."
        )
