"""Read files as chunks of bytes, and verify them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from django.core.files import File

from ..exceptions import ChecksumMismatch
from .free_names import not_about_names

if TYPE_CHECKING:
    AnyFile = File[Any]
else:
    AnyFile = File  # generic for the type checker alone

CHUNK_SIZE = File.DEFAULT_CHUNK_SIZE

#: Length in bytes of the chunks of ``stream()``. With shorter ones, more time is spent between
#: them, under ASGI in another thread. Longer ones no longer fit into the processor's caches.
STREAMED = 1 << 18


def as_bytes(chunk: Any) -> bytes:
    """Return a chunk as bytes; text is stored as UTF-8."""
    return chunk.encode() if isinstance(chunk, str) else chunk


def read_chunks(source: File[Any]) -> Iterator[bytes]:
    """Yield the bytes of a file from its beginning."""
    with not_about_names():
        for chunk in source.chunks():
            yield as_bytes(chunk)


def verified(chunks: Iterable[bytes], sha256: str, name: str) -> Iterator[bytes]:
    """Yield the chunks of a whole file, the last one only if the SHA-256 of all is right.

    So a damaged file is never passed on in full. Raises ChecksumMismatch.
    """
    digest = hashlib.sha256()
    withheld = b""
    for chunk in chunks:
        digest.update(chunk)
        if withheld:
            yield withheld
        withheld = chunk
    if digest.hexdigest() != sha256.lower():
        raise ChecksumMismatch(
            f"{name!r} has the SHA-256 {digest.hexdigest()!r}, but {sha256!r} is recorded: the "
            "file was damaged in the store or while it was read."
        )
    if withheld:
        yield withheld
