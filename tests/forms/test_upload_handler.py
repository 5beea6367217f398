"""DeliveryUploadHandler: uploads are written once, into the store that keeps them."""

from __future__ import annotations

import gc
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage
from django.core.files.uploadedfile import TemporaryUploadedFile
from django.core.files.uploadhandler import FileUploadHandler, StopUpload
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from django.test.client import BOUNDARY, encode_multipart
from django.urls import path

from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.exceptions import StoreNotRecognised, UnsafeEntry
from devilry_storage.forms import DeliveryForm
from devilry_storage.storages import DeliveryStoreMixin, FsHierDeliveryStore
from devilry_storage.storages.received import Received
from devilry_storage.storages.spool import Spool
from devilry_storage.storages.staged import Staged
from devilry_storage.testing import MemoryDeliveryStore, override_deliverystore
from devilry_storage.uploads import DeliveryUploadHandler

from ..harness.machine import PROC, need

pytest_plugins = ["tests.testapp.fixtures"]
pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]

MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"

#: Above FILE_UPLOAD_MAX_MEMORY_SIZE.
DATA = os.urandom(3_000_000)


def deliver(request: HttpRequest) -> HttpResponse:
    """Create a delivery, as the view of a site does."""
    form = DeliveryForm(request.POST, request.FILES)
    if form.is_valid() and form.save(AssignmentGroup.objects.get()):
        return HttpResponse("delivered")
    return HttpResponse(form.as_div(), status=422)


def fail(request: HttpRequest) -> HttpResponse:
    """Raise an exception after the request has arrived."""
    assert request.FILES
    raise RuntimeError


urlpatterns = [path("deliver/", deliver), path("fail/", fail)]


@pytest.fixture(autouse=True)
def _handlers(settings: Any) -> None:
    settings.FILE_UPLOAD_HANDLERS = [
        "django.core.files.uploadhandler.MemoryFileUploadHandler",
        "devilry_storage.uploads.DeliveryUploadHandler",
    ]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[FsHierDeliveryStore]:
    store = FsHierDeliveryStore(tmp_path / "store", durable=False)
    with override_deliverystore(store):
        yield store
        gc.collect()
        assert temps(store) == []


def temps(store: FsHierDeliveryStore) -> list[Path]:
    return [*Path(store.location, ".devilry-storage", "tmp").glob("*")]


def received(data: bytes = DATA, name: str = "a.bin") -> Received:
    """Return an upload that a request contains."""
    request = RequestFactory().post("/", {"uploads": ContentFile(data, name), "end": "end"})
    upload = request.FILES["uploads"]
    assert isinstance(upload, Received)
    return upload


def read(store: DeliveryStoreMixin, name: str) -> bytes:
    return b"".join(store.stream(name))


def transferred() -> tuple[int, int]:
    """Return how many bytes this process has read and written so far."""
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(lines["rchar"]), int(lines["wchar"])


@pytest.mark.parametrize("count", [1, 3])
def test_upload_is_written_once_and_not_read(
    client: Client, disk: FsHierDeliveryStore, group: Any, count: int
) -> None:
    """By a form with one file or several, whose bytes and checksums are those of the request."""
    need(PROC)
    files = {f"{number}.bin": bytes([number]) + DATA for number in range(count)}
    uploads = [ContentFile(data, name) for name, data in files.items()]
    body = encode_multipart(BOUNDARY, {"uploads": uploads, "end": "end"})
    reads, writes = transferred()
    response = client.post("/deliver/", body, content_type=MULTIPART)
    more_reads, more_writes = transferred()
    assert response.content == b"delivered"
    # The rest is the database's.
    assert count * len(DATA) < more_writes - writes < count * len(DATA) + 1_000_000
    assert more_reads - reads < 1_000_000
    stored = Delivery.objects.get().files
    assert {row.filename: read(disk, row.content.name) for row in stored} == files
    assert all(b"".join(disk.stream(row.content.name, sha256=row.sha256)) for row in stored)
    assert {Path(disk.path(row.content.name)).stat().st_nlink for row in stored} == {1}


def test_row_and_plain_save_publish_the_upload_itself(
    disk: FsHierDeliveryStore, group: Any
) -> None:
    """Validators and receivers read the upload before."""
    upload = received()
    (temp,) = temps(disk)
    inode = temp.stat().st_ino
    row: Any = FileMeta(delivery=Delivery.begin(group), filename="a.bin", content=upload)
    row.content.field.validators.append(read_by_validator := _Reads())
    try:
        row.full_clean()
    finally:
        row.content.field.validators.remove(read_by_validator)
    row.save()
    assert read_by_validator.data == DATA
    assert Path(disk.path(row.content.name)).stat().st_ino == inode
    assert (row.size, read(disk, row.content.name)) == (len(DATA), DATA)
    assert upload.read() == DATA
    upload = received()
    (temp,) = temps(disk)
    inode = temp.stat().st_ino
    assert Path(disk.path(disk.save("plain.bin", upload))).stat().st_ino == inode


class _Reads:
    data = b""

    def __call__(self, file: Any) -> None:
        self.data = file.read()


def _write(upload: Received, disk: FsHierDeliveryStore) -> None:
    with temps(disk)[0].open("r+b") as file:
        file.write(b"x")


def _append(upload: Received, disk: FsHierDeliveryStore) -> None:
    with temps(disk)[0].open("ab") as file:
        file.write(b"x")


def _exchange(upload: Received, disk: FsHierDeliveryStore) -> None:
    (temp,) = temps(disk)
    temp.unlink()
    temp.write_bytes(b"another file")


def _overridden(upload: Received, disk: FsHierDeliveryStore) -> None:
    vars(upload)["chunks"] = lambda chunk_size=None: iter([b"changed"])


def _save_before(upload: Received, disk: FsHierDeliveryStore) -> None:
    disk.save("before.bin", upload)


class _Site(Received):
    def chunks(self, chunk_size: int | None = None) -> Iterator[bytes]:
        yield b"changed"


CASES: dict[str, tuple[Callable[[Received, FsHierDeliveryStore], object], bytes]] = {
    "written to": (_write, b"x" + DATA[1:]),
    "appended to": (_append, DATA + b"x"),
    "hard link": (lambda upload, disk: os.link(temps(disk)[0], f"{disk.location}/other"), DATA),
    "removed": (lambda upload, disk: temps(disk)[0].unlink(), DATA),
    "other file": (lambda upload, disk: setattr(upload, "file", io.BytesIO(b"new")), b"new"),
    "other chunks": (_overridden, b"changed"),
    "subclass": (lambda upload, disk: setattr(upload, "__class__", _Site), b"changed"),
    "saved before": (_save_before, DATA),
    "modes": (lambda upload, disk: setattr(disk, "_file_permissions_mode", 0o600), DATA),
}


@pytest.mark.parametrize("way", ["save", "row"])
@pytest.mark.parametrize(("change", "expected"), CASES.values(), ids=CASES)
def test_changed_upload_is_copied(
    change: Any, expected: bytes, way: str, disk: FsHierDeliveryStore, group: Any
) -> None:
    """What is stored is what the upload contains, and no other name shares its inode."""
    upload = received()
    inode = temps(disk)[0].stat().st_ino
    change(upload, disk)
    vars(disk).pop("file_permissions_mode", None)  # cached by Django
    if way == "save":
        name = disk.save("plain.bin", upload)
    else:
        row = Delivery.begin(group).add_file("a.bin", upload)
        assert row.size == len(expected)
        name = row.content.name
    stored = Path(disk.path(name))
    assert stored.read_bytes() == expected
    assert stored.stat().st_nlink == 1
    if change is not _save_before:
        assert stored.stat().st_ino != inode
    upload.close()


def test_exchanged_temp_file_is_neither_stored_nor_removed(disk: FsHierDeliveryStore) -> None:
    """Another user's file has the name of the temp file."""
    upload = received()
    _exchange(upload, disk)
    assert read(disk, disk.save("plain.bin", upload)) == DATA
    (other,) = temps(disk)
    assert other.read_bytes() == b"another file"
    other.unlink()


@pytest.mark.parametrize("kind", ["file", "fifo"])
def test_temp_file_exchanged_while_it_is_received_is_an_error(
    disk: FsHierDeliveryStore, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Neither are its bytes read as the upload, nor does the request hang."""
    real = Staged.reader

    def reader(self: Staged) -> Any:
        (temp,) = temps(disk)
        temp.unlink()
        os.mkfifo(temp) if kind == "fifo" else temp.write_bytes(b"another file")
        return real(self)

    monkeypatch.setattr(Staged, "reader", reader)
    with pytest.raises(UnsafeEntry, match="exchanged"):
        received()
    (other,) = temps(disk)
    other.unlink()


def test_unmounted_store_receives_nothing(
    disk: FsHierDeliveryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folders are not made at the mount point."""

    def refuse(*args: Any) -> None:
        raise StoreNotRecognised

    monkeypatch.setattr("devilry_storage.uploads.check_writing", refuse)
    request = RequestFactory().post("/", {"uploads": ContentFile(DATA, "a.bin")})
    assert isinstance(request.FILES["uploads"], TemporaryUploadedFile)
    request.FILES["uploads"].close()
    assert not Path(disk.location).exists()


def test_spooled_upload_has_a_position_of_its_own() -> None:
    """A scanner may read it while it is stored."""
    with Spool(memory=1) as spool:
        spool.write(DATA)
        with spool.reader() as reader:
            assert (reader.read(10), spool.tell()) == (DATA[:10], len(DATA))
            spool.seek(5)
            assert reader.read(10) == DATA[10:20]


def test_upload_is_copied_to_another_store(disk: FsHierDeliveryStore, tmp_path: Path) -> None:
    """Of another location or of another kind, and from a store in memory to one on disk."""
    others: list[DeliveryStoreMixin] = [
        FsHierDeliveryStore(tmp_path / "other", durable=False),
        MemoryDeliveryStore(),
    ]
    for other in others:
        assert read(other, other.save("a.bin", received())) == DATA
    with override_deliverystore(MemoryDeliveryStore()):
        upload = received()
    assert read(disk, disk.save("a.bin", upload)) == DATA


def test_upload_is_copied_if_the_root_leads_elsewhere(tmp_path: Path) -> None:
    """The root may be a symlink, and the temp file may be on another file system than it now."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    root = tmp_path / "root"
    root.symlink_to(tmp_path / "one")
    store = FsHierDeliveryStore(root, durable=False)
    with override_deliverystore(store):
        upload = received()
        (temp,) = temps(store)
        inode = temp.stat().st_ino
        root.unlink()
        root.symlink_to(tmp_path / "two")
        stored = tmp_path / "two" / store.save("a.bin", upload)
    assert stored.read_bytes() == DATA
    assert stored.stat().st_ino != inode
    upload.close()


def test_spooled_upload_is_not_copied(group: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """For stores without folders of their own; it stays readable afterwards."""
    with override_deliverystore(MemoryDeliveryStore()):
        upload = received()
        assert upload.read(10) == DATA[:10]
        delivery = Delivery.begin(group)
        with monkeypatch.context() as patched:
            patched.setattr("devilry_storage.storages.writer.Writer.write", None)
            row = delivery.add_file("a.bin", upload)
        again = delivery.add_file("b.bin", upload)
        for stored in (row, again):
            assert read(stored.content.storage, stored.content.name) == DATA


@pytest.mark.parametrize("end", ["", "end"])
def test_rejected_form_leaves_nothing(
    client: Client, disk: FsHierDeliveryStore, group: Any, end: str, settings: Any
) -> None:
    """An incomplete form, and one with a file that is too large."""
    settings.DELIVERY_STORE_UPLOAD_MAX_BYTES = len(DATA) - 1 if end else len(DATA)
    page = client.post("/deliver/", {"uploads": ContentFile(DATA, "a.bin"), "end": end})
    assert page.status_code == 422
    expected = "the file is too large" if end else "The upload was interrupted"
    assert expected in page.content.decode()
    assert not [*disk.scan()]
    assert temps(disk) == []


def test_exceptions_leave_nothing(client: Client, disk: FsHierDeliveryStore, group: Any) -> None:
    """In the view, in another handler, and in the parser of a request that ends."""
    files = {"uploads": ContentFile(DATA, "a.bin"), "end": "end"}
    with pytest.raises(RuntimeError):
        client.post("/fail/", files)
    assert temps(disk) == []
    body = encode_multipart(BOUNDARY, {"uploads": ContentFile(DATA, "a.bin"), "end": "end"})
    factory = RequestFactory()
    request = factory.post("/", body[:2_900_000], content_type=MULTIPART)
    assert not request.FILES
    gc.collect()
    assert temps(disk) == []
    request = factory.post("/", body, content_type=MULTIPART)
    request.upload_handlers = [_Stops(request), DeliveryUploadHandler(request)]
    assert not request.FILES
    assert temps(disk) == []


class _Stops(FileUploadHandler):
    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes:
        if start > 100_000:
            raise StopUpload(connection_reset=True)
        return raw_data

    def file_complete(self, file_size: int) -> None:
        pass


def test_failed_save_can_be_repeated_with_the_same_upload(
    disk: FsHierDeliveryStore, group: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second attempt copies the bytes."""
    upload = received()
    delivery = Delivery.begin(group)
    with monkeypatch.context() as patched:
        patched.setattr(os, "link", _no_space)
        with pytest.raises(OSError, match="No space"):
            delivery.add_file("a.bin", upload)
    assert read(disk, delivery.add_file("b.bin", upload).content.name) == DATA


def _no_space(*args: Any, **kwargs: Any) -> None:
    raise OSError(28, "No space left on device")


def test_upload_cannot_be_written_to(disk: FsHierDeliveryStore) -> None:
    """Not by the file, its descriptor or the file inside of it."""
    upload = received()
    file: Any = upload.file
    for write in (upload.write, file.write):
        with pytest.raises(io.UnsupportedOperation):
            write(b"x")
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.write(upload.fileno(), b"x")
    assert (upload.size, upload.multiple_chunks(), upload.closed) == (len(DATA), True, False)
    assert b"".join(upload.chunks()) == DATA
    upload.close()
    assert upload.closed


def test_django_storage_copies_the_upload(disk: FsHierDeliveryStore, tmp_path: Path) -> None:
    """It does not get the path, by which it would move the file of the store."""
    upload = received()
    plain = FileSystemStorage(tmp_path / "plain")
    assert Path(plain.path(plain.save("a.bin", upload))).read_bytes() == DATA
    assert read(disk, disk.save("a.bin", upload)) == DATA


def test_small_upload_stays_in_memory(disk: FsHierDeliveryStore) -> None:
    """As with Django's handlers."""
    request = RequestFactory().post("/", {"uploads": ContentFile(b"small", "a.bin")})
    assert type(request.FILES["uploads"]).__name__ == "InMemoryUploadedFile"


def test_store_that_receives_nothing_makes_the_form_fail(
    client: Client, tmp_path: Path, group: Any, caplog: Any
) -> None:
    """The upload goes to Django's temporary folder, and the form reports the error."""
    tmp_path.joinpath("file").write_bytes(b"")
    with override_deliverystore(FsHierDeliveryStore(tmp_path / "file" / "store")):
        page = client.post("/deliver/", {"uploads": ContentFile(DATA, "a.bin"), "end": "end"})
    assert page.status_code == 422
    assert "The store cannot receive the upload 'a.bin'." in caplog.text
    assert not Delivery.objects.exists()


def test_child_process_copies_the_upload(disk: FsHierDeliveryStore) -> None:
    """A forked child neither publishes nor removes the temp file of its parent."""
    upload = received()
    child = os.fork()
    if not child:
        code = 1
        try:
            stored = disk.save("child.bin", upload)
            code = 0 if Path(disk.path(stored)).read_bytes() == DATA else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    (temp,) = temps(disk)
    assert temp.stat().st_ino == Path(disk.path(disk.save("parent.bin", upload))).stat().st_ino


def test_invalid_file_is_reported_by_validators(disk: FsHierDeliveryStore, group: Any) -> None:
    """A validator that rejects the upload keeps it out of the store."""
    upload = received()
    row = FileMeta(delivery=Delivery.begin(group), filename="a.bin", content=upload)
    row.content.field.validators.append(_reject)
    try:
        with pytest.raises(ValidationError):
            row.full_clean()
    finally:
        row.content.field.validators.remove(_reject)
    upload.close()
    assert temps(disk) == []


def _reject(file: Any) -> None:
    raise ValidationError(f"{file.size} bytes")
