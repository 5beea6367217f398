"""What a site may hand over as the content of a file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.core.files import File
from django.core.files.base import ContentFile
from django.db.models.fields.files import FieldFile

if TYPE_CHECKING:
    _AnyFile = File[Any]
else:
    _AnyFile = File  # generic for the type checker alone


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
