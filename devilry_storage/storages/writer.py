"""Files that are published only by a clean close()."""

from __future__ import annotations

import hashlib
import io
import logging
import sys
import warnings
from collections.abc import Callable, Iterable
from typing import IO, Any, NoReturn, Protocol

from .chunks import CHUNK_SIZE, AnyFile, as_bytes
from .processes import Owner
from .received import Received
from .spool import MEMORY, Spool

logger = logging.getLogger("devilry_storage")


class Sink(Protocol):
    """Keeps the bytes of a writer until they are published.

    ``write`` and ``read`` begin at the position that the call before left, or at that of ``seek``.
    """

    def write(self, data: bytes) -> object: ...

    def read(self, size: int) -> bytes: ...

    def seek(self, position: int) -> object: ...

    def truncate(self, size: int) -> object: ...

    def create(self, name: str, sha256: str) -> str:
        """Publish under the name and return it, or raise FileExistsError if it is taken.

        ``sha256`` (hexadecimal) is that of what was written. After a FileExistsError it may be
        called again with another name.
        """

    def take(self, other: object) -> bool:
        """Replace the bytes by those of another sink, without copying them; False if it cannot."""

    def reader(self) -> IO[bytes]:
        """Return an open file of all bytes, which stays readable after they are published."""

    def discard(self) -> None:
        """Remove what is not published; never raises."""


class SpoolSink(Spool):
    """A spool that is a sink, the default of stores.

    ``create`` gets a name, the spool and the SHA-256 (hexadecimal) of its bytes; see
    :meth:`Sink.create`.
    """

    def __init__(
        self, create: Callable[[str, Spool, str], str], filename: str = "", memory: int = MEMORY
    ) -> None:
        super().__init__(memory, filename)
        self._create = create

    def create(self, name: str, sha256: str) -> str:
        return self._create(name, self, sha256)

    discard = Spool.close


def _in_flight() -> list[BaseException]:
    """Return the exception that is being handled, and its context."""
    found: list[BaseException] = []
    exception = sys.exc_info()[1]
    while exception is not None and not any(exception is earlier for earlier in found):
        found.append(exception)
        exception = exception.__context__
    return found


class Writer(AnyFile):
    """A file that is written as a whole or not at all. It can seek, and read what it has written.

    Only a clean ``close()`` publishes the bytes. The store stays as it was if an exception leaves
    ``with``, ``contextlib.closing``, ``try/finally`` or an ``ExitStack``, if the writer is
    garbage-collected, or if the process ends. This is not an ``io.IOBase``, whose ``__del__``
    would close and so publish.

    In an ``except`` or ``finally`` block, ``close()`` cannot know why it is called. If an
    exception is being handled that was not being handled when the writer was opened, ``close()``
    discards the bytes, logs an error and sets ``discarded`` to True, even if the exception has
    nothing to do with the writer. ``with`` is not affected: it publishes unless an exception
    leaves the block.

    A writer belongs to the process that opened it. In a forked child ``write()`` and ``close()``
    raise RuntimeError, and the child cannot change the parent's writer.

    ``publish`` is called with the writer by a clean ``close()``. ``size`` (bytes) and ``sha256``
    (hexadecimal) describe what has been written so far.
    """

    #: Whether the bytes were discarded, because of an exception or by ``discard()``.
    discarded: bool
    closed = True  # if __init__() fails

    def __init__(
        self, sink: Sink, name: str, publish: Callable[[Writer], object], mode: str = "wb"
    ) -> None:
        self.sink = sink
        self.name = name
        self.mode = mode
        self._publish = publish
        self.size = 0
        # Where the next call reads or writes, and where the sink does.
        self._position = self._sink_position = 0
        # Of all bytes; None if they were not written in order, until they are read again.
        self._hash: hashlib._Hash | None = hashlib.sha256()
        self.closed = False
        self._broken = False
        self._owner = Owner()
        self.discarded = False
        # close() compares: an exception that is being handled already is not a reason to discard.
        self._in_flight = _in_flight()

    @property
    def sha256(self) -> str:
        return self._hashed().hexdigest()

    def _hashed(self) -> hashlib._Hash:
        if self._hash is None:
            self._owner.require(self.name)
            digest = hashlib.sha256()
            for start in range(0, self.size, CHUNK_SIZE):
                digest.update(self._read_at(start, min(CHUNK_SIZE, self.size - start)))
            self._hash = digest
        return self._hash

    def write(self, data: Any) -> int:
        """Write bytes, or text as UTF-8; return the number of bytes or characters written."""
        self._require_open()
        if not isinstance(data, str):
            data = memoryview(data).cast("B")
        chunk = as_bytes(data)
        try:
            self._move(self._position)
            self.sink.write(chunk)
            if self._hash is not None and self._position == self.size:
                self._hash.update(chunk)
            else:
                self._hash = None
            self._position += len(chunk)
            self._sink_position = self._position
            self.size = max(self.size, self._position)
        except BaseException:
            self._broken = True
            raise
        return len(data)

    def read(self, size: int | None = -1) -> bytes:
        """Return bytes that were written, from the position on: all, or at most ``size``."""
        self._require_open()
        if "b" not in self.mode:
            raise io.UnsupportedOperation(f"The writer of {self.name!r} only writes text.")
        rest = max(self.size - self._position, 0)
        data = self._read_at(self._position, rest if size is None or size < 0 else min(size, rest))
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the position of the next ``read()`` or ``write()``, and return it."""
        self._require_open()
        begins = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}
        if whence not in begins:
            raise ValueError(
                f"Cannot seek with whence {whence!r} in {self.name!r}: use 0, 1 or 2."
            )
        begin = begins[whence]
        if begin + offset < 0:
            raise ValueError(f"Cannot seek to {begin + offset} in {self.name!r}: use 0 or more.")
        self._position = begin + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def truncate(self, size: int | None = None) -> int:
        """Make the file ``size`` bytes long, or as long as the position, and return its size."""
        self._require_open()
        size = self._position if size is None else size
        if size > self.size:
            position, self._position = self._position, size - 1
            self.write(b"\0")
            self._position = position
        else:
            self._hash = None
            try:
                self.sink.truncate(size)
                self.size = size
            except BaseException:
                self._broken = True
                raise
        return size

    def _require_open(self) -> None:
        self._owner.require(self.name)
        if self.closed:
            raise ValueError(f"The writer of {self.name!r} is closed: open another one.")

    def _move(self, position: int) -> None:
        if position != self._sink_position:
            self._sink_position = -1  # unknown, if this is interrupted
            self.sink.seek(position)
            self._sink_position = position

    def _read_at(self, position: int, size: int) -> bytes:
        self._move(position)
        self._sink_position = -1  # see above
        end = position + size
        chunks = []
        while size > 0:
            chunk = self.sink.read(size)
            if not chunk:
                raise OSError(
                    f"Bytes of {self.name!r} that were written are missing, so it is not stored: "
                    "write it again."
                )
            chunks.append(chunk)
            size -= len(chunk)
        self._sink_position = end
        return b"".join(chunks)

    def write_all(self, content: Any, chunks: Iterable[bytes]) -> None:
        """Write the chunks of a file, or take the bytes of an upload that the store received.

        For a new writer, which is closed afterwards.
        """
        moved = content.move_to(self.sink) if isinstance(content, Received) else None
        if moved is None:
            for chunk in chunks:
                self.write(chunk)
        else:
            self._hash, self.size = moved

    def writelines(self, lines: Iterable[Any]) -> None:
        for line in lines:
            self.write(line)

    def close(self) -> None:
        """Publish the bytes; discard them if an exception is being handled, see the class.

        Raises the exceptions of the store, and RuntimeError in a forked child; nothing is
        published then.
        """
        exception = sys.exc_info()[1]
        if exception is None or any(exception is earlier for earlier in self._in_flight):
            self._close_cleanly()
        elif not self.closed:
            self.discard()
            logger.error(
                "The writer of %r was closed while %s was being handled, so its bytes are "
                "discarded. Close it before the except or finally block, or use 'with'.",
                self.name,
                type(exception).__name__,
                exc_info=exception,
            )

    def _close_cleanly(self) -> None:
        if not self.closed:
            self.closed = True
            try:
                self._owner.require(self.name)
                if self._broken:
                    raise OSError(
                        f"Cannot store {self.name!r}, because a write failed: open another writer."
                    )
                self._hashed()
                self._publish(self)
            finally:
                self.sink.discard()

    def discard(self) -> None:
        """Close the writer without publishing its bytes."""
        if not self.closed:
            self.closed = self.discarded = True
            self.sink.discard()

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, value: object, traceback: object
    ) -> None:
        if exc_type is None:
            self._close_cleanly()
        else:
            self.discard()

    def __del__(self) -> None:
        if not self.closed:
            self.discard()
            if self._owner.is_this_process():
                warnings.warn(
                    f"The writer of {self.name!r} was not closed, so its bytes are discarded.",
                    ResourceWarning,
                    source=self,
                    stacklevel=2,
                )

    def readable(self) -> bool:
        return "b" in self.mode

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def flush(self) -> None:
        """Do nothing; only close() publishes."""

    def _unsupported(self, *args: object, **kwargs: object) -> NoReturn:
        raise io.UnsupportedOperation(
            f"The writer of {self.name!r} has no lines, chunks or file descriptor: use read()."
        )

    readline = readlines = readinto = fileno = open = chunks = __iter__ = _unsupported
