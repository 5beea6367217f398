"""Contents that do what contents do to a store: break off, wait, come without an end."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable
from typing import IO, Any

from django.core.files import File

Part = bytes | str | Callable[[], object]


class SourceBroke(Exception):
    """What a broken source raises."""


def breaks() -> None:
    """A part of a :class:`Script` at which the source breaks off."""
    raise SourceBroke("the source broke off")


class Script:
    """A file to read that plays its parts: chunks are handed out, callables are called.

    Not seekable but for ``seek(0)``, which begins again.
    """

    closed = False

    def __init__(self, *parts: Part) -> None:
        self._parts = parts
        self._left = list(parts)

    def seek(self, position: int, whence: int = 0) -> int:
        assert (position, whence) == (0, 0), "a script is only read from its beginning"
        self._left = list(self._parts)
        return 0

    def read(self, size: int = -1) -> Any:
        """Return the next chunk; it may be shorter than asked for, as of any raw file."""
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
    """Return a Django file over a :class:`Script`."""
    script: Any = Script(*parts)
    return File(script, name)


def endless(total: int, chunk: bytes = b"x" * 65536) -> File[Any]:
    """Return a file of ``total`` bytes that are nowhere in memory at once."""

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
    """Return the reading end of a pipe that holds the bytes: it can be read once."""
    assert len(data) <= 4096, "more could block"
    reader, writer = os.pipe()
    os.write(writer, data)
    os.close(writer)
    return open(reader, "rb")


class _OnlyRead:
    """What a server may give for a body: it has read(), and nothing else."""

    closed = False

    def __init__(self, data: bytes) -> None:
        self.read = io.BytesIO(data).read

    def close(self) -> None:
        self.closed = True


def only_once(data: bytes) -> File[Any]:
    """Return a Django file that can be read but once, though Django calls it seekable."""
    body: Any = _OnlyRead(data)
    return File(body, "once.bin")


def chunked(data: bytes, size: int) -> Iterable[bytes]:
    """Cut the bytes into chunks of at most ``size``."""
    return (data[start : start + size] for start in range(0, len(data), size))
