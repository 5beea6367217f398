"""Reading files as chunks of bytes, and verifying them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

from django.core.files import File

from ..exceptions import ChecksumMismatch

CHUNK_SIZE = File.DEFAULT_CHUNK_SIZE


def as_bytes(chunk: Any) -> bytes:
    """Return a chunk as bytes; text is stored as UTF-8."""
    return chunk.encode() if isinstance(chunk, str) else chunk


def read_chunks(source: File[Any]) -> Iterator[bytes]:
    """Yield what a file holds from its beginning, as bytes."""
    try:
        for chunk in source.chunks():
            yield as_bytes(chunk)
    except FileExistsError as exception:
        exception.of_content = True  # type: ignore[attr-defined]  # see is_of_content()
        raise


def is_of_content(exception: FileExistsError) -> bool:
    """Tell whether a content itself has raised this while it was read: no name is taken then."""
    return getattr(exception, "of_content", False)


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
