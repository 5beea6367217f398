"""Burying orphans, and the cases in which it is refused."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from django.core.files.base import ContentFile
from django.db.models import Value
from django.test.utils import override_settings
from django.utils import timezone

from devilry_storage.admin.store_listing import find_file
from devilry_storage.deletion import bury_orphan, orphans, purge
from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.exceptions import NotAnOrphan
from devilry_storage.integrity import State, verify
from devilry_storage.models import Tombstone
from devilry_storage.registry import configured_stores
from devilry_storage.storages import FsHierDeliveryStore
from devilry_storage.testing import override_deliverystore
from tests.harness.purging import past_due
from tests.testapp.models import Course, Note, Paper

pytestmark = pytest.mark.django_db

ORPHAN = "0/0/7/9"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FsHierDeliveryStore]:
    """The store of FileMeta, with one file of delivery 50, stored a day ago."""
    made = FsHierDeliveryStore(str(tmp_path / "store"))
    with override_deliverystore(made):
        group = AssignmentGroup.objects.create(name="group")
        delivery = Delivery.objects.create(pk=50, assignment_group=group)
        FileMeta.objects.create(pk=60, delivery=delivery, content=ContentFile(b"1", "essay"))
        yield made


def store_orphan(store: Any, name: str = ORPHAN, days: float = 9) -> str:
    """Store a file that no row records, as if some days ago, and return its name."""
    saved: str = store.save(name, ContentFile(b"orphan"))
    past = (timezone.now() - timedelta(days=days)).timestamp()
    os.utime(store.path(saved), (past, past))
    return saved


def assert_kept(words: str, name: str = ORPHAN) -> None:
    """Assert that the orphan is kept for a reason with these words, and nothing is written."""
    before = Tombstone.objects.count()
    with pytest.raises(NotAnOrphan, match=words) as caught:
        bury_orphan(FileMeta, name, using="default")
    assert repr(name) in str(caught.value)
    assert Tombstone.objects.count() == before


def test_orphan_gets_a_tombstone_without_rows(store: Any) -> None:
    """The bytes are still stored."""
    store_orphan(store)
    tombstone = bury_orphan(FileMeta, ORPHAN, using="default")
    assert tombstone.rows == []
    assert (tombstone.model, tombstone.name) == ("devilry_deliveries.filemeta", ORPHAN)
    assert store.exists(ORPHAN)


@pytest.mark.parametrize(("days", "kept"), [(30, 30), (0, 1)])
def test_orphan_is_kept_for_retention_and_grace_time(days: int, kept: int, store: Any) -> None:
    """Its owner may be found meanwhile."""
    store_orphan(store)
    with override_settings(DELIVERY_STORE_RETENTION_DAYS=days):
        tombstone = bury_orphan(FileMeta, ORPHAN, using="default")
    assert abs(tombstone.due - tombstone.created - timedelta(days=kept)) < timedelta(seconds=1)


def test_missing_file_is_refused(store: Any) -> None:
    """It was removed before the call."""
    assert_kept("is not in the store any more")


def test_foreign_file_is_refused(store: Any) -> None:
    """Another program may have stored it."""
    assert_kept("it is an unknown file", store_orphan(store, "0/0/7/notes.txt"))


def test_file_of_a_row_is_refused(store: Any) -> None:
    """Its age does not matter."""
    row = FileMeta.objects.get()
    past = (timezone.now() - timedelta(days=9)).timestamp()
    os.utime(store.path(row.content.name), (past, past))
    assert_kept("it is recorded in the database", row.content.name)


def test_file_of_second_model_in_the_store_is_refused(store: Any) -> None:
    """Files of its rows and of its tombstones are not orphans."""
    with override_deliverystore(store, model=Note):
        note = Note.objects.create(pk=3, content=ContentFile(b"note", "n"))
        name = note.content.name
        assert_kept("it is recorded in the database", name)
        note.delete()
        assert_kept("it is already a deleted file", name)


@pytest.mark.parametrize("name", ["0/0/0/65", "0/0/52/9"])
def test_ids_of_second_model_in_the_store_count(name: str, store: Any) -> None:
    """The highest ids are those of all models that use the store."""
    store_orphan(store, name)
    assert_kept("its ids are higher than those of every row", name)
    course = Course.objects.create(pk=55, title="course")
    with override_deliverystore(store, model=Paper):
        Paper.objects.create(pk=70, delivery=course, content=ContentFile(b"p", "p"), title="p")
        bury_orphan(FileMeta, name, using="default")


def test_file_with_a_tombstone_is_refused(store: Any) -> None:
    """Its due time does not change."""
    store_orphan(store)
    bury_orphan(FileMeta, ORPHAN, using="default")
    assert_kept("it is already a deleted file")


OLD_LABELS = {
    "renamed model": ("exercises.handin", "exercises.handin"),
    "renamed model, store with an alias": ("exercises.handin", "devilry_deliveries.filemeta"),
    "removed model, alias that is not used any more": ("exercises.handin", "elsewhere"),
    "renamed alias": ("devilry_deliveries.filemeta", "elsewhere"),
}


@pytest.mark.parametrize("case", OLD_LABELS)
def test_tombstone_counts_whatever_its_model_was_called(case: str, store: Any) -> None:
    """The model was renamed or removed; its deleted files are neither orphans nor foreign."""
    label, alias = OLD_LABELS[case]
    delivery = Delivery.objects.get()
    names = [store_orphan(store, name) for name in ("0/0/50/59", "0/0/50/notes.txt")]
    for name in names:
        Tombstone.objects.create(model=label, alias=alias, name=name, due=timezone.now())
        found = find_file(configured_stores()[0], name, "default")
        assert found is not None
        assert found.state is State.TOMBSTONED
        with pytest.raises(FileExistsError, match="belongs to a deleted file"):
            FileMeta.objects.adopt(name, delivery=delivery)
        assert_kept("already a deleted file", name)
    assert {v.name for v in verify(delivery) if v.state is State.TOMBSTONED} == set(names)
    Tombstone.objects.filter(name=names[0]).update(name="0/0/50/61")
    assert FileMeta.objects.create(
        pk=61, delivery=delivery, filename="new", content=ContentFile(b"1", "new")
    ).content.name.startswith("0/0/50/61_")


def test_tombstone_of_another_store_does_not_count(store: Any) -> None:
    """Two stores may have the same names."""
    store_orphan(store)
    Tombstone.objects.create(
        model="testapp.note", alias="testapp.note", name=ORPHAN, due=timezone.now()
    )
    assert bury_orphan(FileMeta, ORPHAN, using="default").model == "devilry_deliveries.filemeta"


def test_tombstone_counts_under_an_alias_of_another_store(store: Any) -> None:
    """The model had that store before, and its files may have been moved here."""
    store_orphan(store)
    Tombstone.objects.create(
        model="devilry_deliveries.filemeta", alias="testapp.note", name=ORPHAN, due=timezone.now()
    )
    assert_kept("already a deleted file")


def test_every_file_is_refused_without_rows(store: Any) -> None:
    """In an empty database every file is an orphan."""
    store_orphan(store)
    FileMeta.objects.update(content=Value(None))
    assert_kept("the database has no row of a stored file")


def test_every_file_is_refused_if_rows_lack_files(store: Any) -> None:
    """It may be the wrong disk or the wrong database, as before a purge."""
    store_orphan(store)
    os.unlink(store.path(FileMeta.objects.get().content.name))
    assert_kept("is not in the store")


def test_file_of_a_row_without_content_is_refused(store: Any) -> None:
    """A slow upload may be about to record it."""
    row = FileMeta(delivery=Delivery.objects.get(), filename="late")
    row.save()
    name = store_orphan(store, store.layout.key(*row.key_ids()))
    assert_kept("a row with its ids has no content yet", name)


def test_file_of_a_row_of_second_model_without_content_is_refused(store: Any) -> None:
    """Any model that uses the store may be about to record it."""
    with override_deliverystore(store, model=Note):
        note = Note.objects.create(pk=3, filename="late")
        name = store_orphan(store, store.layout.key(*note.key_ids()))
        assert_kept("a row with its ids has no content yet", name)


@pytest.mark.parametrize("name", ["0/0/7/61", "0/0/51/9", "0/0/51/61"])
def test_ids_higher_than_all_rows_are_refused(name: str, store: Any) -> None:
    """The database may be a backup from before the file was stored."""
    assert_kept("its ids are higher than those of every row", store_orphan(store, name))


def test_file_newer_than_all_rows_is_refused(store: Any) -> None:
    """The database may be a backup, and its ids may come from a rollback."""
    store_orphan(store, days=9)
    FileMeta.objects.update(created=timezone.now() - timedelta(days=10))
    assert_kept("it is newer than every row")


def test_file_younger_than_the_grace_time_is_refused(store: Any) -> None:
    """Its row may not be committed yet."""
    store_orphan(store, days=0.9)
    assert_kept("it was stored recently and may still be recorded")
    with override_settings(DELIVERY_STORE_GRACE_HOURS=1):
        bury_orphan(FileMeta, ORPHAN, using="default")


@pytest.mark.parametrize("days", [365, -365], ids=["ahead", "behind"])
def test_clock_of_the_host_does_not_count(days: int, store: Any) -> None:
    """The age is measured by the clock of the store, the due time by that of the database."""
    store_orphan(store, days=0.9)
    store_orphan(store, "0/0/8/10")
    FileMeta.objects.update(created=timezone.now())
    FileMeta.objects.get().delivery.add_files({f"f{number}": b"1" for number in range(197)})
    there = timezone.now() + timedelta(days=days)
    with patch.object(timezone, "now", lambda: there):
        assert_kept("it was stored recently and may still be recorded")
        tombstone = bury_orphan(FileMeta, "0/0/8/10", using="default")
    assert abs(tombstone.created - timezone.now()) < timedelta(hours=1)
    assert abs(tombstone.due - timezone.now() - timedelta(days=30)) < timedelta(hours=1)


def test_orphan_with_only_the_file_id_of_a_row_is_buried(store: Any) -> None:
    """The ids of the delivery and of the file count together."""
    row = FileMeta(pk=9, delivery=Delivery.objects.get(), filename="late")
    row.save()
    store_orphan(store)
    assert row.key_ids() == (50, 9)
    bury_orphan(FileMeta, ORPHAN, using="default")


def test_many_orphans_are_refused(store: Any) -> None:
    """At most one file in a hundred may be an orphan, but a single orphan always may."""
    store_orphan(store)
    store_orphan(store, "0/0/8/10")
    assert_kept("2 of 3 files near it are unrecorded")
    os.unlink(store.path("0/0/8/10"))
    bury_orphan(FileMeta, ORPHAN, using="default")


def test_one_orphan_in_a_hundred_is_buried(store: Any) -> None:
    """Two orphans among two hundred files are permitted, three are not."""
    delivery = Delivery.objects.get()
    delivery.add_files({f"file{number}": b"1" for number in range(197)})
    FileMeta.objects.update(created=timezone.now())
    store_orphan(store)
    store_orphan(store, "0/0/8/10")
    store_orphan(store, "0/0/8/11")
    assert_kept("3 of 201 files near it")
    os.unlink(store.path("0/0/8/11"))
    bury_orphan(FileMeta, ORPHAN, using="default")


def test_number_of_listed_files_is_limited(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store of millions of files is not listed completely."""
    store_orphan(store)
    listed = []

    def scan(prefix: str = "") -> Iterator[Any]:
        for entry in FsHierDeliveryStore.scan(store, prefix):
            listed.append((prefix, entry.name))
            yield entry

    monkeypatch.setattr(store, "scan", scan)
    monkeypatch.setattr(orphans, "LOOKED_AT", 1)
    bury_orphan(FileMeta, ORPHAN, using="default")
    assert [prefix for prefix, _name in listed] == ["0/0"]


# -- Concurrent changes --


@pytest.mark.parametrize("is_late", [False, True], ids=["before", "after"])
def test_file_adopted_meanwhile_is_not_buried(
    is_late: bool, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the tombstone is written the row wins, and after that the tombstone."""
    store_orphan(store)
    save = Tombstone.save

    def save_while_another_adopts(tombstone: Tombstone, **options: Any) -> None:
        monkeypatch.undo()
        if is_late:
            save(tombstone, **options)
        FileMeta.objects.adopt(ORPHAN, delivery=Delivery.objects.get(), filename="late")
        if not is_late:
            save(tombstone, **options)

    monkeypatch.setattr(Tombstone, "save", save_while_another_adopts)
    expected = (
        pytest.raises(FileExistsError, match="belongs to a deleted file")
        if is_late
        else pytest.raises(NotAnOrphan, match="it is recorded in the database")
    )
    with expected:
        bury_orphan(FileMeta, ORPHAN, using="default")
    assert not Tombstone.objects.exists()


def test_second_of_two_concurrent_burials_is_refused(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The IntegrityError becomes NotAnOrphan."""
    store_orphan(store)
    save = Tombstone.save

    def save_twice(tombstone: Tombstone, **options: Any) -> None:
        other = Tombstone(model=tombstone.model, alias=tombstone.alias, name=tombstone.name)
        other.due = timezone.now() + timedelta(days=99)
        save(other)
        save(tombstone, **options)

    monkeypatch.setattr(Tombstone, "save", save_twice)
    with pytest.raises(NotAnOrphan, match="it is already a deleted file"):
        bury_orphan(FileMeta, ORPHAN, using="default")


def test_buried_orphan_cannot_be_adopted(store: Any) -> None:
    """Otherwise a purge would remove the file of a row."""
    store_orphan(store)
    bury_orphan(FileMeta, ORPHAN, using="default")
    with pytest.raises(FileExistsError):
        FileMeta.objects.adopt(ORPHAN, delivery=Delivery.objects.get(), filename="late")
    past_due()
    assert [event.result for event in purge()] == ["kept"], "within the grace time"
    Tombstone.objects.update(created=timezone.now() - timedelta(hours=25))
    assert [event.result for event in purge()] == ["removed"]
    assert not store.exists(ORPHAN)
