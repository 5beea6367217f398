"""The FieldFile of a row: pending and stored."""

from __future__ import annotations

import csv
import gzip
import io
import os
import pickle
import re
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.files import File
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, storages
from django.core.files.uploadedfile import SimpleUploadedFile, TemporaryUploadedFile
from django.template import Context, Template
from django.test import RequestFactory

from devilry_storage.deliveries.models import Delivery, FileMeta
from devilry_storage.exceptions import NoURL
from devilry_storage.fields import DeliveryFileField
from devilry_storage.storages import FsHierDeliveryStore
from devilry_storage.testing import MemoryDeliveryStore
from tests.testapp.models import Attachment, Note
from tests.testapp.pictures import buried, picture, state, stored
from tests.testapp.stores import OLD_BYTES, FailingStore, Source

pytest_plugins = ["tests.testapp.fixtures"]
pytestmark = pytest.mark.django_db


def upload(data: bytes = b"upload", name: str | None = "upload.txt") -> ContentFile[bytes]:
    return ContentFile(data, name)


# -- Reading --


def test_stored_file_can_be_read_again_after_close(row: Any) -> None:
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


def test_instances_have_their_own_position(row: Any) -> None:
    one, two = FileMeta.objects.get(), FileMeta.objects.get()
    with one.content.open() as first, two.content.open() as second:
        assert (first.read(3), second.read(3)) == (OLD_BYTES[:3], OLD_BYTES[:3])


@pytest.mark.parametrize("mode", ["wb", "w", "wt", "ab", "r+b", "x"])
def test_open_rejects_write_modes(mode: str, store: FailingStore, row: Any) -> None:
    """Size and hash would become wrong. The error names write_open()."""
    with pytest.raises(ValueError, match=rf"mode '{re.escape(mode)}'.*write_open"):
        row.content.open(mode)
    assert stored(store) == {row.content.name: OLD_BYTES}


@pytest.mark.parametrize("mode", ["r", "rt"])
@pytest.mark.parametrize("kind", ["stored", "in memory", "in a file", "of Python", "of a row"])
def test_text_modes_read_text(kind: str, mode: str, delivery: Delivery) -> None:
    """As UTF-8. The bytes that are stored afterwards keep their ends of lines."""
    data, lines = "name;points\r\nÅse;5\r\n".encode(), [{"name": "Åse", "points": "5"}]
    row = FileMeta(delivery=delivery, filename="b.csv")
    if kind == "in memory":
        row.content = SimpleUploadedFile("b.csv", data)
    elif kind == "in a file":
        row.content = temporary = TemporaryUploadedFile("b.csv", "text/csv", len(data), None)
        temporary.write(data)
    elif kind == "of Python":
        row.content = File(io.BytesIO(data), "b.csv")
    else:
        added = delivery.add_file("a.csv", data)
        row = FileMeta.objects.get(pk=added.pk) if kind == "stored" else row
        row.content = added.content
    content: Any = row.content
    for _ in range(2):
        with content.open(mode) as file:
            assert (list(csv.DictReader(file, delimiter=";")), file.size) == (lines, len(data))
        assert content.open(mode).readline() == "name;points\n"
        assert content.open("rb").read() == data
        assert content.open(mode).read() == "name;points\nÅse;5\n"
        row.save()
    assert delivery.add_file("copy.csv", content.open(mode)).content.read() == data
    assert pickle.loads(pickle.dumps(row)).content.open("rb").read() == data
    content.save("c.csv", SimpleUploadedFile("c.csv", b"new"))
    assert content.read() == b"new"


class RemoteFile(File):  # type: ignore[type-arg]
    """A file of a backend that has its own chunks()."""

    def chunks(self, chunk_size: int | None = None) -> Any:
        return super().chunks(chunk_size)


class RemoteStorage(FileSystemStorage):
    def _open(self, name: str, mode: str = "rb") -> File[Any]:
        return RemoteFile(open(self.path(name), mode), "cannot be reopened")


@pytest.mark.parametrize("is_zipped", [False, True])
def test_upload_is_stored_even_if_another_file_has_its_name(
    delivery: Delivery, tmp_path: Path, is_zipped: bool
) -> None:
    """It is open with mode "r", as text or as a member of a zip, and is not committed."""
    (tmp_path / "essay.txt").write_bytes(b"of another person")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        zipped.writestr("essay.txt", b"the upload")
    (tmp_path / "upload").write_bytes(b"the upload")
    for way in ("add_file", "create"):
        with zipfile.ZipFile(tmp_path / "a.zip") as zipped, open(tmp_path / "upload") as text:
            source: Any = zipped.open("essay.txt") if is_zipped else text
            attachment = Attachment(file=File(source, "essay.txt"))
            attachment.file.storage = FileSystemStorage(tmp_path)
            if way == "add_file":
                row = delivery.add_file("a.txt", attachment.file)
            else:
                new = FileMeta(delivery=delivery, filename="b.txt", content=attachment.file)
                new.save()
                row = new
            assert not source.closed
            source.close()
        assert row.content.read() == b"the upload"


@pytest.mark.parametrize("mode", ["r", "r+", "tr"])
@pytest.mark.parametrize("kind", [None, FileSystemStorage, RemoteStorage])
def test_plain_file_that_is_open_as_text_is_stored_as_bytes(
    store: FailingStore, delivery: Delivery, tmp_path: Path, kind: Any, mode: str
) -> None:
    if kind is None and mode != "r":
        pytest.skip("Delivery stores have no such mode.")
    storage = kind(tmp_path) if kind else store
    attachment = Attachment(file=storage.save("attached.csv", upload(b"a\r\nb\r\n")))
    attachment.file.storage = storage
    with attachment.file.open(mode) as file:
        assert file.read() == "a\nb\n"
        assert delivery.add_file("a.csv", file).content.read() == b"a\r\nb\r\n"
        file.close()
        del file.file
        file.open(mode)
        row = FileMeta.objects.create(delivery=delivery, filename="b.csv", content=file)
    assert row.content.read() == b"a\r\nb\r\n"


def test_upload_stays_open_until_it_is_saved(delivery: Delivery) -> None:
    """Code that reads it may close it, such as a receiver that scans uploads."""
    for mode in ("rb", "r"):
        row = FileMeta(delivery=delivery, content=SimpleUploadedFile(f"{mode}.txt", b"upload"))
        with row.content.open(mode) as file:
            assert file.read(3) in {b"upl", "upl"}
        io.TextIOWrapper(row.content)  # closes it at once
        row.save()
        assert FileMeta.objects.get(pk=row.pk).content.read() == b"upload"


def test_pending_file_can_be_read(delivery: Delivery) -> None:
    row = FileMeta(delivery=delivery, filename="a.txt", content=upload())
    assert row.content.read() == b"upload"
    with row.content.open() as file:
        assert file.read() == b"upload"
    assert (row.content.size, row.content.name) == (6, "upload.txt")
    row.content = upload(b"again")
    row.save()
    assert row.content.size == 5


@pytest.mark.usefixtures("without_downloads")
def test_missing_bytes_raise_file_not_found_error(store: FailingStore, row: Any) -> None:
    """The row can be saved, and gets new content."""
    store.delete(row.content.name)
    row = FileMeta.objects.get()
    for operate in (row.content.open, lambda: row.content.read(9), lambda: row.content.size):
        with pytest.raises(FileNotFoundError):
            operate()
    row.filename = "renamed.txt"
    row.save()
    row.content = upload()
    row.save()
    assert FileMeta.objects.get().content.read() == b"upload"


def test_row_without_file_raises_value_error(delivery: Delivery) -> None:
    """As in Django. The FieldFile is false, and its name None."""
    for row in (
        FileMeta(delivery=delivery, filename="a.txt"),
        FileMeta.objects.create(delivery=delivery, filename="b.txt"),
    ):
        content: Any = row.content
        assert (bool(content), content.name, content == None) == (False, None, True)  # noqa: E711
        for operate in (
            content.open,
            lambda content=content: content.read(),
            lambda content=content: content.url,
            lambda content=content: content.size,
            lambda content=content: content.path,
        ):
            with pytest.raises(ValueError, match=r"has no .*file"):
                operate()


# -- Path and URL --


@pytest.mark.usefixtures("without_downloads")
def test_file_on_disk_has_a_path(delivery: Delivery, tmp_path: Path) -> None:
    """It has a URL only if the store has a base URL."""
    private = FsHierDeliveryStore(location=str(tmp_path / "private"))
    public = FsHierDeliveryStore(location=str(tmp_path / "public"), base_url="/files/")
    for store, url in ((private, None), (public, "/files/{}")):
        FileMeta.deliverystore = store  # the fixture's monkeypatch takes it back
        row = delivery.add_file(f"{'public' if url else 'private'}.txt", b"data")
        assert Path(row.content.path).read_bytes() == b"data"
        assert getattr(row.content, "url", None) == (url and url.format(row.content.name))


@pytest.mark.usefixtures("without_downloads")
def test_file_in_memory_has_neither_path_nor_url(delivery: Delivery) -> None:
    """The error of ``url`` breaks no page. That of ``path`` is that of Django's storages."""
    FileMeta.deliverystore = MemoryDeliveryStore()  # the fixture's monkeypatch takes it back
    row = delivery.add_file("a.txt", b"data")
    with pytest.raises(NoURL, match=r"not public\. Include devilry_storage\.urls"):
        _ = row.content.url
    assert Template("<{{ row.content.url }}>").render(Context({"row": row})) == "<>"
    with pytest.raises(NotImplementedError):
        _ = row.content.path


def test_pending_file_has_no_url(row: Any) -> None:
    """The download view would send the old bytes."""
    assert row.content.url
    row.content = upload()
    with pytest.raises(NoURL, match=r"'upload\.txt' has no URL before it is saved"):
        _ = row.content.url


def test_storage_is_resolved_at_each_use(row: Any) -> None:
    other = FailingStore()
    content = row.content
    FileMeta.deliverystore = other
    assert content.storage is other
    field: Any = FileMeta._meta.get_field("content")
    assert field.storage is other
    assert not other.exists(content.name)


# -- FieldFiles and sources --


def test_fieldfile_is_the_same_object_after_save(store: FailingStore, delivery: Delivery) -> None:
    """It becomes the stored file."""
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


def test_open_file_of_python_is_stored_and_stays_open(delivery: Delivery, tmp_path: Path) -> None:
    """It is read from its beginning, and the folders of its path are dropped."""
    (tmp_path / "source.txt").write_bytes(b"source")
    with (tmp_path / "source.txt").open("rb") as opened:
        opened.read(3)
        row = FileMeta.objects.create(delivery=delivery, content=opened)
        wrapped = FileMeta.objects.create(delivery=delivery, filename="a", content=File(opened))
        assert not opened.closed
    assert (row.filename, row.content.read()) == ("source.txt", b"source")
    assert wrapped.content.read() == b"source"


def test_pipe_cannot_be_saved_again_after_a_failure(
    store: FailingStore, delivery: Delivery
) -> None:
    """It can be read once only."""

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
            with pytest.raises(ValueError, match="a second time: assign a new file"):
                again.save()
    assert picture(store) == before
    with pipe() as source:
        row.content = source
        assert row.content.name == ""
        row.save()
    assert row.content.read() == b"through a pipe"


@pytest.mark.parametrize("kind", ["body", "gzip"])
def test_source_that_is_not_really_seekable_cannot_be_saved_again(
    store: FailingStore, delivery: Delivery, kind: str
) -> None:
    """The body of a request, and a compressed file in a pipe."""
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
        with pytest.raises(ValueError, match="a second time: assign a new file"):
            row.save()
    assert not FileMeta.objects.exists()


# -- Assignments --


def test_file_without_name_needs_a_filename(store: FailingStore, delivery: Delivery) -> None:
    row = FileMeta(delivery=delivery, filename="a.txt", content=upload(name=None))
    row.full_clean()
    row.save()
    row.content = upload(b"again", name=None)
    row.full_clean()
    row.save()
    assert (row.filename, row.content.read()) == ("a.txt", b"again")
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


def test_empty_file_is_stored(store: FailingStore, delivery: Delivery) -> None:
    """In new and in stored rows."""
    row = FileMeta.objects.create(delivery=delivery, filename="a.txt", content=upload(b""))
    assert (row.size, row.content.size, row.content.read()) == (0, 0, b"")
    assert row.content
    row.content = upload(b"", name="")
    row.save()
    assert (row.size, len(stored(store)), len(buried())) == (0, 2, 1)


def test_pending_file_can_be_assigned_to_another_row(delivery: Delivery) -> None:
    one = FileMeta(delivery=delivery, filename="one.txt", content=upload())
    two = FileMeta(delivery=delivery, filename="two.txt", content=one.content)
    one.save()
    two.save()
    assert (one.content.read(), two.content.read()) == (b"upload", b"upload")


def test_file_of_another_model_is_copied_from_its_store(store: FailingStore, row: Any) -> None:
    Note.deliverystore = other = FailingStore()
    note = Note.objects.create(filename="note.txt", content=row.content)
    assert stored(other) == {note.content.name: OLD_BYTES}
    assert list(stored(store)) == [row.content.name]


def test_file_of_a_django_file_field_is_copied_and_closed(
    delivery: Delivery, tmp_path: Path
) -> None:
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
    assert [added.content.read() for added in rows] == [b"attached"] * 3
    assert attachment.file.closed


def test_assigning_the_own_file_changes_nothing(store: FailingStore, row: Any) -> None:
    """That of another instance of the row, too."""
    before = picture(store)
    row.content = row.content
    row.save()
    row.content = FileMeta.objects.get(pk=row.pk).content
    row.save()
    assert picture(store) == before


def test_last_assignment_is_stored(store: FailingStore, row: Any) -> None:
    """Earlier assignments leave no trace."""
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


def test_new_row_has_nothing_to_remove(store: FailingStore, delivery: Any) -> None:
    row: Any = FileMeta(delivery=delivery, filename="a.txt", content=upload())
    row.content.delete(save=False)
    row.content.delete()
    row.content = None
    row.save()
    assert (row.content.name, stored(store), buried()) == (None, {}, [])


# -- Queries --


def test_rows_are_filtered_by_name_of_the_content(delivery: Delivery, row: Any) -> None:
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
        assert full.values_list("content", flat=True).get() == row.content.name
        assert full.values("content").get() == {"content": row.content.name}


def test_pending_file_matches_no_row(store: FailingStore, delivery: Delivery) -> None:
    """The name of an upload is not a stored name."""
    store.save("upload.txt", upload())
    adopted = FileMeta.objects.adopt("upload.txt", delivery=delivery)
    pending = FileMeta(delivery=delivery, filename="b.txt", content=Source(b"b"))
    assert not FileMeta.objects.filter(content=Source(b"b")).exists()
    assert not FileMeta.objects.filter(content=pending.content).exists()
    pending.full_clean()
    pending.save()
    assert adopted.content.name == "upload.txt" != pending.content.name


# -- Templates --


@pytest.mark.usefixtures("without_downloads")
def test_templates_cannot_change_data(store: FailingStore, row: Any) -> None:
    """Methods that alter data are not called."""
    before, known = picture(store), state(row)
    template = Template(
        "{{ row.content.delete }}{{ row.record_removed }}{{ row.delete }}{{ row.save }}"
        "{{ row.delivery.finish }}{{ row.content.url }}{{ row.content.size }}"
    )
    assert template.render(Context({"row": row})) == str(len(OLD_BYTES))
    assert (picture(store), state(row)) == (before, known)


# -- The field --


def test_field_rejects_upload_to() -> None:
    """The layout determines the keys."""
    with pytest.raises(TypeError, match="upload_to='x'"):
        DeliveryFileField(upload_to="x")


def test_field_deconstructs_without_storage() -> None:
    """So migrations never contain a store."""
    field = DeliveryFileField(storage=storages["default"])
    _, path, args, kwargs = field.deconstruct()
    assert (path, args) == ("devilry_storage.fields.DeliveryFileField", [])
    assert kwargs == {"max_length": 255, "null": True, "unique": True}
