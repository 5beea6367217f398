"""Are the bytes of the store those of the files that were delivered?"""

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
    """How many files and bytes were read back, and the names of those that were not equal."""

    files: int = 0
    size: int = 0
    different: list[str] = field(default_factory=list)


def verify(delivered: Iterable[Delivered]) -> Verified:
    """Read every file back; compare its SHA-256 with the original's and with the row's."""
    result = Verified()
    for copy in delivered:
        filemeta = FileMeta.objects.get(pk=copy.filemeta.pk)  # what the database says now
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
    """Return the SHA-256 (hexadecimal) of an object of the store."""
    return _sha256(store_for(FileMeta).stream(name))


def _sha256(chunks: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


def unnamed_objects() -> Iterator[str]:
    """Yield the names of objects in the store that no row names: half an upload would be one."""
    named = set(
        FileMeta.objects.filter(content__isnull=False).values_list("content", flat=True).iterator()
    )
    for entry in store_for(FileMeta).scan():
        if entry.name not in named:
            yield entry.name
