"""Purges after a restore of older files or of an older database dump keep files of rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import models

from devilry_storage.deletion import bury_orphan, purge
from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.exceptions import NotAnOrphan
from devilry_storage.fields import StoredName
from devilry_storage.models import StoreMark, Tombstone
from devilry_storage.resolving import store_for
from devilry_storage.restoring import restore

from ..harness.identity import entry_of, restart, stored_in
from ..harness.purging import delivered, left, past_due

pytestmark = pytest.mark.django_db(transaction=True)

TABLES = (AssignmentGroup, Delivery, FileMeta, Tombstone, StoreMark)


@pytest.fixture(autouse=True, params=["disk", pytest.param("moto", marks=pytest.mark.servers)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """The empty store that all models use."""
    with stored_in(entry_of(request.param, tmp_path)):
        yield store_for(FileMeta)
    restart()


def _dump() -> dict[type[models.Model], list[dict[str, Any]]]:
    return {model: list(model._base_manager.values()) for model in TABLES}


def _load(dump: dict[type[models.Model], list[dict[str, Any]]]) -> None:
    """Restore a dump into the database, as pg_restore does."""
    for model in reversed(TABLES):
        model._base_manager.all()._raw_delete("default")
    for model in TABLES:
        for row in dump[model]:
            if row.get("content"):
                row["content"] = StoredName(row["content"])
            rows: Any = model._base_manager
            rows.bulk_create([model(**row)])


def _assert_whole() -> None:
    for row in FileMeta.objects.filter(content__isnull=False):
        assert b"".join(store_for(row).stream(row.content.name)) == row.filename.encode() * 3


def _delivered(*filenames: str) -> Delivery:
    return delivered(**{name: name.encode() * 3 for name in filenames})


def test_older_dump_does_not_remove_files_of_rows(store: Any) -> None:
    """Files that were stored later have names that no tombstone in the dump has."""
    early = _delivered("a", "b", "c", "d")
    FileMeta.objects.get(filename="a").delete()
    dump = _dump()
    restored = restore(Tombstone.objects.get()).content.name
    FileMeta.objects.get(filename="b").delete()
    late = [row.content.name for row in _delivered("e").files]
    _load(dump)
    past_due()
    assert [event.result for event in purge()] == ["removed"]
    _assert_whole()
    assert {restored, *late} <= {entry.name for entry in store.scan()}
    for name in (restored, *late):
        with pytest.raises(NotAnOrphan):
            bury_orphan(FileMeta, name, using="default")
    assert Delivery.objects.get().pk == early.pk


def test_older_dump_from_before_a_purge_is_refused(store: Any) -> None:
    """Its rows lack the bytes that were removed since."""
    _delivered("a", "b", "c", "d")
    _delivered("e", "f").files[0].delete()
    dump = _dump()
    Delivery.objects.order_by("pk")[0].delete()
    past_due()
    assert {event.result for event in purge()} == {"removed"}
    _load(dump)
    past_due()
    (event,) = [event for event in purge() if event.result != "upload"]
    assert event.result == "refused"
    assert "is not in the store (4 of 5 files looked up are missing" in event.reason
    assert len(left()) == 1


def test_older_files_are_refused(store: Any) -> None:
    """The files of the newest rows are missing in an older copy."""
    _delivered("a", "b", "c")
    copied = {entry.name for entry in store.scan()}
    _delivered("d", "e", "f")
    FileMeta.objects.get(filename="a").delete()
    for entry in list(store.scan()):
        if entry.name not in copied:
            store.delete(entry.name)
    past_due()
    before = {entry.name for entry in store.scan()}
    (event,) = [event for event in purge() if event.result != "upload"]
    assert event.result == "refused"
    assert "is not in the store (3 of 5 files looked up are missing" in event.reason
    assert {entry.name for entry in store.scan()} == before
    assert len(left()) == 1


def test_one_lost_file_does_not_stop_a_purge(store: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The lost file is logged."""
    _delivered(*(f"f{number}" for number in range(30)))
    FileMeta.objects.get(filename="f5").delete()
    store.delete(FileMeta.objects.order_by("-pk")[0].content.name)
    past_due()
    assert [event.result for event in purge()] == ["removed"]
    assert "is not in the store" in caplog.text
