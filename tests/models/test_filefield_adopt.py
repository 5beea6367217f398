"""adopt(): bytes that lie in the store already get a row, which is like any other."""

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

# What stores of the past have left, and what a person may have put there.
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
def test_any_valid_name(name: str, store: FailingStore, delivery: Delivery) -> None:
    """The name is what the row says, key or not; it reads, serves, replaces and deletes."""
    store.save(name, ContentFile(b"adopted bytes"))
    row = FileMeta.objects.adopt(name, delivery=delivery, filename="adopted.txt")
    for each in (row, FileMeta.objects.get()):
        assert (each.content.name, each.size, each.filename) == (name, 13, "adopted.txt")
        assert each.sha256 == hashlib.sha256(b"adopted bytes").hexdigest()
        assert each.content.read() == b"adopted bytes"
        assert (each.content.size, each.content.url) == (13, "")
    delivery.finish()
    twin = delivery.copy(delivery.assignment_group)
    assert twin.files.get().content.read() == b"adopted bytes"
    row.delete()
    assert buried() == [name]
    assert stored(store)[name] == b"adopted bytes"


def test_new_content_for_an_adopted_file(store: FailingStore, delivery: Delivery) -> None:
    """It goes to a name of the layout; the adopted one is buried."""
    store.save("imports/a.txt", ContentFile(b"adopted"))
    row = FileMeta.objects.adopt("imports/a.txt", delivery=delivery)
    row.content = ContentFile(b"new", "new.txt")
    row.save()
    assert store.layout.parse(row.content.name) == (delivery.pk, row.pk)
    assert buried() == ["imports/a.txt"]


def test_filename_and_hash(store: FailingStore, delivery: Delivery) -> None:
    """The filename is the name's last part unless given; a given SHA-256 saves the reading."""
    store.save("imports/a.txt", ContentFile(b"adopted"))
    store.save("imports/b.txt", ContentFile(b"adopted"))
    row = FileMeta.objects.adopt("imports/a.txt", delivery=delivery)
    assert row.filename == "a.txt"
    store.unreadable = True
    row = FileMeta.objects.adopt("imports/b.txt", sha256="ab" * 32, delivery=delivery)
    assert (row.sha256, row.size) == ("ab" * 32, 7)


def test_an_explicit_pk(store: FailingStore, delivery: Delivery, row: Any) -> None:
    """A free id may be given, as an importer does; a taken one is refused."""
    store.save("imports/a.txt", ContentFile(b"adopted"))
    before = picture(store)
    with pytest.raises(IntegrityError), transaction.atomic():
        FileMeta.objects.adopt("imports/a.txt", pk=row.pk, delivery=delivery)
    assert picture(store) == before
    adopted = FileMeta.objects.adopt("imports/a.txt", pk=40_000, delivery=delivery)
    assert FileMeta.objects.get(pk=40_000) == adopted


def test_a_missing_file(store: FailingStore, delivery: Delivery) -> None:
    """There is no such file, or a folder of that name: FileNotFoundError, no row."""
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
def test_an_invalid_name(
    name: str, store: FailingStore, delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that means no file in the store is refused before the store sees it."""

    def size(name: str) -> int:
        raise AssertionError("the store was asked")

    monkeypatch.setattr(store, "size", size)
    with pytest.raises(InvalidName):
        FileMeta.objects.adopt(name, delivery=delivery, filename="a.txt")
    assert not FileMeta.objects.exists()


def test_a_file_of_a_row(store: FailingStore, delivery: Delivery, row: Any) -> None:
    """Two rows never name one object; the error says whose it is."""
    before = picture(store)
    with pytest.raises(
        FileExistsError, match=rf"is the file of devilry_deliveries.FileMeta '{row.pk}'"
    ):
        FileMeta.objects.adopt(row.content.name, delivery=delivery, filename="mine.txt")
    assert picture(store) == before


def test_a_file_of_a_tombstone(store: FailingStore, delivery: Delivery, row: Any) -> None:
    """What a tombstone names may go at any time."""
    name = row.content.name
    row.delete()
    before = picture(store)
    with pytest.raises(FileExistsError, match="belongs to a deleted file"):
        FileMeta.objects.adopt(name, delivery=delivery, filename="mine.txt")
    assert picture(store) == before
    Tombstone.objects.all().delete()
    adopted = FileMeta.objects.adopt(name, delivery=delivery, filename="mine.txt")
    assert adopted.content.read() == OLD_BYTES


def test_file_of_a_tombstone_under_another_alias(
    store: FailingStore, delivery: Delivery, row: Any
) -> None:
    """The alias of the store may have been changed; the file is the same."""
    name = row.content.name
    row.delete()
    Tombstone.objects.update(alias="earlier")
    with pytest.raises(FileExistsError, match="belongs to a deleted file"):
        FileMeta.objects.adopt(name, delivery=delivery)
    assert not FileMeta.objects.exists()


def test_file_that_is_used_is_not_read(
    store: FailingStore, delivery: Delivery, row: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be large; the refusal needs only its name."""
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


def test_errors_of_the_row(store: FailingStore, delivery: Delivery, row: Any) -> None:
    """A taken or bad filename, a missing or finished delivery: no row, the file stays."""
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


def test_a_store_that_fails(store: FailingStore, delivery: Delivery) -> None:
    """What cannot be read is not adopted; it can be tried again."""
    store.save("imports/a.txt", ContentFile(b"adopted"))
    before = picture(store)
    store.unreadable = True
    with pytest.raises(OSError, match="Input/output"):
        FileMeta.objects.adopt("imports/a.txt", delivery=delivery)
    store.unreadable = False
    assert picture(store) == before
    FileMeta.objects.adopt("imports/a.txt", delivery=delivery)


def test_other_models(store: FailingStore, delivery: Delivery) -> None:
    """Proxy, multi-table child, model without delivery, with a plain parent."""
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


def test_using(store: FailingStore, delivery: Delivery) -> None:
    """adopt() is a method of the queryset, too."""
    store.save("imports/a.txt", ContentFile(b"adopted"))
    row = FileMeta.objects.using("default").adopt("imports/a.txt", delivery=delivery)
    assert row._state.db == "default"
