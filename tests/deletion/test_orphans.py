"""Orphans are removed by tombstone alone, and never when the picture smells."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from django.core.files.base import ContentFile
from django.test.utils import override_settings
from django.utils import timezone

from devilry_storage.deletion import bury_orphan, orphans, purge
from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.exceptions import NotAnOrphan
from devilry_storage.models import Tombstone
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


def lay(store: Any, name: str = ORPHAN, days: float = 9) -> str:
    """Lay a file into the store that nobody recorded, so many days ago."""
    saved: str = store.save(name, ContentFile(b"orphan"))
    past = (timezone.now() - timedelta(days=days)).timestamp()
    os.utime(store.path(saved), (past, past))
    return saved


def refused(words: str, name: str = ORPHAN) -> None:
    """The orphan is kept, in these words, and nothing is written."""
    before = Tombstone.objects.count()
    with pytest.raises(NotAnOrphan, match=words) as caught:
        bury_orphan(FileMeta, name, using="default")
    assert repr(name) in str(caught.value)
    assert Tombstone.objects.count() == before


def test_an_orphan_gets_a_tombstone(store: Any) -> None:
    """Without rows, which there never were; the bytes lie there still."""
    lay(store)
    tombstone = bury_orphan(FileMeta, ORPHAN, using="default")
    assert tombstone.rows == []
    assert (tombstone.model, tombstone.name) == ("devilry_deliveries.filemeta", ORPHAN)
    assert store.exists(ORPHAN)


@pytest.mark.parametrize(("days", "kept"), [(30, 30), (0, 1)])
def test_it_is_kept_for_the_retention_and_at_least_the_grace_time(
    days: int, kept: int, store: Any
) -> None:
    """Somebody may yet find out whose it was."""
    lay(store)
    with override_settings(DELIVERY_STORE_RETENTION_DAYS=days):
        tombstone = bury_orphan(FileMeta, ORPHAN, using="default")
    assert abs(tombstone.due - tombstone.created - timedelta(days=kept)) < timedelta(seconds=1)


def test_what_is_not_there_is_refused(store: Any) -> None:
    """It was removed meanwhile."""
    refused("the store does not have it any more")


def test_a_foreign_file_is_refused(store: Any) -> None:
    """It was never stored here as a delivery, so it is not ours to remove."""
    refused("its name is not a delivery key", lay(store, "0/0/7/notes.txt"))


def test_what_a_row_names_is_refused(store: Any) -> None:
    """However old it is."""
    row = FileMeta.objects.get()
    past = (timezone.now() - timedelta(days=9)).timestamp()
    os.utime(store.path(row.content.name), (past, past))
    refused("a row names it", row.content.name)


def test_file_of_second_model_in_the_store_is_refused(store: Any) -> None:
    """Neither what its rows name nor what its tombstones name is an orphan."""
    with override_deliverystore(store, model=Note):
        note = Note.objects.create(pk=3, content=ContentFile(b"note", "n"))
        name = note.content.name
        refused("a row names it", name)
        note.delete()
        refused("it already has a tombstone", name)


@pytest.mark.parametrize("name", ["0/0/0/65", "0/0/52/9"])
def test_ids_of_second_model_in_the_store_count(name: str, store: Any) -> None:
    """The highest ids are those of all models that use the store."""
    lay(store, name)
    refused("its ids are higher than those of every row", name)
    course = Course.objects.create(pk=55, title="course")
    with override_deliverystore(store, model=Paper):
        Paper.objects.create(pk=70, delivery=course, content=ContentFile(b"p", "p"), title="p")
        bury_orphan(FileMeta, name, using="default")


def test_what_has_a_tombstone_is_refused(store: Any) -> None:
    """Its time is not put off."""
    lay(store)
    bury_orphan(FileMeta, ORPHAN, using="default")
    refused("it already has a tombstone")


def test_without_rows_everything_is_refused(store: Any) -> None:
    """An empty database makes an orphan of every file."""
    lay(store)
    FileMeta.objects.update(content=None)
    refused("the database has no row of a stored file")


def test_where_a_row_has_no_file_everything_is_refused(store: Any) -> None:
    """As before a purge: it is the wrong disk, or the wrong database."""
    lay(store)
    os.unlink(store.path(FileMeta.objects.get().content.name))
    refused("is not in the store")


def test_file_of_a_row_without_content_is_refused(store: Any) -> None:
    """Whatever its age: an upload that takes long may be about to record it."""
    row = FileMeta(delivery=Delivery.objects.get(), filename="late")
    row.save()
    name = lay(store, store.layout.key(*row.key_ids()))
    refused("a row with its ids has no content yet", name)


def test_file_of_a_row_of_second_model_without_content_is_refused(store: Any) -> None:
    """Any model that uses the store may be about to record it."""
    with override_deliverystore(store, model=Note):
        note = Note.objects.create(pk=3, filename="late")
        name = lay(store, store.layout.key(*note.key_ids()))
        refused("a row with its ids has no content yet", name)


@pytest.mark.parametrize("name", ["0/0/7/61", "0/0/51/9", "0/0/51/61"])
def test_ids_above_those_of_all_rows_are_refused(name: str, store: Any) -> None:
    """They were given after the backup that this database is."""
    refused("its ids are higher than those of every row", lay(store, name))


def test_what_is_newer_than_all_rows_is_refused(store: Any) -> None:
    """It was stored after the backup that this database is, under an id of a rollback's."""
    lay(store, days=9)
    FileMeta.objects.update(created=timezone.now() - timedelta(days=10))
    refused("it is newer than every row")


def test_what_is_younger_than_the_grace_time_is_refused(store: Any) -> None:
    """Its row may be in a transaction that is not committed yet."""
    lay(store, days=0.9)
    refused("it is younger than the grace time")
    with override_settings(DELIVERY_STORE_GRACE_HOURS=1):
        bury_orphan(FileMeta, ORPHAN, using="default")


@pytest.mark.parametrize("days", [365, -365], ids=["ahead", "behind"])
def test_clock_of_the_host_does_not_count(days: int, store: Any) -> None:
    """The age is by the clock of the store, the due time by that of the database."""
    lay(store, days=0.9)
    lay(store, "0/0/8/10")
    FileMeta.objects.update(created=timezone.now())
    FileMeta.objects.get().delivery.add_files({f"f{number}": b"1" for number in range(197)})
    there = timezone.now() + timedelta(days=days)
    with patch.object(timezone, "now", lambda: there):
        refused("it is younger than the grace time")
        tombstone = bury_orphan(FileMeta, "0/0/8/10", using="default")
    assert abs(tombstone.created - timezone.now()) < timedelta(hours=1)
    assert abs(tombstone.due - timezone.now() - timedelta(days=30)) < timedelta(hours=1)


def test_file_of_another_row_with_the_id_of_one_without_content_may_go(store: Any) -> None:
    """The ids of the delivery and of the file count together."""
    row = FileMeta(pk=9, delivery=Delivery.objects.get(), filename="late")
    row.save()
    lay(store)
    assert row.key_ids() == (50, 9)
    bury_orphan(FileMeta, ORPHAN, using="default")


def test_many_orphans_are_refused(store: Any) -> None:
    """More than one in a hundred is no accident; a single one may be."""
    lay(store)
    lay(store, "0/0/8/10")
    refused("2 of 3 files near it are orphans")
    os.unlink(store.path("0/0/8/10"))
    bury_orphan(FileMeta, ORPHAN, using="default")


def test_one_orphan_in_a_hundred_may_go(store: Any) -> None:
    """Two among two hundred are an accident, three are none."""
    delivery = Delivery.objects.get()
    delivery.add_files({f"file{number}": b"1" for number in range(197)})
    FileMeta.objects.update(created=timezone.now())
    lay(store)
    lay(store, "0/0/8/10")
    lay(store, "0/0/8/11")
    refused("3 of 201 files near it")
    os.unlink(store.path("0/0/8/11"))
    bury_orphan(FileMeta, ORPHAN, using="default")


def test_no_more_than_so_many_names_are_looked_at(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store of millions of files is not listed for one of them."""
    lay(store)
    listed = []

    def scan(prefix: str = "") -> Iterator[Any]:
        for entry in FsHierDeliveryStore.scan(store, prefix):
            listed.append((prefix, entry.name))
            yield entry

    monkeypatch.setattr(store, "scan", scan)
    monkeypatch.setattr(orphans, "LOOKED_AT", 1)
    bury_orphan(FileMeta, ORPHAN, using="default")
    assert [prefix for prefix, _name in listed] == ["0/0"]


# -- A row that adopts the name meanwhile --


@pytest.mark.parametrize("is_late", [False, True], ids=["before", "after"])
def test_file_that_a_row_adopts_meanwhile_is_not_buried(
    is_late: bool, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Adopted after the look it is a row's; once the tombstone is written it cannot be adopted."""
    lay(store)
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
        else pytest.raises(NotAnOrphan, match="a row names it")
    )
    with expected:
        bury_orphan(FileMeta, ORPHAN, using="default")
    assert not Tombstone.objects.exists()


def test_second_of_two_burials_at_once_is_refused(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error of the database becomes one that says what happened."""
    lay(store)
    save = Tombstone.save

    def saves_twice(tombstone: Tombstone, **options: Any) -> None:
        other = Tombstone(model=tombstone.model, alias=tombstone.alias, name=tombstone.name)
        other.due = timezone.now() + timedelta(days=99)
        save(other)
        save(tombstone, **options)

    monkeypatch.setattr(Tombstone, "save", saves_twice)
    with pytest.raises(NotAnOrphan, match="it already has a tombstone"):
        bury_orphan(FileMeta, ORPHAN, using="default")


def test_what_has_its_tombstone_is_adopted_by_nobody(store: Any) -> None:
    """Or the purge would find a row at the name that it is about to remove."""
    lay(store)
    bury_orphan(FileMeta, ORPHAN, using="default")
    with pytest.raises(FileExistsError):
        FileMeta.objects.adopt(ORPHAN, delivery=Delivery.objects.get(), filename="late")
    past_due()
    assert [event.result for event in purge()] == ["kept"], "within the grace time"
    Tombstone.objects.update(created=timezone.now() - timedelta(hours=25))
    assert [event.result for event in purge()] == ["removed"]
    assert not store.exists(ORPHAN)
