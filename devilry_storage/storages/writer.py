"""A file that is published by a clean close() and by nothing else."""

from __future__ import annotations

import hashlib
import io
import logging
import sys
import warnings
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from django.core.files import File

from .chunks import as_bytes
from .processes import Owner
from .spool import MEMORY, Spool

if TYPE_CHECKING:
    _AnyFile = File[Any]
else:
    _AnyFile = File  # generic for the type checker alone

logger = logging.getLogger("devilry_storage")


class Sink(Protocol):
    """Where a writer's bytes wait until they are published."""

    def write(self, data: bytes) -> object: ...

    def create(self, names: Iterable[str], sha256: str) -> str:
        """Publish under the first free name and return it, or raise FileExistsError.

        ``sha256`` (hexadecimal) is that of what was written. May be called again.
        """

    def discard(self) -> None:
        """Let go of what is not published; never raises."""


class _Creator(Protocol):
    """A store, as far as a :class:`SpoolSink` uses it."""

    def _create_first(self, names: Iterable[str], content: File[Any]) -> str: ...


class SpoolSink:
    """The sink of a store that has none of its own: a :class:`Spool`."""

    def __init__(self, store: _Creator, filename: str = "", memory: int = MEMORY) -> None:
        self.store = store
        self.spool = Spool(memory, filename)

    def write(self, data: bytes) -> None:
        self.spool.add(data)

    def create(self, names: Iterable[str], sha256: str) -> str:
        self.spool.sha256 = sha256
        return self.store._create_first(names, self.spool)

    def discard(self) -> None:
        self.spool.close()


def _in_flight() -> list[BaseException]:
    """Return the exception that is being handled now, and those that led to it."""
    found: list[BaseException] = []
    exception = sys.exc_info()[1]
    while exception is not None and not any(exception is earlier for earlier in found):
        found.append(exception)
        exception = exception.__context__
    return found


class Writer(_AnyFile):
    """A file that is written in whole or not at all.

    The bytes are published by a clean ``close()`` and by nothing else: leaving ``with``,
    ``contextlib.closing``, ``try/finally`` or an ``ExitStack`` by an exception, dropping the
    writer, or the end of the process leaves the store as it was. It is no ``io.IOBase``, because
    that would close, and so publish, in ``__del__``.

    ``close()`` cannot know why it is called in an ``except`` or ``finally`` block. If an exception
    is being handled then that was not being handled when the writer was opened, it discards what
    was written, logs an error and sets ``discarded`` to True, even if the exception has nothing
    to do with the writer. Leave ``with`` instead, which publishes unless an exception leaves it.

    A writer belongs to the process that opened it. In a forked child ``write()`` and ``close()``
    raise RuntimeError, and nothing that the child does changes the parent's writer.

    ``publish`` gets the writer when it is closed. ``size`` (bytes) and ``sha256`` (hexadecimal)
    describe what has been written so far.
    """

    #: Whether what was written was discarded, by an exception or by ``discard()``.
    discarded: bool

    def __init__(
        self, sink: Sink, name: str, publish: Callable[[Writer], object], mode: str = "wb"
    ) -> None:
        self.sink = sink
        self.name = name
        self.mode = mode
        self._publish = publish
        self._size = 0
        self._hash = hashlib.sha256()
        self._closed = False
        self._broken = False
        self._owner = Owner()
        self.discarded = False
        # close() compares: what is being handled already when we are opened is not a reason to
        # discard.
        self._in_flight = _in_flight()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.name}>"

    def __bool__(self) -> bool:
        return True

    @property
    def size(self) -> int:
        return self._size

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    @property
    def closed(self) -> bool:
        return self._closed

    def write(self, data: Any) -> int:
        """Add bytes, or text as UTF-8; return the number of bytes or characters taken."""
        self._owner.require(self.name)
        if self._closed:
            raise ValueError(f"The writer of {self.name!r} is closed: open another one.")
        if not isinstance(data, str):
            data = memoryview(data).cast("B")
        chunk = as_bytes(data)
        try:
            self.sink.write(chunk)
            self._hash.update(chunk)
            self._size += len(chunk)
        except BaseException:
            self._broken = True
            raise
        return len(data)

    def writelines(self, lines: Iterable[Any]) -> None:
        for line in lines:
            self.write(line)

    def close(self) -> None:
        """Publish what was written; discard it if an exception is on its way out.

        Then it logs an error and sets ``discarded``. Raises what the store raises, and then
        nothing is published; RuntimeError in a forked child.
        """
        exception = sys.exc_info()[1]
        if exception is None or any(exception is earlier for earlier in self._in_flight):
            self._close_cleanly()
        elif not self._closed:
            self.discard()
            logger.error(
                "The writer of %r was closed while %s was being handled: what was written is "
                "discarded. Close it before the except or finally block, or use 'with'.",
                self.name,
                type(exception).__name__,
                exc_info=exception,
            )

    def _close_cleanly(self) -> None:
        if not self._closed:
            self._closed = True
            try:
                self._owner.require(self.name)
                if self._broken:
                    raise OSError(
                        f"A write to {self.name!r} failed before: nothing is stored. Write it "
                        "anew."
                    )
                self._publish(self)
            finally:
                self.sink.discard()

    def discard(self) -> None:
        """Close without publishing."""
        if not self._closed:
            self._closed = self.discarded = True
            self.sink.discard()

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        if exc_type is None:
            self._close_cleanly()
        else:
            self.discard()

    def __del__(self) -> None:
        # _closed is missing where __init__ did not get that far.
        if not getattr(self, "_closed", True):
            self.discard()
            if self._owner.is_this_process():
                warnings.warn(
                    f"The writer of {self.name!r} was never closed: what was written is "
                    "discarded.",
                    ResourceWarning,
                    source=self,
                    stacklevel=2,
                )

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def flush(self) -> None:
        """Do nothing: only close() makes bytes visible."""

    def tell(self) -> int:
        return self._size

    def _unsupported(self, *args: object, **kwargs: object) -> NoReturn:
        raise io.UnsupportedOperation(f"The writer of {self.name!r} only writes, in sequence.")

    read = readline = readlines = readinto = seek = truncate = _unsupported
    fileno = open = chunks = __iter__ = _unsupported
