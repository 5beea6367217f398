"""What a site may hand over as the content of a file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.core.files import File
from django.core.files.base import ContentFile

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
def as_file(content: Any, name: str) -> Iterator[File[Any]]:
    """Give content as a file: one bytes or str (a chunk), a path, an open file, or chunks.

    A path is opened and closed; an open file is left open. Raises TypeError for anything else.
    """
    if isinstance(content, (bytes, bytearray, memoryview, str)):
        yield ContentFile(content if isinstance(content, str) else bytes(content), name)
    elif isinstance(content, os.PathLike):
        with open(content, "rb") as opened:
            yield File(opened, name)
    elif isinstance(content, File):
        yield content
    elif hasattr(content, "read"):
        yield File(content, name)
    elif isinstance(content, Iterable):
        yield IterableFile(content, name)
    else:
        raise TypeError(
            f"{content!r} is no content for {name!r}: give bytes, text, a path, an open file or "
            "an iterable of chunks."
        )
