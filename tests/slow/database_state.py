"""Compare rows, tombstones and stored bytes after a race, a kill or a failure."""

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
    """Return new unfinished deliveries, each with the files ``0.txt``, ``1.txt`` and so on."""
    owner = owner or group()
    begun = [Delivery.begin(owner) for _ in range(number)]
    for delivery in begun:
        for file in range(files):
            delivery.add_file(f"{file}.txt", CONTENT)
    return begun


def bytes_under(name: str) -> bytes | None:
    """Return the bytes stored under the name, or None."""
    try:
        return b"".join(store_for(FileMeta).stream(name))
    except FileNotFoundError:
        return None


def stored(row: Any) -> bytes | None:
    """Return the bytes of the row's current content, or None if it has no content."""
    current = FileMeta.objects.get(pk=row.pk)
    return bytes_under(current.content.name) if current.content else None


def names() -> set[str]:
    """Return the names of all stored files."""
    return {entry.name for entry in store_for(FileMeta).scan()}


def live_names() -> set[str]:
    """Return the names that rows refer to."""
    return {row.content.name for row in FileMeta.objects.filter(content__isnull=False)}


def buried_names() -> set[str]:
    """Return the names of all tombstones, including those whose removal is done."""
    return set(Tombstone.objects.values_list("name", flat=True))


def orphans() -> set[str]:
    """Return the stored names that no row and no tombstone refers to."""
    return names() - live_names() - buried_names()


def left() -> list[Tombstone]:
    """Return the tombstones whose files are not removed yet."""
    return list(Tombstone.objects.filter(done=None).order_by("pk"))


def faults() -> list[str]:
    """Return a line for each row without its bytes and for each wrong tombstone.

    A tombstone is wrong if:

    - a row refers to its name,
    - it is not claimed and its bytes are missing,
    - it is done and its bytes are still stored.
    """
    return [*_broken_rows(), *_broken_tombstones()]


def _broken_rows() -> Iterator[str]:
    for row in FileMeta.objects.filter(content__isnull=False):
        data = bytes_under(row.content.name)
        if data is None:
            yield f"row {row.pk} refers to {row.content.name!r}, which is missing"
        elif (len(data), hashlib.sha256(data).hexdigest()) != (row.size, row.sha256):
            yield f"row {row.pk} refers to {row.content.name!r}, which has other bytes"


def _broken_tombstones() -> Iterator[str]:
    stored_names = names()
    for name in live_names() & buried_names():
        yield f"{name!r} has both a row and a tombstone"
    for tombstone in Tombstone.objects.all():
        if tombstone.claimed is None and tombstone.name not in stored_names:
            yield f"{tombstone.name!r} is missing, but its tombstone is not claimed"
        if tombstone.done is not None and tombstone.name in stored_names:
            yield f"{tombstone.name!r} is stored, but its removal is done"
