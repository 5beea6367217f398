"""Rows, tombstones and bytes agree after rollbacks, races and errors of the database."""

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
from django.db import OperationalError, connection, transaction
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
    """Rolls the transaction of a caller back."""


@contextmanager
def undone() -> Iterator[None]:
    """Roll the block back, in a transaction or savepoint."""
    with pytest.raises(Undone), transaction.atomic():
        yield
        raise Undone


@pytest.fixture
def delivery() -> Iterator[Any]:
    """Return an unfinished delivery of two files; check after the test that all agrees."""
    yield state.deliveries(1, files=2)[0]
    assert state.faults() == []


@pytest.fixture
def row(delivery: Any) -> Any:
    return delivery.files.first()


def again(row: Any, data: bytes = NEW) -> None:
    row.content = ContentFile(data, name="again.txt")
    row.save()


def during(act: Callable[[], object], data: bytes = NEW) -> Iterator[bytes]:
    """Yield bytes, and call ``act`` on another connection before the end of the source."""
    yield data
    in_a_thread(act).join()


# -- Rollback --


def test_rolled_back_save_leaves_an_orphan_and_no_row(delivery: Any) -> None:
    """Django has no hook for a rollback, so the bytes are not removed then."""
    with undone():
        delivery.add_file("late.txt", NEW)
    assert delivery.files.count() == 2
    assert len(state.orphans()) == 1


def test_rolled_back_replacement_keeps_the_old_bytes(row: Any) -> None:
    """No tombstone names them."""
    with undone():
        again(row)
    assert state.stored(row) == OLD
    assert not state.left()


@pytest.mark.parametrize("days", [0, 30])
def test_rolled_back_delete_keeps_row_and_bytes(delivery: Any, row: Any, days: int) -> None:
    """Nothing is removed before COMMIT."""
    with override_settings(DELIVERY_STORE_RETENTION_DAYS=days):
        with undone():
            row.delete()
        with undone():
            delivery.files.all().delete()
        with undone():
            delivery.files.first().content.delete()
        with undone():
            Delivery.objects.get(pk=delivery.pk).delete()
    assert [state.stored(file) for file in delivery.files] == [OLD, OLD]
    assert not state.left()


def test_rolled_back_finish_can_be_repeated(delivery: Any) -> None:
    """The number is not used up."""
    with undone():
        delivery.finish()
    current = Delivery.objects.get(pk=delivery.pk)
    assert (current.successful, current.number) == (False, None)
    current.finish()
    assert current.number == 1


def test_save_outside_a_rolled_back_savepoint_is_committed(delivery: Any) -> None:
    with transaction.atomic():
        delivery.add_file("outer.txt", NEW)
        with undone():
            delivery.add_file("inner.txt", NEW)
    names = set(delivery.files.values_list("filename", flat=True))
    assert names == {"0.txt", "1.txt", "outer.txt"}


@remove_at_once
def test_deletes_around_a_rolled_back_savepoint_are_committed() -> None:
    """Only the rolled-back delete keeps its bytes."""
    first, middle, last = state.deliveries(1, files=3)[0].files
    name = last.content.name
    with transaction.atomic():
        first.delete()
        with undone():
            middle.delete()
        last.delete()
        assert name in state.names(), "removed before COMMIT"
    assert state.stored(FileMeta.objects.get()) == OLD
    assert state.names() == state.live_names()
    assert not state.left()


@remove_at_once
def test_next_transaction_ignores_a_rolled_back_delete(delivery: Any) -> None:
    """The connection remembers the name, but the table of tombstones decides."""
    first, last = delivery.files
    with undone():
        first.delete()
    last.delete()
    assert state.stored(delivery.files.get()) == OLD
    assert state.names() == state.live_names()


@remove_at_once
def test_rolled_back_second_replacement_keeps_the_first(row: Any) -> None:
    with transaction.atomic():
        again(row)
        with undone():
            again(FileMeta.objects.get(pk=row.pk), b"rolled back")
    assert state.stored(row) == NEW
    assert len(state.names()) == 3, "the other file, the new bytes, and the orphan of the rollback"


def test_reused_id_of_a_rollback_stores_under_another_name(delivery: Any) -> None:
    """SQLite reuses the id, so the key of the new row is that of an orphan."""
    with undone():
        lost = delivery.add_file("a.txt", OLD)
    row = delivery.add_file("a.txt", NEW)
    if connection.vendor == "sqlite":
        assert row.pk == lost.pk
        assert row.content.name.startswith(f"{lost.content.name}_")
    assert state.stored(row) == NEW
    assert state.bytes_under(lost.content.name) == OLD


def test_deleting_a_stale_instance_buries_the_current_bytes(row: Any) -> None:
    """The tombstone names the content of the row, not that of the instance."""
    stale = FileMeta.objects.get(pk=row.pk)
    again(row)
    stale.delete()
    assert state.buried_names() >= {row.content.name, stale.content.name}
    assert state.orphans() == set()


# -- Purges and reused keys --


def after_each_creation(act: Callable[[str], object]) -> Any:
    """Call ``act`` with each name between the storing and the recording of its bytes."""
    writer = DeliveryStoreMixin.writer

    def writer_that_acts(self: Any, key: str, *, record: Any, **options: Any) -> Any:
        def act_and_record(name: str, *recorded: Any) -> None:
            act(name)
            record(name, *recorded)

        return writer(self, key, record=act_and_record, **options)

    return patch.object(DeliveryStoreMixin, "writer", writer_that_acts)


def purged_after_its_bytes() -> Any:
    """Purge on another connection once the next bytes are stored, before they are recorded."""
    purges: list[threading.Thread] = []

    def purge_once(name: str) -> None:
        if not purges:
            purges.append(in_a_thread(lambda: list(purge())))
            purges[0].join()

    return after_each_creation(purge_once)


@contextmanager
def buried_without_bytes() -> Iterator[None]:
    """Simulate a purge that was killed before its COMMIT: delete the bytes of all tombstones."""
    yield
    Tombstone.objects.update(due=timezone.now())
    for name in state.buried_names():
        store_for(FileMeta).delete(name)


def test_new_row_with_an_old_id_survives_a_purge(delivery: Any, row: Any) -> None:
    """Bytes are never stored under a key that a tombstone names."""
    new = FileMeta(pk=row.pk, delivery=delivery, filename="again.txt")
    new.content = ContentFile(NEW, name="again.txt")
    with buried_without_bytes():
        row.delete()
    with purged_after_its_bytes():
        new.save()
    assert state.stored(new) == NEW


def test_nothing_is_stored_under_a_buried_key(delivery: Any, row: Any) -> None:
    """It could not be recorded, and the next purge would remove it."""
    new = FileMeta(pk=row.pk, delivery=delivery, filename="again.txt")
    new.content = ContentFile(NEW, name="again.txt")
    with buried_without_bytes():
        row.delete()
    created: list[str] = []
    with after_each_creation(created.append), purged_after_its_bytes():
        new.save()
    assert created == [new.content.name]


def test_rewritten_row_survives_a_purge(row: Any) -> None:
    """By write_open()."""
    store = store_for(FileMeta)
    with buried_without_bytes():
        store.remove(row)
    with purged_after_its_bytes(), store.write_open(row) as writer:
        writer.write(NEW)
    assert state.stored(row) == NEW


def test_files_of_add_files_survive_a_purge(delivery: Any, row: Any) -> None:
    """Where ids are reused."""
    with buried_without_bytes():
        row.delete()
    name = Tombstone.objects.get().name
    upcoming = delivery.add_file("next.txt", NEW)
    Tombstone.objects.update(name=store_for(FileMeta).layout.key(delivery.pk, upcoming.pk + 1))
    with purged_after_its_bytes():
        rows = delivery.add_files({"a.txt": NEW, "b.txt": NEW})
    assert name not in state.names()
    assert [state.stored(file) for file in rows] == [NEW, NEW]


def test_purge_does_not_wait_and_keeps_uncommitted_bytes(delivery: Any, row: Any) -> None:
    """A new row with an old id is not committed when the purge runs."""
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


@pytest.mark.parametrize("model", ["devilry_deliveries.filemeta", "testapp.note"])
def test_late_tombstone_gives_the_file_another_name(delivery: Any, model: str) -> None:
    """A row of any model in the store may have had the key."""
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


def test_late_tombstone_fails_add_files(delivery: Any) -> None:
    """No file is added."""

    def bury_first() -> None:
        name = store_for(FileMeta).layout.key(*delivery.files.get(filename="a.txt").key_ids())
        Tombstone.objects.create(
            model="devilry_deliveries.filemeta", alias="deliveries", name=name, due=timezone.now()
        )

    with pytest.raises(FileExistsError, match="belongs to a deleted file"):
        delivery.add_files({"a.txt": NEW, "b.txt": during(bury_first)})
    assert delivery.files.count() == 2


@pytest.mark.parametrize("is_purged", [False, True], ids=["buried", "purged"])
def test_bytes_adopted_and_deleted_meanwhile_are_not_adopted(
    delivery: Any, is_purged: bool
) -> None:
    """It happens while their hash is computed."""
    store = store_for(FileMeta)
    name = store.save("found/there.txt", ContentFile(NEW))
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


def test_bytes_adopted_by_another_model_are_not_adopted(delivery: Any) -> None:
    """Two rows never name one object."""
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


def test_purge_ignores_a_newest_row_that_is_deleted_meanwhile(delivery: Any, row: Any) -> None:
    """Its missing bytes do not mean that this is a wrong store."""
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
        # The purge may also report that the store is empty although a tombstone is left.
        assert [event.result for event in purge() if event.subject == name] == ["removed"]
    assert not FileMeta.objects.exists()
    Tombstone.objects.all().delete()  # of the bytes that others_delete() has deleted


def test_add_files_keeps_content_that_another_save_stored(delivery: Any) -> None:
    """It records its bytes in empty rows only."""
    source = during(lambda: again(FileMeta.objects.get(filename="a.txt"), OLD))
    with pytest.raises(FileExistsError, match="[Aa]nother upload"):
        delivery.add_files({"a.txt": NEW, "b.txt": source})
    assert state.stored(delivery.files.get(filename="a.txt")) == OLD
    assert not delivery.files.filter(filename="b.txt").exists()


def test_taken_over_rows_get_alternative_names(delivery: Any) -> None:
    """The previous writer may store under the key at any time."""
    FileMeta.objects.create(delivery=delivery, filename="late.txt", created=state.LONG_AGO)
    new, late = sorted(
        delivery.add_files({"late.txt": NEW, "new.txt": NEW}),
        key=lambda row: row.filename != "new.txt",
    )
    key = store_for(FileMeta).layout.key
    assert new.content.name == key(*new.key_ids())
    assert late.content.name != key(*late.key_ids())


def test_row_deleted_meanwhile_fails_add_files(delivery: Any) -> None:
    """No file is added."""
    source = during(lambda: FileMeta.objects.filter(filename="a.txt").delete())
    with pytest.raises(FileMeta.DoesNotExist, match="was deleted"):
        delivery.add_files({"a.txt": NEW, "b.txt": source})
    assert delivery.files.count() == 2


# -- Rows that another writer takes over --


@contextmanager
def taken_over(
    delivery: Any, *, fails: bool = True, stores: bool = False
) -> Iterator[Callable[[], Iterator[bytes]]]:
    """Yield a source of bytes whose row another writer takes over while it is read.

    ``fails``: the source raises then. ``stores``: the other writer has stored its bytes by then,
    otherwise it stores them at the end of the block.
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
def test_failing_writer_keeps_a_row_taken_over_from_it(delivery: Any, way: str) -> None:
    """The row of the second writer is neither deleted nor given back."""
    with taken_over(delivery) as source:
        with pytest.raises(Undone):
            add_late(delivery, way, source())
        row = delivery.files.get(filename="late.txt")
        assert row.created > state.LONG_AGO
    assert state.stored(row) == NEW
    assert not delivery.files.filter(filename="other.txt").exists()


def add_late(delivery: Any, way: str, content: Any) -> None:
    """Add late.txt in one of the ways. "again" takes over an abandoned row."""
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
    refused = pytest.raises(FileExistsError, match="[Aa]nother upload")
    with taken_over(delivery, fails=False, stores=stores) as source, refused:
        add_late(delivery, way, source())
    assert state.stored(delivery.files.get(filename="late.txt")) == NEW
    assert not delivery.files.filter(filename="other.txt").exists()
    assert not state.left()
    assert OLD in {state.bytes_under(name) for name in state.orphans()}


@pytest.mark.parametrize("way", ADDING)
def test_added_file_does_not_replace_concurrent_content(delivery: Any, way: str) -> None:
    """Adding a file records it only in a row without content."""
    source = during(lambda: again(FileMeta.objects.get(filename="late.txt")), OLD)
    with pytest.raises(FileExistsError, match="[Aa]nother upload"):
        add_late(delivery, way, source)
    assert state.stored(delivery.files.get(filename="late.txt")) == NEW
    assert not delivery.files.filter(filename="other.txt").exists()
    assert not state.left()


@pytest.mark.parametrize("way", ADDING)
def test_new_row_with_the_same_id_gets_no_content(delivery: Any, way: str) -> None:
    """SQLite reuses the id of a deleted row."""

    def insert_another() -> None:
        row = delivery.files.get(filename="late.txt")
        FileMeta.objects.filter(pk=row.pk).delete()
        FileMeta.objects.create(pk=row.pk, delivery=delivery, filename="another.txt")

    with pytest.raises(FileExistsError, match="[Aa]nother upload"):
        add_late(delivery, way, during(insert_another, OLD))
    assert not delivery.files.get(filename="another.txt").content
    assert not delivery.files.filter(filename="late.txt").exists()


def test_stale_save_does_not_undo_a_takeover(delivery: Any) -> None:
    """It does not write the time, so the row does not look abandoned again."""
    FileMeta.objects.create(delivery=delivery, filename="late.txt", created=state.LONG_AGO)
    stale = FileMeta.objects.get(filename="late.txt")

    def source() -> Iterator[bytes]:
        yield OLD
        stale.save()
        with pytest.raises(FileExistsError, match="is still being stored"):
            Delivery.objects.get(pk=delivery.pk).add_file("late.txt", NEW)

    row = delivery.add_file("late.txt", source())
    assert state.stored(row) == OLD


def test_later_saves_replace_content_of_a_taken_over_row(delivery: Any) -> None:
    FileMeta.objects.create(delivery=delivery, filename="late.txt", created=state.LONG_AGO)
    row = delivery.add_file("late.txt", OLD)
    again(row)
    assert state.stored(row) == NEW
    assert Tombstone.objects.count() == 1


@pytest.mark.parametrize(
    ("way", "most"), [("add_file", 9), ("add_files", 10), ("create", 8), ("again", 14)]
)
def test_adding_a_file_sends_few_statements(delivery: Any, way: str, most: int) -> None:
    """Neither the clock, the state of the row nor the isolation level costs one."""
    with CaptureQueriesContext(connection) as captured:
        add_late(delivery, way, iter([NEW]))
    if connection.vendor == "sqlite":  # where each lock begins with a write
        most += {"add_files": 1, "again": 3}.get(way, 2)
    assert len(captured) <= most


@pytest.mark.parametrize("days", [365, -365], ids=["ahead", "behind"])
def test_takeover_uses_the_clock_of_the_database(delivery: Any, days: int) -> None:
    """A wrong clock of the host does not make a row look abandoned."""
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
def test_takeover_works_without_time_zones(delivery: Any) -> None:
    """Datetimes are local then, but the clock of SQLite is in UTC."""
    FileMeta.objects.create(delivery=delivery, filename="young.txt")
    FileMeta.objects.create(
        delivery=delivery, filename="late.txt", created=timezone.now() - timedelta(hours=2)
    )
    with pytest.raises(FileExistsError, match="is still being stored"):
        delivery.add_file("young.txt", NEW)
    row = delivery.add_file("late.txt", NEW)
    assert abs(row.created - timezone.now()) < timedelta(minutes=1)


def test_save_accepts_a_time_computed_by_the_database(delivery: Any) -> None:
    content = ContentFile(NEW, "late.txt")
    row = FileMeta.objects.create(
        delivery=delivery, filename="late.txt", created=Now(), content=content
    )
    assert state.stored(row) == NEW


def test_failed_save_with_such_a_time_leaves_no_row(delivery: Any) -> None:
    def failing() -> Iterator[bytes]:
        yield OLD
        raise Undone

    file = IterableFile(failing(), "late.txt")
    row = FileMeta(delivery=delivery, filename="late.txt", created=Now(), content=file)
    with pytest.raises(Undone) as caught:
        row.save()
    assert not hasattr(caught.value, "__notes__")
    assert not delivery.files.filter(filename="late.txt").exists()


@pytest.mark.parametrize("how", ["taken over", "stored"])
def test_row_changed_since_it_was_read_is_not_taken_over(delivery: Any, how: str) -> None:
    """Only one of two writers takes over the same abandoned row."""
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


@pytest.mark.parametrize("way", ["add_file", "add_files"])
def test_filename_taken_meanwhile_raises_file_exists_error(delivery: Any, way: str) -> None:
    """The row that was inserted after the lookup is kept.

    A lookup precedes the INSERT if the model has receivers.
    """
    claimed = Delivery._claimed

    @contextmanager
    def claimed_late(self: Any, filenames: Any) -> Iterator[Any]:
        with claimed(self, filenames) as rows:
            FileMeta.objects.create(delivery=delivery, filename="late.txt")
            yield rows

    with (
        patch.object(Delivery, "_claimed", claimed_late),
        patch("devilry_storage.abstract_models.delivery.has_receivers", lambda model: True),
        pytest.raises(FileExistsError, match=r"'late\.txt' .* is being added by another upload"),
    ):
        add_late(delivery, way, NEW)
    assert not delivery.files.get(filename="late.txt").content
    assert delivery.files.count() == 3


@contextmanager
def lost_reply(is_recorded: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """Raise after the COMMIT that records the bytes, and expect the error in the caller.

    An UPDATE outside of a transaction is committed, too.
    """
    atomic_exit = transaction.Atomic.__exit__

    def fail_if_recorded() -> None:
        if not connection.in_atomic_block and is_recorded():
            raise OperationalError("the reply is lost")

    def exit_and_fail(self: Any, *exception: Any) -> None:
        atomic_exit(self, *exception)
        fail_if_recorded()

    def execute_and_fail(execute: Any, sql: str, *arguments: Any) -> Any:
        result = execute(sql, *arguments)
        if sql.startswith("UPDATE"):
            fail_if_recorded()
        return result

    with (
        connection.execute_wrapper(execute_and_fail),
        patch.object(transaction.Atomic, "__exit__", exit_and_fail),
        pytest.raises(OperationalError, match="the reply is lost"),
    ):
        yield


@pytest.mark.parametrize("way", ["add_file", "add_files"])
def test_error_after_the_record_keeps_the_row(delivery: Any, way: str) -> None:
    """A row with content is not deleted: the reply to its COMMIT may have been lost."""
    recorded = delivery.files.filter(filename="late.txt", content__isnull=False)
    with lost_reply(recorded.exists):
        add_late(delivery, way, NEW)
    assert state.stored(recorded.get()) == NEW


def test_error_after_the_record_restores_the_instance(row: Any) -> None:
    """Written by write_open(), it has its old content again."""
    known = row.content.name
    with lost_reply(), store_for(row).write_open(row) as writer:
        writer.write(NEW)
    assert (row.content.name, row.size) == (known, len(OLD))
    assert state.stored(row) == NEW


# -- Deliveries that are finished during an upload --


def test_replacement_fails_when_the_delivery_is_finished_meanwhile(
    delivery: Any, row: Any
) -> None:
    """The row keeps the bytes with which the delivery was finished."""
    source = during(lambda: Delivery.objects.get(pk=delivery.pk).finish())
    row.content = IterableFile(source, "again.txt")
    with pytest.raises(DeliveryFinished):
        row.save()
    assert state.stored(row) == OLD
    assert Delivery.objects.get(pk=delivery.pk).successful
    assert not state.left()


def test_add_files_fails_when_the_delivery_is_finished_meanwhile(delivery: Any) -> None:
    source = during(lambda: Delivery.objects.filter(pk=delivery.pk).update(successful=True))
    with pytest.raises(DeliveryFinished):
        delivery.add_files({"late.txt": source})
    assert delivery.files.count() == 2


def test_replacement_fails_when_moved_into_a_finished_delivery(row: Any) -> None:
    """The delivery of the row in the database decides."""
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
    """Lock rows on another connection until the end of the block, then call ``then`` there."""
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
    """Return the error of ``act``, which waits for rows that another connection changes."""
    raised: list[Exception] = []

    def run() -> None:
        try:
            act()
        except Exception as exception:  # noqa: BLE001  # the test asks which
            raised.append(exception)

    with held(rows, then):
        thread = in_a_thread(run)
        thread.join(1)  # by then it has sent all queries without a lock
    thread.join(30)
    assert not thread.is_alive()
    return raised[0] if raised else None


@pytest.mark.postgres
@pytest.mark.parametrize("act", ["add_file", "replace", "add_files", "adopt", "finish"])
def test_delivery_finished_while_waiting_takes_no_file(delivery: Any, row: Any, act: str) -> None:
    """The state of the delivery is read when it is locked."""
    store_for(FileMeta).save("found/there.txt", ContentFile(NEW))
    acts: dict[str, Callable[[], object]] = {
        "add_file": lambda: delivery.add_file("late.txt", NEW),
        "replace": lambda: again(row),
        "add_files": lambda: delivery.add_files({"late.txt": NEW}),
        "adopt": lambda: FileMeta.objects.adopt("found/there.txt", delivery=delivery),
        "finish": delivery.finish,
    }
    rows = Delivery.objects.filter(pk=delivery.pk)
    error = error_after_wait(acts[act], rows, lambda: rows.update(successful=True, number=7))
    assert isinstance(error, DeliveryFinished)
    assert [state.stored(file) for file in delivery.files] == [OLD, OLD]
    assert rows.get().number == 7
    assert not state.left()


@pytest.mark.postgres
@pytest.mark.parametrize("act", ["remove", "delete"])
def test_content_replaced_while_waiting_is_buried(act: str) -> None:
    """Also of a row without delivery."""
    note = Note.objects.create(filename="note.txt", content=ContentFile(OLD, "note.txt"))
    act_on_note = note.content.delete if act == "remove" else note.delete
    rows = Note.objects.filter(pk=note.pk)
    assert error_after_wait(act_on_note, rows, lambda: again(rows.get())) is None
    names = {entry.name for entry in store_for(Note).scan()}
    assert len(names) == 2
    assert state.buried_names() == names


@pytest.mark.postgres
@pytest.mark.parametrize("act", ["remove", "delete", "replace"])
def test_content_replaced_while_waiting_for_the_delivery_is_buried(
    delivery: Any, row: Any, act: str
) -> None:
    """Row and delivery are locked by one statement, which returns the row as it is then."""
    mine = FileMeta.objects.get(pk=row.pk)
    acts = {"remove": mine.content.delete, "delete": mine.delete, "replace": lambda: again(mine)}
    rows = Delivery.objects.filter(pk=delivery.pk)
    other = FileMeta.objects.get(pk=row.pk)
    assert error_after_wait(acts[act], rows, lambda: again(other, b"other")) is None
    assert state.orphans() == set()
    assert len(state.left()) == 2


@pytest.mark.postgres
def test_file_moved_while_waiting_is_deleted(delivery: Any, row: Any) -> None:
    """The delivery of the row is another one then."""
    elsewhere = Delivery.begin(delivery.assignment_group)
    rows = Delivery.objects.filter(pk=delivery.pk)
    moved = FileMeta.objects.filter(pk=row.pk)
    act = FileMeta.objects.get(pk=row.pk).delete
    assert error_after_wait(act, rows, lambda: moved.update(delivery=elsewhere)) is None
    assert not moved.exists()
    assert len(state.left()) == 1
    assert {record["pk"] for record in state.left()[0].rows} == {elsewhere.pk, row.pk}


@pytest.mark.postgres
def test_file_removed_while_waiting_is_not_restored(row: Any) -> None:
    """The purge of a file ends before the file is restored."""
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
def test_finish_waits_for_the_lock_of_the_group(delivery: Any) -> None:
    """So concurrent deliveries of a group get different numbers."""
    groups = AssignmentGroup.objects.filter(pk=delivery.assignment_group_id)
    with held(groups):
        thread = in_a_thread(delivery.finish)
        thread.join(1)
        assert thread.is_alive()
    thread.join(30)
    assert Delivery.objects.get(pk=delivery.pk).number == 1


@pytest.mark.postgres
def test_finish_does_not_wait_for_locked_tombstones(delivery: Any, row: Any) -> None:
    """A restore locks them and waits for the delivery."""
    row.delete()
    with held(Tombstone.objects.all()):
        thread = in_a_thread(delivery.finish)
        thread.join(30)
        assert not thread.is_alive()
    assert Delivery.objects.get(pk=delivery.pk).successful


@pytest.mark.postgres
def test_row_of_a_locked_delivery_can_be_inserted(delivery: Any) -> None:
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
    """Execute wrapper that fails every statement after the source of the bytes was read."""

    def __init__(self) -> None:
        self.is_gone = False

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if self.is_gone:
            raise OperationalError("the database is gone")
        return execute(sql, params, many, context)

    def source(self) -> Iterator[bytes]:
        yield NEW
        self.is_gone = True


def test_database_failure_before_the_record_leaves_an_abandoned_row(delivery: Any) -> None:
    """The row cannot be deleted. It is taken over after the grace time."""
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


def test_database_failure_before_the_record_restores_the_instance(delivery: Any) -> None:
    """It is unsaved again, with its file, and can be saved with another name."""
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


def test_database_failure_before_the_record_fails_add_files(delivery: Any) -> None:
    """The error is the first one, not that of deleting the rows."""
    gone = Gone()
    with connection.execute_wrapper(gone), pytest.raises(OperationalError) as caught:
        delivery.add_files({"late.txt": NEW, "later.txt": gone.source()})
    if sys.version_info >= (3, 11):
        assert "without content" in "".join(caught.value.__notes__)
    assert delivery.files.filter(content__isnull=False).count() == 2
    delivery.files.filter(content__isnull=True).update(created=state.LONG_AGO)
    rows = delivery.add_files({"late.txt": NEW, "later.txt": NEW})
    assert [state.stored(row) for row in rows] == [NEW, NEW]


@remove_at_once
def test_delete_ignores_a_removal_that_fails_after_commit(
    row: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The failure is logged, and the tombstone is left for a purge."""
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
    """Connect to PostgreSQL through a proxy."""
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
    """Lose the reply to the COMMIT of the block and expect the caller's error."""
    with through_proxy() as proxy:
        proxy.swallow_reply(to=b"COMMIT")
        with pytest.raises(OperationalError):
            yield
        assert proxy.fired == 1


@pytest.mark.postgres
@pytest.mark.parametrize("way", ["add_file", "add_files"])
def test_lost_commit_of_a_new_file_keeps_the_row(delivery: Any, way: str) -> None:
    """The row may be committed, so it is not deleted. A second attempt finds the file."""
    record = {"add_file": b'UPDATE "devilry_deliveries_filemeta"', "add_files": b"COMMIT"}
    with through_proxy() as proxy:

        def source() -> Iterator[bytes]:
            yield NEW
            proxy.swallow_reply(to=record[way])  # the row is there

        with pytest.raises(OperationalError):
            add_late(delivery, way, source())
        assert proxy.fired == 1
    assert state.stored(delivery.files.get(filename="late.txt")) == NEW
    with pytest.raises(FileExistsError, match="exists already"):
        add_late(delivery, way, NEW)


@pytest.mark.postgres
def test_lost_commit_of_a_replacement_keeps_the_new_bytes(row: Any) -> None:
    """The old ones have a tombstone. The instance can be saved again."""
    with lost_commit():
        again(row)
    assert state.stored(row) == NEW
    assert row.content.is_pending_file
    row.save()
    assert state.stored(row) == NEW
    assert Tombstone.objects.count() == 2


@pytest.mark.postgres
@pytest.mark.parametrize("days", [0, 30])
def test_lost_commit_of_a_delete_leaves_bytes_to_purge(row: Any, days: int) -> None:
    """The caller does not know of the COMMIT, so nothing is removed after it."""
    name = row.content.name
    with override_settings(DELIVERY_STORE_RETENTION_DAYS=days):
        with lost_commit():
            row.delete()
        assert state.buried_names() == {name}
    Tombstone.objects.update(due=timezone.now())
    assert [event.result for event in purge()] == ["removed"]
    assert state.names() == state.live_names()


@pytest.mark.postgres
def test_lost_commit_of_finish_leaves_the_delivery_finished(delivery: Any) -> None:
    """A second attempt raises DeliveryFinished."""
    with lost_commit():
        delivery.finish()
    assert not delivery.successful
    with pytest.raises(DeliveryFinished):
        delivery.finish()
    assert Delivery.objects.get(pk=delivery.pk).number == 1


# -- The write lock of SQLite --


@contextmanager
def concurrent_write() -> Iterator[None]:
    """Write on another connection, whose COMMIT waits for the readers."""
    written, result = threading.Event(), []

    def write() -> None:
        with transaction.atomic():
            state.group("concurrent")
            written.set()
        result.append("committed")

    thread = in_a_thread(write)
    assert written.wait(30)
    time.sleep(0.1)  # its COMMIT waits now
    yield
    thread.join()
    assert result == ["committed"]


@pytest.mark.parametrize("operate", ["add_file", "add_files", "replace", "delete", "finish"])
def test_locked_database_raises_and_loses_nothing(delivery: Any, row: Any, operate: str) -> None:
    """SQLite cannot write in a transaction that read before another wrote."""
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL has row locks.")
    acts = {
        "add_file": lambda: delivery.add_file("late.txt", NEW),
        "add_files": lambda: delivery.add_files({"late.txt": NEW}),
        "replace": lambda: again(row),
        "delete": row.delete,
        "finish": delivery.finish,
    }
    # The other connection continues when this transaction is over.
    locked = pytest.raises(OperationalError, match="locked")
    with ExitStack() as over, locked, transaction.atomic():
        assert FileMeta.objects.count() == 2
        over.enter_context(concurrent_write())
        acts[operate]()
    assert [state.stored(file) for file in delivery.files] == [OLD, OLD]
    assert state.names() == state.live_names()
    assert not state.left()
    if operate == "replace":
        assert row.content.is_pending_file
    acts[operate]()


def test_first_statement_waits_for_the_write_lock(delivery: Any) -> None:
    """After a read, SQLite could not wait for it."""
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
                state.group("concurrent")
                begun.set()
                time.sleep(0.1)

        thread = in_a_thread(write)
        assert begun.wait(30)
        with transaction.atomic():
            act()
        thread.join()
    assert delivery.files.count() == 5
