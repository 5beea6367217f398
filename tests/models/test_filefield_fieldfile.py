"""The file of a row: to read, to ask, to hold on to; pending and stored."""

from __future__ import annotations

import gzip
import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.files import File
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, storages
from django.core.files.uploadedfile import SimpleUploadedFile
from django.template import Context, Template
from django.test import RequestFactory, override_settings

from devilry_storage.deliveries.models import Delivery, FileMeta
from devilry_storage.resolving import store_for
from devilry_storage.storages import FsHierDeliveryStore, MemoryDeliveryStore
from tests.testapp.models import Attachment, Note
from tests.testapp.pictures import buried, picture, state, stored
from tests.testapp.stores import OLD_BYTES, FailingStore, Source

pytest_plugins = ["tests.testapp.fixtures"]
pytestmark = pytest.mark.django_db


def upload(data: bytes = b"upload", name: str | None = "upload.txt") -> ContentFile[bytes]:
    return ContentFile(data, name)


# -- Reading --


def test_reading_opens_closes_and_opens_again(row: Any) -> None:
    """A stored file is opened when it is read, and can be opened again after a close."""
    row = FileMeta.objects.get()
    assert row.content.closed
    assert row.content.read() == OLD_BYTES
    assert row.content.read() == b""
    row.content.seek(4)
    assert row.content.read() == OLD_BYTES[4:]
    row.content.close()
    assert row.content.closed
    with row.content.open() as file:
        assert list(file) == [OLD_BYTES]
    with row.content.open("rb") as file:
        assert b"".join(file.chunks(2)) == OLD_BYTES
    assert row.content.closed


def test_two_instances_read_from_positions_of_their_own(row: Any) -> None:
    """Each instance of a row has its own open file."""
    one, two = FileMeta.objects.get(), FileMeta.objects.get()
    with one.content.open() as first, two.content.open() as second:
        assert (first.read(3), second.read(3)) == (OLD_BYTES[:3], OLD_BYTES[:3])


@pytest.mark.parametrize("mode", ["wb", "w", "ab", "r+b", "x", "rt"])
def test_open_only_reads(mode: str, store: FailingStore, row: Any) -> None:
    """Writing through open() would leave size and hash stale: the error says how to write."""
    with pytest.raises(ValueError, match=rf"mode '{re.escape(mode)}'.*write_open"):
        row.content.open(mode)
    assert stored(store) == {row.content.name: OLD_BYTES}


def test_a_pending_file_is_read_before_it_is_stored(delivery: Delivery) -> None:
    """What was assigned can be read, asked and closed like any file."""
    row = FileMeta(delivery=delivery, filename="a.txt", content=upload())
    assert row.content.read() == b"upload"
    with row.content.open() as file:
        assert file.read() == b"upload"
    assert (row.content.size, row.content.name, row.content.url) == (6, "upload.txt", "")
    row.content = upload(b"again")
    row.save()
    assert row.content.size == 5


@pytest.mark.usefixtures("without_downloads")
def test_a_missing_object_is_a_file_not_found(store: FailingStore, row: Any) -> None:
    """A row whose bytes are gone says so wherever bytes are asked for, and is left alone."""
    store.delete(row.content.name)
    row = FileMeta.objects.get()
    for ask in (row.content.open, lambda: row.content.read(9), lambda: row.content.size):
        with pytest.raises(FileNotFoundError):
            ask()
    assert row.content.url == ""
    row.filename = "renamed.txt"
    row.save()
    row.content = upload()
    row.save()
    assert FileMeta.objects.get().content.read() == b"upload"


def test_nothing_is_asked_of_a_row_without_a_file(delivery: Delivery) -> None:
    """Without a file every question is a ValueError, as in Django; truth and name say so."""
    for row in (
        FileMeta(delivery=delivery, filename="a.txt"),
        FileMeta.objects.create(delivery=delivery, filename="b.txt"),
    ):
        content: Any = row.content
        assert (bool(content), content.name, content == None) == (False, None, True)  # noqa: E711
        for ask in (
            content.open,
            lambda content=content: content.read(),
            lambda content=content: content.url,
            lambda content=content: content.size,
            lambda content=content: content.path,
        ):
            with pytest.raises(ValueError, match=r"has no .*file"):
                ask()


# -- Place --


@pytest.mark.usefixtures("without_downloads")
def test_path_and_url_of_a_store_on_disk(delivery: Delivery, tmp_path: Path) -> None:
    """On disk a file has a path; a url only where the store is public by configuration."""
    private = FsHierDeliveryStore(location=str(tmp_path / "private"))
    public = FsHierDeliveryStore(location=str(tmp_path / "public"), base_url="/files/")
    for store, url in ((private, ""), (public, "/files/{}")):
        FileMeta.deliverystore = store  # the fixture's monkeypatch takes it back
        row = delivery.add_file(f"{url or 'private'}.txt".replace("/", ""), b"data")
        assert Path(row.content.path).read_bytes() == b"data"
        assert row.content.url == url.format(row.content.name)


def test_path_in_memory_is_not_implemented(delivery: Delivery) -> None:
    """A store without paths says so as Django's storages do."""
    FileMeta.deliverystore = MemoryDeliveryStore()  # the fixture's monkeypatch takes it back
    row = delivery.add_file("a.txt", b"data")
    with pytest.raises(NotImplementedError):
        _ = row.content.path


@pytest.mark.usefixtures("without_downloads")
def test_url_in_memory_is_empty(row: Any) -> None:
    """A store without URLs breaks no page."""
    assert row.content.url == ""


def test_url_of_pending_file_is_empty(row: Any) -> None:
    """The download view would send the bytes that are to be replaced."""
    assert row.content.url
    row.content = upload()
    assert row.content.url == ""


def test_storage_is_resolved_at_each_use(row: Any) -> None:
    """Neither the field nor its file freeze the store."""
    other = FailingStore()
    content = row.content
    FileMeta.deliverystore = other
    assert content.storage is other
    field: Any = FileMeta._meta.get_field("content")
    assert field.storage is other
    assert not other.exists(content.name)


# -- Whoever holds the file --


def test_a_held_file_sees_that_it_was_stored(store: FailingStore, delivery: Delivery) -> None:
    """The FieldFile that was pending is the stored one after the save."""
    row = FileMeta(delivery=delivery, filename="a.txt", content=upload())
    held = row.content
    row.save()
    assert held is row.content
    assert (held.name, held.size) == (store.layout.key(*row.key_ids()), 6)
    held.save("again.txt", upload(b"again"))
    assert (held.name, held.read()) == (FileMeta.objects.get().content.name, b"again")
    held.delete()
    assert not held
    assert FileMeta.objects.get().content.name is None


def test_the_callers_file_stays_open(delivery: Delivery, tmp_path: Path) -> None:
    """Saving reads the caller's file from its beginning and leaves it open."""
    (tmp_path / "source.txt").write_bytes(b"source")
    with (tmp_path / "source.txt").open("rb") as opened:
        opened.read(3)
        row = FileMeta.objects.create(delivery=delivery, filename="a", content=File(opened))
        assert not opened.closed
    assert row.content.read() == b"source"


def test_an_open_file_of_python_is_a_file(delivery: Delivery, tmp_path: Path) -> None:
    """What has read() may be assigned; its path is no filename."""
    (tmp_path / "source.txt").write_bytes(b"source")
    with (tmp_path / "source.txt").open("rb") as opened:
        row = FileMeta.objects.create(delivery=delivery, content=opened)
    assert (row.filename, row.content.read()) == ("source.txt", b"source")


def test_a_pipe_is_stored_once(store: FailingStore, delivery: Delivery) -> None:
    """What can be read only once is not saved again after a failure: its beginning is gone."""

    def pipe() -> Any:
        reading, writing = os.pipe()
        os.write(writing, b"through a pipe")
        os.close(writing)
        return os.fdopen(reading, "rb")

    before = picture(store)
    store.full = True
    with pipe() as source:
        row = FileMeta(delivery=delivery, filename="a.txt", content=source)
        with pytest.raises(OSError, match="No space"):
            row.save()
        store.full = False
        for again in (row, FileMeta(delivery=delivery, filename="b.txt", content=row.content)):
            with pytest.raises(ValueError, match="cannot be read again: assign a new one"):
                again.save()
    assert picture(store) == before
    with pipe() as source:
        row.content = source
        assert row.content.name == ""
        row.save()
    assert row.content.read() == b"through a pipe"


@pytest.mark.parametrize("kind", ["body", "gzip"])
def test_what_only_says_that_it_seeks_is_stored_once(
    store: FailingStore, delivery: Delivery, kind: str
) -> None:
    """The body of a request, and what is unpacked from a pipe: nothing of it is left."""
    reading, writing = os.pipe()
    os.write(writing, gzip.compress(b"precious") if kind == "gzip" else b"precious")
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        body: Any = SimpleNamespace(read=pipe.read, closed=False)
        if kind == "gzip":
            body = gzip.GzipFile(fileobj=pipe)
        source = File(body, "a.txt")
        assert source.seekable()
        store.full = True
        row = FileMeta(delivery=delivery, filename="a.txt", content=source)
        with pytest.raises(OSError, match="No space"):
            row.save()
        store.full = False
        with pytest.raises(ValueError, match="cannot be read again: assign a new one"):
            row.save()
    assert not FileMeta.objects.exists()


# -- What is assigned --


def test_a_nameless_file(store: FailingStore, delivery: Delivery) -> None:
    """ContentFile needs no name where the row has a filename."""
    row = FileMeta(delivery=delivery, filename="a.txt", content=upload(name=None))
    row.full_clean()
    row.save()
    row.content = upload(b"again", name=None)
    row.full_clean()
    row.save()
    assert (row.filename, row.content.read()) == ("a.txt", b"again")


def test_a_nameless_file_without_filename(store: FailingStore, delivery: Delivery) -> None:
    """Where neither has a name, it is an error; nothing is stored."""
    before = picture(store)
    with pytest.raises(ValueError, match="filename"):
        FileMeta.objects.create(delivery=delivery, content=upload(name=None))
    assert picture(store) == before


@pytest.mark.parametrize("name", ["dir/../a.txt", "/etc/a.txt", "a.txt", "../../a.txt"])
def test_folders_in_the_name_of_an_upload_are_dropped(name: str, delivery: Delivery) -> None:
    row = FileMeta.objects.create(delivery=delivery, content=upload(name=name))
    assert row.filename == "a.txt"


@pytest.mark.parametrize("name", ["../../outside", "/etc/outside", r"..\..\outside", "%2e%2e%2fx"])
def test_name_of_an_upload_is_not_part_of_the_key(name: str, delivery: Delivery) -> None:
    """The key is made of ids (CVE-2021-31542)."""
    request = RequestFactory().post("/", {"file": upload(name=name)})
    for number, content in enumerate([SimpleUploadedFile(name, b"x"), request.FILES["file"]]):
        row: Any = FileMeta(delivery=delivery, filename=f"{number}.txt", content=content)
        row.save()
        assert row.content.name.endswith(f"/{delivery.pk}/{row.pk}")
        assert row.filename == f"{number}.txt"


def test_an_empty_file(store: FailingStore, delivery: Delivery) -> None:
    """An empty file is a file, in new rows and stored ones."""
    row = FileMeta.objects.create(delivery=delivery, filename="a.txt", content=upload(b""))
    assert (row.size, row.content.size, row.content.read()) == (0, 0, b"")
    assert row.content
    row.content = upload(b"", name="")
    row.save()
    assert (row.size, len(stored(store)), len(buried())) == (0, 2, 1)


def test_text_is_stored_as_utf8(delivery: Delivery) -> None:
    """A ContentFile of text is stored as UTF-8, its size counted in bytes."""
    row = FileMeta.objects.create(delivery=delivery, filename="a", content=ContentFile("blåbær"))
    assert (row.content.read(), row.size) == ("blåbær".encode(), 8)


def test_the_file_of_another_row_is_copied(store: FailingStore, row: Any) -> None:
    """Two rows never share bytes: deleting one leaves the other's."""
    twin = FileMeta(delivery=row.delivery, filename="twin.txt", content=row.content)
    twin.save()
    assert twin.content.name != row.content.name
    assert stored(store) == {row.content.name: OLD_BYTES, twin.content.name: OLD_BYTES}
    row.delete()
    assert twin.content.read() == OLD_BYTES


def test_the_pending_file_of_another_row_is_stored_twice(delivery: Delivery) -> None:
    """The pending file of one row may be another's, too."""
    one = FileMeta(delivery=delivery, filename="one.txt", content=upload())
    two = FileMeta(delivery=delivery, filename="two.txt", content=one.content)
    one.save()
    two.save()
    assert (one.content.read(), two.content.read()) == (b"upload", b"upload")


def test_another_models_file_is_copied_from_its_store(store: FailingStore, row: Any) -> None:
    """A file of another model is read from that model's own store."""
    Note.deliverystore = other = FailingStore()
    note = Note.objects.create(filename="note.txt", content=row.content)
    assert stored(other) == {note.content.name: OLD_BYTES}
    assert list(stored(store)) == [row.content.name]


def test_a_django_file_field_is_copied(delivery: Delivery, tmp_path: Path) -> None:
    """The file of a model with Django's own field is read, copied, and closed again."""
    media = FileSystemStorage(tmp_path)
    media.save("attachments/a.txt", upload(b"attached"))
    attachment = Attachment(file="attachments/a.txt")
    attachment.file.storage = media
    row = FileMeta.objects.create(delivery=delivery, content=attachment.file)
    assert (row.filename, row.content.read()) == ("a.txt", b"attached")
    row.content = attachment.file
    row.save()
    assert row.content.read() == b"attached"
    rows = [delivery.add_file("b.txt", attachment.file)]
    rows += delivery.add_files({"c.txt": attachment.file, "d.txt": row.content})
    assert [each.content.read() for each in rows] == [b"attached"] * 3
    assert attachment.file.closed


def test_its_own_file_assigned_is_no_change(store: FailingStore, row: Any) -> None:
    """row.content = row.content, or that of another instance of the row, stores nothing."""
    before = picture(store)
    row.content = row.content
    row.save()
    row.content = FileMeta.objects.get(pk=row.pk).content
    row.save()
    assert picture(store) == before


def test_the_last_assignment_counts(store: FailingStore, row: Any) -> None:
    """What was pending before and was never saved leaves no trace."""
    old = row.content.name
    row.content = upload(b"first")
    row.content = None
    row.content = upload(b"last")
    row.save()
    assert sorted(stored(store).values()) == [b"last", OLD_BYTES]
    row.content = upload(b"never")
    row.content = None
    row.save()
    assert len(buried()) == 2
    assert old in buried()


def test_removed_and_assigned_before_the_first_save(store: FailingStore, delivery: Any) -> None:
    """A row that is not saved yet has nothing to remove."""
    row: Any = FileMeta(delivery=delivery, filename="a.txt", content=upload())
    row.content.delete(save=False)
    row.content.delete()
    row.content = None
    row.save()
    assert (row.content.name, stored(store), buried()) == (None, {}, [])


# -- Questions to the database --


def test_filters(delivery: Delivery, row: Any) -> None:
    """Rows are found by name, and by having none."""
    none = FileMeta.objects.create(delivery=delivery, filename="none.txt")
    rows = FileMeta.objects.order_by("pk")
    assert list(rows.filter(content=row.content.name)) == [row]
    assert list(rows.filter(content=row.content)) == [row]
    folder = row.content.name.rpartition("/")[0]
    assert list(rows.filter(content__startswith=f"{folder}/")) == [row]
    assert list(rows.filter(content__in=[row.content.name, "x"])) == [row]
    for empty in (rows.filter(content=""), rows.filter(content=None)):
        assert list(empty) == [none]
    for full in (rows.exclude(content=""), rows.exclude(content=None)):
        assert list(full) == [row]


def test_a_pending_file_is_found_nowhere(store: FailingStore, delivery: Delivery) -> None:
    """The name of an upload is not a stored name, even where one is spelled like it."""
    store.save("upload.txt", upload())
    adopted = FileMeta.objects.adopt("upload.txt", delivery=delivery)
    pending = FileMeta(delivery=delivery, filename="b.txt", content=Source(b"b"))
    assert not FileMeta.objects.filter(content=Source(b"b")).exists()
    assert not FileMeta.objects.filter(content=pending.content).exists()
    pending.full_clean()
    pending.save()
    assert adopted.content.name == "upload.txt" != pending.content.name


def test_values_are_names(row: Any) -> None:
    """values() and values_list() give plain names."""
    assert FileMeta.objects.values_list("content", flat=True).get() == row.content.name
    assert FileMeta.objects.values("content").get() == {"content": row.content.name}


# -- Templates --


@pytest.mark.usefixtures("without_downloads")
def test_a_template_changes_nothing(store: FailingStore, row: Any) -> None:
    """What alters data cannot be called by a template."""
    before, known = picture(store), state(row)
    template = Template(
        "{{ row.content.delete }}{{ row.record_removed }}{{ row.delete }}{{ row.save }}"
        "{{ row.delivery.finish }}{{ row.content.url }}{{ row.content.size }}"
    )
    assert template.render(Context({"row": row})) == str(len(OLD_BYTES))
    assert (picture(store), state(row)) == (before, known)


# -- The field --


def test_the_field_takes_no_upload_to() -> None:
    """The layout says where files lie."""
    from devilry_storage.fields import DeliveryFileField

    with pytest.raises(TypeError, match="upload_to='x'"):
        DeliveryFileField(upload_to="x")


def test_the_field_holds_no_storage() -> None:
    """A migration never contains a store, whatever the field was given."""
    from devilry_storage.fields import DeliveryFileField

    field = DeliveryFileField(storage=storages["default"])
    _, path, args, kwargs = field.deconstruct()
    assert (path, args) == ("devilry_storage.fields.DeliveryFileField", [])
    assert kwargs == {"max_length": 255, "null": True, "unique": True}


def test_the_store_needs_no_database(row: Any) -> None:
    """store_for() takes the model or an instance."""
    assert store_for(FileMeta) is store_for(row) is row.content.storage


def test_a_stored_file_outlives_its_settings(delivery: Delivery, monkeypatch: Any) -> None:
    """A name is never computed again: another interval loses no file."""
    monkeypatch.setattr(FileMeta, "deliverystore", None)
    with override_settings(DEVILRY_FSHIERDELIVERYSTORE_INTERVAL=1000):
        row = delivery.add_file("a.txt", b"data")
    with override_settings(DEVILRY_FSHIERDELIVERYSTORE_INTERVAL=2):
        fresh = FileMeta.objects.get(pk=row.pk)
        assert fresh.content.name == row.content.name
        with fresh.content.open() as file:
            assert file.read() == b"data"
        fresh.content = upload(b"new")
        fresh.save()
        other = delivery.add_file("b.txt", b"other")
    with storages["deliveries"].open(other.content.name) as file:
        assert file.read() == b"other"
    delivery.finish()
