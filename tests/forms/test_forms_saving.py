"""DeliveryForm.save(): a finished delivery, or none if the store or the database fails."""

from __future__ import annotations

import errno
import hashlib
import socket
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.files.base import ContentFile
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.validators import FileExtensionValidator
from django.db import IntegrityError, OperationalError, connection, transaction
from django.db.models import signals
from django.dispatch import receiver
from django.http import HttpRequest
from django.test import RequestFactory, override_settings
from django.utils.datastructures import MultiValueDict

from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.forms import DeliveryForm
from devilry_storage.models import Tombstone
from devilry_storage.signals import file_stored
from devilry_storage.storages import FsHierDeliveryStore, S3DeliveryStore
from tests.harness.users import make_user
from tests.testapp.models import MarkedFile
from tests.testapp.pictures import buried, stored
from tests.testapp.stores import FailingStore, failure

from ..harness.machine import MOUNTS, need
from ..harness.mounting import tmpfs

pytest_plugins = ["tests.testapp.fixtures"]

# Not in a transaction: these tests depend on what is committed before a failure.
pytestmark = pytest.mark.django_db(transaction=True)

_requests: list[HttpRequest] = []


@pytest.fixture(autouse=True)
def closed_requests() -> Iterator[None]:
    """Close the uploads of a test's requests, as Django does after the response."""
    yield
    while _requests:
        _requests.pop().close()


UPLOADS = {"a.txt": b"a", "blåbær.txt": "blåbær".encode(), "empty": b"", "large": b"x" * 3_000_000}


def test_validators_of_the_content_are_run(
    store: FailingStore, group: Any, monkeypatch: Any
) -> None:
    """Each of them for each upload, which is stored whole afterwards."""

    def starts_with_a(file: Any) -> None:
        if file.read(1) != b"a":
            raise ValidationError("no a")

    chosen = [FileExtensionValidator(["txt"]), starts_with_a, starts_with_a]
    monkeypatch.setitem(vars(FileMeta._meta.get_field("content")), "validators", chosen)
    uploads = [SimpleUploadedFile("x.exe", b"abc"), SimpleUploadedFile("x.txt", b"bc")]
    form = DeliveryForm({"end": "end"}, MultiValueDict({"uploads": uploads}))
    errors = [str(error).split(" ")[0] for error in form.errors["uploads"]]
    assert errors == ["“x.exe”:", "“x.txt”:", "“x.txt”:"]
    saved = form_of({"a.txt": b"abc"}).save(group)
    assert [file.content.read() for file in saved.files.all()] == [b"abc"]


def test_receiver_that_refuses_a_file_is_reported(store: FailingStore, group: Any) -> None:
    """In its own words; none of the files is delivered."""

    def scan(instance: Any, **kwargs: Any) -> None:
        if instance.content.is_pending_file and instance.content.read() == b"virus":
            raise ValidationError(f"{instance.filename} is infected.")

    signals.pre_save.connect(scan, sender=FileMeta)
    try:
        form = form_of({"a.txt": b"a", "b.txt": b"virus"})
        assert form.save(group) is None
        assert form.non_field_errors() == ["b.txt is infected."]
        assert not Delivery.objects.exists()
        saved = form_of({"a.txt": b"a", "b.txt": b"b"}).save(group)
        assert [file.content.read() for file in saved.files.all()] == [b"a", b"b"]
    finally:
        signals.pre_save.disconnect(scan, sender=FileMeta)


def form_of(files: dict[str, bytes], form_class: type[DeliveryForm] = DeliveryForm) -> Any:
    """Return the valid form of a request parsed by Django."""
    uploads = [SimpleUploadedFile(name, data) for name, data in files.items()]
    request = RequestFactory().post("/", {"uploads": uploads, "end": "end"})
    _requests.append(request)
    form = form_class(request.POST, request.FILES)
    assert form.is_valid(), form.errors
    return form


def errors(form: DeliveryForm) -> list[str]:
    return [str(error) for error in form.non_field_errors()]


def nothing_visible() -> bool:
    return not Delivery.objects.exists() and not FileMeta.objects.exists()


# -- Successful deliveries --


def test_save_creates_finished_delivery(store: FailingStore, group: Any) -> None:
    """With number, user, and size, SHA-256 and content of every file."""
    user = make_user("anna")
    form = form_of(UPLOADS)
    delivery = form.save(group, user)
    assert not form.errors
    found = Delivery.objects.get()
    assert found == delivery
    assert (found.number, found.successful, found.assignment_group) == (1, True, group)
    assert found.delivered_by == user
    rows = {row.filename: row for row in found.files}
    assert rows.keys() == UPLOADS.keys()
    for name, data in UPLOADS.items():
        assert (rows[name].size, rows[name].sha256) == (
            len(data),
            hashlib.sha256(data).hexdigest(),
        )
        assert rows[name].content.read() == data


@override_settings(FILE_UPLOAD_MAX_MEMORY_SIZE=0)
def test_uploads_in_temporary_files_are_stored(store: Any, group: Any) -> None:
    """For any size and upload handler."""
    form = form_of(UPLOADS)
    assert all(hasattr(file, "temporary_file_path") for file in form.cleaned_data["uploads"])
    form.save(group)
    assert sorted(stored(store).values()) == sorted(UPLOADS.values())


def test_names_are_stored_in_nfc(store: FailingStore, group: Any) -> None:
    """In the same form as the form compares them."""
    name = unicodedata.normalize("NFD", "\u00e9")
    delivery = form_of({name: b"x"}).save(group)
    assert [row.filename for row in delivery.files] == ["\u00e9"]


def test_user_of_save_is_optional(store: FailingStore, group: Any) -> None:
    """As for ``begin()``."""
    assert form_of({"a": b"a"}).save(group).delivered_by is None


# -- Stores that fail --


def test_full_store_is_reported_with_the_filename(
    store: FailingStore, group: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is visible. The form has the reason, and the exception is logged."""
    store.full = True
    form = form_of({"a.txt": b"a"})
    assert form.save(group) is None
    (message,) = errors(form)
    assert message == (
        "Nothing was delivered: “a.txt” was not stored, because the server has no space left; "
        "please contact the administrators."
    )
    assert nothing_visible()
    assert not buried()
    (record,) = caplog.records
    assert record.name == "devilry_storage"
    assert record.exc_info is not None
    assert record.exc_info[1].errno == errno.ENOSPC  # type: ignore[union-attr]


@pytest.mark.parametrize("room_for", range(4))
def test_store_that_fills_up_keeps_stored_bytes_but_shows_nothing(
    store: FailingStore, group: Any, room_for: int
) -> None:
    """Bytes may be left without a row, but an error never deletes stored bytes."""
    store.fill_up(room_for)
    form = form_of(UPLOADS)
    assert form.save(group) is None
    assert nothing_visible()
    assert not buried()
    left = list(stored(store).values())
    assert len(left) == room_for
    assert all(data in UPLOADS.values() for data in left)


def test_delivery_succeeds_after_space_is_freed(store: FailingStore, group: Any) -> None:
    """The failed attempt does not block it. The delivery has the number 1."""
    store.fill_up(2)
    form_of(UPLOADS).save(group)
    store.before = lambda name: None  # type: ignore[method-assign]
    delivery = form_of(UPLOADS).save(group)
    assert delivery.number == 1
    assert {row.filename: row.content.read() for row in delivery.files} == UPLOADS


def test_full_disk_leaves_no_delivery(
    group: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a real file system without space, the error names the file."""
    need(MOUNTS)
    with tmpfs(tmp_path / "root", "256k"):
        store = FsHierDeliveryStore(location=tmp_path / "root")
        monkeypatch.setattr(FileMeta, "deliverystore", store)
        form = form_of({"large.bin": bytes(1 << 20)})
        assert form.save(group) is None
        (message,) = errors(form)
        assert "“large.bin” was not stored, because the server has no space left" in message
        assert nothing_visible()
        assert form_of({"large.bin": bytes(1 << 20), "small.txt": b"s"}).save(group) is None
        assert nothing_visible()
        assert form_of({"small.txt": b"s"}).save(group).number == 1


@pytest.mark.servers
def test_unreachable_s3_is_reported_without_server_name(
    group: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Users read that the storage does not respond. The log has the address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    store = S3DeliveryStore(
        bucket_name="precious",
        endpoint_url=f"http://127.0.0.1:{port}",
        access_key="key",
        secret_key="secret",
        region_name="us-east-1",
        attempts=2,
    )
    monkeypatch.setattr(FileMeta, "deliverystore", store)
    form = form_of({"a.txt": b"a"})
    assert form.save(group) is None
    (message,) = errors(form)
    assert message == (
        "Nothing was delivered: “a.txt” was not stored, because the file storage does not "
        "respond; try again later."
    )
    assert str(port) in caplog.text
    assert nothing_visible()


@pytest.mark.parametrize("error", [PermissionError(errno.EACCES, "no"), OSError("backend says")])
def test_other_store_errors_are_reported_without_details(
    store: FailingStore, group: Any, error: OSError
) -> None:
    """The details concern servers and folders, and are only logged."""

    def fail(name: str) -> None:
        raise error

    store.before = fail  # type: ignore[method-assign]
    form = form_of({"a.txt": b"a"})
    assert form.save(group) is None
    (message,) = errors(form)
    assert message == (
        "Nothing was delivered: “a.txt” was not stored, because the file storage failed; try "
        "again or contact the administrators."
    )
    assert nothing_visible()


# -- Failures after the bytes are stored --


@pytest.fixture
def losing(store: FailingStore) -> Iterator[None]:
    """Delete each stored file before the delivery is finished."""

    @receiver(file_stored, weak=False, dispatch_uid="losing")
    def lose(name: str, **kwargs: Any) -> None:
        store.delete(name)

    yield
    file_stored.disconnect(dispatch_uid="losing")


def test_delivery_with_missing_file_is_not_created(
    losing: None, store: FailingStore, group: Any
) -> None:
    """The error has the filename and no key."""
    form = form_of({"a.txt": b"a"})
    assert form.save(group) is None
    (message,) = errors(form)
    assert message == (
        "Nothing was delivered, because the file storage did not save “a.txt”; try again or "
        "contact the administrators."
    )
    assert nothing_visible()


class UnexpectedError(Exception):
    """An exception that save() does not handle."""


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (IntegrityError("unique"), "the same data was changed at the same time by another user"),
        (OperationalError("locked"), "The database failed or is busy: check whether"),
        (failure(errno.EIO), "the file storage failed"),
    ],
)
def test_failing_finish_deletes_rows_and_keeps_bytes(
    store: FailingStore, group: Any, monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    """The rows are deleted as usual, with tombstones."""

    def finish(self: Delivery) -> None:
        raise error

    monkeypatch.setattr(Delivery, "finish", finish)
    form = form_of(UPLOADS)
    assert form.save(group) is None
    assert words in errors(form)[0]
    assert form.perhaps_delivered is isinstance(error, OperationalError)
    assert nothing_visible()
    assert sorted(stored(store).values()) == sorted(UPLOADS.values())
    assert buried() == sorted(stored(store))
    assert all(tombstone.rows for tombstone in Tombstone.objects.all())


def test_lost_commit_reply_deletes_nothing(
    store: FailingStore, group: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The delivery is finished and remains. The error asks the user to check it."""
    finish: Callable[[Delivery], None] = Delivery.finish

    def lose_the_reply(self: Delivery) -> None:
        finish(self)
        raise OperationalError("the connection was closed")

    monkeypatch.setattr(Delivery, "finish", lose_the_reply)
    form = form_of(UPLOADS)
    assert form.save(group) is None
    (message,) = errors(form)
    assert message == (
        "The database failed or is busy: check whether your delivery was recorded before trying "
        "again."
    )
    delivery = Delivery.objects.get()
    assert delivery.successful
    assert {row.filename: row.content.read() for row in delivery.files} == UPLOADS
    assert not buried()


def test_lost_database_is_reported_and_logged(
    store: FailingStore, group: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The unfinished rows cannot be deleted and remain."""
    gone = False

    def execute(run: Any, sql: str, *arguments: Any) -> Any:
        nonlocal gone
        gone = gone or "devilry_deliveries_filemeta" in sql
        if gone:
            raise OperationalError("the database is gone")
        return run(sql, *arguments)

    form = form_of({"a.txt": b"a"})
    with connection.execute_wrapper(execute):
        assert form.save(group) is None
    assert "check whether your delivery was recorded" in errors(form)[0]
    assert not Delivery.objects.filter(successful=True).exists()
    assert "the database is gone" in caplog.text


def test_unexpected_error_leaves_nothing_visible(store: FailingStore, group: Any) -> None:
    """Programming errors are raised instead of being reported to students."""

    def fail(name: str) -> None:
        raise UnexpectedError

    store.before = fail  # type: ignore[method-assign]
    with pytest.raises(UnexpectedError):
        form_of({"a.txt": b"a"}).save(group)
    assert nothing_visible()


def test_interrupted_delivery_leaves_nothing_visible(
    store: FailingStore, group: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By Ctrl-C, or when a worker exits."""

    def finish(self: Delivery) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Delivery, "finish", finish)
    with pytest.raises(KeyboardInterrupt):
        form_of({"a.txt": b"a"}).save(group)
    assert nothing_visible()


def test_closed_upload_raises_value_error(store: Any, group: Any) -> None:
    """This is an error in the view. Nothing is delivered."""
    form = form_of({"a.txt": b"a"})
    form.cleaned_data["uploads"][0].close()
    with pytest.raises(ValueError, match="closed file"):
        form.save(group)
    assert nothing_visible()


# -- Within the caller's transaction --


def test_failure_in_usable_transaction_is_reported(store: FailingStore, group: Any) -> None:
    """As with ATOMIC_REQUESTS: only other changes of the view are committed."""
    store.full = True
    with transaction.atomic():
        form = form_of({"a.txt": b"a"})
        assert form.save(group) is None
        AssignmentGroup.objects.create(name="other")
    assert AssignmentGroup.objects.filter(name="other").exists()
    assert nothing_visible()


def test_failure_in_unusable_transaction_is_raised(
    store: FailingStore, group: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page with the error could not query the database."""

    def finish(self: Delivery) -> None:
        with transaction.atomic(savepoint=False):
            raise IntegrityError("unique")

    monkeypatch.setattr(Delivery, "finish", finish)
    with pytest.raises(IntegrityError), transaction.atomic():
        form_of({"a.txt": b"a"}).save(group)
    assert nothing_visible()


# -- Misuse, and names of failed files --


def test_invalid_form_saves_nothing(store: FailingStore, group: Any) -> None:
    """The same applies to a form whose save() has failed."""
    with pytest.raises(ValueError, match=r"call save\(\) once, after is_valid\(\)"):
        DeliveryForm({}, {}).save(group)
    store.full = True
    form = form_of({"a.txt": b"a"})
    form.save(group)
    store.full = False
    with pytest.raises(ValueError, match="DeliveryForm has errors"):
        form.save(group)
    assert nothing_visible()


def test_add_files_reports_the_failed_file(store: FailingStore, delivery: Delivery) -> None:
    """By a note for people and by an attribute for code."""
    store.nearly_full = True
    with pytest.raises(OSError) as caught:  # noqa: PT011  # whichever it is
        delivery.add_files({"a.txt": ContentFile(b"12345")})
    assert caught.value.being_stored == "a.txt"  # type: ignore[attr-defined]


def test_add_files_without_bulk_reports_the_failed_file(
    store: FailingStore, delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Multi-table child models cannot be inserted in bulk, so files are added one by one."""
    monkeypatch.setattr(MarkedFile, "deliverystore", store)
    monkeypatch.setattr(Delivery, "filemeta_model", classmethod(lambda cls: MarkedFile))
    store.fill_up(1)
    with pytest.raises(OSError) as caught:  # noqa: PT011
        delivery.add_files({"a.txt": b"a", "b.txt": b"b"})
    assert caught.value.being_stored == "b.txt"  # type: ignore[attr-defined]
    assert not MarkedFile.objects.exists()
