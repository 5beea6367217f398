"""Purging on disk: only files that are due are removed, and none from a wrong store."""

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
from devilry_storage.storages.tree import Removal, Tree
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


def test_purge_keeps_files_that_are_not_due(root: Path) -> None:
    """During the retention, rows and bytes can be restored."""
    delivery = delivered(a=b"1", b=b"22")
    delivery.delete()
    before = _names(root)
    assert list(purge()) == []
    assert _names(root) == before != set()
    assert Tombstone.objects.count() == 2


def test_only_files_that_are_due_are_removed(root: Path) -> None:
    """Other files of the same delivery are kept."""
    delivery, _ = delivered(a=b"1", b=b"22"), delivered(c=b"333")
    delivery.delete()
    first, second = Tombstone.objects.order_by("pk")
    Tombstone.objects.filter(pk=first.pk).update(due=timezone.now())
    assert [event.subject for event in purge()] == [first.name]
    assert left() == [second]


def test_purge_removes_a_delivery_and_keeps_its_neighbour(root: Path) -> None:
    """The tombstones of the removed files are done."""
    gone, neighbour = delivered(a=b"1", b=b"22"), delivered(c=b"333")
    gone.delete()
    past_due()
    assert {event.result for event in purge()} == {"removed"}
    assert not left()
    (kept,) = neighbour.files
    assert _names(root) == {kept.content.name}
    with kept.content.open() as file:
        assert file.read() == b"333"


def test_dry_run_lists_names_and_removes_nothing(root: Path) -> None:
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


def test_purge_removes_several_batches(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits of a batch do not limit a purge."""
    monkeypatch.setattr(removal, "CLAIMED_AT_ONCE", 5)
    monkeypatch.setattr(purging, "CLAIMED_AT_ONCE", 5)
    monkeypatch.setattr(purging, "REMOVED_AT_ONCE", 3)
    delivery, _ = delivered(**{f"f{i}": b"x" for i in range(8)}), delivered(a=b"1")
    delivery.delete()
    past_due()
    assert [event.result for event in purge()] == ["removed"] * 8
    assert not left()


def test_missing_bytes_count_as_removed(root: Path) -> None:
    """The tombstone is done."""
    delivery, _ = delivered(a=b"1"), delivered(b=b"2")
    store_for(FileMeta).delete(delivery.files[0].content.name)
    delivery.delete()
    past_due()
    assert [event.result for event in purge()] == ["removed"]
    assert not left()


def test_failed_removal_is_kept_with_its_error(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other files are removed, and the next purge tries again."""
    delivery, _ = delivered(a=b"1", b=b"2"), delivered(c=b"3")
    bad = delivery.files[0].content.name
    delivery.delete()
    past_due()
    really = Tree._unlink

    def unlink(self: Tree, fd: int, removal: Removal) -> None:
        if removal.name == bad:
            raise PermissionError(13, "Permission denied", removal.name)
        really(self, fd, removal)

    monkeypatch.setattr(Tree, "_unlink", unlink)
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
    """Such a row can only be written without this package."""
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
    """The next purge removes it."""
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
def test_disk_unmounted_during_a_purge_keeps_tombstones(
    root: Path, is_mounted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is not found may be on the other disk. The next purge removes it."""
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
def test_model_without_files_does_not_stop_other_purges(root: Path, label: str) -> None:
    """The model was removed or has no file any more; the alias determines the store."""
    _one_deleted_of_two()
    tombstone = Tombstone.objects.get()
    Tombstone.objects.create(model=label, alias="deliveries", name="0/0/9/9", due=tombstone.due)
    Tombstone.objects.create(model=label, alias="elsewhere", name="0/0/9/9", due=tombstone.due)
    Tombstone.objects.update(created=timezone.now() - timedelta(days=2))
    events = {(event.result, event.subject) for event in purge()}
    assert events == {("skipped", label), ("removed", tombstone.name), ("removed", "0/0/9/9")}
    assert [tombstone.alias for tombstone in left()] == ["elsewhere"]


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
    """Change the name in the delivery's only row."""
    cursor = connection.cursor()
    table = FileMeta._meta.db_table
    cursor.execute(f"UPDATE {table} SET content = %s WHERE delivery_id = %s", [name, delivery.pk])


def test_finished_removals_are_deleted_after_thirty_days(root: Path) -> None:
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
    """Rows that cannot be restored any more are erased."""
    delivery, _ = delivered(a=b"1"), delivered(b=b"2")
    delivery.delete()
    past_due()
    list(purge())
    (tombstone,) = Tombstone.objects.all()
    assert (tombstone.rows, tombstone.filename) == ([], "")
    assert tombstone.done >= tombstone.claimed


def test_next_purge_finishes_a_killed_purge(root: Path) -> None:
    """One file is removed already, and one is not."""
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
    """A wrong clock of the host has no effect."""
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
    """The time of the first claim is kept."""
    _one_deleted_of_two()
    assert removal.claim(FileMeta, Tombstone.objects.all()) == 1
    first = Tombstone.objects.get().claimed
    assert removal.claim(FileMeta, Tombstone.objects.all()) == 0
    assert Tombstone.objects.get().claimed == first


def test_claim_leaves_tombstones_of_other_stores(root: Path) -> None:
    """The given queryset does not matter."""
    _one_deleted_of_two()
    Tombstone.objects.update(alias="elsewhere")
    assert removal.claim(FileMeta, Tombstone.objects.all()) == 0
    assert Tombstone.objects.get().claimed is None


def test_row_that_names_the_file_before_the_claim_keeps_it(root: Path) -> None:
    """The statement that claims looks for rows itself."""
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
    """They were claimed before they were due, and the process was killed."""
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

    def unlink(self: Tree, fd: int, removal: Removal) -> None:
        raise PermissionError(13, "Permission denied", removal.name)

    monkeypatch.setattr(Tree, "_unlink", unlink)
    assert [event.result for event in purge()] == ["failed"] * 3
    assert [tombstone.attempts for tombstone in left()] == [1, 1, 1]


def test_claim_is_refused_in_a_transaction(root: Path) -> None:
    """A rollback would undo the claim of a file whose bytes may be removed."""
    _one_deleted_of_two()
    with transaction.atomic(), pytest.raises(RuntimeError, match="durable"):
        removal.claim(FileMeta, Tombstone.objects.all())
    assert Tombstone.objects.get().claimed is None


def _durability(new: str = "") -> str:
    """Return the durability of commits in this session, or set it."""
    name = "synchronous_commit" if connection.vendor == "postgresql" else "synchronous"
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(f"SET {name} = {new}" if new else f"SHOW {name}")
        else:
            cursor.execute(f"PRAGMA {name} = {new}" if new else f"PRAGMA {name}")
        return "" if new else str(cursor.fetchone()[0])


@pytest.mark.parametrize("is_claimed", [True, False], ids=["claimed", "refused"])
def test_claim_is_durable_where_the_session_is_not(root: Path, is_claimed: bool) -> None:
    """A removed file must not be restorable after a crash. Other transactions are not slowed."""
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
    """A caller without autocommit has a transaction open."""
    _one_deleted_of_two()
    transaction.set_autocommit(False)
    try:
        with pytest.raises(RuntimeError, match="cannot run in a transaction"):
            list(purge())
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)
    assert Tombstone.objects.get().claimed is None


def test_results_are_recorded_by_few_statements(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One statement for the removed files, and one for each kind of error."""
    delivery, _ = delivered(**{f"f{i}": b"x" for i in range(6)}), delivered(a=b"1")
    bad = {row.content.name for row in list(delivery.files)[:3]}
    delivery.delete()
    past_due()
    really = Tree._unlink

    def unlink(self: Tree, fd: int, removal: Removal) -> None:
        if removal.name in bad:
            raise PermissionError(13, "Permission denied")
        really(self, fd, removal)

    monkeypatch.setattr(Tree, "_unlink", unlink)
    with CaptureQueriesContext(connection) as captured:
        results = [event.result for event in purge()]
    assert sorted(results) == ["failed"] * 3 + ["removed"] * 3
    updates = [query["sql"] for query in captured if query["sql"].startswith("UPDATE")]
    assert len(updates) == 3, "the claim, the removed and the failed ones"
    assert {(tombstone.name, tombstone.attempts) for tombstone in left()} == {
        (name, 1) for name in bad
    }


def test_error_of_an_open_session_is_raised(root: Path) -> None:
    """Only a session that has ended is reopened."""
    _one_deleted_of_two()
    settle = patch.object(removal, "_settle", side_effect=[DatabaseError("is full"), None])
    with settle, pytest.raises(DatabaseError, match="is full"):
        list(purge())
    assert [event.result for event in purge()] == ["removed"]


@pytest.mark.postgres
def test_session_that_ends_during_the_removal_is_reopened(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pooler or firewall may have closed it. The removal is recorded."""
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


def test_dry_run_keeps_old_removals(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A purge deletes them in batches."""
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
def test_purge_and_restore_work_without_time_zones(root: Path) -> None:
    """Naive datetimes are only compared with naive ones."""
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
def test_delete_without_retention_removes_after_commit(root: Path) -> None:
    """Only the files of the deleted delivery are removed."""
    delivery, other = delivered(a=b"1", b=b"2"), delivered(c=b"3")
    with transaction.atomic():
        delivery.delete()
        assert len(_names(root)) == 3
    assert _names(root) == {other.files[0].content.name}
    assert not left()


@override_settings(DELIVERY_STORE_RETENTION_DAYS=0)
def test_delete_without_retention_sends_few_statements(root: Path) -> None:
    """A removal takes seven statements once the store is known."""
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
def test_rolled_back_delete_without_retention_removes_nothing(root: Path) -> None:
    """The rollback may be of a transaction or of a savepoint."""
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
def test_delete_without_retention_keeps_files_of_emptied_root(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The newest row is looked up first. The delete itself succeeds."""
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
    """The caller of a delete does not wait for the removal of other files."""
    early, delivery, _ = delivered(a=b"1"), delivered(b=b"2"), delivered(c=b"3")
    name = early.files[0].content.name
    with override_settings(DELIVERY_STORE_RETENTION_DAYS=1):
        early.delete()
    past_due()
    delivery.delete()
    assert [(tombstone.name, tombstone.claimed) for tombstone in left()] == [(name, None)]
    assert name in _names(root)


def test_retention_of_a_rolled_back_delete_does_not_count(root: Path) -> None:
    """A delete without retention is rolled back, and repeated with retention."""
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


def test_remove_now_handles_each_store_separately(root: Path, tmp_path: Path) -> None:
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


def test_file_of_another_size_is_removed_only_with_also(root: Path) -> None:
    """It is not the recorded file; --also permits its removal."""
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
    """Its row may not be committed yet."""
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


# -- Wrong stores --


def _refused(root: Path, why: str) -> None:
    """Assert that a purge removes nothing, and reports the reason."""
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


def test_missing_root_is_refused(root: Path) -> None:
    """The disk is not mounted and its mount point is gone."""
    _one_deleted_of_two()
    shutil.rmtree(root)
    _refused(root, "is missing")


def test_empty_root_is_refused(root: Path) -> None:
    """The disk is not mounted, and its mount point is empty."""
    _one_deleted_of_two()
    shutil.rmtree(root)
    root.mkdir()
    _refused(root, "is empty")


def test_empty_root_is_refused_without_rows(root: Path) -> None:
    """Otherwise the bytes would stay when the disk is mounted again."""
    delivered(a=b"1").delete()
    past_due()
    shutil.rmtree(root)
    root.mkdir()
    _refused(root, "is empty")


def test_emptied_root_with_a_new_file_is_refused(root: Path) -> None:
    """The disk is not mounted, and a new file was stored below the mount point."""
    delivered(a=b"1")
    _one_deleted_of_two()
    shutil.rmtree(root)
    (root / "0/0/9").mkdir(parents=True)
    (root / "0/0/9/9").write_bytes(b"3")
    _refused(root, "none of the newest 2 files")


def test_folder_of_another_site_is_refused(root: Path, tmp_path: Path) -> None:
    """The location was changed to that of another site, whose files have the same keys."""
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


def test_tombstone_of_another_store_is_skipped(root: Path, tmp_path: Path) -> None:
    """The model now uses another store, in which the same name is another file."""
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
    events = [(event.result, event.subject) for event in purge(dry_run=True)]
    assert events == [("skipped", "devilry_deliveries.filemeta"), ("due", second.name)]
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


def test_purge_refuses_model_without_a_store(root: Path) -> None:
    """The settings have no store any more."""
    _one_deleted_of_two()
    with override_settings(
        STORAGES={"default": {"BACKEND": "django.core.files.storage.FileSystemStorage"}}
    ):
        _out, err = purged()
    assert "refused" in err
    assert "STORAGES" in err
    assert len(_names(root)) == 2
    assert Tombstone.objects.count() == 1


def test_second_model_without_a_store_stops_the_purge(tmp_path: Path) -> None:
    """It may use the same store, and its rows may name these files."""
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


def test_purge_skips_tombstones_of_removed_models(root: Path) -> None:
    """Their store is unknown."""
    _one_deleted_of_two()
    Tombstone.objects.update(model="gone.filemeta")
    events = list(purge())
    assert [event.result for event in events] == ["skipped"]
    assert len(_names(root)) == 2
    assert Tombstone.objects.count() == 1


def test_wrong_database_is_refused_for_missing_files(root: Path, tmp_path: Path) -> None:
    """The rows of a restored backup lack their files."""
    _one_deleted_of_two()
    row = FileMeta.objects.get()
    os.unlink(root / row.content.name)
    _refused(root, "is not in the store")


@pytest.mark.parametrize(
    ("missing", "refused"),
    [(slice(0, 3), True), (slice(-3, None), True), (slice(-1, None), False), (slice(0, 1), False)],
    ids=["oldest", "newest", "one", "first"],
)
def test_purge_refuses_if_many_rows_lack_their_file(
    missing: slice, refused: bool, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The oldest and newest rows are looked up. A single lost file is only logged."""
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
    """Files of another site may have the same keys. Sizes in imported rows may be wrong."""
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
    """With identity, a purge continues that was killed after it had removed the last file."""
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
    """It does not even record the time of the run."""
    _one_deleted_of_two()
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    assert [event.result for event in purge(dry_run=True)] == ["due"]
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()} == before


@override_settings(DELIVERY_STORE_RETENTION_DAYS=0)
def test_delete_without_retention_checks_the_identity_once(root: Path) -> None:
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


def test_purge_refuses_if_rows_of_second_model_lack_files(root: Path) -> None:
    """The rows of each model that uses the store are looked up."""
    _one_deleted_of_two()
    with override_deliverystore(store_for(FileMeta), model=Note):
        for _ in range(2):
            note = Note.objects.create(filename="n", content=ContentFile(b"note", "n"))
            os.unlink(root / note.content.name)
        _refused(root, f"of testapp.Note '{note.pk - 1}' is not in the store")


def test_purge_refuses_a_store_that_fails(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is the error of the store."""
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
    """Single files may be lost without a wrong store."""
    assert removal._are_many(problems, looked) is many


def test_purge_looks_up_random_rows(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of the oldest and newest rows may have been stored elsewhere."""
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


# -- Stores whose sizes cost requests --


@pytest.fixture
def remote(root: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the names of six deleted files, in a store whose sizes cost requests."""
    monkeypatch.setattr(FsHierDeliveryStore, "size_costs_request", True)
    delivery, _ = delivered(**{f"f{number}": b"x" for number in range(6)}), delivered(a=b"1")
    names = [row.content.name for row in delivery.files]
    delivery.delete()
    past_due()
    return names


def test_sampled_file_of_another_size_is_kept(root: Path, remote: list[str]) -> None:
    """The other files are removed. A single file may have been replaced by hand."""
    (root / remote[3]).write_bytes(b"another's")
    events = {event.subject: event.result for event in purge()}
    assert events == {**dict.fromkeys(remote, "removed"), remote[3]: "kept"}
    assert remote[3] in _names(root)


def test_purge_refuses_if_many_sizes_differ(root: Path, remote: list[str]) -> None:
    """The files belong to another site."""
    for name in remote[2:4]:
        (root / name).write_bytes(b"another's")
    _refused(root, "were recorded (2 of 6 files looked up differ)")


def test_only_sizes_of_a_sample_are_read(
    root: Path, remote: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A purge of a million files does not send a million additional requests."""
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
    """A younger file may belong to an upload that is still running."""
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
    """A wrong clock of the host does not make an upload stale."""
    delivered(a=b"1")
    young = _temp(root, "young", 23)
    there = timezone.now() + timedelta(days=365)
    with patch.object(timezone, "now", lambda: there):
        assert list(purge()) == []
    assert young.exists()


@override_settings(USE_TZ=False)
def test_temp_files_are_removed_without_time_zones(root: Path) -> None:
    """Naive datetimes are in TIME_ZONE, as in Django."""
    delivered(a=b"1")
    old, young = _temp(root, "old", 25), _temp(root, "young", 23)
    assert list(purge()) == [Event(Result.UPLOAD, ".devilry-storage/tmp/old")]
    assert (old.exists(), young.exists()) == (False, True)


def test_temp_files_of_refused_store_are_kept(root: Path) -> None:
    """In a wrong store they may belong to other sites."""
    delivery = delivered(a=b"1", b=b"2")
    old = _temp(root, "old", 25)
    for row in delivery.files:
        os.unlink(root / row.content.name)
    (event,) = purge()
    assert event.result == "refused"
    assert "No stale upload was removed" in event.reason
    assert old.exists()


def test_symlinked_temp_folder_is_not_followed(root: Path, tmp_path: Path) -> None:
    """The removal would leave the store."""
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
    assert "Not entered" in event.reason
    assert victim.read_text() == "precious"


# -- Refusals although nothing is due --


def test_missing_root_is_reported_if_nothing_is_due(root: Path) -> None:
    """Otherwise the command would succeed every day without removing uploads."""
    delivered(a=b"1")
    shutil.rmtree(root)
    out, err = purged()
    assert "refused: devilry_deliveries.filemeta (" in err
    assert "is missing" in err
    assert "1 models were refused" in err
    assert "Removed 0 files" in out


def test_emptied_root_is_reported_while_a_tombstone_waits(root: Path) -> None:
    """No row is left, but the bytes of the deleted file should be stored."""
    delivered(a=b"1").delete()
    shutil.rmtree(root)
    root.mkdir()
    (event,) = purge()
    assert (event.result, event.subject) == ("refused", "devilry_deliveries.filemeta")
    assert "is empty" in event.reason


def test_store_is_refused_once(root: Path) -> None:
    """It is refused for its tombstones, and not again for its uploads."""
    _one_deleted_of_two()
    shutil.rmtree(root)
    assert [event.result for event in purge()] == ["refused"]


@pytest.mark.parametrize("make", [lambda root: None, Path.mkdir], ids=["missing", "empty"])
def test_unused_store_is_not_an_error(root: Path, make: Callable[[Path], None]) -> None:
    """A new site may purge before its first delivery."""
    make(root)
    assert list(purge()) == []


def test_store_without_files_left_is_not_an_error(root: Path) -> None:
    """The store is empty, and may be."""
    delivered(a=b"1").delete()
    past_due()
    assert [event.result for event in purge()] == ["removed"]
    assert list(purge()) == []
    shutil.rmtree(root)
    assert list(purge()) == []


# -- Concurrent calls --


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has one writer at a time.")
def test_purge_waits_for_a_restore(root: Path) -> None:
    """A claim that has waited for a tombstone evaluates its conditions again."""
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
