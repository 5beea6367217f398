"""Removing for good: what is due and nothing else, and nothing at all from the wrong place."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from io import StringIO
from itertools import cycle
from pathlib import Path
from threading import Thread
from typing import Any
from unittest.mock import patch

import pytest
from django.core.files.base import ContentFile
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from django.db.models import F
from django.test.utils import CaptureQueriesContext, override_settings
from django.utils import timezone

from devilry_storage.db.clock import DatabaseNow
from devilry_storage.deletion import Event, Result, purge, purging, removal, remove_now
from devilry_storage.deletion.purging import SAMPLE
from devilry_storage.deliveries.models import Delivery, FileMeta
from devilry_storage.identity import permission
from devilry_storage.models import Tombstone
from devilry_storage.resolving import store_for
from devilry_storage.restoring import restore
from devilry_storage.storages import FsHierDeliveryStore
from devilry_storage.storages.tree import Tree
from devilry_storage.testing import override_deliverystore
from tests.testapp.models import Note

from ..harness.purging import delivered, left, past_due, purged
from ..harness.waiting import eventually, waits_for_lock

pytestmark = pytest.mark.django_db(transaction=True)

HIER = "devilry_storage.storages.FsHierDeliveryStore"


def _stores(root: Path, alias: str = "deliveries", **options: Any) -> dict[str, Any]:
    return {
        "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
        alias: {"BACKEND": HIER, "OPTIONS": {"location": str(root), **options}},
    }


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """The folder of a store that all models use."""
    with override_settings(STORAGES=_stores(tmp_path / "store")):
        yield tmp_path / "store"


def _names(root: Path) -> set[str]:
    return {
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.is_file() and ".devilry-storage" not in path.parts
    }


# -- What is due --


def test_before_it_is_due_nothing_is_removed(root: Path) -> None:
    """The retention is the time in which rows and bytes can be restored."""
    delivery = delivered(a=b"1", b=b"22")
    delivery.delete()
    before = _names(root)
    assert list(purge()) == []
    assert _names(root) == before != set()
    assert Tombstone.objects.count() == 2


def test_only_files_that_are_due_are_removed(root: Path) -> None:
    """Others of the same delivery are kept for their time."""
    delivery, _ = delivered(a=b"1", b=b"22"), delivered(c=b"333")
    delivery.delete()
    first, second = Tombstone.objects.order_by("pk")
    Tombstone.objects.filter(pk=first.pk).update(due=timezone.now())
    assert [event.subject for event in purge()] == [first.name]
    assert left() == [second]


def test_past_the_due_time_bytes_and_tombstones_go_and_the_neighbours_stay(root: Path) -> None:
    """Of two deliveries side by side one is removed whole, the other not touched."""
    gone, neighbour = delivered(a=b"1", b=b"22"), delivered(c=b"333")
    gone.delete()
    past_due()
    assert {event.result for event in purge()} == {"removed"}
    assert not left()
    (kept,) = neighbour.files
    assert _names(root) == {kept.content.name}
    with kept.content.open() as file:
        assert file.read() == b"333"


def test_a_dry_run_removes_nothing_and_tells_each_name(root: Path) -> None:
    """--dry-run shows what a purge would do."""
    delivery, _ = delivered(a=b"1"), delivered(b=b"2")
    name = delivery.files[0].content.name
    delivery.delete()
    past_due()
    out, err = purged(dry_run=True)
    assert f"would remove: {name}" in out
    assert "Would remove 1 files" in out
    assert not err
    assert name in _names(root)
    assert Tombstone.objects.count() == 1


def test_more_than_one_batch_is_removed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every batch is carried out, not only the first."""
    monkeypatch.setattr(removal, "CLAIMED_AT_ONCE", 5)
    monkeypatch.setattr(purging, "CLAIMED_AT_ONCE", 5)
    monkeypatch.setattr(purging, "REMOVED_AT_ONCE", 3)
    delivery, _ = delivered(**{f"f{i}": b"x" for i in range(8)}), delivered(a=b"1")
    delivery.delete()
    past_due()
    assert [event.result for event in purge()] == ["removed"] * 8
    assert not left()


def test_bytes_that_are_gone_already_count_as_removed(root: Path) -> None:
    """Nothing more can be done about them."""
    delivery, _ = delivered(a=b"1"), delivered(b=b"2")
    store_for(FileMeta).delete(delivery.files[0].content.name)
    delivery.delete()
    past_due()
    assert [event.result for event in purge()] == ["removed"]
    assert not left()


def test_a_removal_that_fails_stays_with_its_error_and_a_count(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is given up, and the others are removed."""
    delivery, _ = delivered(a=b"1", b=b"2"), delivered(c=b"3")
    bad = delivery.files[0].content.name
    delivery.delete()
    past_due()
    really = Tree.remove

    def remove(self: Tree, name: str, **options: Any) -> None:
        if name == bad:
            raise PermissionError(13, "Permission denied", name)
        really(self, name, **options)

    monkeypatch.setattr(Tree, "remove", remove)
    _out, err = purged()
    assert bad in err
    assert "Permission denied" in err
    assert "1 removals failed" in err
    (tombstone,) = left()
    assert (tombstone.name, tombstone.attempts) == (bad, 1)
    assert "Permission denied" in tombstone.last_error
    monkeypatch.undo()
    assert "removed" in {event.result for event in purge()}
    assert not left()


def test_purge_keeps_file_that_a_row_names(root: Path) -> None:
    """Such a row can only be written past this package."""
    delivery, other = delivered(a=b"1"), delivered(b=b"2")
    name = delivery.files[0].content.name
    delivery.delete()
    past_due()
    _rename(other, name)
    _out, err = purged()
    assert f"kept: {name} (a row names the file)" in err
    assert name in _names(root)
    assert [tombstone.claimed for tombstone in left()] == [None]


def test_purge_keeps_file_of_second_model_in_the_store(root: Path) -> None:
    """A row of any model that uses the store protects the file that it names."""
    delivery, _ = delivered(a=b"1"), delivered(b=b"2")
    name = delivery.files[0].content.name
    delivery.delete()
    past_due()
    with override_deliverystore(store_for(FileMeta), model=Note):
        note = Note.objects.create(filename="n", content=ContentFile(b"n", "n"))
        connection.cursor().execute("UPDATE testapp_note SET content = %s", [name])
        assert [event.result for event in purge()] == ["kept"]
        note.refresh_from_db()
        assert b"".join(store_for(Note).stream(note.content.name)) == b"1"
    assert len(left()) == 1


def test_tombstone_that_becomes_due_meanwhile_is_not_reported(root: Path) -> None:
    """It waits for the next purge, and nothing is wrong with it."""
    delivery, _ = delivered(a=b"1", b=b"2"), delivered(c=b"3")
    delivery.delete()
    first, second = Tombstone.objects.order_by("pk")
    Tombstone.objects.filter(pk=first.pk).update(due=timezone.now())
    events = purge()
    removed = next(events)
    past_due()
    assert [removed.subject, *(event.subject for event in events)] == [first.name]
    assert left() == [second]


@pytest.mark.parametrize("is_mounted", [False, True], ids=["missing", "empty"])
def test_disk_that_goes_away_during_a_purge_removes_nothing(
    root: Path, is_mounted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not found on it says nothing; the next purge removes it."""
    delivery, _ = delivered(a=b"1", b=b"2"), delivered(c=b"3")
    delivery.delete()
    past_due()
    away = root.with_name("away")
    really = FsHierDeliveryStore.delete_many

    def unmount(self: FsHierDeliveryStore, names: Any, **sizes: Any) -> Any:
        root.rename(away)
        if is_mounted:
            root.mkdir()
        return really(self, names, **sizes)

    monkeypatch.setattr(FsHierDeliveryStore, "delete_many", unmount)
    events = list(purge())
    assert [event.result for event in events[:2]] == ["failed"] * 2
    assert "was unmounted or exchanged meanwhile" in events[0].reason
    assert len(left()) == 2
    monkeypatch.undo()
    if is_mounted:
        root.rmdir()
    away.rename(root)
    assert [event.result for event in purge()] == ["removed"] * 2


@pytest.mark.parametrize("label", ["gone.filemeta", "testapp.course"])
def test_model_without_files_stops_no_other_purge(root: Path, label: str) -> None:
    """It was removed, or has lost its file; the store of its tombstones is known by the alias."""
    _one_deleted_of_two()
    tombstone = Tombstone.objects.get()
    Tombstone.objects.create(model=label, alias="deliveries", name="0/0/9/9", due=tombstone.due)
    Tombstone.objects.create(model=label, alias="elsewhere", name="0/0/9/9", due=tombstone.due)
    Tombstone.objects.update(created=timezone.now() - timedelta(days=2))
    events = {(event.result, event.subject) for event in purge()}
    assert events == {("skipped", label), ("removed", tombstone.name), ("removed", "0/0/9/9")}
    assert [each.alias for each in left()] == ["elsewhere"]


def test_remove_now_keeps_file_that_rows_of_two_models_name(root: Path) -> None:
    """It is reported once."""
    delivery, other = delivered(a=b"1"), delivered(b=b"2")
    name = delivery.files[0].content.name
    delivery.delete()
    _rename(other, name)
    with override_deliverystore(store_for(FileMeta), model=Note):
        Note.objects.create(filename="n", content=ContentFile(b"n", "n"))
        connection.cursor().execute("UPDATE testapp_note SET content = %s", [name])
        (event,) = remove_now(Tombstone.objects.filter(name=name))
    assert (event.result, event.subject) == ("kept", name)


def _rename(delivery: Delivery, name: str) -> None:
    """Let the delivery's only row name another file."""
    cursor = connection.cursor()
    table = FileMeta._meta.db_table
    cursor.execute(f"UPDATE {table} SET content = %s WHERE delivery_id = %s", [name, delivery.pk])


def test_removals_that_are_done_are_forgotten_after_thirty_days(root: Path) -> None:
    """Until then their names are not used again."""
    delivery, _ = delivered(a=b"1", b=b"2"), delivered(c=b"3")
    delivery.delete()
    past_due()
    list(purge())
    first, second = Tombstone.objects.order_by("pk")
    assert first.done is not None
    Tombstone.objects.filter(pk=first.pk).update(done=first.done - purging.KEPT_DONE)
    Tombstone.objects.filter(pk=second.pk).update(done=first.done - purging.KEPT_DONE / 2)
    assert list(purge()) == []
    assert Tombstone.objects.get() == second


def test_claimed_tombstone_keeps_no_rows(root: Path) -> None:
    """What cannot be restored any more is not kept either."""
    delivery, _ = delivered(a=b"1"), delivered(b=b"2")
    delivery.delete()
    past_due()
    list(purge())
    (tombstone,) = Tombstone.objects.all()
    assert (tombstone.rows, tombstone.filename) == ([], "")
    assert tombstone.done >= tombstone.claimed


def test_next_purge_finishes_one_that_was_killed_after_the_claim(root: Path) -> None:
    """Whether the bytes are removed already or not, though nothing else is stored."""
    delivery = delivered(a=b"1", b=b"2")
    names = [row.content.name for row in delivery.files]
    delivery.delete()
    past_due()
    assert removal.claim(FileMeta, Tombstone.objects.due()) == 2
    store_for(FileMeta).delete(names[0])
    assert [event.result for event in purge()] == ["removed"] * 2
    assert not left()
    assert _names(root) == set()


@pytest.mark.parametrize("how", ["purge", "command", "remove_now"])
def test_purge_is_refused_in_a_transaction(root: Path, how: str) -> None:
    """A rollback would bring the row back."""
    delivered(a=b"1", b=b"2")
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        FileMeta.objects.get(filename="a").delete()
        past_due()
        with pytest.raises(RuntimeError, match="cannot run in a transaction"):
            if how == "command":
                purged()
            else:
                list(purge() if how == "purge" else remove_now(Tombstone.objects.all()))
        raise ZeroDivisionError
    assert _names(root) == {row.content.name for row in FileMeta.objects.all()}
    assert FileMeta.objects.count() == 2


def test_purge_of_thousands_sends_few_statements(root: Path) -> None:
    """One claim for 10,000 tombstones, and two statements for each thousand removals."""
    delivered(a=b"1")
    now = timezone.now() - timedelta(seconds=1)
    Tombstone.objects.bulk_create(
        Tombstone(
            model="devilry_deliveries.filemeta",
            alias="deliveries",
            name=f"0/0/9/{number}",
            due=now,
            file_id=number,
        )
        for number in range(10_000)
    )
    with CaptureQueriesContext(connection) as sent:
        assert len(list(purge())) == 10_000
    assert len(sent) <= 70
    assert not left()


@pytest.mark.parametrize("days", [365, -365], ids=["ahead", "behind"])
def test_purge_uses_the_clock_of_the_database(root: Path, days: int) -> None:
    """The clock of a host that is off neither removes early nor keeps for ever."""
    delivery, _ = delivered(a=b"1"), delivered(b=b"2")
    there = timezone.now() + timedelta(days=days)
    with patch.object(timezone, "now", lambda: there):
        delivery.delete()
        assert list(purge()) == []
        tombstone = Tombstone.objects.get()
        assert tombstone.due - tombstone.created > timedelta(days=29)
        Tombstone.objects.update(due=DatabaseNow())
        assert [event.result for event in purge()] == ["removed"]
    assert abs(tombstone.created - timezone.now()) < timedelta(hours=1)


def test_claim_takes_each_tombstone_once(root: Path) -> None:
    """The time of the first claim stays."""
    _one_deleted_of_two()
    assert removal.claim(FileMeta, Tombstone.objects.all()) == 1
    first = Tombstone.objects.get().claimed
    assert removal.claim(FileMeta, Tombstone.objects.all()) == 0
    assert Tombstone.objects.get().claimed == first


def test_claim_leaves_tombstones_of_other_stores(root: Path) -> None:
    """Whichever were asked for."""
    _one_deleted_of_two()
    Tombstone.objects.update(alias="elsewhere")
    assert removal.claim(FileMeta, Tombstone.objects.all()) == 0
    assert Tombstone.objects.get().claimed is None


def test_row_that_names_the_file_before_the_claim_keeps_it(root: Path) -> None:
    """Rows are looked for by the statement that claims."""
    delivery, other = delivered(a=b"1"), delivered(b=b"2")
    name = delivery.files[0].content.name
    delivery.delete()
    past_due()

    def rename_first(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith(f'UPDATE "{Tombstone._meta.db_table}"'):
            _rename(other, name)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(rename_first):
        assert removal.claim(FileMeta, Tombstone.objects.all()) == 0
    assert Tombstone.objects.get().claimed is None


def test_purge_finishes_removals_that_are_not_due(root: Path) -> None:
    """They were claimed before their time, and then the remover was killed."""
    delivery, _ = delivered(a=b"1"), delivered(b=b"2")
    delivery.delete()
    assert removal.claim(FileMeta, Tombstone.objects.all()) == 1
    assert [event.result for event in purge()] == ["removed"]


def test_failing_removals_are_tried_once_in_a_purge(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next purge tries them again."""
    monkeypatch.setattr(purging, "REMOVED_AT_ONCE", 1)
    delivery, _ = delivered(a=b"1", b=b"2", c=b"3"), delivered(d=b"4")
    delivery.delete()
    past_due()
    Tombstone.objects.update(id=F("id") + 9)

    def remove(self: Tree, name: str, **options: Any) -> None:
        raise PermissionError(13, "Permission denied", name)

    monkeypatch.setattr(Tree, "remove", remove)
    assert [event.result for event in purge()] == ["failed"] * 3
    assert [tombstone.attempts for tombstone in left()] == [1, 1, 1]


def test_claim_is_refused_in_a_transaction(root: Path) -> None:
    """A rollback would forget that the bytes may be gone."""
    _one_deleted_of_two()
    with transaction.atomic(), pytest.raises(RuntimeError, match="durable"):
        removal.claim(FileMeta, Tombstone.objects.all())
    assert Tombstone.objects.get().claimed is None


def _durability(new: str = "") -> str:
    """Return how far a COMMIT survives a crash, and set that for this session if given."""
    name = "synchronous_commit" if connection.vendor == "postgresql" else "synchronous"
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(f"SET {name} = {new}" if new else f"SHOW {name}")
        else:
            cursor.execute(f"PRAGMA {name} = {new}" if new else f"PRAGMA {name}")
        return "" if new else str(cursor.fetchone()[0])


@pytest.mark.parametrize("is_claimed", [True, False], ids=["claimed", "refused"])
def test_claim_is_durable_where_the_session_is_not(root: Path, is_claimed: bool) -> None:
    """What is removed must not be restorable after a crash; other transactions stay quick."""
    _one_deleted_of_two()
    on_postgresql = connection.vendor == "postgresql"
    before, durable, off = _durability(), *(("on", "off") if on_postgresql else ("2", "0"))
    seen = []

    def look(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith("UPDATE"):
            seen.append(_durability())
            if not is_claimed:
                raise DatabaseError("refused")
        return execute(sql, params, many, context)

    try:
        _durability(off)
        with connection.execute_wrapper(look):
            if is_claimed:
                removal.claim(FileMeta, Tombstone.objects.all())
            else:
                with pytest.raises(DatabaseError, match="refused"):
                    removal.claim(FileMeta, Tombstone.objects.all())
        assert (seen, _durability()) == ([durable], off)
    finally:
        _durability(before)


def test_purge_is_refused_without_autocommit(root: Path) -> None:
    """A caller that commits by hand has a transaction open, too."""
    _one_deleted_of_two()
    transaction.set_autocommit(False)
    try:
        with pytest.raises(RuntimeError, match="cannot run in a transaction"):
            list(purge())
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)
    assert Tombstone.objects.get().claimed is None


def test_outcomes_are_recorded_by_few_statements(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One for the files that are removed, and one for each kind of error."""
    delivery, _ = delivered(**{f"f{i}": b"x" for i in range(6)}), delivered(a=b"1")
    bad = {row.content.name for row in list(delivery.files)[:3]}
    delivery.delete()
    past_due()
    really = Tree.remove

    def remove(self: Tree, name: str, **options: Any) -> None:
        if name in bad:
            raise PermissionError(13, "Permission denied")
        really(self, name, **options)

    monkeypatch.setattr(Tree, "remove", remove)
    with CaptureQueriesContext(connection) as captured:
        results = [event.result for event in purge()]
    assert sorted(results) == ["failed"] * 3 + ["removed"] * 3
    updates = [query["sql"] for query in captured if query["sql"].startswith("UPDATE")]
    assert len(updates) == 3, "the claim, the removed and the failed ones"
    assert {(each.name, each.attempts) for each in left()} == {(name, 1) for name in bad}


def test_error_of_a_database_that_is_there_is_raised(root: Path) -> None:
    """Only a session that has ended is begun again."""
    _one_deleted_of_two()
    settle = patch.object(removal, "_settle", side_effect=[DatabaseError("is full"), None])
    with settle, pytest.raises(DatabaseError, match="is full"):
        list(purge())
    assert [event.result for event in purge()] == ["removed"]


@pytest.mark.postgres
def test_session_that_ends_while_the_store_works_is_begun_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pooler or firewall may have closed it; what was removed is recorded."""
    _one_deleted_of_two()
    delete_many = FsHierDeliveryStore.delete_many

    def terminate() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 30000)", [pid])
        connection.close()

    def delete_meanwhile(self: FsHierDeliveryStore, *args: Any, **options: Any) -> Any:
        thread = Thread(target=terminate)
        thread.start()
        thread.join(30)
        return delete_many(self, *args, **options)

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    monkeypatch.setattr(FsHierDeliveryStore, "delete_many", delete_meanwhile)
    assert [event.result for event in purge()] == ["removed"]
    assert not left()


def test_all_old_removals_are_forgotten_but_not_in_a_dry_run(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In batches, each by a short statement."""
    monkeypatch.setattr(purging, "_FORGOTTEN_AT_ONCE", 2)
    delivery, _ = delivered(**{f"f{i}": b"x" for i in range(5)}), delivered(a=b"1")
    delivery.delete()
    past_due()
    list(purge())
    Tombstone.objects.update(done=timezone.now() - timedelta(days=31))
    assert list(purge(dry_run=True)) == []
    assert Tombstone.objects.count() == 5
    assert list(purge()) == []
    assert not Tombstone.objects.exists()


@override_settings(USE_TZ=False)
def test_without_time_zones_files_are_kept_restored_and_purged(root: Path) -> None:
    """Times without a zone are compared with each other alone."""
    delivery, _ = delivered(a=b"1", b=b"2"), delivered(c=b"3")
    delivery.delete()
    assert list(purge()) == []
    first, second = Tombstone.objects.order_by("pk")
    row = restore(first)
    assert abs(Tombstone.objects.get(pk=first.pk).created - timezone.now()) < timedelta(hours=1)
    Tombstone.objects.filter(pk=second.pk).update(due=timezone.now() - timedelta(seconds=1))
    assert [event.subject for event in purge()] == [second.name]
    Tombstone.objects.filter(pk=second.pk).update(done=timezone.now() - timedelta(days=31))
    assert list(purge()) == []
    assert Tombstone.objects.get() == first
    assert b"".join(store_for(row).stream(row.content.name)) == b"1"


# -- Right after COMMIT --


@override_settings(DELIVERY_STORE_RETENTION_DAYS=0)
def test_without_retention_bytes_go_right_after_commit(root: Path) -> None:
    """Not before, and nobody else's."""
    delivery, other = delivered(a=b"1", b=b"2"), delivered(c=b"3")
    with transaction.atomic():
        delivery.delete()
        assert len(_names(root)) == 3
    assert _names(root) == {other.files[0].content.name}
    assert not left()


@override_settings(DELIVERY_STORE_RETENTION_DAYS=0)
def test_delete_without_retention_sends_few_statements(root: Path) -> None:
    """Looking up a row, claiming, removing and settling take seven, once the store is known."""
    first, second, third, _ = delivered(a=b"1", b=b"2", c=b"3", d=b"4").files
    first.delete()
    with CaptureQueriesContext(connection) as removing:
        second.delete()
    with (
        CaptureQueriesContext(connection) as keeping,
        override_settings(DELIVERY_STORE_RETENTION_DAYS=30),
    ):
        third.delete()
    assert len(removing) - len(keeping) <= 7


@override_settings(DELIVERY_STORE_RETENTION_DAYS=0)
def test_without_retention_a_rolled_back_delete_removes_nothing(root: Path) -> None:
    """Neither a whole transaction nor a savepoint that is rolled back."""
    pk, other = delivered(a=b"1").pk, delivered(b=b"2")
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        Delivery.objects.get(pk=pk).delete()
        raise ZeroDivisionError
    with transaction.atomic():
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            Delivery.objects.get(pk=pk).delete()
            raise ZeroDivisionError
        other.delete()
    (kept,) = FileMeta.objects.all()
    assert _names(root) == {kept.content.name}
    assert not left()


@override_settings(DELIVERY_STORE_RETENTION_DAYS=0)
def test_right_after_commit_an_emptied_root_stops_the_removal(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The newest row is looked up first; the delete itself is not undone."""
    delivery, _ = delivered(a=b"1"), delivered(b=b"2")
    shutil.rmtree(root)
    delivery.delete()
    assert Tombstone.objects.count() == 1
    assert "No bytes were removed" in caplog.text
    assert "missing" in caplog.text


@override_settings(DELIVERY_STORE_RETENTION_DAYS=0)
def test_delete_without_retention_checks_newest_row(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The bytes stay, with a tombstone, while the file of the newest row is missing."""
    delivery, newest = delivered(a=b"1"), delivered(b=b"2")
    os.unlink(root / newest.files[0].content.name)
    delivery.delete()
    assert "is not in the store" in caplog.text
    assert _names(root) == {Tombstone.objects.get().name}


@override_settings(DELIVERY_STORE_RETENTION_DAYS=0)
@pytest.mark.parametrize("is_claimed", [False, True], ids=["buried", "claimed"])
def test_delete_without_retention_keeps_file_of_other_alias(root: Path, is_claimed: bool) -> None:
    """A due tombstone of the same name that is of another alias stays."""
    delivery, _ = delivered(a=b"1"), delivered(b=b"2")
    name = delivery.files[0].content.name
    Tombstone.objects.create(
        model="devilry_deliveries.filemeta",
        alias="elsewhere",
        name=name,
        due=timezone.now(),
        claimed=timezone.now() if is_claimed else None,
    )
    delivery.delete()
    assert name not in _names(root)
    assert [tombstone.alias for tombstone in left()] == ["elsewhere"]


@override_settings(DELIVERY_STORE_RETENTION_DAYS=0)
def test_delete_without_retention_removes_limited_number_of_files(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files above the limit keep their tombstones, and a purge removes them."""
    monkeypatch.setattr(removal, "AFTER_COMMIT", 2)
    delivery, _ = delivered(a=b"1", b=b"2", c=b"3"), delivered(d=b"4")
    delivery.delete()
    assert len(_names(root)) == 2
    assert len(left()) == 1
    assert [event.result for event in purge()] == ["removed"]


@override_settings(DELIVERY_STORE_RETENTION_DAYS=0)
def test_delete_without_retention_leaves_other_due_tombstones(root: Path) -> None:
    """The caller of a delete does not wait for the removal of others' files."""
    early, delivery, _ = delivered(a=b"1"), delivered(b=b"2"), delivered(c=b"3")
    name = early.files[0].content.name
    with override_settings(DELIVERY_STORE_RETENTION_DAYS=1):
        early.delete()
    past_due()
    delivery.delete()
    assert [(each.name, each.claimed) for each in left()] == [(name, None)]
    assert name in _names(root)


def test_name_that_was_rolled_back_is_kept_for_its_retention(root: Path) -> None:
    """A delete without retention was undone; the one that counts has some."""
    delivery, _ = delivered(a=b"1", b=b"2"), delivered(c=b"3")
    first, second = delivery.files
    name = first.content.name
    with transaction.atomic():
        with (
            override_settings(DELIVERY_STORE_RETENTION_DAYS=0),
            pytest.raises(ZeroDivisionError),
            transaction.atomic(),
        ):
            FileMeta.objects.get(pk=first.pk).delete()
            raise ZeroDivisionError
        first.delete()
        with override_settings(DELIVERY_STORE_RETENTION_DAYS=0):
            second.delete()
    assert [tombstone.name for tombstone in left()] == [name]
    assert name in _names(root)
    assert second.content.name not in _names(root)


# -- Before the due time --


def test_remove_now_removes_files_before_their_due_time(root: Path) -> None:
    """The bytes and tombstones of the given files are removed, those of others are kept."""
    delivery, _ = delivered(a=b"1", b=b"2"), delivered(c=b"3")
    delivery.delete()
    first, second = Tombstone.objects.order_by("pk")
    assert [event.result for event in remove_now([first])] == ["removed"]
    assert first.name not in _names(root)
    assert second.name in _names(root)
    assert left() == [second]


def test_remove_now_skips_tombstones_of_other_aliases(root: Path) -> None:
    """The file of the same name in the current store is another one."""
    delivery, _ = delivered(a=b"1"), delivered(b=b"2")
    delivery.delete()
    before = _names(root)
    Tombstone.objects.update(alias="elsewhere")
    tombstone = Tombstone.objects.get()
    (event,) = remove_now([tombstone])
    assert (event.result, event.subject) == ("skipped", tombstone.name)
    assert "'elsewhere'" in event.reason
    assert _names(root) == before
    assert Tombstone.objects.get() == tombstone


def test_remove_now_skips_tombstones_of_removed_models(root: Path) -> None:
    """Their store is unknown: the bytes and tombstones stay."""
    _one_deleted_of_two()
    Tombstone.objects.update(model="gone.filemeta")
    (event,) = remove_now(Tombstone.objects.all())
    assert (event.result, event.reason) == (
        "skipped",
        "no model of files has the label 'gone.filemeta' any more",
    )
    assert len(_names(root)) == 2
    assert Tombstone.objects.count() == 1


def test_remove_now_takes_each_store_for_itself(root: Path, tmp_path: Path) -> None:
    """Each file is reported once."""
    delivery, _ = delivered(a=b"1"), delivered(b=b"2")
    delivery.delete()
    store = FsHierDeliveryStore(location=tmp_path / "notes")
    with override_deliverystore(store, model=Note):
        gone, _ = (Note.objects.create(content=ContentFile(b"note", "a")) for _ in range(2))
        gone.delete()
        events = list(remove_now(Tombstone.objects.all()))
    assert [event.result for event in events] == ["removed", "removed"]


def test_remove_now_refuses_wrong_store(root: Path) -> None:
    """The file of the only row that is left is missing."""
    _one_deleted_of_two()
    tombstone = Tombstone.objects.get()
    os.unlink(root / FileMeta.objects.get().content.name)
    assert [event.result for event in remove_now([tombstone])] == ["refused"]
    assert tombstone.name in _names(root)
    assert left()[0].claimed is None


def test_file_of_another_size_is_removed_only_by_name(root: Path) -> None:
    """It is not the one that was recorded; --also says that it may go."""
    _one_deleted_of_two()
    name = Tombstone.objects.get().name
    (root / name).write_bytes(b"another's")
    for _ in range(2):
        _out, err = purged()
        assert f"kept: {name} ({name!r} has 9 bytes in the store, but 1 were recorded" in err
        assert name in _names(root)
    assert left()[0].attempts == 2
    _out, err = purged(also=["0/0/9/9", name])
    assert "skipped: 0/0/9/9 (no deleted file of this name is to be removed now)" in err
    assert "1 names given with --also were not found (see above)" in err
    assert name not in _names(root)
    assert not left()


@pytest.mark.parametrize("dry_run", [False, True])
def test_command_fails_for_an_unknown_name_after_the_purge(root: Path, dry_run: bool) -> None:
    """All other files are removed, and a name that is known is not an error."""
    _one_deleted_of_two()
    name = Tombstone.objects.get().name
    with pytest.raises(CommandError, match="^1 names given with --also were not found"):
        call_command(
            "purge_deliveries", also=["0/0/9/9", name], dry_run=dry_run, stderr=StringIO()
        )
    assert bool(left()) is dry_run


def test_orphan_is_kept_for_the_grace_time(root: Path) -> None:
    """Whatever asks, its row may be about to be written."""
    delivered(a=b"1")
    name = store_for(FileMeta).save("0/0/1/99", ContentFile(b"orphan"))
    orphan = Tombstone.objects.create(
        model="devilry_deliveries.filemeta", alias="deliveries", name=name, due=timezone.now()
    )
    assert [event.result for event in purge()] == ["kept"]
    (event,) = remove_now([orphan])
    assert (event.result, event.subject) == ("kept", name)
    Tombstone.objects.update(created=timezone.now() - timedelta(hours=25))
    assert [event.result for event in remove_now([orphan])] == ["removed"]


def test_remove_now_skips_tombstone_that_is_removed_meanwhile(root: Path) -> None:
    """Another administrator was quicker."""
    _one_deleted_of_two()
    tombstone = Tombstone.objects.get()
    list(purge())
    (event,) = remove_now([tombstone])
    assert (event.result, event.reason) == ("skipped", "it was restored or removed meanwhile")


# -- The wrong place --


def _refused(root: Path, why: str) -> None:
    """Assert that a purge removes nothing and says why."""
    before, count = _names(root) if root.exists() else set(), Tombstone.objects.count()
    out, err = purged()
    assert why in err
    assert "Nothing was removed" in err
    assert "Removed 0 files" in out
    assert (_names(root) if root.exists() else set()) == before
    assert Tombstone.objects.count() == count > 0


def _one_deleted_of_two() -> None:
    delivery, _ = delivered(a=b"1"), delivered(b=b"2")
    delivery.delete()
    past_due()


def test_a_missing_root_is_refused(root: Path) -> None:
    """The disk is not mounted and its mount point is gone."""
    _one_deleted_of_two()
    shutil.rmtree(root)
    _refused(root, "missing")


def test_an_empty_root_is_refused(root: Path) -> None:
    """The disk is not mounted: an empty mount point is left."""
    _one_deleted_of_two()
    shutil.rmtree(root)
    root.mkdir()
    _refused(root, "empty")


def test_an_empty_root_is_refused_though_no_row_is_left_to_look_up(root: Path) -> None:
    """Else a purge during the outage would forget all tombstones, and the bytes stay for ever."""
    delivered(a=b"1").delete()
    past_due()
    shutil.rmtree(root)
    root.mkdir()
    _refused(root, "empty")


def test_an_emptied_root_to_which_somebody_wrote_is_refused(root: Path) -> None:
    """The disk is not mounted, and a new file was stored below the mount point."""
    delivered(a=b"1")
    _one_deleted_of_two()
    shutil.rmtree(root)
    (root / "0/0/9").mkdir(parents=True)
    (root / "0/0/9/9").write_bytes(b"3")
    _refused(root, "none of the newest 2 files")


def test_another_folder_with_files_is_refused(root: Path, tmp_path: Path) -> None:
    """The location was changed to another site's, where other files have the same keys."""
    _one_deleted_of_two()
    other = tmp_path / "other"
    with override_settings(STORAGES=_stores(other)):
        store_for(FileMeta).save(Tombstone.objects.get().name, ContentFile(b"1"))
        _refused(other, "none of the newest 1 files")


def test_file_of_another_folder_is_kept_for_its_size(root: Path, tmp_path: Path) -> None:
    """There is no row to look up, and the file of that name has another size."""
    delivered(a=b"1").delete()
    past_due()
    other = tmp_path / "other"
    name = Tombstone.objects.get().name
    with override_settings(STORAGES=_stores(other)):
        store_for(FileMeta).save(name, ContentFile(b"another's"))
        _out, err = purged()
    assert "9 bytes in the store, but 1 were recorded" in err
    assert _names(other) == {name}
    assert len(left()) == 1


def test_a_store_of_another_alias_is_skipped(root: Path, tmp_path: Path) -> None:
    """The model uses another store now, in which the same names belong to others."""
    _one_deleted_of_two()
    name = Tombstone.objects.get().name
    other = tmp_path / "other"
    with override_settings(STORAGES=_stores(other, "elsewhere")):
        FileMeta.deliverystore = "elsewhere"
        try:
            store_for(FileMeta).save(name, ContentFile(b"1"))
            _out, err = purged()
        finally:
            del FileMeta.deliverystore
    assert "skipped" in err
    assert "'deliveries'" in err
    assert "'elsewhere'" in err
    assert _names(other) == {name}
    assert name in _names(root)
    assert Tombstone.objects.count() == 1


def test_purge_keeps_files_with_tombstones_of_other_aliases(root: Path) -> None:
    """The file of the same name in the current store is another one."""
    delivery, _ = delivered(a=b"1", b=b"2"), delivered(c=b"3")
    delivery.delete()
    past_due()
    first, second = Tombstone.objects.order_by("pk")
    Tombstone.objects.filter(pk=first.pk).update(alias="elsewhere")
    events = [(event.result, event.subject) for event in purge()]
    assert events == [("skipped", "devilry_deliveries.filemeta"), ("removed", second.name)]
    assert first.name in _names(root)
    assert left() == [first]


def test_purge_keeps_files_of_removals_of_other_aliases(root: Path) -> None:
    """The file of the same name in the current store is another one."""
    delivery, _ = delivered(a=b"1", b=b"2"), delivered(c=b"3")
    delivery.delete()
    past_due()
    first, second = Tombstone.objects.order_by("pk")
    Tombstone.objects.filter(pk=first.pk).update(alias="elsewhere", claimed=timezone.now())
    events = [(event.result, event.subject) for event in purge()]
    assert events == [("skipped", "devilry_deliveries.filemeta"), ("removed", second.name)]
    assert first.name in _names(root)


def test_without_a_store_nothing_is_removed(root: Path) -> None:
    """The settings were lost."""
    _one_deleted_of_two()
    with override_settings(
        STORAGES={"default": {"BACKEND": "django.core.files.storage.FileSystemStorage"}}
    ):
        _out, err = purged()
    assert "refused" in err
    assert "STORAGES" in err
    assert len(_names(root)) == 2
    assert Tombstone.objects.count() == 1


def test_another_model_without_a_store_stops_the_purge(tmp_path: Path) -> None:
    """Who knows whose objects these are: its rows may name them."""
    store = FsHierDeliveryStore(location=tmp_path / "notes")
    djangos = {"default": {"BACKEND": "django.core.files.storage.FileSystemStorage"}}
    with override_settings(STORAGES=djangos), override_deliverystore(store, model=Note):
        kept, gone = (Note.objects.create(content=ContentFile(b"note", "a")) for _ in range(2))
        gone.delete()
        past_due()
        _out, err = purged()
        assert "refused" in err
        assert "No delivery store is configured for devilry_deliveries.FileMeta.content" in err
        assert len(list(store.scan())) == 2
        assert Tombstone.objects.count() == 1
        assert kept.content.read() == b"note"
        kept.content.close()


def test_the_tombstones_of_a_model_that_is_gone_stay(root: Path) -> None:
    """Its store cannot be known any more."""
    _one_deleted_of_two()
    Tombstone.objects.update(model="gone.filemeta")
    events = list(purge())
    assert [event.result for event in events] == ["skipped"]
    assert len(_names(root)) == 2
    assert Tombstone.objects.count() == 1


def test_a_wrong_database_is_refused_by_what_its_rows_miss(root: Path, tmp_path: Path) -> None:
    """Rows of a restored backup whose files are not in the store."""
    _one_deleted_of_two()
    row = FileMeta.objects.get()
    os.unlink(root / row.content.name)
    _refused(root, "is not in the store")


@pytest.mark.parametrize(
    ("missing", "refused"),
    [(slice(0, 3), True), (slice(-3, None), True), (slice(-1, None), False), (slice(0, 1), False)],
    ids=["oldest", "newest", "one", "first"],
)
def test_purge_refuses_where_many_rows_lack_their_file(
    missing: slice, refused: bool, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of many rows both ends are looked up; a single file that is lost is logged."""
    delivery = delivered(**{f"f{number:02}": b"x" for number in range(SAMPLE + 5)})
    files = list(delivery.files)
    files.pop(5).delete()
    past_due()
    for row in files[missing]:
        os.unlink(root / row.content.name)
    if refused:
        _refused(root, "is not in the store (")
    else:
        assert [event.result for event in purge()] == ["removed"]
        assert "is not in the store" in caplog.text


@pytest.mark.parametrize("identity", [True, False])
def test_sizes_of_rows_count_without_identity(
    root: Path, identity: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Another site's files may have the same keys; rows that were imported may be wrong."""
    with override_settings(STORAGES=_stores(root, identity=identity)):
        kept = delivered(a=b"1", b=b"2")
        _one_deleted_of_two()
        for row in kept.files:
            (root / row.content.name).write_bytes(b"another's")
        if identity:
            assert [event.result for event in purge()] == ["removed"]
            assert caplog.text.count("has 9 bytes in the store, but 1 were recorded") >= 2
        else:
            _refused(root, "has 9 bytes in the store, but 1 were recorded (2 of 3")


@pytest.mark.parametrize("identity", [True, False])
def test_empty_store_is_refused_without_identity(
    root: Path, identity: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With it a purge goes on that was killed after it had removed the last file."""
    with override_settings(STORAGES=_stores(root, identity=identity)):
        delivery = delivered(a=b"1")
        name = delivery.files[0].content.name
        delivery.delete()
        past_due()
        os.unlink(root / name)
        shutil.rmtree(root / ".devilry-storage" / "tmp")
        shutil.rmtree(root / "0")
        if identity:
            # As on S3, where the store's own objects do not count as files.
            monkeypatch.setattr(FsHierDeliveryStore, "unavailable_reason", lambda self: "is empty")
            assert [event.result for event in purge()] == ["removed"]
        else:
            (root / ".devilry-storage").rmdir()
            _refused(root, "is empty")


def test_dry_run_writes_nothing_into_the_store(root: Path) -> None:
    """Neither the time of the run nor anything else."""
    _one_deleted_of_two()
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    assert [event.result for event in purge(dry_run=True)] == ["due"]
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()} == before


@override_settings(DELIVERY_STORE_RETENTION_DAYS=0)
def test_delete_without_retention_asks_for_the_identity_once(root: Path) -> None:
    """A permission counts for five minutes, as long as the same folder is there."""
    files = list(delivered(a=b"1", b=b"2", c=b"3", d=b"4").files)
    with patch.object(permission, "permit", wraps=permission.permit) as asked:
        files[0].delete()
        files[1].delete()
        assert asked.call_count == 1
        (root / ".devilry-storage" / "tmp").rename(root / ".devilry-storage" / "old")
        (root / ".devilry-storage" / "tmp").mkdir()
        files[2].delete()
        assert asked.call_count == 2
    assert not left()


def test_purge_refuses_where_rows_of_second_model_lack_their_files(root: Path) -> None:
    """The rows of each model that uses the store are looked up."""
    _one_deleted_of_two()
    with override_deliverystore(store_for(FileMeta), model=Note):
        for _ in range(2):
            note = Note.objects.create(filename="n", content=ContentFile(b"note", "n"))
            os.unlink(root / note.content.name)
        _refused(root, f"of testapp.Note '{note.pk - 1}' is not in the store")


def test_purge_refuses_store_that_cannot_be_asked(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of the store is the reason, and the other stores are purged."""
    _one_deleted_of_two()

    def size(self: FsHierDeliveryStore, name: str) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(FsHierDeliveryStore, "size", size)
    _refused(root, "the store cannot be checked ([Errno 5] Input/output error)")


@pytest.mark.parametrize(
    ("problems", "looked", "many"),
    [
        *((0, 0, False), (0, 10, False), (1, 1, True), (1, 2, False), (1, 10, False)),
        *((2, 2, True), (2, 10, True), (2, 11, False), (3, 15, True), (3, 16, False)),
    ],
)
def test_many_problems_are_two_and_a_fifth_or_all(problems: int, looked: int, many: bool) -> None:
    """Fewer may be files that were lost singly."""
    assert removal._are_many(problems, looked) is many


def test_purge_looks_up_random_rows(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only both ends, which may have been stored elsewhere."""
    delivery = delivered(**{f"f{number:02}": b"x" for number in range(2 * SAMPLE)})
    files = list(delivery.files)
    files.pop(0).delete()
    past_due()
    lost = files[SAMPLE : SAMPLE + 3]
    for row in lost:
        os.unlink(root / row.content.name)
    chosen = cycle([row.pk for row in lost])
    monkeypatch.setattr(random, "randint", lambda low, high: next(chosen))
    _refused(root, "is not in the store (3 of 10 files looked up are missing")


# -- A store that takes a request for each size --


@pytest.fixture
def remote(root: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return names of six deleted files, in a store whose sizes cost requests, beside another."""
    monkeypatch.setattr(FsHierDeliveryStore, "size_costs_request", True)
    delivery, _ = delivered(**{f"f{number}": b"x" for number in range(6)}), delivered(a=b"1")
    names = [row.content.name for row in delivery.files]
    delivery.delete()
    past_due()
    return names


def test_sampled_file_of_another_size_is_kept(root: Path, remote: list[str]) -> None:
    """The others are removed; a single file may have been replaced by hand."""
    (root / remote[3]).write_bytes(b"another's")
    events = {event.subject: event.result for event in purge()}
    assert events == {**dict.fromkeys(remote, "removed"), remote[3]: "kept"}
    assert remote[3] in _names(root)


def test_nothing_is_removed_where_many_have_other_sizes(root: Path, remote: list[str]) -> None:
    """They belong to another site."""
    for name in remote[2:4]:
        (root / name).write_bytes(b"another's")
    _refused(root, "were recorded (2 of 6 files looked up differ)")


def test_sizes_are_asked_of_a_sample_alone(
    root: Path, remote: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A purge of a million files does not send a million requests more."""
    asked: list[str] = []
    size, delete_many = FsHierDeliveryStore.size, FsHierDeliveryStore.delete_many

    def delete(self: FsHierDeliveryStore, names: list[str], *, sizes: dict[str, int]) -> Any:
        asked.extend(sizes)
        return delete_many(self, names)

    def ask(self: FsHierDeliveryStore, name: str) -> int:
        asked.append(name)
        return size(self, name)

    monkeypatch.setattr(FsHierDeliveryStore, "size", ask)
    monkeypatch.setattr(FsHierDeliveryStore, "delete_many", delete)
    monkeypatch.setattr(purging, "SAMPLE", 3)
    assert [event.result for event in purge()] == ["removed"] * 6
    assert len([name for name in asked if name in remote]) == 3


# -- Stale uploads --


def _temp(root: Path, name: str, age_hours: float) -> Path:
    path = root / ".devilry-storage" / "tmp" / name
    path.write_bytes(b"half")
    then = time.time() - age_hours * 3600
    os.utime(path, (then, then))
    return path


def test_temp_files_are_removed_after_the_grace_time(root: Path) -> None:
    """A younger one may be somebody's who is still storing."""
    delivered(a=b"1")
    old, young = _temp(root, "old", 25), _temp(root, "young", 23)
    assert [event.result for event in purge(dry_run=True)] == ["upload"]
    assert old.exists()
    assert list(purge()) == [Event(Result.UPLOAD, ".devilry-storage/tmp/old")]
    assert not old.exists()
    assert young.exists()
    with override_settings(DELIVERY_STORE_GRACE_HOURS=22):
        assert len(list(purge())) == 1
    assert not young.exists()


def test_temp_files_are_old_by_the_clock_of_the_store(root: Path) -> None:
    """The clock of a host that is ahead makes no upload stale."""
    delivered(a=b"1")
    young = _temp(root, "young", 23)
    there = timezone.now() + timedelta(days=365)
    with patch.object(timezone, "now", lambda: there):
        assert list(purge()) == []
    assert young.exists()


@override_settings(USE_TZ=False)
def test_without_time_zones_temp_files_are_removed_after_the_grace_time(root: Path) -> None:
    """A time without a zone is one of TIME_ZONE, as Django's own."""
    delivered(a=b"1")
    old, young = _temp(root, "old", 25), _temp(root, "young", 23)
    assert list(purge()) == [Event(Result.UPLOAD, ".devilry-storage/tmp/old")]
    assert (old.exists(), young.exists()) == (False, True)


def test_temp_files_of_refused_store_are_kept(root: Path) -> None:
    """In the wrong store they may belong to other sites."""
    delivery = delivered(a=b"1", b=b"2")
    old = _temp(root, "old", 25)
    for row in delivery.files:
        os.unlink(root / row.content.name)
    (event,) = purge()
    assert event.result == "refused"
    assert "No stale upload was removed" in event.reason
    assert old.exists()


def test_a_temp_folder_that_is_a_symlink_is_not_followed(root: Path, tmp_path: Path) -> None:
    """Planted, it would lead the removal out of the store."""
    delivered(a=b"1")
    outside = tmp_path / "outside"
    outside.mkdir()
    victim = outside / "victim"
    victim.write_text("precious")
    os.utime(victim, (0, 0))
    shutil.rmtree(root / ".devilry-storage" / "tmp")
    (root / ".devilry-storage" / "tmp").symlink_to(outside)
    (event,) = purge()
    assert (event.result, event.subject) == ("failed", "devilry_deliveries.filemeta")
    assert "not entered" in event.reason
    assert victim.read_text() == "precious"


# -- Nothing due, and a store that is refused all the same --


def test_a_missing_root_is_told_though_nothing_is_due(root: Path) -> None:
    """Else the command would succeed day after day, and its uploads stay for ever."""
    delivered(a=b"1")
    shutil.rmtree(root)
    out, err = purged()
    assert "refused: devilry_deliveries.filemeta (" in err
    assert "is missing" in err
    assert "1 models were refused" in err
    assert "Removed 0 files" in out


def test_an_emptied_root_is_told_while_a_tombstone_waits(root: Path) -> None:
    """No row is left, but bytes of a deleted one should be there."""
    delivered(a=b"1").delete()
    shutil.rmtree(root)
    root.mkdir()
    (event,) = purge()
    assert (event.result, event.subject) == ("refused", "devilry_deliveries.filemeta")
    assert "is empty" in event.reason


def test_a_store_is_refused_once(root: Path) -> None:
    """For its tombstones; its uploads are not told a second time."""
    _one_deleted_of_two()
    shutil.rmtree(root)
    assert [event.result for event in purge()] == ["refused"]


@pytest.mark.parametrize("make", [lambda root: None, Path.mkdir], ids=["missing", "empty"])
def test_a_store_that_was_never_used_is_no_error(root: Path, make: Callable[[Path], None]) -> None:
    """A new site runs its first purge before its first delivery."""
    make(root)
    assert list(purge()) == []


def test_a_store_whose_last_file_was_purged_is_no_error(root: Path) -> None:
    """Nothing should be there, and nothing is, not even a folder."""
    delivered(a=b"1").delete()
    past_due()
    assert [event.result for event in purge()] == ["removed"]
    assert list(purge()) == []
    shutil.rmtree(root)
    assert list(purge()) == []


# -- Two at a time --


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has one writer at a time.")
def test_purge_waits_for_a_restore_and_leaves_it_alone(root: Path) -> None:
    """A claim that has waited for a tombstone looks at it again."""
    delivery, _ = delivered(a=b"1", b=b"2"), delivered(c=b"3")
    delivery.delete()
    past_due()
    held = Tombstone.objects.order_by("pk")[0]
    events: list[Event] = []

    def other() -> None:
        try:
            events.extend(purge())
        finally:
            connection.close()

    thread = Thread(target=other)
    with transaction.atomic():
        row = restore(held)
        thread.start()
        assert eventually(waits_for_lock)
    thread.join(30)
    assert [event.result for event in events] == ["removed"]
    assert [tombstone.pk for tombstone in left()] == [held.pk]
    assert b"".join(store_for(row).stream(row.content.name)) == b"1"
