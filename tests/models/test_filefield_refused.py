"""What is refused, each with an error that says what to do; nothing is stored, changed or lost."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.db import IntegrityError, transaction
from django.db.models import F, Value
from django.db.models.functions import Concat

from devilry_storage.deliveries.models import Delivery, FileMeta
from devilry_storage.exceptions import DeliveryFinished, InvalidFilename, NotCommitted
from devilry_storage.fields import StoredName
from tests.testapp.models import Course, MarkedFile, Note, Page, Paper
from tests.testapp.pictures import buried, picture, state, stored
from tests.testapp.stores import OLD_BYTES, FailingStore

pytest_plugins = ["tests.testapp.fixtures"]
pytestmark = pytest.mark.django_db


def upload() -> Any:
    return ContentFile(b"upload", "upload.txt")


@pytest.fixture
def unchanged(store: FailingStore, row: FileMeta) -> Any:
    """Check after the test that rows, bytes and tombstones are as before."""
    before = picture(store)
    yield
    assert picture(store) == before


# -- What writes rows without storing --


def test_bulk_create(unchanged: None, delivery: Delivery) -> None:
    """bulk_create() would write the name of bytes that nobody stored."""
    new = FileMeta(delivery=delivery, filename="new.txt", content=upload())
    with pytest.raises(NotCommitted, match=r"'upload\.txt'.* only save\(\)"), transaction.atomic():
        FileMeta.objects.bulk_create([new])


def test_bulk_create_that_ignores_conflicts(unchanged: None, delivery: Delivery) -> None:
    """The same with ignore_conflicts, which could not tell either."""
    new = FileMeta(delivery=delivery, filename="new.txt", content=upload())
    with pytest.raises(NotCommitted), transaction.atomic():
        FileMeta.objects.bulk_create([new], ignore_conflicts=True)


def test_bulk_update(unchanged: None, row: Any) -> None:
    """bulk_update() of a pending file, or of a pending removal, is refused."""
    row.content = upload()
    with pytest.raises(NotCommitted, match="bulk_update"), transaction.atomic():
        FileMeta.objects.bulk_update([row], ["content"])
    row.content = None
    with pytest.raises(NotCommitted), transaction.atomic():
        FileMeta.objects.bulk_update([row], ["content"])


def test_update_with_a_file(unchanged: None) -> None:
    """update() with a file would write "Raw content"."""
    with pytest.raises(NotCommitted, match=r"update\(\)"), transaction.atomic():
        FileMeta.objects.update(content=upload())


def test_update_with_a_pending_file(unchanged: None, delivery: Delivery) -> None:
    """update() with the pending file of an instance is refused like the file."""
    pending = FileMeta(delivery=delivery, content=upload())
    with pytest.raises(NotCommitted), transaction.atomic():
        FileMeta.objects.update(content=pending.content)


def test_update_with_file_of_another_model(unchanged: None) -> None:
    """update() with a stored file of another model would name bytes of another row."""
    note = Note(pk=1, filename="note.txt", content=StoredName("0/0/0/1"))
    with pytest.raises(NotCommitted), transaction.atomic():
        FileMeta.objects.update(content=note.content)


def test_update_with_text(unchanged: None) -> None:
    """update() with text would name bytes that may not exist: adopt() looks first."""
    with pytest.raises(NotCommitted, match=r"adopt\(\)"), transaction.atomic():
        FileMeta.objects.update(content="somewhere/else.txt")


def test_bulk_writes_without_pending_files_work(
    store: FailingStore, delivery: Delivery, row: Any
) -> None:
    """Rows without content, other columns, stored names and expressions pass."""
    (new,) = FileMeta.objects.bulk_create([FileMeta(delivery=delivery, filename="bulk.txt")])
    new.content = upload()
    new.save()
    row.filename = "renamed.txt"
    FileMeta.objects.bulk_update([row, new], ["content", "filename"])
    FileMeta.objects.update(content=F("content"), verified_at=F("created"))
    FileMeta.objects.filter(pk=new.pk).update(filename=Concat("filename", Value(".bak")))
    names = dict(FileMeta.objects.values_list("filename", "content"))
    assert names == {"renamed.txt": row.content.name, "bulk.txt.bak": new.content.name}
    assert stored(store) == {row.content.name: OLD_BYTES, new.content.name: b"upload"}
    assert buried() == []


# -- What would lose or forge bytes --


@pytest.mark.parametrize("name", ["a/b", "..", "a\x00", "x" * 256])
def test_rename_to_invalid_filename(name: str, unchanged: None, row: Any) -> None:
    """A stored row is not renamed to a filename that is dangerous to download."""
    for update_fields in (None, ["filename"]):
        row.filename = name
        with pytest.raises(InvalidFilename):
            row.save(update_fields=update_fields)
    row.content = upload()
    with pytest.raises(InvalidFilename):
        row.save()


@pytest.mark.parametrize("copied", [copy.deepcopy, pickle.dumps])
def test_copies_of_an_unsaved_upload(copied: Any, unchanged: None, row: Any) -> None:
    """A pickle or deep copy of an instance with an unsaved upload would lose the upload."""
    row.content = upload()
    before = state(row)
    with pytest.raises(NotCommitted, match=r"upload 'upload\.txt' is not saved: save it first"):
        copied(row)
    assert state(row) == before


@pytest.mark.parametrize("copied", [copy.deepcopy, pickle.dumps])
def test_copies_of_a_new_instance_with_an_upload(
    copied: Any, unchanged: None, delivery: Delivery
) -> None:
    """The same of an instance that has no row yet."""
    with pytest.raises(NotCommitted):
        copied(FileMeta(delivery=delivery, filename="new.txt", content=upload()))


def test_save_to_another_alias(unchanged: None, row: Any) -> None:
    """A stored row belongs to the database that it came from, as its bytes belong to the row."""
    row.filename = "renamed.txt"
    before = state(row)
    with pytest.raises(ValueError, match=r"stored in database 'default'.* saved to 'other'"):
        row.save(using="other")
    with pytest.raises(ValueError, match="'other'"):
        row.save(using="other", update_fields=["filename"])
    assert state(row) == before


@pytest.mark.parametrize("value", ["0/0/1/2", "name.txt", "/etc/passwd", "../x"])
def test_text_assigned_to_content(value: str, unchanged: None, row: Any) -> None:
    """Text is no file; the error names adopt()."""
    with pytest.raises(ValueError, match=r"objects\.adopt\("):
        row.content = value
    with pytest.raises(ValueError, match=r"objects\.adopt\("):
        FileMeta(content=value)
    assert row.content.read() == OLD_BYTES


@pytest.mark.parametrize("value", [b"bytes", 5, object(), ["a"], F("filename")])
def test_other_things_assigned_to_content(value: Any, unchanged: None, row: Any) -> None:
    """What is neither a file nor nothing is refused at once."""
    with pytest.raises(ValueError, match=r"to FileMeta\.content: assign a File"):
        row.content = value


def test_insert_and_update_at_once(unchanged: None, delivery: Delivery) -> None:
    """As in Django: save() inserts or updates."""
    new = FileMeta(delivery=delivery, filename="new.txt", content=upload())
    with pytest.raises(ValueError, match="insert and update"):
        new.save(force_insert=True, update_fields=["content"])
    with pytest.raises(ValueError, match="insert and update"):
        new.save(force_insert=True, force_update=True)


# -- A taken pk --


def taken(save: Any) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        save()


@pytest.mark.parametrize("content", [None, "upload"])
@pytest.mark.parametrize("force_insert", [False, True])
def test_a_taken_pk(
    content: Any, force_insert: bool, unchanged: None, delivery: Delivery, row: FileMeta
) -> None:
    """A new instance never takes over a row, which is somebody else's with its bytes."""
    new = FileMeta(pk=row.pk, delivery=delivery, filename="new.txt", content=content and upload())
    before = state(new)
    taken(lambda: new.save(force_insert=force_insert))
    assert state(new) == before


def test_a_taken_pk_in_create(unchanged: None, delivery: Delivery, row: FileMeta) -> None:
    """create() with a taken pk is refused, and so is get_or_create()."""
    fields: dict[str, Any] = {"delivery": delivery, "filename": "new.txt", "content": upload()}
    taken(lambda: FileMeta.objects.create(pk=row.pk, **fields))
    taken(lambda: FileMeta.objects.get_or_create(pk=row.pk, filename="new.txt", defaults=fields))


def test_a_taken_pk_of_a_child(unchanged: None, delivery: Delivery, row: FileMeta) -> None:
    """A multi-table child never takes over the row of its parent."""
    for fields in ({"pk": row.pk}, {"id": row.pk}, {"filemeta_ptr": row}):
        new = MarkedFile(delivery=delivery, filename="new.txt", content=upload(), **fields)
        taken(new.save)
        taken(lambda: new.save(force_insert=True))  # noqa: B023


def test_a_taken_pk_of_a_plain_parent(store: FailingStore, db: None) -> None:
    """A file with a plain parent takes over no row of it, which a failure would then delete."""
    course = Course.objects.create(title="course")
    page = Page.objects.create(title="page")
    before = picture(store)
    for full in (False, True):
        store.full = full
        taken(Paper(page_ptr=page, delivery=course, filename="a.txt", content=upload()).save)
        taken(Paper(pk=page.pk, delivery=course, filename="a.txt", content=upload()).save)
        taken(Paper(id=page.pk, delivery=course, filename="a.txt", content=upload()).save)
    assert picture(store) == before
    assert Page.objects.get().title == "page"


def test_a_taken_filename(unchanged: None, delivery: Delivery) -> None:
    """Filenames are unique in a delivery, by the database; nothing is stored for a second one."""
    taken(FileMeta(delivery=delivery, filename="old.txt", content=upload()).save)


# -- Finished deliveries --


def test_new_files_of_a_finished_delivery(
    store: FailingStore, delivery: Delivery, row: Any
) -> None:
    """A finished delivery takes no file, however it comes; no byte is stored in vain."""
    other = Delivery.begin(delivery.assignment_group)
    elsewhere = other.add_file("elsewhere.txt", b"elsewhere")
    delivery.finish()
    before = picture(store)
    fresh = Delivery.objects.get(pk=delivery.pk)
    for known in (delivery, fresh):
        with pytest.raises(DeliveryFinished, match=r"is finished, .* Begin another delivery"):
            known.add_file("new.txt", b"new")
        with pytest.raises(DeliveryFinished):
            known.add_files({"new.txt": b"new"})
        with pytest.raises(DeliveryFinished):
            FileMeta.objects.create(delivery=known, filename="new.txt", content=upload())
        with pytest.raises(DeliveryFinished):
            FileMeta.objects.create(delivery_id=known.pk, filename="new.txt", content=upload())
        row.content = upload()
        with pytest.raises(DeliveryFinished):
            row.save()
        elsewhere.delivery = known
        with pytest.raises(DeliveryFinished):
            elsewhere.save()
        elsewhere.content = upload()
        with pytest.raises(DeliveryFinished):
            elsewhere.save()
        elsewhere.refresh_from_db()
    assert picture(store) == before


def test_a_stale_delivery_takes_no_file(store: FailingStore, delivery: Delivery, row: Any) -> None:
    """Finished meanwhile is finished, whatever the instance of the delivery knows."""
    stale = Delivery.objects.get(pk=delivery.pk)
    delivery.finish()
    rows = FileMeta.objects.count()
    with pytest.raises(DeliveryFinished):
        stale.add_file("new.txt", b"new")
    with pytest.raises(DeliveryFinished):
        stale.add_files({"new.txt": b"new"})
    assert FileMeta.objects.count() == rows
    assert buried() == []


def test_a_file_moves_between_unfinished_deliveries(
    store: FailingStore, delivery: Delivery, row: Any
) -> None:
    """A row may go to another delivery; its bytes stay where they are, found by the row."""
    name = row.content.name
    row.delivery = other = Delivery.begin(delivery.assignment_group)
    row.save()
    fresh = other.files.get()
    assert fresh.content.name == name
    assert fresh.content.read() == OLD_BYTES
    other.finish()
