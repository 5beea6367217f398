"""Reading files as chunks of bytes, and verifying them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

from django.core.files import File

from ..exceptions import ChecksumMismatch
from .free_names import not_about_names

CHUNK_SIZE = File.DEFAULT_CHUNK_SIZE


def as_bytes(chunk: Any) -> bytes:
    """Return a chunk as bytes; text is stored as UTF-8."""
    return chunk.encode() if isinstance(chunk, str) else chunk


def read_chunks(source: File[Any]) -> Iterator[bytes]:
    """Yield the bytes of a file from its beginning."""
    with not_about_names():
        for chunk in source.chunks():
            yield as_bytes(chunk)


def verified(chunks: Iterable[bytes], sha256: str, name: str) -> Iterator[bytes]:
    """Yield the chunks of a whole file, the last one not before the SHA-256 of all agrees.

    So whoever passes them on never ends a damaged file as if it were whole. Raises
    ChecksumMismatch.
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
            f"{name!r} was read with the SHA-256 {digest.hexdigest()!r}, but {sha256!r} is "
            "recorded: the file is damaged, in the store or on the way."
        )
    if withheld:
        yield withheld
