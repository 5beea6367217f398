"""Rows, tombstones and bytes agree, whatever a transaction does or the database fails at."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import pytest
from django.core.files.base import ContentFile
from django.db import DatabaseError, OperationalError, connection, transaction
from django.db.models.functions import Now
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from devilry_storage.db.rows import lock_row
from devilry_storage.deletion import purge
from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.exceptions import DeliveryFinished, NotRestorable
from devilry_storage.models import Tombstone
from devilry_storage.resolving import store_for
from devilry_storage.restoring import restore
from devilry_storage.signals import file_removed, file_stored
from devilry_storage.storages import DeliveryStoreMixin
from devilry_storage.storages.content import IterableFile
from devilry_storage.testing import override_deliverystore

from ..harness import postgres
from ..harness.tcp_proxy import Proxy
from ..slow import database_state as state
from ..testapp.models import Note

pytestmark = pytest.mark.django_db(transaction=True)

OLD, NEW = state.CONTENT, b"new ones, as many!"
assert len(OLD) == len(NEW), "a purge would see that they are not the same bytes"

remove_at_once = override_settings(DELIVERY_STORE_RETENTION_DAYS=0)


class Undone(Exception):
    """What a caller's transaction is rolled back by."""


@contextmanager
def undone() -> Iterator[None]:
    """A transaction (or savepoint) that is rolled back at its end."""
    with pytest.raises(Undone), transaction.atomic():
        yield
        raise Undone


@pytest.fixture
def delivery() -> Any:
    """An unfinished delivery of two files."""
    return state.deliveries(1, files=2)[0]


@pytest.fixture
def row(delivery: Any) -> Any:
    return delivery.files.first()


@pytest.fixture
def sent() -> Iterator[list[str]]:
    """The names of the signals that were sent."""
    names: list[str] = []

    def stored(**kwargs: Any) -> None:
        names.append("stored")

    def removed(**kwargs: Any) -> None:
        names.append("removed")

    file_stored.connect(stored)
    file_removed.connect(removed)
    yield names
    file_stored.disconnect(stored)
    file_removed.disconnect(removed)


def again(row: Any, data: bytes = NEW) -> None:
    row.content = ContentFile(data, name="again.txt")
    row.save()


# -- Rollback --


def test_rollback_after_a_save_leaves_an_orphan_and_no_row(delivery: Any, sent: list[str]) -> None:
    """Django has no hook for a rollback, so nothing is removed then. Nobody hears of the file."""
    with undone():
        delivery.add_file("late.txt", NEW)
    assert delivery.files.count() == 2
    assert len(state.orphans()) == 1
    assert state.faults() == []
    assert sent == []


def test_rollback_after_a_replacement_keeps_the_old_bytes(row: Any, sent: list[str]) -> None:
    """Row and bytes are as before, and no tombstone names them."""
    with undone():
        again(row)
    assert state.stored(row) == OLD
    assert not state.left()
    assert state.faults() == []
    assert sent == []


@pytest.mark.parametrize("days", [0, 30])
def test_rollback_after_a_delete_keeps_row_and_bytes(
    delivery: Any, row: Any, sent: list[str], days: int
) -> None:
    """No removal before COMMIT, however it was deleted."""
    with override_settings(DELIVERY_STORE_RETENTION_DAYS=days):
        with undone():
            row.delete()
        with undone():
            delivery.files.all().delete()
        with undone():
            delivery.files.first().content.delete()
        with undone():
            Delivery.objects.get(pk=delivery.pk).delete()
    assert [state.stored(each) for each in delivery.files] == [OLD, OLD]
    assert not state.left()
    assert state.faults() == []
    assert sent == []


def test_rollback_after_finish_lets_it_be_finished_again(delivery: Any) -> None:
    """The number is not used up."""
    with undone():
        delivery.finish()
    current = Delivery.objects.get(pk=delivery.pk)
    assert (current.successful, current.number) == (False, None)
    current.finish()
    assert current.number == 1


def test_only_the_outer_save_of_a_rolled_back_savepoint_is_there(delivery: Any) -> None:
    """Inner rolled back, outer committed."""
    with transaction.atomic():
        delivery.add_file("outer.txt", NEW)
        with undone():
            delivery.add_file("inner.txt", NEW)
    names = set(delivery.files.values_list("filename", flat=True))
    assert names == {"0.txt", "1.txt", "outer.txt"}
    assert state.faults() == []


@remove_at_once
def test_only_what_was_deleted_after_a_rolled_back_savepoint_is_removed(
    delivery: Any, row: Any, sent: list[str]
) -> None:
    """A delete in a savepoint that is rolled back, then one that is committed."""
    other = delivery.files.last()
    name = other.content.name
    with transaction.atomic():
        with undone():
            row.delete()
        other.delete()
        assert name in state.names(), "removed before COMMIT"
    assert state.stored(delivery.files.get()) == OLD
    assert state.names() == state.live_names()
    assert not state.left()
    assert sent == ["removed"]


@remove_at_once
def test_only_what_was_deleted_before_a_rolled_back_savepoint_is_removed(
    delivery: Any, row: Any
) -> None:
    """A delete that is committed, with one in a savepoint that is rolled back after it."""
    with transaction.atomic():
        row.delete()
        with undone():
            delivery.files.all().delete()
    assert state.stored(delivery.files.get()) == OLD
    assert state.names() == state.live_names()
    assert not state.left()


@remove_at_once
def test_delete_that_was_rolled_back_is_forgotten_by_the_next_transaction(delivery: Any) -> None:
    """The connection remembers a name; the table, which is asked, does not."""
    first, last = delivery.files
    with undone():
        first.delete()
    last.delete()
    assert state.stored(delivery.files.get()) == OLD
    assert state.names() == state.live_names()


@remove_at_once
def test_replacement_in_a_rolled_back_savepoint_is_not_removed_after_all(row: Any) -> None:
    """Replaced twice, the second time in vain: the bytes of the first replacement live."""
    with transaction.atomic():
        again(row)
        with undone():
            again(FileMeta.objects.get(pk=row.pk), b"in vain")
    assert state.stored(row) == NEW
    assert state.faults() == []
    assert len(state.names()) == 3, "the other file, the new bytes, and the orphan of the rollback"


def test_id_that_a_rollback_gave_back_stores_again(delivery: Any) -> None:
    """SQLite hands the id out again, so that an orphan lies at the key of a new row."""
    with undone():
        lost = delivery.add_file("a.txt", OLD)
    row = delivery.add_file("a.txt", NEW)
    if connection.vendor == "sqlite":
        assert row.pk == lost.pk
        assert row.content.name.startswith(f"{lost.content.name}_")
    assert state.stored(row) == NEW
    assert state.bytes_under(lost.content.name) == OLD
    assert state.faults() == []


# -- Instances that do not know --


def test_saving_a_stale_instance_does_not_name_replaced_bytes_again(row: Any) -> None:
    """Content that was not assigned is never written."""
    stale = FileMeta.objects.get(pk=row.pk)
    again(row)
    stale.filename = "renamed.txt"
    stale.save()
    assert state.stored(row) == NEW
    assert FileMeta.objects.get(pk=row.pk).filename == "renamed.txt"
    assert state.faults() == []


def test_saving_a_stale_instance_does_not_bring_a_deleted_row_back(row: Any) -> None:
    """It is an error, where Django would insert the row, without bytes."""
    stale = FileMeta.objects.get(pk=row.pk)
    row.delete()
    with pytest.raises(DatabaseError):
        stale.save()
    assert not FileMeta.objects.filter(pk=stale.pk).exists()
    assert state.faults() == []


def test_storing_by_a_stale_instance_of_a_deleted_row_fails(row: Any) -> None:
    """The bytes are an orphan, the instance is as before."""
    stale = FileMeta.objects.get(pk=row.pk)
    row.delete()
    stale.content = ContentFile(NEW, name="again.txt")
    with pytest.raises(FileMeta.DoesNotExist):
        stale.save()
    assert stale.content.is_pending_file
    assert state.faults() == []


def test_deleting_a_stale_instance_buries_the_bytes_that_live(row: Any) -> None:
    """The tombstone names what the row names, not what the instance remembers."""
    stale = FileMeta.objects.get(pk=row.pk)
    again(row)
    stale.delete()
    assert state.buried_names() >= {row.content.name, stale.content.name}
    assert state.orphans() == set()
    assert state.faults() == []


# -- Purge and keys that are used again --


def after_each_creation(act: Callable[[str], object]) -> Any:
    """Do something with each name as soon as its bytes are stored, before they are recorded."""
    record_first = DeliveryStoreMixin._record_first

    def record_after(self: Any, filemeta: Any, key: str, create: Any, *described: Any) -> None:
        def create_and_act(name: str) -> str:
            made: str = create(name)
            act(made)
            return made

        record_first(self, filemeta, key, create_and_act, *described)

    return patch.object(DeliveryStoreMixin, "_record_first", record_after)


def purged_after_its_bytes() -> Any:
    """Let somebody purge as soon as the next bytes are stored, before they are recorded."""
    purges: list[threading.Thread] = []

    def purge_once(name: str) -> None:
        if not purges:
            purges.append(in_a_thread(lambda: list(purge())))
            purges[0].join()

    return after_each_creation(purge_once)


@contextmanager
def buried_without_bytes() -> Iterator[None]:
    """What a purge has left that was killed before its COMMIT: tombstones, but no bytes."""
    yield
    Tombstone.objects.update(due=timezone.now())
    for name in state.buried_names():
        store_for(FileMeta).delete(name)


def test_purge_before_a_new_row_under_an_old_id_is_recorded(delivery: Any, row: Any) -> None:
    """Nobody stores under a key that a tombstone names, even if it is free."""
    new = FileMeta(pk=row.pk, delivery=delivery, filename="again.txt")
    new.content = ContentFile(NEW, name="again.txt")
    with buried_without_bytes():
        row.delete()
    with purged_after_its_bytes():
        new.save()
    assert state.stored(new) == NEW
    assert state.faults() == []


def test_purge_before_a_row_that_lost_its_content_has_some_again(row: Any) -> None:
    """Likewise, through the store's own interface."""
    store = store_for(FileMeta)
    with buried_without_bytes():
        store.remove(row)
    with purged_after_its_bytes(), store.write_open(row) as writer:
        writer.write(NEW)
    assert state.stored(row) == NEW
    assert state.faults() == []


def test_purge_before_the_bytes_of_many_are_recorded(delivery: Any, row: Any) -> None:
    """Likewise, where many are added at once and ids are handed out again."""
    with buried_without_bytes():
        row.delete()
    name = Tombstone.objects.get().name
    upcoming = delivery.add_file("next.txt", NEW)
    Tombstone.objects.update(name=store_for(FileMeta).layout.key(delivery.pk, upcoming.pk + 1))
    with purged_after_its_bytes():
        rows = delivery.add_files({"a.txt": NEW, "b.txt": NEW})
    assert name not in state.names()
    assert [state.stored(each) for each in rows] == [NEW, NEW]
    assert state.faults() == []


def test_purge_waits_for_nobody_and_takes_no_uncommitted_bytes(delivery: Any, row: Any) -> None:
    """A row under an old id is not committed when purge runs, elsewhere."""
    key = row.content.name
    FileMeta.objects.filter(pk=row.pk).delete()
    Tombstone.objects.update(due=timezone.now())
    with transaction.atomic():
        new = FileMeta(pk=row.pk, delivery=delivery, filename="again.txt")
        again(new)
        elsewhere = in_a_thread(lambda: list(purge()))
        if connection.vendor != "sqlite":  # where it waits for our write lock
            elsewhere.join()
    elsewhere.join()
    assert key not in state.names()
    assert state.stored(new) == NEW
    assert state.faults() == []


@pytest.mark.parametrize("model", ["devilry_deliveries.filemeta", "testapp.note"])
def test_tombstone_that_comes_after_the_bytes_is_heeded(delivery: Any, model: str) -> None:
    """Another row, of any model in the store, named the key: the bytes get another name."""
    names: list[str] = []

    def bury_the_first(name: str) -> None:
        names.append(name)
        if len(names) == 1:
            Tombstone.objects.create(
                model=model, alias="deliveries", name=name, due=timezone.now()
            )

    with after_each_creation(bury_the_first):
        row = delivery.add_file("late.txt", NEW)
    assert len(names) == 2
    Tombstone.objects.update(created=timezone.now() - timedelta(days=2))
    with override_deliverystore("deliveries", model=Note):
        assert [event.result for event in purge()] == ["removed"]
    assert state.stored(row) == NEW
    assert state.faults() == []


def test_tombstone_that_comes_after_the_bytes_of_many_is_heeded(delivery: Any) -> None:
    """None of the files is added, and the error says why."""

    def source() -> Iterator[bytes]:
        yield NEW
        in_a_thread(bury_first).join()

    def bury_first() -> None:
        name = store_for(FileMeta).layout.key(*delivery.files.get(filename="a.txt").key_ids())
        Tombstone.objects.create(
            model="devilry_deliveries.filemeta",
            alias="deliveries",
            name=name,
            due=timezone.now(),
        )

    with pytest.raises(FileExistsError, match="belongs to a deleted file"):
        delivery.add_files({"a.txt": NEW, "b.txt": source()})
    assert delivery.files.count() == 2
    assert state.faults() == []


@pytest.mark.parametrize("is_purged", [False, True], ids=["buried", "purged"])
def test_bytes_that_somebody_else_adopts_and_deletes_are_not_adopted(
    delivery: Any, is_purged: bool
) -> None:
    """Meanwhile their hash was computed: a row must not name what is to be removed, or gone."""
    store = store_for(FileMeta)
    name = store.save("lying/there.txt", ContentFile(NEW))
    stream = store.stream

    def stream_while_others_work(name: str) -> Iterator[bytes]:
        yield from stream(name)
        in_a_thread(others_work).join()

    def others_work() -> None:
        FileMeta.objects.adopt(name, sha256="0" * 64, delivery=delivery).delete()
        if is_purged:
            Tombstone.objects.update(due=timezone.now())
            assert [event.result for event in purge()] == ["removed"]

    refused = pytest.raises(FileExistsError, match="belongs to a deleted file")
    with patch.object(store, "stream", stream_while_others_work), refused:
        FileMeta.objects.adopt(name, delivery=delivery)
    assert delivery.files.count() == 2
    assert state.faults() == []


def test_bytes_that_a_row_of_another_model_adopts_are_not_adopted(delivery: Any) -> None:
    """Meanwhile their hash was computed; two rows never name one object."""
    store = store_for(FileMeta)
    name = store.save("found/there.txt", ContentFile(NEW))
    stream = store.stream

    def stream_while_others_adopt(name: str) -> Iterator[bytes]:
        yield from stream(name)
        in_a_thread(lambda: Note.objects.adopt(name, sha256="0" * 64)).join()

    refused = pytest.raises(FileExistsError, match="is the file of testapp.Note")
    with (
        override_deliverystore("deliveries", model=Note),
        patch.object(store, "stream", stream_while_others_adopt),
        refused,
    ):
        FileMeta.objects.adopt(name, delivery=delivery)
    assert delivery.files.count() == 2


def test_newest_row_may_be_deleted_while_it_is_looked_up(delivery: Any, row: Any) -> None:
    """Its missing bytes are no sign of a wrong store: what is due is removed nevertheless."""
    newest, store = delivery.files.last(), store_for(FileMeta)
    size = store.size

    def others_delete(name: str) -> int:
        if name == newest.content.name and FileMeta.objects.filter(pk=newest.pk).exists():
            in_a_thread(newest.delete).join()
            store.delete(name)
        return size(name)

    name = row.content.name
    row.delete()
    Tombstone.objects.update(due=timezone.now())
    with patch.object(store, "size", others_delete):
        # Of a store that is empty now, though a tombstone is left, the purge may say so.
        assert [event.result for event in purge() if event.subject == name] == ["removed"]
    assert not FileMeta.objects.exists()


def test_row_of_many_that_somebody_else_stores_into_keeps_those_bytes(delivery: Any) -> None:
    """add_files() records its bytes in rows that are still empty, or in none."""

    def source() -> Iterator[bytes]:
        yield NEW
        other = in_a_thread(lambda: again(FileMeta.objects.get(filename="a.txt"), OLD))
        other.join()

    with pytest.raises(FileExistsError, match="another upload"):
        delivery.add_files({"a.txt": NEW, "b.txt": source()})
    assert state.stored(delivery.files.get(filename="a.txt")) == OLD
    assert not delivery.files.filter(filename="b.txt").exists()
    assert state.faults() == []


def test_files_of_rows_taken_over_get_other_names(delivery: Any) -> None:
    """The writer that the row was taken over from may store under its key at any time."""
    FileMeta.objects.create(delivery=delivery, filename="late.txt", created=state.LONG_AGO)
    new, late = sorted(
        delivery.add_files({"late.txt": NEW, "new.txt": NEW}),
        key=lambda row: row.filename != "new.txt",
    )
    key = store_for(FileMeta).layout.key
    assert new.content.name == key(*new.key_ids())
    assert late.content.name != key(*late.key_ids())


def test_row_of_many_that_is_deleted_meanwhile_is_an_error(delivery: Any) -> None:
    """None of the files is added."""

    def source() -> Iterator[bytes]:
        yield NEW
        in_a_thread(lambda: FileMeta.objects.filter(filename="a.txt").delete()).join()

    with pytest.raises(FileMeta.DoesNotExist, match="was deleted"):
        delivery.add_files({"a.txt": NEW, "b.txt": source()})
    assert delivery.files.count() == 2
    assert state.faults() == []


# -- Rows that another writer takes over --


@contextmanager
def taken_over(
    delivery: Any, *, fails: bool = True, stores: bool = False
) -> Iterator[Callable[[], Iterator[bytes]]]:
    """Give a source of bytes whose row another writer takes over while it is read.

    ``fails``: the source raises then. ``stores``: the other writer has stored its bytes by then,
    instead of when the block has ended.
    """
    taken, over = threading.Event(), threading.Event()
    writers: list[threading.Thread] = []

    def second() -> Iterator[bytes]:
        taken.set()
        assert over.wait(30)
        yield NEW

    def take_over() -> None:
        delivery.files.filter(filename="late.txt").update(created=state.LONG_AGO)
        Delivery.objects.get(pk=delivery.pk).add_file("late.txt", second())

    def first() -> Iterator[bytes]:
        yield OLD
        writers.append(in_a_thread(take_over))
        assert taken.wait(30)
        if stores:
            over.set()
            writers[0].join()
        if fails:
            raise Undone

    try:
        yield first
    finally:
        over.set()
        for writer in writers:
            writer.join()


@pytest.mark.parametrize("way", ["add_file", "add_files", "again"])
def test_failing_writer_keeps_row_that_was_taken_over(delivery: Any, way: str) -> None:
    """The row of the second writer is neither deleted nor given back."""
    if way == "again":  # the first writer takes over a row itself
        FileMeta.objects.create(delivery=delivery, filename="late.txt", created=state.LONG_AGO)
    with taken_over(delivery) as source:
        with pytest.raises(Undone):
            if way == "add_files":
                delivery.add_files({"late.txt": source(), "other.txt": NEW})
            else:
                delivery.add_file("late.txt", source())
        row = delivery.files.get(filename="late.txt")
        assert row.created > state.LONG_AGO
    assert state.stored(row) == NEW
    assert not delivery.files.filter(filename="other.txt").exists()
    assert state.faults() == []


def add_late(delivery: Any, way: str, content: Any) -> None:
    """Add a file by add_file(), with a new row or again one left behind, or in another way."""
    if way == "add_files":
        delivery.add_files({"late.txt": content, "other.txt": NEW})
    elif way == "create":
        file = IterableFile(content, "late.txt")
        FileMeta.objects.create(delivery=delivery, filename="late.txt", content=file)
    else:
        if way == "again":
            FileMeta.objects.create(delivery=delivery, filename="late.txt", created=state.LONG_AGO)
        delivery.add_file("late.txt", content)


ADDING = ["add_file", "add_files", "create", "again"]


@pytest.mark.parametrize("stores", [True, False], ids=["stored", "being stored"])
@pytest.mark.parametrize("way", ADDING)
def test_writer_whose_row_was_taken_over_fails(delivery: Any, way: str, stores: bool) -> None:
    """Otherwise it would replace bytes that another call has acknowledged."""
    refused = pytest.raises(FileExistsError, match="another upload")
    with taken_over(delivery, fails=False, stores=stores) as source, refused:
        add_late(delivery, way, source())
    assert state.stored(delivery.files.get(filename="late.txt")) == NEW
    assert not delivery.files.filter(filename="other.txt").exists()
    assert not state.left()
    assert OLD in {state.bytes_under(name) for name in state.orphans()}
    assert state.faults() == []


@pytest.mark.parametrize("way", ADDING)
def test_row_that_another_save_stores_into_keeps_those_bytes(delivery: Any, way: str) -> None:
    """What adds a file records it in a row without content, or not at all."""

    def source() -> Iterator[bytes]:
        yield OLD
        in_a_thread(lambda: again(FileMeta.objects.get(filename="late.txt"))).join()

    with pytest.raises(FileExistsError, match="another upload"):
        add_late(delivery, way, source())
    assert state.stored(delivery.files.get(filename="late.txt")) == NEW
    assert not delivery.files.filter(filename="other.txt").exists()
    assert not state.left()
    assert state.faults() == []


@pytest.mark.parametrize("way", ADDING)
def test_row_under_the_same_id_keeps_its_own_bytes(delivery: Any, way: str) -> None:
    """SQLite gives the id of a row that was deleted to the next one."""

    def insert_another() -> None:
        row = delivery.files.get(filename="late.txt")
        FileMeta.objects.filter(pk=row.pk).delete()
        FileMeta.objects.create(pk=row.pk, delivery=delivery, filename="another.txt")

    def source() -> Iterator[bytes]:
        yield OLD
        in_a_thread(insert_another).join()

    with pytest.raises(FileExistsError, match="another upload"):
        add_late(delivery, way, source())
    assert not delivery.files.get(filename="another.txt").content
    assert not delivery.files.filter(filename="late.txt").exists()


def test_stale_save_does_not_undo_a_takeover(delivery: Any) -> None:
    """It writes no time, so that the row does not look left behind again."""
    FileMeta.objects.create(delivery=delivery, filename="late.txt", created=state.LONG_AGO)
    stale = FileMeta.objects.get(filename="late.txt")

    def source() -> Iterator[bytes]:
        yield OLD
        stale.save()
        with pytest.raises(FileExistsError, match="is still being stored"):
            Delivery.objects.get(pk=delivery.pk).add_file("late.txt", NEW)

    row = delivery.add_file("late.txt", source())
    assert state.stored(row) == OLD
    assert state.faults() == []


def test_row_taken_over_is_replaced_by_later_saves(delivery: Any) -> None:
    """Only the call that takes the row over adds content."""
    FileMeta.objects.create(delivery=delivery, filename="late.txt", created=state.LONG_AGO)
    row = delivery.add_file("late.txt", OLD)
    again(row)
    assert state.stored(row) == NEW
    assert Tombstone.objects.count() == 1


@pytest.mark.parametrize(
    ("way", "most"), [("add_file", 9), ("add_files", 10), ("create", 8), ("again", 14)]
)
def test_adding_sends_few_statements(delivery: Any, way: str, most: int) -> None:
    """Neither the clock nor the state of the row costs one, nor does a transaction's level."""
    with CaptureQueriesContext(connection) as captured:
        add_late(delivery, way, iter([NEW]))
    if connection.vendor == "sqlite":  # where each lock begins with a write
        most += {"add_files": 1, "again": 3}.get(way, 2)
    assert len(captured) <= most


@pytest.mark.parametrize("days", [365, -365], ids=["ahead", "behind"])
def test_takeover_uses_the_clock_of_the_database(delivery: Any, days: int) -> None:
    """The clock of a host that is off makes no row look left behind."""
    FileMeta.objects.create(delivery=delivery, filename="young.txt")
    FileMeta.objects.create(delivery=delivery, filename="late.txt", created=state.LONG_AGO)
    now = timezone.now
    with patch("django.utils.timezone.now", lambda: now() + timedelta(days=days)):
        with pytest.raises(FileExistsError, match="is still being stored"):
            delivery.add_file("young.txt", NEW)
        row = delivery.add_file("late.txt", NEW)
    assert abs(row.created - now()) < timedelta(minutes=1)
    assert FileMeta.objects.get(pk=row.pk).created == row.created


@override_settings(USE_TZ=False, TIME_ZONE="America/New_York", DELIVERY_STORE_GRACE_HOURS=1)
def test_takeover_without_time_zones(delivery: Any) -> None:
    """Datetimes are local then, on SQLite too, whose clock has UTC."""
    FileMeta.objects.create(delivery=delivery, filename="young.txt")
    FileMeta.objects.create(
        delivery=delivery, filename="late.txt", created=timezone.now() - timedelta(hours=2)
    )
    with pytest.raises(FileExistsError, match="is still being stored"):
        delivery.add_file("young.txt", NEW)
    row = delivery.add_file("late.txt", NEW)
    assert abs(row.created - timezone.now()) < timedelta(minutes=1)


def test_time_computed_by_the_database_does_not_stop_a_save(delivery: Any) -> None:
    """The row is known by having no content alone."""
    content = ContentFile(NEW, "late.txt")
    row = FileMeta.objects.create(
        delivery=delivery, filename="late.txt", created=Now(), content=content
    )
    assert state.stored(row) == NEW


@pytest.mark.parametrize("how", ["taken over", "stored"])
def test_row_changed_since_it_was_read_is_not_taken_over(delivery: Any, how: str) -> None:
    """Of two writers who find the same row left behind, one gets it."""
    left = FileMeta.objects.create(delivery=delivery, filename="late.txt", created=state.LONG_AGO)
    take_over = Delivery._take_over

    def take_over_late(self: Any, row: Any) -> None:
        if how == "stored":
            again(FileMeta.objects.get(pk=left.pk))
        else:
            FileMeta.objects.filter(pk=left.pk).update(created=timezone.now())
        take_over(self, row)

    with (
        patch.object(Delivery, "_take_over", take_over_late),
        pytest.raises(FileExistsError, match="is still being stored"),
    ):
        delivery.add_file("late.txt", OLD)
    assert state.stored(left) == (NEW if how == "stored" else None)
    assert state.faults() == []


@pytest.mark.parametrize("many", [False, True], ids=["add_file", "add_files"])
def test_filename_taken_at_the_same_time_is_a_clear_error(delivery: Any, many: bool) -> None:
    """A row that is inserted between the look and the INSERT keeps its name."""
    claimed = Delivery._claimed

    @contextmanager
    def claimed_late(self: Any, filenames: Any) -> Iterator[Any]:
        with claimed(self, filenames) as rows:
            FileMeta.objects.create(delivery=delivery, filename="late.txt")
            yield rows

    with (
        patch.object(Delivery, "_claimed", claimed_late),
        pytest.raises(FileExistsError, match=r"'late\.txt' .* is being added by somebody else"),
    ):
        if many:
            delivery.add_files({"late.txt": NEW, "other.txt": NEW})
        else:
            delivery.add_file("late.txt", NEW)
    assert not delivery.files.get(filename="late.txt").content
    assert delivery.files.count() == 3


@pytest.mark.parametrize("many", [False, True], ids=["add_file", "add_files"])
def test_error_after_the_record_keeps_the_row(delivery: Any, many: bool) -> None:
    """A row with content is not deleted: the reply to its COMMIT may have been lost."""
    atomic_exit = transaction.Atomic.__exit__

    def exit_and_fail(self: Any, *exception: Any) -> None:
        atomic_exit(self, *exception)
        recorded = delivery.files.filter(filename="late.txt", content__isnull=False)
        if not connection.in_atomic_block and recorded.exists():
            raise OperationalError("the reply is lost")

    with (
        patch.object(transaction.Atomic, "__exit__", exit_and_fail),
        pytest.raises(OperationalError, match="the reply is lost"),
    ):
        if many:
            delivery.add_files({"late.txt": NEW})
        else:
            delivery.add_file("late.txt", NEW)
    assert state.stored(delivery.files.get(filename="late.txt")) == NEW
    assert state.faults() == []


def test_error_after_the_record_restores_the_instance(row: Any) -> None:
    """Written through the store's own interface, it knows the old content, as before."""
    known, atomic_exit = row.content.name, transaction.Atomic.__exit__

    def exit_and_fail(self: Any, *exception: Any) -> None:
        atomic_exit(self, *exception)
        if not connection.in_atomic_block:
            raise OperationalError("the reply is lost")

    with (
        patch.object(transaction.Atomic, "__exit__", exit_and_fail),
        pytest.raises(OperationalError, match="the reply is lost"),
        store_for(row).write_open(row) as writer,
    ):
        writer.write(NEW)
    assert (row.content.name, row.size) == (known, len(OLD))
    assert state.stored(row) == NEW
    assert state.faults() == []


# -- Deliveries that are finished while bytes move --


def test_new_content_is_refused_when_finished_meanwhile(delivery: Any, row: Any) -> None:
    """The row keeps the bytes with which the delivery was finished."""

    def source() -> Iterator[bytes]:
        yield NEW
        in_a_thread(lambda: Delivery.objects.get(pk=delivery.pk).finish()).join()

    row.content = IterableFile(source(), "again.txt")
    with pytest.raises(DeliveryFinished):
        row.save()
    assert state.stored(row) == OLD
    assert Delivery.objects.get(pk=delivery.pk).successful
    assert not state.left()
    assert state.faults() == []


def test_many_files_are_refused_when_finished_meanwhile(delivery: Any) -> None:
    """No row of theirs is left."""

    def source() -> Iterator[bytes]:
        yield NEW
        finished = Delivery.objects.filter(pk=delivery.pk)
        in_a_thread(lambda: finished.update(successful=True)).join()

    with pytest.raises(DeliveryFinished):
        delivery.add_files({"late.txt": source()})
    assert delivery.files.count() == 2
    assert state.faults() == []


def test_new_content_is_refused_when_moved_into_finished_delivery(row: Any) -> None:
    """The delivery that counts is that of the row in the database."""
    (finished,) = state.deliveries(1, files=1, owner=row.delivery.assignment_group)
    FileMeta.objects.filter(pk=row.pk).update(delivery=finished, filename="moved.txt")
    finished.finish()
    before = state.names()
    with pytest.raises(DeliveryFinished):
        again(row)
    assert state.stored(row) == OLD
    assert state.names() == before


# -- Row locks --


@contextmanager
def held(rows: Any, then: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Lock rows on another connection until the end of the block; ``then`` is its last act."""
    locked, over = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            assert list(rows.select_for_update(no_key=True))
            locked.set()
            assert over.wait(60)
            then()

    thread = in_a_thread(hold)
    assert locked.wait(30)
    try:
        yield
    finally:
        over.set()
        thread.join()


def error_after_wait(
    act: Callable[[], object], rows: Any, then: Callable[[], object]
) -> Exception | None:
    """Act while another connection holds the rows and changes them; return what was raised."""
    raised: list[Exception] = []

    def run() -> None:
        try:
            act()
        except Exception as exception:  # noqa: BLE001  # the test asks which
            raised.append(exception)

    with held(rows, then):
        thread = in_a_thread(run)
        thread.join(1)  # it has read by then what it reads without a lock
    thread.join(30)
    assert not thread.is_alive()
    return raised[0] if raised else None


@pytest.mark.postgres
@pytest.mark.parametrize("act", ["replace", "add_files", "adopt", "finish"])
def test_delivery_finished_during_wait_takes_no_file(delivery: Any, row: Any, act: str) -> None:
    """The state of the delivery is read when it is locked, not before."""
    store_for(FileMeta).save("lying/there.txt", ContentFile(NEW))
    acts: dict[str, Callable[[], object]] = {
        "replace": lambda: again(row),
        "add_files": lambda: delivery.add_files({"late.txt": NEW}),
        "adopt": lambda: FileMeta.objects.adopt("lying/there.txt", delivery=delivery),
        "finish": delivery.finish,
    }
    rows = Delivery.objects.filter(pk=delivery.pk)
    error = error_after_wait(acts[act], rows, lambda: rows.update(successful=True, number=7))
    assert isinstance(error, DeliveryFinished)
    assert [state.stored(each) for each in delivery.files] == [OLD, OLD]
    assert rows.get().number == 7
    assert not state.left()


@pytest.mark.postgres
@pytest.mark.parametrize("act", ["remove", "delete"])
def test_content_replaced_during_wait_is_buried(act: str) -> None:
    """The tombstone names what the row names when it is locked, of a row without delivery, too."""
    note = Note.objects.create(filename="note.txt", content=ContentFile(OLD, "note.txt"))
    act_on_note = note.content.delete if act == "remove" else note.delete
    rows = Note.objects.filter(pk=note.pk)
    assert error_after_wait(act_on_note, rows, lambda: again(rows.get())) is None
    names = {entry.name for entry in store_for(Note).scan()}
    assert len(names) == 2
    assert state.buried_names() == names


@pytest.mark.postgres
def test_file_removed_during_wait_is_not_restored(row: Any) -> None:
    """A purge that is at work on a file ends before the file is restored."""
    row.content.delete()
    tombstone = Tombstone.objects.get()

    def remove() -> None:
        store_for(FileMeta).delete(tombstone.name)
        Tombstone.objects.all().delete()

    error = error_after_wait(lambda: restore(tombstone), Tombstone.objects.all(), remove)
    assert isinstance(error, NotRestorable)
    assert "meanwhile" in str(error)
    assert not FileMeta.objects.get(pk=row.pk).content


@pytest.mark.postgres
def test_finish_waits_for_lock_of_the_group(delivery: Any) -> None:
    """Two deliveries of a group that are finished at once get two numbers."""
    groups = AssignmentGroup.objects.filter(pk=delivery.assignment_group_id)
    with held(groups):
        thread = in_a_thread(delivery.finish)
        thread.join(1)
        assert thread.is_alive()
    thread.join(30)
    assert Delivery.objects.get(pk=delivery.pk).number == 1


@pytest.mark.postgres
def test_finish_passes_by_tombstones_that_are_held(delivery: Any, row: Any) -> None:
    """Who restores the file waits for the delivery, so finish() does not wait for them."""
    row.delete()
    with held(Tombstone.objects.all()):
        thread = in_a_thread(delivery.finish)
        thread.join(30)
        assert not thread.is_alive()
    assert Delivery.objects.get(pk=delivery.pk).successful


@pytest.mark.postgres
def test_locked_delivery_can_be_referred_to(delivery: Any) -> None:
    """A row that only refers to the delivery is inserted while it is locked."""
    with transaction.atomic():
        lock_row(Delivery, delivery.pk, "default")
        thread = in_a_thread(
            lambda: FileMeta.objects.create(delivery_id=delivery.pk, filename="late.txt")
        )
        thread.join(30)
        assert not thread.is_alive()
    assert delivery.files.filter(filename="late.txt").exists()


def in_a_thread(act: Callable[[], object]) -> threading.Thread:
    """Start a thread with a database connection of its own."""

    def run() -> None:
        try:
            act()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


# -- A database that fails --


class Gone:
    """Lets every statement fail from the moment on at which the source of the bytes breaks it."""

    def __init__(self) -> None:
        self.is_gone = False

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if self.is_gone:
            raise OperationalError("the database is gone")
        return execute(sql, params, many, context)

    def source(self) -> Iterator[bytes]:
        yield NEW
        self.is_gone = True


def test_database_that_dies_between_bytes_and_record_leaves_a_row_to_take_over(
    delivery: Any,
) -> None:
    """The row cannot be deleted again: the error says so, and past the grace time it is reused."""
    gone = Gone()
    with connection.execute_wrapper(gone), pytest.raises(OperationalError) as caught:
        delivery.add_file("late.txt", gone.source())
    if sys.version_info >= (3, 11):
        assert "without content" in "".join(caught.value.__notes__)
    left = delivery.files.get(filename="late.txt")
    assert not left.content
    assert len(state.orphans()) == 1
    with pytest.raises(FileExistsError, match="still being stored"):
        delivery.add_file("late.txt", NEW)
    delivery.files.filter(pk=left.pk).update(created=state.LONG_AGO)
    row = delivery.add_file("late.txt", NEW)
    assert row.pk == left.pk
    assert state.stored(row) == NEW
    assert state.faults() == []


def test_database_that_dies_between_bytes_and_record_restores_the_instance(delivery: Any) -> None:
    """It has its file still, and no id: it can be saved under another name."""
    row, gone = FileMeta(delivery=delivery, filename="late.txt"), Gone()
    row.content = IterableFile(gone.source(), "late.txt")
    pending = row.content
    with connection.execute_wrapper(gone), pytest.raises(OperationalError):
        row.save()
    known: tuple[int | None, bool] = row.pk, row._state.adding
    assert known == (None, True)
    assert row.content is pending
    row.filename = "other.txt"
    again(row)
    assert state.stored(row) == NEW
    assert state.faults() == []


def test_database_that_dies_before_many_are_recorded_adds_none(delivery: Any) -> None:
    """add_files() names the first cause, not what came of deleting its rows again."""
    gone = Gone()
    with connection.execute_wrapper(gone), pytest.raises(OperationalError) as caught:
        delivery.add_files({"late.txt": NEW, "later.txt": gone.source()})
    if sys.version_info >= (3, 11):
        assert "without content" in "".join(caught.value.__notes__)
    assert delivery.files.filter(content__isnull=False).count() == 2
    delivery.files.filter(content__isnull=True).update(created=state.LONG_AGO)
    rows = delivery.add_files({"late.txt": NEW, "later.txt": NEW})
    assert [state.stored(row) for row in rows] == [NEW, NEW]
    assert state.faults() == []


@remove_at_once
def test_removal_that_fails_after_commit_is_no_error_of_the_delete(
    row: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The rows are deleted and that is told; the tombstone stays for a purge."""
    name = row.content.name
    with patch(
        "devilry_storage.deletion.removal.refusal", side_effect=OperationalError("it is gone")
    ):
        row.delete()
    assert "it is gone" in caplog.text
    assert state.buried_names() == {name}
    assert [event.result for event in purge()] == ["removed"]
    assert state.names() == state.live_names()


# -- A COMMIT whose reply is lost --


@contextmanager
def through_proxy() -> Iterator[Proxy]:
    """Let Django's connection pass a proxy."""
    known = dict(connection.settings_dict)
    connection.close()
    try:
        with Proxy(*postgres.address()) as proxy:
            connection.settings_dict.update(HOST=proxy.host, PORT=str(proxy.port))
            yield proxy
    finally:
        connection.close()
        connection.settings_dict.update(known)


@contextmanager
def lost_commit() -> Iterator[None]:
    """The server commits, but its answer is lost: the caller sees an error."""
    with through_proxy() as proxy:
        proxy.swallow_reply(to=b"COMMIT")
        with pytest.raises(OperationalError):
            yield
        assert proxy.fired == 1


@pytest.mark.postgres
@pytest.mark.parametrize("many", [False, True], ids=["add_file", "add_files"])
def test_lost_commit_of_a_new_file_keeps_the_row(delivery: Any, many: bool) -> None:
    """Who "cleaned up" would delete what is committed. A second try is told that it is there."""

    def store(content: Any) -> None:
        if many:
            delivery.add_files({"late.txt": content})
        else:
            delivery.add_file("late.txt", content)

    with through_proxy() as proxy:

        def source() -> Iterator[bytes]:
            yield NEW
            proxy.swallow_reply(to=b"COMMIT")  # of the record; the row is there

        with pytest.raises(OperationalError):
            store(source())
        assert proxy.fired == 1
    assert state.stored(delivery.files.get(filename="late.txt")) == NEW
    with pytest.raises(FileExistsError, match="exists already"):
        store(NEW)
    assert state.faults() == []


@pytest.mark.postgres
def test_lost_commit_of_a_replacement_keeps_the_new_bytes(row: Any) -> None:
    """The old ones have a tombstone; the instance can be saved again."""
    with lost_commit():
        again(row)
    assert state.stored(row) == NEW
    assert row.content.is_pending_file
    row.save()
    assert state.stored(row) == NEW
    assert Tombstone.objects.count() == 2
    assert state.faults() == []


@pytest.mark.postgres
@pytest.mark.parametrize("days", [0, 30])
def test_lost_commit_of_a_delete_leaves_the_bytes_to_a_purge(row: Any, days: int) -> None:
    """Nobody knows that it is committed, so nothing is removed right after it."""
    name = row.content.name
    with override_settings(DELIVERY_STORE_RETENTION_DAYS=days):
        with lost_commit():
            row.delete()
        assert state.buried_names() == {name}
        assert state.faults() == []
    Tombstone.objects.update(due=timezone.now())
    assert [event.result for event in purge()] == ["removed"]
    assert state.names() == state.live_names()


@pytest.mark.postgres
def test_lost_commit_of_finish_leaves_it_finished(delivery: Any) -> None:
    """The instance does not know; a second try says that it is finished."""
    with lost_commit():
        delivery.finish()
    assert not delivery.successful
    with pytest.raises(DeliveryFinished):
        delivery.finish()
    assert Delivery.objects.get(pk=delivery.pk).number == 1


# -- SQLite's one write lock --


@contextmanager
def somebody_writes() -> Iterator[None]:
    """Another connection has written and waits for the readers to commit."""
    written, result = threading.Event(), []

    def write() -> None:
        with transaction.atomic():
            state.group("somebody's")
            written.set()
        result.append("committed")

    thread = in_a_thread(write)
    assert written.wait(30)
    time.sleep(0.1)  # its COMMIT waits now
    yield
    thread.join()
    assert result == ["committed"]


@pytest.mark.parametrize("operate", ["add_file", "add_files", "replace", "delete", "finish"])
def test_locked_database_is_the_callers_error_and_loses_nothing(
    delivery: Any, row: Any, operate: str
) -> None:
    """In a transaction that has read before somebody wrote, SQLite refuses to write."""
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL has row locks.")
    acts = {
        "add_file": lambda: delivery.add_file("late.txt", NEW),
        "add_files": lambda: delivery.add_files({"late.txt": NEW}),
        "replace": lambda: again(row),
        "delete": row.delete,
        "finish": delivery.finish,
    }
    # Whoever waits for us goes on when our transaction is over.
    locked = pytest.raises(OperationalError, match="locked")
    with ExitStack() as over, locked, transaction.atomic():
        assert FileMeta.objects.count() == 2
        over.enter_context(somebody_writes())
        acts[operate]()
    assert [state.stored(each) for each in delivery.files] == [OLD, OLD]
    assert state.names() == state.live_names()
    assert not state.left()
    if operate == "replace":
        assert row.content.is_pending_file
    acts[operate]()
    assert state.faults() == []


def test_transaction_that_begins_with_us_waits_for_the_write_lock(delivery: Any) -> None:
    """Nothing is read before the lock is taken: SQLite would refuse to write then."""
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL has row locks.")
    row = FileMeta(delivery_id=delivery.pk, filename="later.txt")
    for act in (
        lambda: delivery.add_file("late.txt", NEW),
        lambda: again(row),
        lambda: delivery.add_files({"last.txt": NEW}),
        delivery.finish,
    ):
        begun = threading.Event()

        def write(begun: threading.Event = begun) -> None:
            with transaction.atomic():
                state.group("somebody's")
                begun.set()
                time.sleep(0.1)

        thread = in_a_thread(write)
        assert begun.wait(30)
        with transaction.atomic():
            act()
        thread.join()
    assert delivery.files.count() == 5
    assert state.faults() == []
