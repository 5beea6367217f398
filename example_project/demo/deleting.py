"""Delete a file: its row is deleted, its bytes are kept until the retention is over."""

from __future__ import annotations

from dataclasses import dataclass

from devilry_storage.deliveries.models import FileMeta
from devilry_storage.models import Tombstone
from devilry_storage.resolving import store_for

from .verifying import stored_sha256


@dataclass(frozen=True)
class Deleted:
    """A deleted file, its tombstone, and whether row and bytes still exist."""

    filename: str
    tombstone: Tombstone
    row_exists: bool
    bytes_exist: bool
    bytes_equal: bool


def delete(filemeta: FileMeta) -> Deleted:
    """Delete the row of a file, and check what remains."""
    pk, name = filemeta.pk, filemeta.content.name
    filemeta.delete()
    tombstone = Tombstone.objects.get(name=name)
    return Deleted(
        filename=filemeta.filename,
        tombstone=tombstone,
        row_exists=FileMeta.objects.filter(pk=pk).exists(),
        bytes_exist=store_for(FileMeta).exists(tombstone.name),
        bytes_equal=stored_sha256(tombstone.name) == tombstone.sha256,
    )
