"""Removing for good: what is due and nothing else, and nothing at all from the wrong place."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext, override_settings
from django.utils import timezone

from devilry_storage import purge as purging
from devilry_storage import removal
from devilry_storage.deliveries.models import Delivery, FileMeta
from devilry_storage.models import Tombstone
from devilry_storage.purge import SAMPLE, Event, purge, remove_now
from devilry_storage.restoring import restore
from devilry_storage.storages import FsHierDeliveryStore
from devilry_storage.storages.tree import Tree
from devilry_storage.store import store_for
from devilry_storage.testing import override_deliverystore
from tests.testapp.models import Note

from .purging import delivered, left, past_due, purged
from .waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True)

HIER = "devilry_storage.storages.FsHierDeliveryStore"


def _stores(root: Path, alias: str = "deliveries") -> dict[str, Any]:
    return {
        "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
        alias: {"BACKEND": HIER, "OPTIONS": {"location": str(root)}},
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
    assert tombstone.rows == []
    assert tombstone.done >= tombstone.claimed


def test_next_purge_finishes_one_that_was_killed_after_the_claim(root: Path) -> None:
    """Whether the bytes are removed already or not, though nothing else is stored."""
    delivery = delivered(a=b"1", b=b"2")
    names = [row.content.name for row in delivery.files]
    delivery.delete()
    past_due()
    assert removal.claim(FileMeta, removal.due("default")) == 2
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
    assert len(sent) <= 60
    assert not left()


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
    assert "Nothing is removed" in caplog.text
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
def test_delete_without_retention_keeps_file_of_other_alias(root: Path) -> None:
    """A due tombstone of the same name that is of another alias stays."""
    delivery, _ = delivered(a=b"1"), delivered(b=b"2")
    name = delivery.files[0].content.name
    Tombstone.objects.create(
        model="devilry_deliveries.filemeta", alias="elsewhere", name=name, due=timezone.now()
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
        "there is no model 'gone.filemeta' any more",
    )
    assert len(_names(root)) == 2
    assert Tombstone.objects.count() == 1


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
    purged(also=["0/0/9/9", name])
    assert name not in _names(root)
    assert not left()


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
    assert "nothing was removed" in err
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
    _refused(root, "only 0 of the newest 2 files")


def test_another_folder_with_files_is_refused(root: Path, tmp_path: Path) -> None:
    """The location was changed to another site's, where other files have the same keys."""
    _one_deleted_of_two()
    other = tmp_path / "other"
    with override_settings(STORAGES=_stores(other)):
        store_for(FileMeta).save(Tombstone.objects.get().name, ContentFile(b"1"))
        _refused(other, "only 0 of the newest 1 files")


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
        _refused(root, "is not in the store, as are")
    else:
        assert [event.result for event in purge()] == ["removed"]
        assert "is not in the store" in caplog.text


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
    _refused(root, "the store cannot be asked ([Errno 5] Input/output error)")


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
    assert list(purge()) == [Event("upload", ".devilry-storage/tmp/old")]
    assert not old.exists()
    assert young.exists()
    with override_settings(DELIVERY_STORE_GRACE_HOURS=22):
        assert len(list(purge())) == 1
    assert not young.exists()


@override_settings(USE_TZ=False)
def test_without_time_zones_temp_files_are_removed_after_the_grace_time(root: Path) -> None:
    """A time without a zone is one of TIME_ZONE, as Django's own."""
    delivered(a=b"1")
    old, young = _temp(root, "old", 25), _temp(root, "young", 23)
    assert list(purge()) == [Event("upload", ".devilry-storage/tmp/old")]
    assert (old.exists(), young.exists()) == (False, True)


def test_temp_files_of_refused_store_are_kept(root: Path) -> None:
    """In the wrong store they may belong to other sites."""
    delivery = delivered(a=b"1", b=b"2")
    old = _temp(root, "old", 25)
    for row in delivery.files:
        os.unlink(root / row.content.name)
    (event,) = purge()
    assert event.result == "refused"
    assert "no stale upload was removed" in event.reason
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
    """Nothing should be there, and nothing is."""
    delivered(a=b"1").delete()
    past_due()
    assert [event.result for event in purge()] == ["removed"]
    assert list(purge()) == []


# -- Two at a time --


def _is_waiting() -> bool:
    """Return whether a session waits for a lock."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return bool(cursor.fetchone()[0])


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
        assert eventually(_is_waiting)
    thread.join(30)
    assert [event.result for event in events] == ["removed"]
    assert [tombstone.pk for tombstone in left()] == [held.pk]
    assert b"".join(store_for(row).stream(row.content.name)) == b"1"
