"""django-simple-history: a row for each save."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.files.base import ContentFile

from devilry_storage.resolving import store_for

from .accounts import account
from .models import Homework, PlainFile, RecordedFile

pytestmark = pytest.mark.django_db(transaction=True)


def _story(model: Any, **fields: Any) -> list[tuple[str, str, bool]]:
    """Create, rename, replace and delete a row; return what its newest record says each time."""
    seen = []

    def look(stored: Any) -> None:
        newest = model.history.first()
        seen.append((newest.history_type, newest.filename, newest.content == stored))

    row = model.objects.create(filename="a.txt", content=ContentFile(b"first", "a.txt"), **fields)
    look(row.content.name)
    row.filename = "b.txt"
    row.save()
    look(row.content.name)
    row.content = ContentFile(b"second", "second.txt")
    row.save()
    look(row.content.name)
    name = row.content.name
    row.delete()
    look(name)
    return seen


def test_newest_record_names_the_stored_file(homework: Homework) -> None:
    """As with Django's field, except that a new file has a second record."""
    assert _story(PlainFile) == [
        ("+", "a.txt", True),
        ("~", "b.txt", True),
        ("~", "b.txt", True),
        ("-", "b.txt", True),
    ]
    assert _story(RecordedFile, delivery=homework) == [
        ("~", "a.txt", True),
        ("~", "b.txt", True),
        ("~", "b.txt", True),
        ("-", "b.txt", True),
    ]
    types = RecordedFile.history.order_by("history_id").values_list("history_type", flat=True)
    assert types[0] == "+"
    account(RecordedFile)


def test_record_gives_the_instance_of_its_time(homework: Homework) -> None:
    row = RecordedFile.objects.create(delivery=homework, content=ContentFile(b"1", "a.txt"))
    newest = RecordedFile.history.first()
    assert newest.instance.content.name == row.content.name
    assert newest.instance.content.open().read() == b"1"


def test_revert_of_other_columns(homework: Homework) -> None:
    """By saving the instance of a record."""
    row = RecordedFile.objects.create(delivery=homework, content=ContentFile(b"1", "a.txt"))
    old = RecordedFile.history.first()
    row.filename = "b.txt"
    row.save()
    old.instance.save()
    reverted = RecordedFile.objects.get()
    assert (reverted.filename, reverted.content.open().read()) == ("a.txt", b"1")
    assert account(RecordedFile) == ({old.content}, set())


def _revert(record: Any) -> None:
    """Give the row of a record its columns and its file of then."""
    row = RecordedFile.objects.get(pk=record.id)
    row.filename = record.filename
    if row.content.name != record.content:
        row.content = store_for(row).open(record.content)
    row.save()


def test_revert_copies_a_replaced_file(homework: Homework) -> None:
    """To save the instance of a record is refused."""
    row = RecordedFile.objects.create(delivery=homework, content=ContentFile(b"1", "a.txt"))
    old = RecordedFile.history.first()
    row.filename = "b.txt"
    row.content = ContentFile(b"2", "b.txt")
    row.save()
    before = account(RecordedFile)
    with pytest.raises(ValueError, match=f"with the file '{old.content}'"):
        old.instance.save()
    assert account(RecordedFile) == before
    _revert(old)
    reverted = RecordedFile.objects.get()
    assert (reverted.filename, reverted.content.open().read()) == ("a.txt", b"1")
    assert RecordedFile.history.first().content == reverted.content.name
    assert account(RecordedFile) == ({reverted.content.name}, {old.content, row.content.name})


def test_deleted_row_is_saved_with_a_copy_of_its_file(homework: Homework) -> None:
    """Until the tombstone of the file is purged."""
    row = RecordedFile.objects.create(delivery=homework, content=ContentFile(b"1", "a.txt"))
    pk, name = row.pk, row.content.name
    row.delete()
    RecordedFile.history.first().instance.save()
    saved = RecordedFile.objects.get()
    assert (saved.pk, saved.content.open().read()) == (pk, b"1")
    assert account(RecordedFile) == ({saved.content.name}, {name})
