"""Comparing stored files with rows and tombstones."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.db import connection
from django.test.utils import CaptureQueriesContext

from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.integrity import State, Verdict, compare, rows_named, tombstones_named, verify
from devilry_storage.layout import HierLayout
from devilry_storage.models import Tombstone
from devilry_storage.resolving import store_for
from devilry_storage.storages import FsHierDeliveryStore
from devilry_storage.storages.protocols import Entry
from devilry_storage.testing import MemoryDeliveryStore, override_deliverystore

from .harness.purging import delivered

NOW = datetime(2020, 1, 1, tzinfo=timezone.utc)


def _is_key(name: str) -> bool:
    try:
        HierLayout().parse(name)
    except ValueError:
        return False
    return True


def _compared(
    listing: list[tuple[str, int]], rows: dict[str, int | None], tombstones: tuple[str, ...] = ()
) -> list[tuple[str, str]]:
    entries = (Entry(name, size, NOW) for name, size in listing)
    recorded = {name: SimpleNamespace(size=size) for name, size in rows.items()}
    verdicts = compare(entries, recorded, dict.fromkeys(tombstones, "tombstone"), _is_key)
    return [(verdict.name, verdict.state.value) for verdict in verdicts]


#: Stored names and sizes, rows, tombstones, and the expected state.
STATES: list[tuple[list[tuple[str, int]], dict[str, int | None], tuple[str, ...], str]] = [
    ([("0/0/1/1", 3)], {"0/0/1/1": 3}, (), "whole"),
    ([("0/0/1/1", 0)], {"0/0/1/1": 0}, (), "whole"),
    ([("0/0/1/1", 3)], {"0/0/1/1": None}, (), "whole"),
    ([("0/0/1/1", 3)], {"0/0/1/1": 4}, (), "wrong size"),
    ([("0/0/1/1", 3)], {"0/0/1/1": 0}, (), "wrong size"),
    ([], {"0/0/1/1": 3}, (), "missing"),
    ([], {"0/0/1/1": 3}, ("0/0/1/1",), "missing"),
    ([("0/0/1/1", 3)], {}, ("0/0/1/1",), "tombstoned"),
    ([("old/essay", 3)], {}, ("old/essay",), "tombstoned"),
    # A purge keeps a file that a row names, even if it has a tombstone.
    ([("0/0/1/1", 3)], {"0/0/1/1": 3}, ("0/0/1/1",), "whole"),
    ([("0/0/1/1", 3)], {}, (), "orphan"),
    ([("0/0/1/1_aB3dE6g", 3)], {}, (), "orphan"),
    ([("0/0/1005/1", 3)], {}, (), "foreign"),
    ([("0/0/01/1", 3)], {}, (), "foreign"),
    ([("old/essay", 3)], {}, (), "foreign"),
    ([("old/essay", 3)], {"old/essay": 3}, (), "whole"),
]


def test_each_name_has_one_state(subtests: pytest.Subtests) -> None:
    """The states are those of the manual."""
    for listing, rows, tombstones, state in STATES:
        with subtests.test(listing=listing, rows=rows, tombstones=tombstones):
            ((_name, found),) = _compared(listing, rows, tombstones)
            assert found == state


def test_tombstone_without_bytes_yields_no_verdict() -> None:
    """The bytes were removed, as they should be."""
    assert _compared([], {}, ("0/0/1/1",)) == []


def test_listing_is_compared_lazily() -> None:
    """The listing of millions of files is not kept in memory, and its order is kept."""

    def listing() -> Iterator[Entry]:
        yield Entry("0/0/2/2", 1, NOW)
        yield Entry("0/0/1/1", 1, NOW)
        raise AssertionError("read ahead")

    verdicts = compare(listing(), {}, {}, _is_key)
    assert [next(verdicts).name, next(verdicts).name] == ["0/0/2/2", "0/0/1/1"]


def test_verdict_has_entry_and_row_or_tombstone() -> None:
    """Callers that show it need no further queries."""
    entry, row = Entry("0/0/1/1", 3, NOW), SimpleNamespace(size=3)
    (verdict,) = compare([entry], {"0/0/1/1": row}, {"0/0/1/1": "tombstone"}, _is_key)
    assert verdict == Verdict("0/0/1/1", State.WHOLE, entry, row, None)
    (verdict,) = compare([entry], {}, {"0/0/1/1": "tombstone"}, _is_key)
    assert verdict == Verdict("0/0/1/1", State.TOMBSTONED, entry, None, "tombstone")


# -- Deliveries --


@pytest.fixture(params=["disk", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """The store of FileMeta."""
    made: Any = MemoryDeliveryStore()
    if request.param == "disk":
        made = FsHierDeliveryStore(str(tmp_path))
    with override_deliverystore(made):
        yield made


def _states(delivery: Any) -> dict[str, str]:
    return {verdict.name: verdict.state.value for verdict in verify(delivery)}


def _deleted(delivery: Any, filename: str) -> str:
    row = delivery.files.get(filename=filename)
    name = row.content.name
    row.delete()
    return str(name)


@pytest.mark.django_db
def test_delivery_is_verified_against_its_folder(store: Any) -> None:
    """All files of the delivery, and all other files in its folder, get a verdict."""
    delivery = delivered(whole=b"1", lost=b"22", cut=b"333", deleted=b"4444")
    names = {row.filename: row.content.name for row in delivery.files}
    store.delete(names["lost"])
    store.delete(names["cut"])
    assert store.save(names["cut"], ContentFile(b"3")) == names["cut"]
    assert _deleted(delivery, "deleted") == names["deleted"]
    folder = store.layout.folder(delivery.pk)
    orphan = store.save(f"{folder}/999999", ContentFile(b"5"))
    foreign = store.save(f"{folder}/notes.txt", ContentFile(b"6"))
    assert _states(delivery) == {
        names["whole"]: "whole",
        names["lost"]: "missing",
        names["cut"]: "wrong size",
        names["deleted"]: "tombstoned",
        orphan: "orphan",
        foreign: "foreign",
    }


@pytest.mark.django_db
def test_adopted_file_is_looked_up_by_name(store: Any) -> None:
    """Its name is in another folder."""
    delivery = Delivery.begin(AssignmentGroup.objects.create(name="group"))
    delivery.add_file("own", b"1")
    for name in ("old/essay", "old/lost"):
        store.save(name, ContentFile(b"22"))
        FileMeta.objects.adopt(name, delivery=delivery)
    store.delete("old/lost")
    states = _states(delivery)
    assert (states["old/essay"], states["old/lost"]) == ("whole", "missing")
    assert len(states) == 3


@pytest.mark.django_db
def test_row_without_content_is_skipped(store: Any) -> None:
    """It is being stored or was abandoned."""
    delivery = delivered(own=b"1")
    FileMeta.objects.create(delivery=delivery, filename="empty")
    assert list(_states(delivery).values()) == ["whole"]


@pytest.mark.django_db
@pytest.mark.parametrize("count", [2, 40])
def test_number_of_queries_does_not_depend_on_files(count: int, store: Any) -> None:
    """The delivery's rows are queried, and the rows and tombstones of other files."""
    delivery = delivered(**{f"file{number}": b"1" for number in range(count)})
    _deleted(delivery, "file0")
    with CaptureQueriesContext(connection) as queries:
        assert len(_states(delivery)) == count
    asked = [query["sql"] for query in queries]
    assert len(asked) == 3, asked


@pytest.mark.django_db
def test_rows_are_selected_with_delivery_and_user(store: Any) -> None:
    """Showing them needs no further queries."""
    delivery = delivered(own=b"1")
    name = delivery.files.get().content.name
    found = rows_named(FileMeta, [name, "unknown"], "default")
    with CaptureQueriesContext(connection) as queries:
        assert found[name].delivery.delivered_by is None
    assert (list(found), list(queries)) == ([name], [])


@pytest.mark.django_db
def test_tombstone_of_an_earlier_alias_counts(store: Any) -> None:
    """A deleted file does not become an orphan if the alias of its store is changed."""
    delivery = delivered(gone=b"1")
    name = _deleted(delivery, "gone")
    assert list(tombstones_named(FileMeta, [name], "default")) == [name]
    Tombstone.objects.update(alias="elsewhere")
    assert list(tombstones_named(FileMeta, [name], "default")) == [name]
    assert store_for(FileMeta).exists(name)
