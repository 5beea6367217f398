"""Rejected operations: the error names a remedy, and nothing is stored, changed or lost."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.db import IntegrityError, transaction
from django.db.models import F, QuerySet, Value
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
    """Assert after the test that rows, bytes and tombstones are as before."""
    before = picture(store)
    yield
    assert picture(store) == before


# -- Writes that store no bytes --


@pytest.mark.parametrize("ignore_conflicts", [False, True])
def test_bulk_create_rejects_pending_files(
    ignore_conflicts: bool, unchanged: None, delivery: Delivery
) -> None:
    """It would write the name of bytes that were not stored."""
    new = FileMeta(delivery=delivery, filename="new.txt", content=upload())
    with pytest.raises(NotCommitted, match=r"'upload\.txt'.* only save\(\)"), transaction.atomic():
        FileMeta.objects.bulk_create([new], ignore_conflicts=ignore_conflicts)


def test_bulk_create_rejects_names_given_as_strings(unchanged: None, delivery: Delivery) -> None:
    """The file may not exist."""
    new = FileMeta(id=9_999, delivery=delivery, filename="new.txt", content="0/0/1/9999")
    with pytest.raises(NotCommitted, match=r"adopt\(\)"), transaction.atomic():
        FileMeta.objects.bulk_create([new])


def test_bulk_update_rejects_pending_changes(unchanged: None, row: Any) -> None:
    row.content = upload()
    with pytest.raises(NotCommitted, match="bulk_update"), transaction.atomic():
        FileMeta.objects.bulk_update([row], ["content"])
    row.content = None
    with pytest.raises(NotCommitted), transaction.atomic():
        FileMeta.objects.bulk_update([row], ["content"])


def test_bulk_update_rejects_outdated_names(store: FailingStore, row: Any) -> None:
    """Of files that were replaced or deleted since then; without files, size and SHA-256."""
    stale = FileMeta.objects.get(pk=row.pk)
    restored = pickle.loads(pickle.dumps(FileMeta(id=row.pk, content=row.content.name)))
    row.content = upload()
    row.save()
    for instance in (stale, restored):
        with pytest.raises(NotCommitted, match="load it again"):
            FileMeta.objects.bulk_update([instance], ["content", "filename"])
    stale.filename = "renamed.txt"
    FileMeta.objects.bulk_update([stale], ["size", "sha256", "filename"])
    fresh = FileMeta.objects.get()
    assert (fresh.filename, fresh.size, fresh.sha256) == ("renamed.txt", row.size, row.sha256)
    assert FileMeta.objects.bulk_update([fresh], ["content"]) == 1
    with pytest.raises(NotCommitted, match="update_fields"):
        FileMeta.objects.bulk_create(
            [fresh], update_conflicts=True, unique_fields=["id"], update_fields=["content"]
        )


def test_names_of_other_rows_and_models_are_rejected(row: Any, delivery: Delivery) -> None:
    """Their bytes are not copied by name: another model has other files of the same key."""
    other = delivery.add_file("other.txt", b"other")
    name = FileMeta.objects.values_list("content", flat=True).get(pk=other.pk)
    with pytest.raises(ValueError, match="assign the content of its row"):
        row.content = name
    values = FileMeta.objects.values("filename", "content").get(pk=other.pk)
    for known in ({}, {"id": 7}):
        with pytest.raises(ValueError, match="assign the content of its row"):
            Note(**values, **known)
    copy = FileMeta(**{**values, "delivery": delivery, "filename": "copy.txt"})
    copy.save()
    assert copy.content.read() == b"other"


UPDATES: dict[str, Callable[[], Any]] = {
    "file": upload,
    "pending file": lambda: FileMeta(content=upload()).content,
    # Bytes of another row, or missing ones.
    "file of another model": lambda: (
        Note(pk=1, filename="note.txt", content=StoredName("0/0/0/1")).content
    ),
    "text": lambda: "somewhere/else.txt",
}


@pytest.mark.parametrize("kind", UPDATES)
def test_update_rejects_files_and_text(kind: str, unchanged: None) -> None:
    """Also that of a manager of the site."""
    message = {"file": r"update\(\)", "text": r"adopt\(\)"}.get(kind)
    for rows in (FileMeta.objects.all(), QuerySet(FileMeta)):
        with pytest.raises(NotCommitted, match=message), transaction.atomic():
            rows.update(content=UPDATES[kind]())


def test_bulk_writes_accept_stored_content(
    store: FailingStore, delivery: Delivery, row: Any
) -> None:
    """Rows without content, other columns, stored names and expressions."""
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


# -- Operations that would lose or forge bytes --


@pytest.mark.parametrize("name", ["a/b", "..", "a\x00", "x" * 256])
def test_save_rejects_invalid_filenames(name: str, unchanged: None, row: Any) -> None:
    for update_fields in (None, ["filename"]):
        row.filename = name
        with pytest.raises(InvalidFilename):
            row.save(update_fields=update_fields)
    row.content = upload()
    with pytest.raises(InvalidFilename):
        row.save()


@pytest.mark.parametrize("copied", [copy.deepcopy, pickle.dumps])
def test_instance_with_an_unsaved_upload_cannot_be_copied(
    copied: Any, unchanged: None, delivery: Delivery, row: Any
) -> None:
    """A deep copy or pickle would lose the upload, of a stored and of a new row."""
    row.content = upload()
    for instance in (row, FileMeta(delivery=delivery, filename="new.txt", content=upload())):
        before = state(instance)
        with pytest.raises(NotCommitted, match=r"'upload\.txt' is not saved: save it first"):
            copied(instance)
        assert state(instance) == before


def test_save_rejects_another_database(unchanged: None, row: Any) -> None:
    """The bytes belong to the row in the database that it came from."""
    row.filename = "renamed.txt"
    before = state(row)
    with pytest.raises(ValueError, match=r"stored in database 'default'.* saved to 'other'"):
        row.save(using="other")
    with pytest.raises(ValueError, match="'other'"):
        row.save(using="other", update_fields=["filename"])
    assert state(row) == before


@pytest.mark.parametrize("value", ["0/0/1/2", "name.txt", "/etc/passwd", "../x"])
def test_content_rejects_text(value: str, unchanged: None, row: Any) -> None:
    """The error names adopt()."""
    with pytest.raises(ValueError, match=r"objects\.adopt\("):
        row.content = value
    with pytest.raises(ValueError, match=r"objects\.adopt\("):
        FileMeta(content=value)
    assert row.content.read() == OLD_BYTES


@pytest.mark.parametrize("value", [b"bytes", 5, object(), ["a"], F("filename")])
def test_content_rejects_values_that_are_not_files(value: Any, unchanged: None, row: Any) -> None:
    with pytest.raises(ValueError, match=r"to FileMeta\.content: assign a File"):
        row.content = value


def test_save_rejects_forced_insert_and_update(unchanged: None, delivery: Delivery) -> None:
    """As in Django."""
    new = FileMeta(delivery=delivery, filename="new.txt", content=upload())
    with pytest.raises(ValueError, match="insert and update"):
        new.save(force_insert=True, update_fields=["content"])
    with pytest.raises(ValueError, match="insert and update"):
        new.save(force_insert=True, force_update=True)


# -- A taken pk --


def assert_taken(save: Any) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        save()


@pytest.mark.parametrize("content", [None, "upload"])
@pytest.mark.parametrize("force_insert", [False, True])
def test_save_of_a_new_row_rejects_a_taken_pk(
    content: Any, force_insert: bool, unchanged: None, delivery: Delivery, row: FileMeta
) -> None:
    """A new instance never takes over the bytes of a row."""
    new = FileMeta(pk=row.pk, delivery=delivery, filename="new.txt", content=content and upload())
    before = state(new)
    assert_taken(lambda: new.save(force_insert=force_insert))
    assert state(new) == before


def test_create_rejects_a_taken_pk(unchanged: None, delivery: Delivery, row: FileMeta) -> None:
    fields: dict[str, Any] = {"delivery": delivery, "filename": "new.txt", "content": upload()}
    assert_taken(lambda: FileMeta.objects.create(pk=row.pk, **fields))
    assert_taken(
        lambda: FileMeta.objects.get_or_create(pk=row.pk, filename="new.txt", defaults=fields)
    )


def test_save_of_a_child_rejects_a_taken_pk(
    unchanged: None, delivery: Delivery, row: FileMeta
) -> None:
    """Nor does it take over the row of its parent."""
    for fields in ({"pk": row.pk}, {"id": row.pk}, {"filemeta_ptr": row}):
        new = MarkedFile(delivery=delivery, filename="new.txt", content=upload(), **fields)
        assert_taken(new.save)
        assert_taken(lambda: new.save(force_insert=True))  # noqa: B023


def test_save_rejects_the_taken_pk_of_a_plain_parent(store: FailingStore, db: None) -> None:
    """A failing store would otherwise delete that row."""
    course = Course.objects.create(title="course")
    page = Page.objects.create(title="page")
    before = picture(store)
    for full in (False, True):
        store.full = full
        assert_taken(
            Paper(page_ptr=page, delivery=course, filename="a.txt", content=upload()).save
        )
        assert_taken(Paper(pk=page.pk, delivery=course, filename="a.txt", content=upload()).save)
        assert_taken(Paper(id=page.pk, delivery=course, filename="a.txt", content=upload()).save)
    assert picture(store) == before
    assert Page.objects.get().title == "page"


def test_save_rejects_a_taken_filename(unchanged: None, delivery: Delivery) -> None:
    """The database enforces it; nothing is stored."""
    assert_taken(FileMeta(delivery=delivery, filename="old.txt", content=upload()).save)


# -- Finished deliveries --


def test_finished_delivery_takes_no_file(
    store: FailingStore, delivery: Delivery, row: Any
) -> None:
    """No byte is stored, unless the instance of the delivery is stale."""
    other = Delivery.begin(delivery.assignment_group)
    elsewhere = other.add_file("elsewhere.txt", b"elsewhere")
    stale = Delivery.objects.get(pk=delivery.pk)
    delivery.finish()
    before = picture(store)
    for known in (delivery, Delivery.objects.get(pk=delivery.pk)):
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
    for add in (stale.add_file, lambda name, content: stale.add_files({name: content})):
        with pytest.raises(DeliveryFinished):
            add("new.txt", b"new")
    assert {**picture(store), "store": before["store"]} == before


def test_file_can_move_to_another_unfinished_delivery(delivery: Delivery, row: Any) -> None:
    """Its bytes keep their name."""
    name = row.content.name
    row.delivery = other = Delivery.begin(delivery.assignment_group)
    row.save()
    fresh = other.files.get()
    assert fresh.content.name == name
    assert fresh.content.read() == OLD_BYTES
    other.finish()
