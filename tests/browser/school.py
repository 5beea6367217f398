"""Deliveries of a term, with all problems that an administrator may find."""

from __future__ import annotations

import os
import struct
import zlib
from datetime import timedelta
from pathlib import Path

from django.core.files.base import ContentFile
from django.core.management import call_command
from django.utils import timezone

from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.storages import FsHierDeliveryStore
from tests.harness.users import make_user

_STUDENTS = ["anna", "bjarne", "cecilie", "dag", "eli", "frode", "guro", "harald"]
_PROGRAM = b'''"""The third exercise: a queue."""

from collections import deque


class Queue:
    """First in, first out."""

    def __init__(self) -> None:
        self._items: deque[object] = deque()

    def put(self, item: object) -> None:
        self._items.append(item)

    def get(self) -> object:
        return self._items.popleft()
'''


def picture(width: int = 320, height: int = 200) -> bytes:
    """Return a PNG with colour gradients."""
    lines = b"".join(
        b"\0" + bytes(c for x in range(width) for c in (x * 255 // width, y, 160))
        for y in range(height)
    )

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(lines)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


FILES = {
    "queue.py": _PROGRAM,
    "Øving 3 «køer».txt": "Køer og stabler\n".encode() * 40,
    "figure.png": picture(),
    "report.pdf": b"%PDF-1.7\n" + bytes(48_000),
}


def fill(store: FsHierDeliveryStore) -> Delivery:
    """Deliver for every student, with files in all states, in different months.

    Return the delivery whose folder has the files in other states.
    """
    deliveries = []
    for number, name in enumerate(_STUDENTS):
        student = make_user(name)
        group = AssignmentGroup.objects.create(name=f"Exercise 3, {name}")
        group.candidates.add(student)
        delivery: Delivery = Delivery.objects.create(
            assignment_group=group, delivered_by=student, pk=1001 + number
        )
        names = list(FILES)[: 2 + number % 3]
        delivery.add_files({name: [FILES[name]] for name in names})
        if number < len(_STUDENTS) - 1:
            delivery.finish()
        months_ago = len(_STUDENTS) - 1 - number
        delivery.files.update(created=timezone.now() - timedelta(days=30.4 * months_ago))
        deliveries.append(delivery)
    first = deliveries[2]
    folder = first.files.earliest("pk").content.name.rpartition("/")[0]
    _leave(store, f"{folder}/4711", b"left by a rollback")
    _leave(store, f"{folder}/notes.txt", b"foreign")
    rows = list(FileMeta.objects.filter(delivery=first).order_by("pk"))
    rows[1].delete()
    Path(store.path(str(rows[2].content.name))).unlink()
    call_command("deliverystore_stats", verbosity=0)
    return first


def _leave(store: FsHierDeliveryStore, name: str, data: bytes) -> None:
    path = Path(store.path(store.save(name, ContentFile(data))))
    past = (timezone.now() - timedelta(days=9)).timestamp()
    os.utime(path, (past, past))
