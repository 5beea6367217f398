"""What an archive costs: statements, system calls and memory for each file."""

from __future__ import annotations

import gc
import hashlib
import os
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from devilry_storage.archive import Archive, Member, of_deliveries, of_files
from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.fields import StoredName
from devilry_storage.resolving import store_for
from devilry_storage.storages import FsHierDeliveryStore

from .damaging import DATE

#: Functions that make one system call, and need a path or descriptor.
CALLS = ("open", "stat", "fstat", "read", "close", "scandir")


def deliver(deliveries: int, files: int, *, groups: int = 1) -> None:
    """Create finished deliveries with files of one byte, without storing each."""
    store: Any = store_for(FileMeta)
    pk = 0
    for number in range(deliveries):
        group, _is_new = AssignmentGroup.objects.get_or_create(name=f"group {number % groups}")
        delivery = Delivery.objects.create(assignment_group=group, number=number, successful=True)
        rows: list[FileMeta] = []
        for _ in range(files):
            pk += 1
            name = store.layout.key(delivery.pk, pk)
            path = Path(store.path(name))
            if not rows:
                path.parent.mkdir(parents=True)
                first = path
                path.write_bytes(b"x")
            else:
                path.hardlink_to(first)
            rows.append(
                FileMeta(
                    pk=pk,
                    delivery=delivery,
                    filename=f"answer {pk}.txt",
                    content=StoredName(name),
                    size=1,
                    sha256=hashlib.sha256(b"x").hexdigest(),
                )
            )
        FileMeta.objects.bulk_create(rows)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Return how often the functions of CALLS have been called."""
    found: Counter[str] = Counter()

    def counting(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def count(*args: Any, **kwargs: Any) -> Any:
            found[name] += 1
            return original(*args, **kwargs)

        return count

    for name in CALLS:
        monkeypatch.setattr(os, name, counting(name, getattr(os, name)))
    return found


def test_number_of_statements_does_not_depend_on_the_files(db: None) -> None:
    """One reads rows, deliveries and groups."""
    deliver(12, 5, groups=4)
    for deliveries in (Delivery.objects.filter(number=0), Delivery.objects.all()):
        with CaptureQueriesContext(connection) as queries:
            archive = of_deliveries(deliveries)
            assert len(b"".join(archive)) == archive.length
        assert len(queries) == 1


def test_folder_of_a_delivery_is_listed_once(calls: Counter[str], db: None) -> None:
    """Before the first byte. No file of it is opened or looked up."""
    deliver(6, 10)
    calls.clear()
    archive = of_files(FileMeta.objects.all())
    assert archive.count == 60
    parts = 4  # the root, and the three folders of a key
    assert (calls["scandir"], calls["open"], calls["close"]) == (6, 6 * parts, 6 * parts)


def test_member_takes_little_memory_before_the_first_byte(tmp_path: Path) -> None:
    """Half of what path, name and SHA-256 take as strings in a tuple."""
    sha256 = hashlib.sha256(b"x").hexdigest()
    members = (
        Member(f"group {n // 20}/1/answer {n}.txt", f"0/0/{n // 20}/{n}", n, sha256, DATE)
        for n in range(2000)
    )
    store = FsHierDeliveryStore(str(tmp_path))
    Archive(store, [])  # fills caches
    gc.collect()
    tracemalloc.start()
    try:
        archive = Archive(store, members)
        gc.collect()
        taken, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert archive.count == 2000
    assert taken / archive.count < 200
    assert peak / archive.count < 310
