"""What rows, tombstones and bytes say of each other, whoever has just raced or been killed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.models import Tombstone
from devilry_storage.resolving import store_for

CONTENT = b"as it was at first"
LONG_AGO = datetime(2001, 1, 1, tzinfo=timezone.utc)


def group(name: str = "group") -> Any:
    return AssignmentGroup.objects.create(name=name)


def deliveries(number: int, *, files: int = 0, owner: Any = None) -> list[Any]:
    """Return so many unfinished deliveries, each with so many files ``0.txt``, ``1.txt``."""
    owner = owner or group()
    begun = [Delivery.begin(owner) for _ in range(number)]
    for delivery in begun:
        for file in range(files):
            delivery.add_file(f"{file}.txt", CONTENT)
    return begun


def bytes_under(name: str) -> bytes | None:
    """Return what the store has under the name, None for nothing."""
    try:
        return b"".join(store_for(FileMeta).stream(name))
    except FileNotFoundError:
        return None


def stored(row: Any) -> bytes | None:
    """Return the bytes of a row as it now is in the database; None where it has no content."""
    current = FileMeta.objects.get(pk=row.pk)
    return bytes_under(current.content.name) if current.content else None


def names() -> set[str]:
    """Return the names of all that the store holds."""
    return {entry.name for entry in store_for(FileMeta).scan()}


def live_names() -> set[str]:
    """Return the names that rows have."""
    return {row.content.name for row in FileMeta.objects.filter(content__isnull=False)}


def buried_names() -> set[str]:
    """Return the names that tombstones have, removals that are done included."""
    return set(Tombstone.objects.values_list("name", flat=True))


def orphans() -> set[str]:
    """Return the names of bytes that no row and no tombstone names."""
    return names() - live_names() - buried_names()


def left() -> list[Tombstone]:
    """Return the tombstones whose bytes are not removed yet."""
    return list(Tombstone.objects.filter(done=None).order_by("pk"))


def faults() -> list[str]:
    """Return a line for each row without its bytes, and each tombstone that is not right.

    That is one of a name that a row has, one that is not claimed and whose bytes are gone, and
    one that is done and whose bytes are there.
    """
    return [*_broken_rows(), *_broken_tombstones()]


def _broken_rows() -> Iterator[str]:
    for row in FileMeta.objects.filter(content__isnull=False):
        data = bytes_under(row.content.name)
        if data is None:
            yield f"row {row.pk} names {row.content.name!r}, which has no bytes"
        elif (len(data), hashlib.sha256(data).hexdigest()) != (row.size, row.sha256):
            yield f"row {row.pk} names {row.content.name!r}, which has other bytes"


def _broken_tombstones() -> Iterator[str]:
    there = names()
    yield from (f"{name!r} lives and has a tombstone" for name in live_names() & buried_names())
    for tombstone in Tombstone.objects.all():
        if tombstone.claimed is None and tombstone.name not in there:
            yield f"{tombstone.name!r} is gone before its time"
        if tombstone.done is not None and tombstone.name in there:
            yield f"{tombstone.name!r} is there, though its removal is done"
