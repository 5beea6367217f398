"""Compare the stored files with the delivered files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from devilry_storage.deliveries.models import FileMeta
from devilry_storage.resolving import store_for

from .delivering import Delivered

_CHUNK = 64 * 1024


@dataclass
class Verified:
    """Number of files and bytes that were read back, and the names of different files."""

    files: int = 0
    size: int = 0
    different: list[str] = field(default_factory=list)


def verify(delivered: Iterable[Delivered]) -> Verified:
    """Read every file back, and compare its SHA-256 with the source file and the row."""
    result = Verified()
    for copy in delivered:
        filemeta = FileMeta.objects.get(pk=copy.filemeta.pk)  # the current row
        with filemeta.content.open() as file:
            stored = _sha256(file.chunks())
        if not stored == filemeta.sha256 == sha256_of(copy.path):
            result.different.append(filemeta.content.name)
        result.files += 1
        result.size += filemeta.size or 0
    return result


def sha256_of(path: Path) -> str:
    """Return the SHA-256 (hexadecimal) of a file on this machine."""
    with path.open("rb") as file:
        return _sha256(iter(lambda: file.read(_CHUNK), b""))


def stored_sha256(name: str) -> str:
    """Return the SHA-256 (hexadecimal) of a file in the store."""
    return _sha256(store_for(FileMeta).stream(name))


def _sha256(chunks: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


def unnamed_objects() -> Iterator[str]:
    """Yield stored names that no row has, such as that of an incomplete upload."""
    named = set(
        FileMeta.objects.filter(content__isnull=False).values_list("content", flat=True).iterator()
    )
    for entry in store_for(FileMeta).scan():
        if entry.name not in named:
            yield entry.name
