"""adopt(): rows for bytes that are in the store already."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.db import IntegrityError, transaction

from devilry_storage.deliveries.models import Delivery, FileMeta
from devilry_storage.exceptions import (
    DeliveryFileNotFound,
    DeliveryFinished,
    InvalidFilename,
    InvalidName,
)
from devilry_storage.models import Tombstone
from tests.testapp.models import Course, MarkedFile, Note, Page, Paper, ProxyFile
from tests.testapp.pictures import buried, picture, stored
from tests.testapp.stores import OLD_BYTES, FailingStore

pytest_plugins = ["tests.testapp.fixtures"]
pytestmark = pytest.mark.django_db

# Names by earlier stores and by administrators.
NAMES = [
    "0/1/1005/17",
    "0/1/1005/17_aB3dE6g",
    "1e-06/0.0/1/17",
    "9.9e-05/1.4210854715202004e-17/99/3",
    "0.000999/-1.1368683772161603e-16/999/7",
    "1005/17",
    "17",
    "0/2/1005/17",
    "imports/2011/Hand in (2).pdf",
    "imports/blåbær/日本.txt",
    "imports/no extension.",
    "imports/-dash",
    "x" * 255,
]


@pytest.mark.usefixtures("without_downloads")
@pytest.mark.parametrize("name", NAMES)
def test_file_of_any_valid_name_is_adopted(
    name: str, store: FailingStore, delivery: Delivery
) -> None:
    """Key or not. It can be read, served, copied, replaced and deleted."""
    store.save(name, ContentFile(b"adopted bytes"))
    row = FileMeta.objects.adopt(name, delivery=delivery, filename="adopted.txt")
    for adopted in (row, FileMeta.objects.get()):
        assert (adopted.content.name, adopted.size, adopted.filename) == (name, 13, "adopted.txt")
        assert adopted.sha256 == hashlib.sha256(b"adopted bytes").hexdigest()
        assert adopted.content.read() == b"adopted bytes"
        assert adopted.content.size == 13
    delivery.finish()
    twin = delivery.copy(delivery.assignment_group)
    assert twin.files.get().content.read() == b"adopted bytes"
    row.delete()
    assert buried() == [name]
    assert stored(store)[name] == b"adopted bytes"


def test_new_content_of_an_adopted_file_gets_a_key(
    store: FailingStore, delivery: Delivery
) -> None:
    """The adopted file is buried."""
    store.save("imports/a.txt", ContentFile(b"adopted"))
    row = FileMeta.objects.adopt("imports/a.txt", delivery=delivery)
    row.content = ContentFile(b"new", "new.txt")
    row.save()
    assert store.layout.parse(row.content.name) == (delivery.pk, row.pk)
    assert buried() == ["imports/a.txt"]


def test_filename_is_the_last_part_of_the_name(store: FailingStore, delivery: Delivery) -> None:
    """With a given SHA-256 the file is not read."""
    store.save("imports/a.txt", ContentFile(b"adopted"))
    store.save("imports/b.txt", ContentFile(b"adopted"))
    row = FileMeta.objects.adopt("imports/a.txt", delivery=delivery)
    assert row.filename == "a.txt"
    store.unreadable = True
    row = FileMeta.objects.adopt("imports/b.txt", sha256="ab" * 32, delivery=delivery)
    assert (row.sha256, row.size) == ("ab" * 32, 7)


def test_pk_may_be_given(store: FailingStore, delivery: Delivery, row: Any) -> None:
    """As importers do. A taken one is rejected."""
    store.save("imports/a.txt", ContentFile(b"adopted"))
    before = picture(store)
    with pytest.raises(IntegrityError), transaction.atomic():
        FileMeta.objects.adopt("imports/a.txt", pk=row.pk, delivery=delivery)
    assert picture(store) == before
    adopted = FileMeta.objects.adopt("imports/a.txt", pk=40_000, delivery=delivery)
    assert FileMeta.objects.get(pk=40_000) == adopted


def test_missing_file_is_rejected(store: FailingStore, delivery: Delivery) -> None:
    """So is a folder."""
    store.save("imports/a.txt", ContentFile(b"adopted"))
    for name in ("imports/b.txt", "imports", "0/0/1/1"):
        with pytest.raises(DeliveryFileNotFound, match=name) as caught:
            FileMeta.objects.adopt(name, delivery=delivery)
        assert isinstance(caught.value, FileNotFoundError)
        assert isinstance(caught.value.filemeta, FileMeta)
    assert not FileMeta.objects.exists()


@pytest.mark.parametrize(
    "name",
    ["", "/etc/passwd", "../a", "a/../b", "./a", "a//b", "a\\b", "a\x00", ".devilry-storage/x"],
)
def test_invalid_name_is_rejected(
    name: str, store: FailingStore, delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before any access to the store."""

    def size(name: str) -> int:
        raise AssertionError("the store was asked")

    monkeypatch.setattr(store, "size", size)
    with pytest.raises(InvalidName):
        FileMeta.objects.adopt(name, delivery=delivery, filename="a.txt")
    assert not FileMeta.objects.exists()


def test_file_of_a_row_is_rejected(store: FailingStore, delivery: Delivery, row: Any) -> None:
    """Two rows never name one object. The error names the row."""
    before = picture(store)
    with pytest.raises(
        FileExistsError, match=rf"is the file of devilry_deliveries.FileMeta '{row.pk}'"
    ):
        FileMeta.objects.adopt(row.content.name, delivery=delivery, filename="mine.txt")
    assert picture(store) == before


def test_file_of_a_tombstone_is_rejected(
    store: FailingStore, delivery: Delivery, row: Any
) -> None:
    """Also if the alias of the store has changed since."""
    name = row.content.name
    row.delete()
    for alias in ("deliveries", "earlier"):
        Tombstone.objects.update(alias=alias)
        before = picture(store)
        with pytest.raises(FileExistsError, match="belongs to a deleted file"):
            FileMeta.objects.adopt(name, delivery=delivery, filename="mine.txt")
        assert picture(store) == before
    Tombstone.objects.all().delete()
    adopted = FileMeta.objects.adopt(name, delivery=delivery, filename="mine.txt")
    assert adopted.content.read() == OLD_BYTES


def test_file_in_use_is_not_read(
    store: FailingStore, delivery: Delivery, row: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be large, and the error needs only its name."""
    deleted = delivery.add_file("deleted.txt", b"deleted")
    deleted.delete()
    read: list[str] = []

    def stream(name: str) -> Iterator[bytes]:
        read.append(name)
        yield b""

    monkeypatch.setattr(store, "stream", stream)
    for name in (row.content.name, deleted.content.name):
        with pytest.raises(FileExistsError):
            FileMeta.objects.adopt(name, delivery=delivery)
    assert read == []


def test_invalid_row_is_not_inserted(store: FailingStore, delivery: Delivery, row: Any) -> None:
    """A taken or invalid filename, or a missing or finished delivery."""
    store.save("imports/a.txt", ContentFile(b"adopted"))
    before = picture(store)
    with pytest.raises(IntegrityError), transaction.atomic():
        FileMeta.objects.adopt("imports/a.txt", delivery=delivery, filename="old.txt")
    with pytest.raises(InvalidFilename):
        FileMeta.objects.adopt("imports/a.txt", delivery=delivery, filename="a/b")
    with pytest.raises(IntegrityError), transaction.atomic():
        FileMeta.objects.adopt("imports/a.txt")
    assert picture(store) == before
    delivery.finish()
    before = picture(store)
    with pytest.raises(DeliveryFinished):
        FileMeta.objects.adopt("imports/a.txt", delivery=delivery)
    assert picture(store) == before


def test_unreadable_file_is_not_adopted(store: FailingStore, delivery: Delivery) -> None:
    """It can be adopted later."""
    store.save("imports/a.txt", ContentFile(b"adopted"))
    before = picture(store)
    store.unreadable = True
    with pytest.raises(OSError, match="Input/output"):
        FileMeta.objects.adopt("imports/a.txt", delivery=delivery)
    store.unreadable = False
    assert picture(store) == before
    FileMeta.objects.adopt("imports/a.txt", delivery=delivery)


def test_models_of_every_kind_adopt_files(store: FailingStore, delivery: Delivery) -> None:
    """A proxy, a multi-table child, and models without delivery or with a plain parent."""
    for name in "abcd":
        store.save(f"imports/{name}", ContentFile(name.encode()))
    course = Course.objects.create(title="course")
    proxy = ProxyFile.objects.adopt("imports/a", delivery=delivery)
    child = MarkedFile.objects.adopt("imports/b", delivery=delivery, mark="M")
    note = Note.objects.adopt("imports/c")
    paper = Paper.objects.adopt("imports/d", delivery=course, title="page")
    for row, data in ((proxy, b"a"), (child, b"b"), (note, b"c"), (paper, b"d")):
        fresh = type(row)._base_manager.get(pk=row.pk)
        assert fresh.content.read() == data
    assert Page.objects.get().title == "page"
    with pytest.raises(FileExistsError, match=f"devilry_deliveries.FileMeta '{child.pk}'"):
        ProxyFile.objects.adopt("imports/b", delivery=delivery)
