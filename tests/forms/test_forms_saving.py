"""A form's delivery is finished, or there is none: stores, databases and requests that fail."""

from __future__ import annotations

import errno
import hashlib
import socket
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import IntegrityError, OperationalError, connection, transaction
from django.dispatch import receiver
from django.http import HttpRequest
from django.test import RequestFactory, override_settings

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

# Not in a transaction: what is committed before something fails is what it is about.
pytestmark = pytest.mark.django_db(transaction=True)

_requests: list[HttpRequest] = []


@pytest.fixture(autouse=True)
def closed_requests() -> Iterator[None]:
    """Close the uploads of a test's requests, as Django does when it has answered."""
    yield
    while _requests:
        _requests.pop().close()


UPLOADS = {"a.txt": b"a", "blåbær.txt": "blåbær".encode(), "empty": b"", "large": b"x" * 3_000_000}


def form_of(files: dict[str, bytes], form_class: type[DeliveryForm] = DeliveryForm) -> Any:
    """Return the valid form of a request that Django has parsed."""
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


# -- A delivery --


def test_valid_form_becomes_a_finished_delivery(store: FailingStore, group: Any) -> None:
    """Its number, who delivered it, and every file with its size, SHA-256 and bytes."""
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
def test_uploads_in_temp_files_are_stored_as_those_in_memory(store: Any, group: Any) -> None:
    """However large they are, and whichever handler took them."""
    form = form_of(UPLOADS)
    assert all(hasattr(each, "temporary_file_path") for each in form.cleaned_data["uploads"])
    form.save(group)
    assert sorted(stored(store).values()) == sorted(UPLOADS.values())


def test_names_are_stored_in_nfc(store: FailingStore, group: Any) -> None:
    """As the form compared them."""
    name = unicodedata.normalize("NFD", "\u00e9")
    delivery = form_of({name: b"x"}).save(group)
    assert [row.filename for row in delivery.files] == ["\u00e9"]


def test_delivery_of_nobody_in_particular(store: FailingStore, group: Any) -> None:
    """The user may be left out, as by ``begin()``."""
    assert form_of({"a": b"a"}).save(group).delivered_by is None


# -- Stores that fail --


def test_full_store_leaves_nothing_visible_and_the_error_names_the_file(
    store: FailingStore, group: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The form tells what was not stored and why; the log has the exception."""
    store.full = True
    form = form_of({"a.txt": b"a"})
    assert form.save(group) is None
    (told,) = errors(form)
    assert told == (
        "Nothing was delivered: “a.txt” was not stored, because the store of the deliveries is "
        "full; tell those who run this site."
    )
    assert nothing_visible()
    assert not buried()
    (record,) = caplog.records
    assert record.name == "devilry_storage"
    assert record.exc_info is not None
    assert record.exc_info[1].errno == errno.ENOSPC  # type: ignore[union-attr]


@pytest.mark.parametrize("room_for", range(4))
def test_store_that_fills_up_in_between_keeps_what_was_published_and_shows_none_of_it(
    store: FailingStore, group: Any, room_for: int
) -> None:
    """Bytes may be left without a row; none is deleted because of an error."""
    store.fill_up(room_for)
    form = form_of(UPLOADS)
    assert form.save(group) is None
    assert nothing_visible()
    assert not buried()
    left = list(stored(store).values())
    assert len(left) == room_for
    assert all(data in UPLOADS.values() for data in left)


def test_delivery_succeeds_once_there_is_room_again(store: FailingStore, group: Any) -> None:
    """A failure leaves nothing that would be in the way; it gets the number 1."""
    store.fill_up(2)
    form_of(UPLOADS).save(group)
    store.before = lambda name: None  # type: ignore[method-assign]
    delivery = form_of(UPLOADS).save(group)
    assert delivery.number == 1
    assert {row.filename: row.content.read() for row in delivery.files} == UPLOADS


def test_full_disk_shows_nothing(
    group: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real file system without room: an error that names the file, and no delivery."""
    need(MOUNTS)
    with tmpfs(tmp_path / "root", "256k"):
        store = FsHierDeliveryStore(location=tmp_path / "root")
        monkeypatch.setattr(FileMeta, "deliverystore", store)
        form = form_of({"large.bin": bytes(1 << 20)})
        assert form.save(group) is None
        (told,) = errors(form)
        assert "“large.bin” was not stored, because the store of the deliveries is full" in told
        assert nothing_visible()
        assert form_of({"large.bin": bytes(1 << 20), "small.txt": b"s"}).save(group) is None
        assert nothing_visible()
        assert form_of({"small.txt": b"s"}).save(group).number == 1


@pytest.mark.servers
def test_s3_that_does_not_answer_shows_nothing_and_names_no_server(
    group: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Students read that it does not answer; where it is, is in the log."""
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
    (told,) = errors(form)
    assert told == (
        "Nothing was delivered: “a.txt” was not stored, because the store of the deliveries does "
        "not answer; try again later."
    )
    assert str(port) in caplog.text
    assert nothing_visible()


@pytest.mark.parametrize("error", [PermissionError(errno.EACCES, "no"), OSError("backend says")])
def test_other_failure_of_a_store_is_told_without_its_words(
    store: FailingStore, group: Any, error: OSError
) -> None:
    """They are about servers and folders, and for those who read the log."""

    def fail(name: str) -> None:
        raise error

    store.before = fail  # type: ignore[method-assign]
    form = form_of({"a.txt": b"a"})
    assert form.save(group) is None
    (told,) = errors(form)
    assert told == (
        "Nothing was delivered: “a.txt” was not stored, because the store of the deliveries "
        "failed; try again, or tell those who run this site."
    )
    assert nothing_visible()


# -- What fails after the bytes are stored --


@pytest.fixture
def losing(store: FailingStore) -> Iterator[None]:
    """Let the store lose what it has stored before the delivery is finished."""

    @receiver(file_stored, weak=False, dispatch_uid="losing")
    def lose(name: str, **kwargs: Any) -> None:
        store.delete(name)

    yield
    file_stored.disconnect(dispatch_uid="losing")


def test_delivery_that_cannot_be_finished_is_none(
    losing: None, store: FailingStore, group: Any
) -> None:
    """What is not whole in the store is not delivered; the words name the file, and no key."""
    form = form_of({"a.txt": b"a"})
    assert form.save(group) is None
    (told,) = errors(form)
    assert told == (
        "Nothing was delivered, because the store of the deliveries did not keep “a.txt”; try "
        "again, or tell those who run this site."
    )
    assert nothing_visible()


class Broken(Exception):
    """Something that nobody expects."""


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (IntegrityError("unique"), "somebody changed the same rows meanwhile"),
        (OperationalError("locked"), "The database failed or is busy: look whether"),
        (failure(errno.EIO), "the store of the deliveries failed"),
    ],
)
def test_failing_finish_takes_the_rows_back_and_leaves_the_bytes(
    store: FailingStore,
    group: Any,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    words: str,
) -> None:
    """The rows go as any deleted row goes: with a tombstone that keeps them for their time."""

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


def test_lost_reply_to_the_last_commit_deletes_nothing(
    store: FailingStore, group: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is finished after all, so it stays; the words say that this is for the user to see."""
    finish: Callable[[Delivery], None] = Delivery.finish

    def lose_the_reply(self: Delivery) -> None:
        finish(self)
        raise OperationalError("the connection was closed")

    monkeypatch.setattr(Delivery, "finish", lose_the_reply)
    form = form_of(UPLOADS)
    assert form.save(group) is None
    assert errors(form) == [
        "The database failed or is busy: look whether this was delivered, and try again."
    ]
    delivery = Delivery.objects.get()
    assert delivery.successful
    assert {row.filename: row.content.read() for row in delivery.files} == UPLOADS
    assert not buried()


def test_database_that_is_gone_is_told_and_what_may_be_left_is_logged(
    store: FailingStore, group: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing can be taken back then; what is left is unfinished."""
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
    assert "look whether this was delivered" in errors(form)[0]
    assert not Delivery.objects.filter(successful=True).exists()
    assert "the database is gone" in caplog.text


def test_unexpected_error_is_raised_and_leaves_nothing_visible(
    store: FailingStore, group: Any
) -> None:
    """A mistake in the code is not told to students as if the store had failed."""

    def fail(name: str) -> None:
        raise Broken

    store.before = fail  # type: ignore[method-assign]
    with pytest.raises(Broken):
        form_of({"a.txt": b"a"}).save(group)
    assert nothing_visible()


def test_interrupted_delivery_leaves_nothing_visible(
    store: FailingStore, group: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C, or a worker that is told to exit."""

    def finish(self: Delivery) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Delivery, "finish", finish)
    with pytest.raises(KeyboardInterrupt):
        form_of({"a.txt": b"a"}).save(group)
    assert nothing_visible()


def test_file_that_was_closed_before_it_was_stored_is_raised(store: Any, group: Any) -> None:
    """A mistake of the view's: nothing is delivered, and it is told who made it."""
    form = form_of({"a.txt": b"a"})
    form.cleaned_data["uploads"][0].close()
    with pytest.raises(ValueError, match="closed file"):
        form.save(group)
    assert nothing_visible()


# -- In a transaction of the caller's --


def test_failure_in_the_callers_transaction_is_told_where_it_can_go_on(
    store: FailingStore, group: Any
) -> None:
    """With ATOMIC_REQUESTS, say: what the view writes besides is committed, the delivery not."""
    store.full = True
    with transaction.atomic():
        form = form_of({"a.txt": b"a"})
        assert form.save(group) is None
        AssignmentGroup.objects.create(name="besides")
    assert AssignmentGroup.objects.filter(name="besides").exists()
    assert nothing_visible()


def test_failure_that_broke_the_callers_transaction_is_raised(
    store: FailingStore, group: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that tells it could not read a row any more."""

    def finish(self: Delivery) -> None:
        with transaction.atomic(savepoint=False):
            raise IntegrityError("unique")

    monkeypatch.setattr(Delivery, "finish", finish)
    with pytest.raises(IntegrityError), transaction.atomic():
        form_of({"a.txt": b"a"}).save(group)
    assert nothing_visible()


# -- The use of the form --


def test_form_that_is_not_valid_saves_nothing(store: FailingStore, group: Any) -> None:
    """Nor one that was saved in vain before."""
    with pytest.raises(ValueError, match=r"call save\(\) once, after is_valid\(\)"):
        DeliveryForm({}, {}).save(group)
    store.full = True
    form = form_of({"a.txt": b"a"})
    form.save(group)
    store.full = False
    with pytest.raises(ValueError, match="DeliveryForm has errors"):
        form.save(group)
    assert nothing_visible()


def test_add_files_says_which_file_failed(store: FailingStore, delivery: Delivery) -> None:
    """Whatever raised it, and whoever asks: people by a note, code by an attribute."""
    store.nearly_full = True
    with pytest.raises(OSError) as caught:  # noqa: PT011  # whichever it is
        delivery.add_files({"a.txt": ContentFile(b"12345")})
    assert caught.value.being_stored == "a.txt"  # type: ignore[attr-defined]


def test_file_that_is_added_alone_is_named_too(
    store: FailingStore, delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that cannot be inserted in bulk, a multi-table child, adds one after the other."""
    monkeypatch.setattr(MarkedFile, "deliverystore", store)
    monkeypatch.setattr(Delivery, "filemeta_model", classmethod(lambda cls: MarkedFile))
    store.fill_up(1)
    with pytest.raises(OSError) as caught:  # noqa: PT011
        delivery.add_files({"a.txt": b"a", "b.txt": b"b"})
    assert caught.value.being_stored == "b.txt"  # type: ignore[attr-defined]
    assert not MarkedFile.objects.exists()
