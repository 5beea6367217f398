"""Restoring deleted files with their ids, and the reasons for which it is refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import pytest
from django.contrib.auth.models import Group
from django.core import serializers
from django.core.files.base import ContentFile
from django.db import connection, transaction
from django.utils import timezone

from devilry_storage import signals
from devilry_storage.deletion import purge, remove_now
from devilry_storage.deletion.removal import claim
from devilry_storage.deliveries.models import Delivery, FileMeta
from devilry_storage.exceptions import NotRestorable
from devilry_storage.fields import StoredName
from devilry_storage.models import Tombstone
from devilry_storage.resolving import store_for
from devilry_storage.restoring import restore, take_back
from devilry_storage.tables import TombstoneState
from devilry_storage.testing import override_deliverystore

from ..harness.users import make_user
from ..testapp.models import Course, MarkedFile, Note, Paper, Reading, Station

pytestmark = pytest.mark.django_db


@pytest.fixture
def delivery(group: Any) -> Any:
    user = make_user("anna")
    made = Delivery.begin(group, user)
    made.add_files({"a.txt": b"aaa", "b.txt": b"bbb"})
    made.finish()
    return made


def _picture(model: Any) -> list[Any]:
    """Return all columns of all rows, with keys instead of alternative names."""
    rows = list(model.objects.order_by("pk").values())
    for row in rows:
        if name := row.get("content"):
            row["content"] = name[: -len("_1234567")] if "_" in name else name
    return rows


def _read(row: Any) -> bytes:
    with FileMeta.objects.get(pk=row.pk).content.open() as file:
        data: bytes = file.read()
    return data


def _tombstone() -> Any:
    return Tombstone.objects.get()


def test_deleted_row_is_restored_exactly(delivery: Any) -> None:
    """The bytes get another name, and the old name stays buried."""
    before = _picture(FileMeta)
    name = delivery.files[0].content.name
    delivery.files[0].delete()
    deleted = _tombstone()
    row = restore(deleted)
    assert _picture(FileMeta) == before
    assert row.content.name != name
    assert store_for(row).layout.parse(row.content.name) == row.key_ids()
    with row.content.open() as file:
        assert file.read() == b"aaa"
    kept = _tombstone()
    assert (kept.name, kept.rows, kept.state) == (name, [], TombstoneState.RESTORED)
    assert kept.due > deleted.due


def test_file_is_deleted_and_restored_several_times(delivery: Any) -> None:
    """It gets another name each time, and purging the old names does no harm."""
    for _ in range(3):
        FileMeta.objects.get(filename="a.txt").delete()
        row = restore(Tombstone.objects.exclude(rows=[]).get())
    assert Tombstone.objects.count() == 3
    Tombstone.objects.update(due=timezone.now())
    assert [event.result for event in purge()] == ["removed"] * 3
    assert _read(row) == b"aaa"


def test_file_is_restored_once(delivery: Any) -> None:
    """The tombstone has no rows any more."""
    delivery.files[0].delete()
    tombstone = _tombstone()
    restore(tombstone)
    with pytest.raises(NotRestorable, match="was already restored"):
        restore(tombstone)
    assert FileMeta.objects.count() == 2


def test_deleted_delivery_is_restored_with_all_files(delivery: Any) -> None:
    """It is finished and has its number, whichever file is restored first."""
    before = _picture(Delivery), _picture(FileMeta)
    delivery.delete()
    assert not Delivery.objects.exists()
    for tombstone in Tombstone.objects.order_by("-pk"):
        restore(tombstone)
    assert (_picture(Delivery), _picture(FileMeta)) == before


def test_row_without_content_gets_its_content_back(delivery: Any) -> None:
    """The row was not deleted."""
    before = _picture(FileMeta)
    delivery.files[0].content.delete()
    restore(_tombstone())
    assert _picture(FileMeta) == before


@pytest.mark.parametrize("row_stays", [True, False])
def test_restore_fails_if_the_new_name_is_buried(
    delivery: Any, monkeypatch: pytest.MonkeyPatch, row_stays: bool
) -> None:
    """The restore was suspended, and its new file was buried as an orphan."""
    row = delivery.files[0]
    row.content.delete() if row_stays else row.delete()
    tombstone, store = _tombstone(), store_for(FileMeta)
    duplicate: Any = store.duplicate

    def suspended(*args: Any, **kwargs: Any) -> Any:
        name = duplicate(*args, **kwargs)
        Tombstone.objects.create(
            model=tombstone.model, alias=tombstone.alias, name=name, due=timezone.now()
        )
        return name

    with monkeypatch.context() as patch:
        patch.setattr(store, "duplicate", suspended)
        with pytest.raises(NotRestorable, match="belongs to a deleted file"):
            restore(tombstone)
    assert _read(restore(tombstone)) == b"aaa"


def test_delivery_is_restored_in_its_last_state(delivery: Any) -> None:
    """It is finished, and a file that was deleted before the finish is refused."""
    Delivery.objects.update(successful=False, number=None)
    first, second = delivery.files
    first.delete()
    Delivery.objects.get().finish()
    before = _picture(Delivery), _picture(FileMeta)
    Delivery.objects.get().delete()
    early, last = Tombstone.objects.order_by("pk")
    with pytest.raises(NotRestorable, match="was deleted before"):
        restore(early)
    restore(last)
    assert (_picture(Delivery), _picture(FileMeta)) == before
    assert last.filename == second.filename


def test_finished_delivery_is_not_restored_unfinished(delivery: Any) -> None:
    """The only tombstone left is of a file that was deleted before the finish."""
    Delivery.objects.update(successful=False, number=None)
    delivery.files[0].delete()
    Delivery.objects.get().finish()
    Delivery.objects.get().delete()
    early, last = Tombstone.objects.order_by("pk")
    list(remove_now([last]))
    with pytest.raises(
        NotRestorable, match=f"its delivery '{delivery.pk}' does not exist any more"
    ):
        restore(early)
    assert not Delivery.objects.exists()


def test_finish_removes_the_delivery_from_tombstones(delivery: Any) -> None:
    """Tombstones of all file models are changed, but not rows of other models or ids."""
    Delivery.objects.update(successful=False, number=None)
    delivery.files[0].delete()
    kept = _tombstone()
    of_course = {"model": "testapp.course", "pk": delivery.pk, "fields": {}}
    of_another = {**kept.rows[0], "pk": delivery.pk + 1}
    rows = [of_course, of_another, *kept.rows]
    Tombstone.objects.create(
        model="testapp.note", name="1", due=kept.due, delivery_id=delivery.pk, rows=rows
    )
    Delivery.objects.get().finish()
    first, second = Tombstone.objects.order_by("pk")
    assert first.rows == kept.rows[1:]
    assert second.rows == [of_course, of_another, *kept.rows[1:]]


def test_restored_delivery_gets_next_number_if_its_own_is_used(delivery: Any) -> None:
    """Numbers are unique in a group."""
    group = delivery.assignment_group
    delivery.delete()
    other = Delivery.begin(group)
    other.add_file("a.txt", b"x")
    other.finish()
    for tombstone in Tombstone.objects.order_by("pk"):
        restore(tombstone)
    assert other.number == 1
    back = Delivery.objects.exclude(pk=other.pk).get()
    assert (back.number, back.successful) == (2, True)
    assert [row.filename for row in back.files] == ["a.txt", "b.txt"]


def test_restored_delivery_keeps_its_free_number(delivery: Any) -> None:
    """So does a delivery that was finished later."""
    later = Delivery.begin(delivery.assignment_group)
    later.add_file("a.txt", b"x")
    later.finish()
    delivery.delete()
    restore(Tombstone.objects.order_by("pk")[0])
    numbers = Delivery.objects.order_by("pk").values_list("number", flat=True)
    assert list(numbers) == [1, 2]


def test_content_replaced_before_the_finish_is_not_restored(delivery: Any) -> None:
    """The delivery was finished without this content."""
    _other_content(delivery)
    early = _tombstone()
    Delivery.objects.get().finish()
    row = FileMeta.objects.order_by("pk")[0]
    row.content.delete()
    with pytest.raises(NotRestorable, match="was deleted before"):
        restore(early)
    assert not FileMeta.objects.get(pk=row.pk).content
    assert Tombstone.objects.filter(pk=early.pk).exists()


def test_replaced_content_is_restored_after_deleting_the_newer(delivery: Any) -> None:
    """The remedy in the message works."""
    _other_content(delivery)
    first = _tombstone()
    row = FileMeta.objects.order_by("pk")[0]
    row.content.delete()
    again = restore(first)
    assert again.pk == row.pk
    assert _read(again) == b"aaa"
    assert Tombstone.objects.exclude(rows=[]).get().name != first.name


def test_raw_save_of_a_buried_name_is_refused(delivery: Any) -> None:
    """A purge may be about to remove the file that a fixture names."""
    delivery.files[0].delete()
    records = list(serializers.deserialize("python", _tombstone().rows))
    with pytest.raises(FileExistsError, match="belongs to a deleted file"), transaction.atomic():
        for record in records:
            record.save()
    assert FileMeta.objects.count() == 1
    assert Tombstone.objects.count() == 1


def test_raw_save_of_a_name_buried_under_another_alias_is_refused(delivery: Any) -> None:
    """The alias was changed, but the files are the same."""
    delivery.files[0].delete()
    Tombstone.objects.update(alias="earlier")
    records = list(serializers.deserialize("python", _tombstone().rows))
    with pytest.raises(FileExistsError, match="belongs to a deleted file"), transaction.atomic():
        for record in records:
            record.save()
    assert FileMeta.objects.count() == 1


def test_raw_save_of_the_name_of_another_row_is_refused(delivery: Any) -> None:
    """Two rows never have the same name."""
    first, second = delivery.files
    (record,) = serializers.deserialize("python", serializers.serialize("python", [first]))
    record.object.pk = second.pk + 1
    setattr(record.object, "filename", "c.txt")  # noqa: B010  # any model's
    with pytest.raises(FileExistsError, match=f"is the file of .*FileMeta '{first.pk}'"):
        record.save()
    record.object.pk = first.pk
    record.save()
    assert not Tombstone.objects.exists()


def test_raw_save_of_the_name_of_another_model_is_refused(delivery: Any) -> None:
    """The two rows have the same id."""
    first = delivery.files[0]
    with override_deliverystore("deliveries", model=Note):
        note = Note(pk=first.pk, filename="n.txt", content=ContentFile(b"nnn", "n.txt"))
        note.save()
        first._set_content(note.content.name, 3, "")
        (record,) = serializers.deserialize("python", serializers.serialize("python", [first]))
        with pytest.raises(FileExistsError, match=f"is the file of testapp.Note '{note.pk}'"):
            record.save()


def test_name_that_is_buried_again_gets_a_new_due_time(delivery: Any) -> None:
    """The tombstone has the row that had the name last."""
    first, second = delivery.files
    name = first.content.name
    first.delete()
    Tombstone.objects.update(due=timezone.now())
    table = FileMeta._meta.db_table
    connection.cursor().execute(f"UPDATE {table} SET content = %s", [name])
    FileMeta.objects.get().delete()
    tombstone = _tombstone()
    assert tombstone.due > timezone.now() + timedelta(days=29)
    assert [tombstone.rows[-1]["pk"], tombstone.file_id] == [second.pk, second.pk]


def test_row_that_names_the_buried_file_gets_another_name(delivery: Any) -> None:
    """The row was written with SQL. A purge would always keep the old file."""
    pk = delivery.files[0].pk
    delivery.files[0].delete()
    FileMeta.objects.bulk_create([FileMeta(pk=pk, delivery=delivery, filename="a.txt")])
    table, name = FileMeta._meta.db_table, _tombstone().name
    connection.cursor().execute(f"UPDATE {table} SET content = %s WHERE id = %s", [name, pk])
    restored = restore(_tombstone())
    assert restored.pk == pk
    assert restored.content.name != name
    assert _read(restored) == b"aaa"


def test_purge_is_refused_in_a_transaction_of_a_test(delivery: Any) -> None:
    """Only the transactions of TestCase itself are ignored."""
    list(purge())
    with transaction.atomic(), pytest.raises(RuntimeError, match="cannot run in a transaction"):
        list(purge())


@pytest.mark.parametrize("content", ["0/0/1/other", None])
def test_raw_save_buries_other_content_of_the_row(delivery: Any, content: str | None) -> None:
    """An older fixture does not make an orphan of the row's file."""
    (row, _) = delivery.files
    (record,) = serializers.deserialize("python", serializers.serialize("python", [row]))
    setattr(record.object, "content", None if content is None else StoredName(content))  # noqa: B010
    record.save()
    assert FileMeta.objects.get(pk=row.pk).content.name == content
    buried = _tombstone()
    assert (buried.name, buried.state) == (row.content.name, TombstoneState.DELETED)


@pytest.mark.django_db(transaction=True)
def test_raw_save_outside_a_transaction_is_refused(delivery: Any) -> None:
    """Its file could be deleted between the check and the save."""
    (row, _) = delivery.files
    (record,) = serializers.deserialize("python", serializers.serialize("python", [row]))
    with pytest.raises(transaction.TransactionManagementError, match="Cannot save"):
        record.save()
    with transaction.atomic():
        record.save()
    assert not Tombstone.objects.exists()


def test_bulk_create_of_deleted_rows_is_refused(delivery: Any) -> None:
    """Their names belong to deleted files."""
    rows = list(delivery.files)
    delivery.files.all().delete()
    with pytest.raises(FileExistsError, match="belongs to a deleted file"):
        FileMeta.objects.bulk_create(rows)
    assert not FileMeta.objects.exists()


def test_orphan_gets_another_name_and_is_adopted(delivery: Any) -> None:
    """The old name is removed when it is due."""
    old = store_for(FileMeta).save("old/file.txt", ContentFile(b"there"))
    Tombstone.objects.create(
        model="devilry_deliveries.filemeta",
        alias="deliveries",
        name=old,
        size=5,
        created=timezone.now() - timedelta(days=2),
        due=timezone.now(),
    )
    with pytest.raises(NotRestorable, match="has no rows to restore. Use take_back"):
        restore(_tombstone())
    name = take_back(_tombstone())
    assert name.startswith("old/file_")
    other = Delivery.begin(delivery.assignment_group)
    row = FileMeta.objects.adopt(name, delivery=other)
    assert [event.result for event in purge()] == ["removed"]
    assert _read(row) == b"there"
    assert not store_for(FileMeta).exists(old)


def test_removed_columns_are_ignored(delivery: Any) -> None:
    """Files that were deleted before a migration removed a column can be restored."""
    before = _picture(FileMeta)
    delivery.files[0].delete()
    rows = _tombstone().rows
    rows[-1]["fields"]["colour"] = "red"
    rows.append({"model": "gone.child", "pk": rows[-1]["pk"], "fields": {}})
    Tombstone.objects.update(rows=rows)
    restore(_tombstone())
    assert _picture(FileMeta) == before


def test_reference_to_a_deleted_user_becomes_null(delivery: Any) -> None:
    """The delivery is restored without its user."""
    user = delivery.delivered_by
    delivery.delete()
    user.delete()
    restore(Tombstone.objects.order_by("pk")[0])
    assert Delivery.objects.get().delivered_by is None


def test_restore_sends_file_stored(delivery: Any, django_capture_on_commit_callbacks: Any) -> None:
    """A restored file counts as stored."""
    delivery.files[0].delete()
    sent: list[Any] = []

    def receive(*, instance: Any, name: str, size: int, **kwargs: Any) -> None:
        sent.append((instance.filename, size))

    signals.file_stored.connect(receive)
    try:
        with django_capture_on_commit_callbacks(execute=True):
            restore(_tombstone())
    finally:
        signals.file_stored.disconnect(receive)
    assert sent == [("a.txt", 3)]


def _bytes_missing(delivery: Any) -> str:
    row = delivery.files[0]
    row.delete()
    store_for(FileMeta).delete(row.content.name)
    return "is missing in the store"


def _other_size(delivery: Any) -> str:
    row = delivery.files[0]
    row.delete()
    Tombstone.objects.update(size=99)
    return "'3' bytes"


def _other_content(delivery: Any) -> str:
    Delivery.objects.update(successful=False, number=None)
    row = FileMeta.objects.order_by("pk")[0]
    row.content = ContentFile(b"new", "a.txt")
    row.save()
    return "other content now"


def _filename_taken(delivery: Any) -> str:
    delivery.files[0].delete()
    Delivery.objects.update(successful=False)
    Delivery.objects.get().add_file("a.txt", b"another")
    return "already"


def _group_gone(delivery: Any) -> str:
    group = delivery.assignment_group
    delivery.files[0].delete()
    delivery.delete()
    Tombstone.objects.exclude(pk=Tombstone.objects.order_by("pk")[0].pk).delete()
    group.delete()
    return "does not exist any more. Restore that first"


def _no_model(delivery: Any) -> str:
    delivery.files[0].delete()
    Tombstone.objects.update(model="gone.file")
    return "no such model"


def _other_store(delivery: Any) -> str:
    delivery.files[0].delete()
    Tombstone.objects.update(alias="elsewhere")
    return "'elsewhere'"


def _finished_without(delivery: Any) -> str:
    Delivery.objects.update(successful=False, number=None)
    delivery.files[0].delete()
    Delivery.objects.get().finish()
    return "was deleted before devilry_deliveries.Delivery"


def _stored_by_another_upload(delivery: Any) -> str:
    row = delivery.files[0]
    pk = row.pk
    row.delete()
    FileMeta.objects.bulk_create([FileMeta(pk=pk, delivery=delivery, filename="new.txt")])
    return "which is being stored"


def _model_changed(delivery: Any) -> str:
    delivery.files[0].delete()
    rows = _tombstone().rows
    rows[-1]["fields"]["size"] = "many"
    Tombstone.objects.update(rows=rows)
    return "its models have changed"


def _no_row_of_the_model(delivery: Any) -> str:
    delivery.files[0].delete()
    Tombstone.objects.update(rows=_tombstone().rows[:1])
    return "has no row of"


REFUSED = [
    *(_bytes_missing, _other_size, _other_content, _filename_taken, _finished_without),
    *(_group_gone, _no_model, _other_store, _stored_by_another_upload),
    *(_model_changed, _no_row_of_the_model),
]


@pytest.mark.parametrize("change", REFUSED, ids=lambda change: change.__name__)
def test_impossible_restore_changes_nothing(delivery: Any, change: Any) -> None:
    """The message has the reason. The tombstone and all rows are unchanged."""
    reason = change(delivery)
    before = _picture(FileMeta), _picture(Delivery), _picture(Tombstone)
    with pytest.raises(NotRestorable) as caught:
        restore(Tombstone.objects.order_by("pk")[0])
    assert reason in str(caught.value)
    assert (_picture(FileMeta), _picture(Delivery), _picture(Tombstone)) == before


def test_claimed_tombstone_cannot_be_restored(delivery: Any) -> None:
    """The bytes need not be removed yet."""
    delivery.files[0].delete()
    stale = _tombstone()
    assert claim(FileMeta, Tombstone.objects.all()) == 1
    with pytest.raises(NotRestorable, match="is being permanently removed"):
        restore(stale)
    list(purge())
    with pytest.raises(NotRestorable, match="was permanently removed"):
        take_back(stale)
    Tombstone.objects.all().delete()
    with pytest.raises(NotRestorable, match="was permanently removed meanwhile"):
        restore(stale)
    assert FileMeta.objects.count() == 1


def _during_restore(act: Callable[[], object]) -> Any:
    """Call a function after a restore has duplicated the bytes."""
    store = type(store_for(FileMeta))
    duplicate = store.duplicate

    def duplicate_and_act(self: Any, *args: Any, **options: Any) -> str:
        name: str = duplicate(self, *args, **options)
        act()
        return name

    return patch.object(store, "duplicate", duplicate_and_act)


def test_file_that_is_claimed_during_a_restore_is_not_restored(delivery: Any) -> None:
    """The purge wins, and the rows are erased."""
    delivery.files[0].delete()
    with (
        _during_restore(lambda: claim(FileMeta, Tombstone.objects.all())),
        pytest.raises(NotRestorable, match="is being permanently removed"),
    ):
        restore(_tombstone())
    assert FileMeta.objects.count() == 1
    assert _tombstone().claimed is not None


def test_content_stored_during_a_restore_is_kept(delivery: Any) -> None:
    """An upload into the row wins."""
    Delivery.objects.update(successful=False, number=None)
    pk = delivery.files[0].pk
    delivery.files[0].content.delete()

    def store_other() -> None:
        row = FileMeta.objects.get(pk=pk)
        row.content = ContentFile(b"new", "a.txt")
        row.save()

    with _during_restore(store_other), pytest.raises(NotRestorable, match="other content now"):
        restore(_tombstone())
    assert _read(FileMeta.objects.get(pk=pk)) == b"new"
    assert _tombstone().rows != []


def test_refused_restore_stores_nothing(delivery: Any) -> None:
    """Otherwise the new file would be an orphan."""
    _other_content(delivery)
    before = {entry.name for entry in store_for(FileMeta).scan()}
    with pytest.raises(NotRestorable):
        restore(_tombstone())
    assert {entry.name for entry in store_for(FileMeta).scan()} == before


INTRUDERS: list[Any] = [
    {"model": "auth.group", "pk": 99, "fields": {"name": "administrators"}},
    {"model": "devilry_deliveries.assignmentgroup", "pk": 99, "fields": {"name": "mine"}},
    {"model": "testapp.note", "pk": 99, "fields": {"filename": "n", "content": "0/0/0/99"}},
    {"model": "devilry_storage.tombstone", "pk": 99, "fields": {"name": "0/0/0/99"}},
    {"model": "testapp.page", "pk": 99, "fields": {"title": "defaced"}},
    {"model": "devilry_deliveries.AssignmentGroup_examiners", "pk": 99, "fields": {}},
    {"model": "a.b.c", "pk": 99, "fields": {}},
    *("auth.group", None, [], {}, {"model": None, "pk": 1, "fields": {}}),
    {"model": "devilry_deliveries.delivery"},
]


@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize("of_delivery", [False, True])
def test_rows_of_other_models_are_not_restored(
    position: int, of_delivery: bool, delivery: Any, subtests: Any
) -> None:
    """What a tombstone contains is data; nothing is written, not even into the store."""
    delivery.delete()
    restored, last = Tombstone.objects.order_by("created", "pk")
    changed = last if of_delivery else restored  # the delivery comes from its last tombstone
    rows = changed.rows
    before = {entry.name for entry in store_for(FileMeta).scan()}
    for intruder in INTRUDERS:
        with subtests.test(intruder=intruder):
            intruded = [*rows[:position], intruder, *rows[position:]]
            Tombstone.objects.filter(pk=changed.pk).update(rows=intruded)
            picture = _picture(Tombstone)
            with pytest.raises(NotRestorable, match="does not belong to the file"):
                restore(Tombstone.objects.get(pk=restored.pk))
            assert not Group.objects.exists()
            assert not Note.objects.exists()
            assert not FileMeta.objects.exists()
            assert _picture(Tombstone) == picture
            assert {entry.name for entry in store_for(FileMeta).scan()} == before


@pytest.mark.django_db(transaction=True)
def test_bytes_are_duplicated_outside_transactions(delivery: Any) -> None:
    """Copying gigabytes within S3 locks no rows."""
    delivery.files[0].delete()
    seen = []
    with _during_restore(lambda: seen.append(connection.in_atomic_block)):
        restore(_tombstone())
    assert seen == [False]


def test_multi_table_children_and_parents_are_restored(delivery: Any) -> None:
    """So are the rows of models without multi-table inheritance."""
    Delivery.objects.update(successful=False)
    delivery.refresh_from_db()
    marked = MarkedFile(delivery=delivery, filename="m.txt", mark="x")
    marked.content = ContentFile(b"mmm", "m.txt")
    marked.save()
    course = Course.objects.create(title="course")
    paper = Paper(delivery=course, filename="p.txt", title="paper")
    paper.content = ContentFile(b"ppp", "p.txt")
    paper.save()
    note = Note(filename="n.txt", content=ContentFile(b"nnn", "n.txt"))
    note.save()
    before = _picture(MarkedFile), _picture(Paper), _picture(Note)
    for row in (marked, paper, note):
        row.delete()
    for tombstone in Tombstone.objects.order_by("pk"):
        restore(tombstone)
    assert (_picture(MarkedFile), _picture(Paper), _picture(Note)) == before


def _reading(**values: Any) -> Any:
    """Return a reading of a station whose number is the id of another station."""
    first, second = (Station.objects.create(pk=pk, number=pk + 1) for pk in (1, 2))
    assert first.number == second.pk
    content = ContentFile(b"23", "r.txt")
    return Reading.objects.create(delivery=first, filename="r.txt", content=content, **values)


def test_delivery_is_found_by_to_field(group: Any) -> None:
    """The number of one station is the id of another one."""
    row = _reading()
    pk, number = row.delivery.pk, row.delivery.number
    row.delete()
    stations = [row for row in _tombstone().rows if row["model"] == "testapp.station"]
    assert [station["pk"] for station in stations] == [pk]
    Station.objects.get(pk=pk).delete()
    assert restore(_tombstone()).delivery_id == number
    assert Station.objects.get(pk=pk).number == number


def test_file_without_a_delivery_is_restored(group: Any) -> None:
    """Its new name is an alternative of the old name."""
    row = _reading()
    row.delivery.delete()
    Reading.objects.get().delete()
    again = restore(_tombstone())
    assert again.delivery_id is None
    assert b"".join(store_for(Reading).stream(again.content.name)) == b"23"


@pytest.mark.parametrize("value", [float("inf"), float("-inf")])
def test_row_with_an_infinite_number_is_restored(group: Any, value: float) -> None:
    """JSON has no such number."""
    _reading(value=value).delete()
    assert restore(_tombstone()).value == value
    assert Reading.objects.get().value == value
