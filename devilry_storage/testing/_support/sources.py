"""Difficult content to save: it raises, waits, is very large or can be read only once."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable
from typing import IO, Any

from django.core.files import File

Part = bytes | str | Callable[[], object]


class SourceBroke(Exception):
    """The error of a source that raises."""


def breaks() -> None:
    """Raise SourceBroke; used as a part of a :class:`Script`."""
    raise SourceBroke("the source raised an error")


class Script:
    """A readable file that is made of parts: chunks are returned, functions are called.

    It supports only ``seek(0)``, which starts again with the first part.
    """

    closed = False

    def __init__(self, *parts: Part) -> None:
        self._parts = parts
        self._left = list(parts)

    def seek(self, position: int, whence: int = 0) -> int:
        assert (position, whence) == (0, 0), "a script can only be read from its beginning"
        self._left = list(self._parts)
        return 0

    def read(self, size: int = -1) -> Any:
        """Return the next chunk, which may be shorter than ``size``, as in any raw file."""
        while self._left:
            part = self._left.pop(0)
            if not isinstance(part, (bytes, str)):
                part()
            elif part:
                if 0 <= size < len(part):
                    self._left.insert(0, part[size:])
                    part = part[:size]
                return part
        return b""

    def close(self) -> None:
        self.closed = True


def scripted(*parts: Part, name: str = "scripted.bin") -> File[Any]:
    """Return a Django file that reads from a :class:`Script`."""
    script: Any = Script(*parts)
    return File(script, name)


def endless(total: int, chunk: bytes = b"x" * 65536) -> File[Any]:
    """Return a file of ``total`` bytes that are generated while it is read."""

    class Endless(Script):
        def read(self, size: int = -1) -> bytes:
            data = chunk[: self.left] if size < 0 else chunk[: min(size, self.left)]
            self.left -= len(data)
            return data

        def seek(self, position: int, whence: int = 0) -> int:
            self.left = total
            return 0

        left = total

    source: Any = Endless()
    return File(source, "endless.bin")


def piped(data: bytes) -> IO[bytes]:
    """Return the readable end of a pipe that contains the bytes; it can be read once."""
    assert len(data) <= 4096, "a larger write could block"
    reader, writer = os.pipe()
    os.write(writer, data)
    os.close(writer)
    return open(reader, "rb")


class _Body:
    """A file with only read(), like the body of a server's response."""

    closed = False

    def __init__(self, data: bytes) -> None:
        self.read = io.BytesIO(data).read

    def close(self) -> None:
        self.closed = True


def only_once(data: bytes) -> File[Any]:
    """Return a Django file that can be read only once, although Django treats it as seekable."""
    body: Any = _Body(data)
    return File(body, "once.bin")


def chunked(data: bytes, size: int) -> Iterable[bytes]:
    """Cut the bytes into chunks of at most ``size``."""
    return (data[start : start + size] for start in range(0, len(data), size))
