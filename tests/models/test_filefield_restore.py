"""Rows from fixtures, and from tombstones of deleted deliveries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.core import serializers
from django.core.files.base import ContentFile
from django.core.management import call_command

from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.models import Tombstone
from devilry_storage.resolving import store_for
from devilry_storage.restoring import restore
from tests.harness.users import make_user
from tests.testapp.models import Course, MarkedFile, Note, Page, Paper
from tests.testapp.pictures import Picture, buried, picture, rows, stored
from tests.testapp.stores import OLD_BYTES, FailingStore, Source

pytest_plugins = ["tests.testapp.fixtures"]
pytestmark = pytest.mark.django_db


def to_the_millisecond(of: Picture) -> Picture:
    """Return the picture with times to the millisecond, as Django serialises them."""

    def cut(value: Any) -> Any:
        if hasattr(value, "microsecond"):
            return value.replace(microsecond=value.microsecond // 1000 * 1000)
        return value

    return {
        label: [{key: cut(value) for key, value in row.items()} for row in content]
        if isinstance(content, list)
        else content
        for label, content in of.items()
    }


@pytest.fixture
def everything(store: FailingStore, group: AssignmentGroup) -> Any:
    """Return a finished delivery of all kinds of files; add an unfinished one beside it."""
    user = make_user("candidate")
    delivery = Delivery.begin(group, user)
    delivery.add_files({"a.txt": b"a", "empty.txt": b""})
    delivery.add_file("replaced.txt", b"first").content.save("x", ContentFile(b"second"))
    store.save("imports/adopted.txt", ContentFile(b"adopted"))
    FileMeta.objects.adopt("imports/adopted.txt", delivery=delivery)
    child = MarkedFile(delivery=delivery, filename="child.txt", content=Source(b"child"), mark="A")
    child.save()
    delivery.finish()
    neighbour = Delivery.begin(group)
    neighbour.add_file("neighbour.txt", b"neighbour")
    FileMeta.objects.create(delivery=neighbour, filename="without content")
    return delivery


# -- Fixtures --


def test_loaded_rows_name_the_same_bytes(
    store: FailingStore, everything: Any, tmp_path: Path
) -> None:
    """Loaded over existing rows, they change nothing."""
    Note.objects.create(filename="note.txt", content=Source(b"note"))
    course = Course.objects.create(title="course")
    Paper.objects.create(delivery=course, filename="a.txt", content=Source(b"p"), title="page")
    before = to_the_millisecond(picture(store))
    known = list(Tombstone.objects.values_list("pk", flat=True))
    fixture = str(tmp_path / "all.json")
    call_command("dumpdata", "devilry_deliveries", "testapp", output=fixture, verbosity=0)
    call_command("loaddata", fixture, verbosity=0)
    assert to_the_millisecond(picture(store)) == before
    for model in (Delivery, Note, Paper, Page):
        model._base_manager.all().delete()
    Tombstone.objects.exclude(pk__in=known).delete()
    call_command("loaddata", fixture, verbosity=0)
    after = to_the_millisecond(picture(store))
    assert after == before
    for row in FileMeta.objects.filter(content__isnull=False):
        assert len(row.content.read()) == row.size


def test_fixture_without_content_loads_null(delivery: Delivery) -> None:
    """An empty name is loaded as null."""
    for pk, content in ((1, ""), (2, None)):
        fields = {"delivery": delivery.pk, "filename": f"{pk}.txt", "content": content}
        record = {"model": "devilry_deliveries.filemeta", "pk": pk, "fields": fields}
        for deserialized in serializers.deserialize("python", [record]):
            deserialized.save()
    assert list(FileMeta.objects.values_list("content", flat=True)) == [None, None]


def test_pending_file_is_not_serialised(delivery: Delivery) -> None:
    row = FileMeta(delivery=delivery, filename="a.txt", content=Source(b"a"))
    (record,) = serializers.serialize("python", [row])
    assert record["fields"]["content"] in {"", None}


# -- Tombstones --


def restored_all(tombstones: Any) -> None:
    """Restore all tombstones, deliveries first, and delete the old bytes and tombstones."""
    for tombstone in tombstones.order_by("pk"):
        restore(tombstone)
    for tombstone in tombstones:
        store_for(FileMeta).delete(tombstone.name)
    tombstones.delete()


def without_names(of: Picture) -> Picture:
    """Return the picture without the names of stored files, which a restore changes."""
    result = to_the_millisecond(of)
    for table in result.values():
        for row in table if isinstance(table, list) else []:
            if row.get("content"):
                row["content"] = "any"
    return {**result, "store": sorted(result["store"].values())}


@pytest.mark.parametrize("how", ["instance", "queryset", "files first", "rows one by one"])
def test_deleted_delivery_is_restored(how: str, store: FailingStore, everything: Any) -> None:
    """With the same ids, numbers and bytes, but other names."""
    before = picture(store)
    known = list(Tombstone.objects.values_list("pk", flat=True))
    pk = everything.pk
    if how == "instance":
        everything.delete()
    elif how == "queryset":
        Delivery.objects.filter(pk=pk).delete()
    elif how == "files first":
        everything.files.all().delete()
        everything.delete()
    else:
        for row in everything.files:
            row.delete()
        everything.delete()
    new = Tombstone.objects.exclude(pk__in=known)
    assert new.count() == 5
    assert stored(store) == before["store"]
    assert [row.filename for row in FileMeta.objects.exclude(content=None)] == ["neighbour.txt"]
    old = set(new.values_list("name", flat=True))
    restored_all(new)
    assert without_names(picture(store)) == without_names(before)
    again = Delivery.objects.get(pk=pk)
    assert {row.filename: row.content.read() for row in again.files} == {
        "a.txt": b"a",
        "empty.txt": b"",
        "replaced.txt": b"second",
        "adopted.txt": b"adopted",
        "child.txt": b"child",
    }
    assert old.isdisjoint(row.content.name for row in again.files)
    assert MarkedFile.objects.get().mark == "A"


def test_cascade_of_other_models_is_restored(store: FailingStore) -> None:
    """A model without delivery, and one with a plain parent."""
    course = Course.objects.create(title="course")
    Paper.objects.create(delivery=course, filename="a.txt", content=Source(b"p"), title="page")
    Note.objects.create(filename="note.txt", content=Source(b"note"))
    before = picture(store)
    courses = rows(Course)
    Note.objects.all().delete()
    course.delete()
    assert not Page.objects.exists()
    restored_all(Tombstone.objects.all())
    assert without_names(picture(store)) == without_names(before)
    assert rows(Course) == courses
    assert (Paper.objects.get().content.read(), Note.objects.get().content.read()) == (
        b"p",
        b"note",
    )


def test_tombstone_describes_the_file(row: Any) -> None:
    """Name, size, hash, model and when it is due."""
    name, sha256 = row.content.name, row.sha256
    row.delete()
    tombstone = Tombstone.objects.get()
    assert str(tombstone) == f"devilry_deliveries.filemeta: {name}"
    assert (tombstone.size, tombstone.sha256) == (len(OLD_BYTES), sha256)
    assert 29 <= (tombstone.due - tombstone.created).days <= 30
    assert buried() == [name]


def test_tombstone_of_removed_content_has_its_row(row: Any) -> None:
    name = row.content.name
    row.content.delete()
    (record,) = [saved for saved in Tombstone.objects.get().rows if "content" in saved["fields"]]
    assert (record["pk"], record["fields"]["content"]) == (row.pk, name)
    assert record["fields"]["size"] == len(OLD_BYTES)
