"""Deliveries: adding files, finishing, numbers and copies."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files import File
from django.core.files.base import ContentFile
from django.core.files.uploadedfile import SimpleUploadedFile, TemporaryUploadedFile
from django.db import IntegrityError
from django.test import override_settings
from django.utils import timezone

from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.exceptions import (
    DeliveryFinished,
    DeliveryIncomplete,
    DeliveryStateError,
    InvalidFilename,
)
from devilry_storage.resolving import store_for
from tests.harness.users import make_user
from tests.testapp.models import MarkedFile
from tests.testapp.pictures import buried, picture, state, stored
from tests.testapp.stores import OLD_BYTES, FailingStore, Source, taken_back

pytest_plugins = ["tests.testapp.fixtures"]
pytestmark = pytest.mark.django_db

DATA = "blåbær\n".encode() * 3


class Broken(Exception):
    """Raised by a source of bytes."""


def break_off() -> Iterator[bytes]:
    yield b"four"
    raise Broken


def temporary(path: Path) -> TemporaryUploadedFile:
    upload = TemporaryUploadedFile("sent.bin", "text/plain", len(DATA), None)
    upload.write(DATA)
    upload.seek(0)
    return upload


FORMS: dict[str, Callable[[Path], Any]] = {
    "bytes": lambda path: DATA,
    "bytearray": lambda path: bytearray(DATA),
    "memoryview": lambda path: memoryview(DATA),
    "str": lambda path: DATA.decode(),
    "chunks of bytes": lambda path: [DATA[:5], b"", DATA[5:]],
    "chunks of text": lambda path: ["blåbær\n", "", "blåbær\n", "blåbær\n"],
    "chunks of both": lambda path: (DATA[:9], "blåbær\n", b"bl\xc3\xa5b\xc3\xa6r\n"),
    "generator": lambda path: (bytes([byte]) for byte in DATA),
    "path": lambda path: path,
    "open file": lambda path: path.open("rb"),
    "open text file": lambda path: path.open("r", encoding="utf-8"),
    "BytesIO": lambda path: io.BytesIO(DATA),
    "StringIO": lambda path: io.StringIO(DATA.decode()),
    "File": lambda path: File(path.open("rb"), "of another name"),
    "ContentFile": lambda path: ContentFile(DATA),
    "ContentFile of text": lambda path: ContentFile(DATA.decode(), "of another name"),
    "upload in memory": lambda path: SimpleUploadedFile("sent.bin", DATA),
    "upload in a temporary file": temporary,
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "source.txt"
    path.write_bytes(DATA)
    return path


# -- add_file --


@pytest.mark.parametrize("many", [False, True])
def test_content_in_every_form_is_stored(
    many: bool, path: Path, store: FailingStore, delivery: Delivery, subtests: pytest.Subtests
) -> None:
    """An open file stays open."""
    for form, create in FORMS.items():
        with subtests.test(form), taken_back(store):
            content = create(path)
            try:
                if many:
                    (row,) = delivery.add_files({"added.txt": content})
                else:
                    row = delivery.add_file("added.txt", content)
                assert not getattr(content, "closed", False)
            finally:
                getattr(content, "close", lambda: None)()
            row = FileMeta.objects.get(pk=row.pk)
            assert (row.filename, row.delivery) == ("added.txt", delivery)
            assert (row.size, row.sha256) == (len(DATA), hashlib.sha256(DATA).hexdigest())
            assert stored(store) == {store.layout.key(delivery.pk, row.pk): DATA}


def test_empty_content_is_stored(
    store: FailingStore, group: AssignmentGroup, subtests: pytest.Subtests
) -> None:
    contents: list[Any] = [b"", "", [], [b"", ""], iter(()), io.BytesIO()]
    for content in contents:
        with subtests.test(content=content), taken_back(store):
            delivery = Delivery.begin(group)
            row = delivery.add_file("empty.txt", content)
            assert (row.size, stored(store)) == (0, {row.content.name: b""})
            delivery.finish()


@pytest.mark.parametrize("many", [False, True])
def test_unsupported_content_is_rejected(
    many: bool, store: FailingStore, delivery: Delivery, subtests: pytest.Subtests
) -> None:
    """It leaves no trace, and the file can be added later."""
    contents: list[tuple[Any, type[Exception]]] = [
        (break_off(), Broken),
        (5, TypeError),
        (None, TypeError),
        ([b"good", 5], TypeError),
        ([b"good", None], TypeError),
        (Path("/nonexistent/file"), FileNotFoundError),
        (Path("/"), IsADirectoryError),
        ("lone \ud800 surrogate", UnicodeEncodeError),
    ]
    for content, error in contents:
        with subtests.test(content=content), taken_back(store):
            before = picture(store)
            with pytest.raises(error):
                if many:
                    delivery.add_files({"bad.txt": content})
                else:
                    delivery.add_file("bad.txt", content)
            assert picture(store) == before
            delivery.add_file("bad.txt", b"good now")


def test_invalid_filename_is_rejected(
    store: FailingStore, delivery: Delivery, subtests: pytest.Subtests
) -> None:
    """Such filenames could harm users who download the file."""
    names: list[Any] = ["", " ", "..", "a/b", "a\\b", "a\x00", "x" * 256, None, b"a"]
    before = picture(store)
    for name in names:
        with subtests.test(name=name):
            with pytest.raises(InvalidFilename):
                delivery.add_file(name, b"data")
            with pytest.raises(InvalidFilename):
                delivery.add_files({"good.txt": b"data", name: b"data"})
            assert picture(store) == before


def test_taken_filename_is_rejected(store: FailingStore, delivery: Delivery, row: Any) -> None:
    """Filenames are unique in a delivery."""
    before = picture(store)
    with pytest.raises(FileExistsError, match=r"'old\.txt' .* exists already: use another"):
        delivery.add_file("old.txt", b"new")
    with pytest.raises(FileExistsError, match="exists already"):
        delivery.add_files({"new.txt": b"new", "old.txt": b"new"})
    assert picture(store) == before
    Delivery.begin(delivery.assignment_group).add_file("old.txt", b"in another delivery")


# -- add_files --


def test_add_files_stores_many_files_concurrently(store: FailingStore, delivery: Delivery) -> None:
    """Files of mixed sizes and one of many chunks. Their rows are returned in order."""
    files = {f"file {n:03}.txt": bytes([n % 256]) * (n * 37) for n in range(150)}
    large = hashlib.sha256(b"seed").digest() * 100_000
    threads = set()

    class Watched(ContentFile):  # type: ignore[type-arg]
        def chunks(self, chunk_size: int | None = None) -> Any:
            threads.add(threading.current_thread().name)
            return super().chunks(chunk_size)

    contents: dict[str, Any] = {name: Watched(data) for name, data in files.items()}
    contents["large.bin"] = (large[at : at + 4096] for at in range(0, len(large), 4096))
    files["large.bin"] = large
    rows = delivery.add_files(contents)
    assert [row.filename for row in rows] == list(files)
    for row in FileMeta.objects.all():
        data = files[row.filename]
        assert row.content.name == store.layout.key(delivery.pk, row.pk)
        assert row.content.read() == data
        assert (row.size, row.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert len(threads) > 1
    assert threading.current_thread().name not in threads
    assert delivery.add_files({}) == []
    delivery.finish()


def test_failing_content_fails_add_files(
    store: FailingStore, delivery: Delivery, row: Any
) -> None:
    """No row and no tombstone is added. Published bytes may be left as orphans."""
    before = picture(store)
    files = {**{f"{n}.txt": b"good" for n in range(20)}, "bad.txt": break_off()}
    with pytest.raises(Broken) as caught:
        delivery.add_files(files)
    if hasattr(caught.value, "__notes__"):
        assert caught.value.__notes__ == ["While the file 'bad.txt' was being stored."]
    after = picture(store)
    orphans = {name for name in after.pop("store") if name != row.content.name}
    before.pop("store")
    assert after == before
    assert all(store.is_key(name) for name in orphans)
    rows = delivery.add_files({**files, "bad.txt": b"good"})
    assert {row.content.read() for row in rows} == {b"good"}
    delivery.finish()


def _upload(data: bytes) -> TemporaryUploadedFile:
    upload = TemporaryUploadedFile("upload.bin", "text/plain", len(data), None)
    upload.write(data)
    upload.seek(0)
    return upload


def _open_file(data: bytes) -> Any:
    file = tempfile.TemporaryFile()  # noqa: SIM115  # closed by the test
    file.write(data)
    file.seek(0)
    return file


@pytest.mark.parametrize(
    "make", [_upload, _open_file, io.BytesIO, ContentFile, lambda data: [data]]
)
def test_one_file_under_several_names_is_stored_whole(
    delivery: Delivery, make: Callable[[bytes], Any]
) -> None:
    """Threads must not read it at the same time, because it has one position."""
    data = os.urandom(1 << 20)
    source = make(data)
    files = {f"{number}": source if number % 2 else File(source) for number in range(8)}
    if isinstance(source, list):
        files = dict.fromkeys("1234", source)
    for row in delivery.add_files(files):
        with row.content.open() as file:
            assert file.read() == data
    if not isinstance(source, list):
        source.close()


@pytest.mark.parametrize("make", [iter, lambda chunks: (chunk for chunk in chunks)])
def test_file_that_is_read_once_is_stored_under_one_name(
    delivery: Delivery, make: Callable[[list[bytes]], Any]
) -> None:
    source = make([b"a", b"b"])
    with pytest.raises(ValueError, match="can be read only once"):
        delivery.add_files({"one": source, "other": source})
    assert not delivery.files.exists()


def test_closed_upload_is_not_opened_by_its_name(
    delivery: Delivery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    """The current folder of the server may have a file of this name."""
    (tmp_path / "upload.bin").write_text("secret")
    monkeypatch.chdir(tmp_path)
    pending = FileMeta(delivery=delivery, content=_upload(b"data"))
    pending.content.file.close()
    uses: dict[str, Callable[[], Any]] = {
        "open": pending.content.open,
        "save": pending.save,
        "add": lambda: delivery.add_file("1", pending.content),
        "add many": lambda: delivery.add_files({"2": pending.content}),
        "assign": FileMeta(delivery=delivery, filename="3", content=pending.content).save,
    }
    for name, use in uses.items():
        with subtests.test(name), pytest.raises(ValueError, match="upload.bin|closed"):
            use()
    assert not delivery.files.exists()


def test_add_files_rejects_equivalent_filenames(delivery: Delivery) -> None:
    """Two spellings of one name in Unicode."""
    with pytest.raises(FileExistsError, match="given twice"):
        delivery.add_files({"\u00e5": b"one", "a\u030a": b"two"})
    assert not FileMeta.objects.exists()


# -- Abandoned rows --


@pytest.fixture
def abandoned(delivery: Delivery) -> Any:
    """Return a row of a writer that was killed two hours ago, without content."""
    row = FileMeta.objects.create(delivery=delivery, filename="left.txt")
    FileMeta.objects.update(created=timezone.now() - timedelta(hours=2))
    row.refresh_from_db()
    return row


@pytest.mark.parametrize("many", [False, True])
def test_abandoned_row_is_taken_over(
    many: bool, store: FailingStore, delivery: Delivery, abandoned: Any
) -> None:
    """Another file of that name reuses the row, and its id, after the grace time."""

    def add(content: Any) -> Any:
        if many:
            return delivery.add_files({"left.txt": content, "new.txt": b"new"})[0]
        return delivery.add_file("left.txt", content)

    before = picture(store)
    with pytest.raises(FileExistsError, match=r"'left\.txt' .* is still being stored \(since 20"):
        add(b"too early")
    assert picture(store) == before
    with override_settings(DELIVERY_STORE_GRACE_HOURS=1):
        with pytest.raises(Broken):
            add(break_off())
        after = picture(store)
        after.pop("store")
        before.pop("store")
        assert after == before, "a failed takeover can be repeated"
        row = add(b"taken over")
    assert row.pk == abandoned.pk
    assert row.content.read() == b"taken over"
    assert row.created > abandoned.created
    assert buried() == []
    delivery.finish()


def test_early_takeover_gives_back_the_other_rows(
    store: FailingStore, delivery: Delivery, abandoned: Any
) -> None:
    """One of several names is still being stored."""
    FileMeta.objects.create(delivery=delivery, filename="young.txt")
    before = picture(store)
    hour = override_settings(DELIVERY_STORE_GRACE_HOURS=1)
    with hour, pytest.raises(FileExistsError, match=r"young\.txt"):
        delivery.add_files({"left.txt": b"", "young.txt": b""})
    assert picture(store) == before


# -- finish --


def test_finish_sets_number_time_and_state(store: FailingStore, group: AssignmentGroup) -> None:
    """In the instance and in the database."""
    user = make_user("candidate")
    before = timezone.now()
    delivery = Delivery.begin(group, user)
    assert (delivery.number, delivery.successful, delivery.delivered_by) == (None, False, user)
    delivery.add_file("a.txt", b"a")
    delivery.add_files({"b.txt": b"b", "c.txt": b"c"})
    begun = delivery.time_of_delivery
    delivery.finish()
    for finished in (delivery, Delivery.objects.get()):
        assert (finished.number, finished.successful) == (1, True)
        assert before <= begun <= finished.time_of_delivery <= timezone.now()
    assert [row.filename for row in delivery.files] == ["a.txt", "b.txt", "c.txt"]


def test_finished_delivery_cannot_be_finished_again(delivery: Delivery, row: Any) -> None:
    """Whether its instance is stale or not."""
    stale = Delivery.objects.get(pk=delivery.pk)
    delivery.finish()
    known = Delivery.objects.values().get()
    for finished in (delivery, stale):
        with pytest.raises(DeliveryFinished, match="Begin another delivery"):
            finished.finish()
    assert Delivery.objects.values().get() == known


def damage(store: FailingStore, row: Any, how: str) -> str:
    """Damage a stored file and return a pattern of the error message."""
    name = row.content.name
    if how == "missing":
        store.delete(name)
        return r"'old\.txt' is missing in the store"
    if how == "size":
        store.delete(name)
        store.save(name, ContentFile(b"torn"))
        return rf"'old\.txt' has 4 bytes in the store, not {len(OLD_BYTES)}"
    if how == "empty":
        FileMeta.objects.create(delivery=row.delivery, filename="empty.txt")
        return r"'empty\.txt' is still being stored"
    if how == "removed":
        row.content.delete()
        return r"'old\.txt' is still being stored"
    store.save("elsewhere/adopted.txt", ContentFile(b"adopted"))
    FileMeta.objects.adopt("elsewhere/adopted.txt", delivery=row.delivery)
    store.delete("elsewhere/adopted.txt")
    if how == "adopted missing":
        return r"'adopted\.txt' is missing in the store"
    store.save("elsewhere/adopted.txt", ContentFile(b"other"))
    return r"'adopted\.txt' has 5 bytes in the store, not 7"


DAMAGES = ["missing", "size", "empty", "removed", "adopted missing", "adopted size"]


@pytest.mark.parametrize("how", DAMAGES)
def test_incomplete_delivery_cannot_be_finished(
    how: str, store: FailingStore, delivery: Delivery, row: Any
) -> None:
    """finish() looks up each file in the store and names those that are damaged."""
    delivery.add_file("good.txt", b"good")
    message = damage(store, row, how)
    before, known = picture(store), state(delivery)
    with pytest.raises(
        DeliveryIncomplete, match=f"cannot be finished: {message}.*Add these files"
    ):
        delivery.finish()
    assert (picture(store), state(delivery)) == (before, known)
    delivery.files.exclude(filename="good.txt").delete()
    delivery.finish()
    assert Delivery.objects.get().successful


def test_finish_names_ten_faults_and_counts_the_others(
    store: FailingStore, delivery: Delivery
) -> None:
    delivery.add_files({f"{n}.txt": b"data" for n in range(13)})
    store.delete_many(stored(store))
    with pytest.raises(
        DeliveryIncomplete, match=r"(is missing.*){10}; and 3 more\. Add"
    ) as caught:
        delivery.finish()
    assert str(caught.value).count("is missing") == 10


def test_empty_delivery_cannot_be_finished(delivery: Delivery) -> None:
    with pytest.raises(DeliveryIncomplete, match="has no files: add a file"):
        delivery.finish()
    assert not Delivery.objects.get().successful


def test_deleted_delivery_cannot_be_finished(
    store: FailingStore, delivery: Delivery, row: Any
) -> None:
    stale = Delivery.objects.get(pk=delivery.pk)
    delivery.delete()
    before = picture(store)
    with pytest.raises(Delivery.DoesNotExist):
        stale.finish()
    assert picture(store) == before


@pytest.mark.django_db(transaction=True)
def test_deleted_delivery_takes_no_file(store: FailingStore) -> None:
    delivery = Delivery.begin(AssignmentGroup.objects.create(name="group"))
    Delivery.objects.all().delete()
    before = picture(store)
    with pytest.raises(IntegrityError):
        delivery.add_file("a.txt", b"a")
    with pytest.raises(IntegrityError):
        delivery.add_files({"a.txt": b"a"})
    assert picture(store) == before


def test_files_of_a_finished_delivery_can_be_deleted(delivery: Delivery, row: Any) -> None:
    """And renamed, but not replaced."""
    other = delivery.add_file("other.txt", b"other")
    delivery.finish()
    row.filename = "renamed.txt"
    row.save()
    row.content.delete()
    other.delete()
    assert len(buried()) == 2
    row.content = ContentFile(b"new", "new.txt")
    with pytest.raises(DeliveryFinished):
        row.save()
    with pytest.raises(DeliveryFinished):
        delivery.add_file("new.txt", b"new")


def test_numbers_count_the_finished_deliveries_of_a_group(
    store: FailingStore, group: AssignmentGroup
) -> None:
    """In the order of finishing. Numbers are not reused."""
    other = AssignmentGroup.objects.create(name="other")
    first, second, third, elsewhere = (
        Delivery.begin(owner) for owner in (group, group, group, other)
    )
    for delivery in (second, first, elsewhere, third):
        delivery.add_file("a.txt", b"a")
        delivery.finish()
    assert [numbered.number for numbered in (first, second, third, elsewhere)] == [2, 1, 3, 1]
    first.delete()
    last = Delivery.begin(group)
    last.add_file("a.txt", b"a")
    last.finish()
    assert last.number == 4


# -- copy --


def test_copy_is_a_finished_delivery_with_its_own_bytes(
    store: FailingStore, group: AssignmentGroup
) -> None:
    """It has the next number, and the time and user of the original."""
    user = make_user("candidate")
    delivery = Delivery.begin(group, user)
    delivery.add_files({"a.txt": b"a", "b.txt": b"b", "empty.txt": b""})
    delivery.finish()
    other = AssignmentGroup.objects.create(name="other")
    for number in (1, 2):
        twin = Delivery.objects.get(pk=delivery.pk).copy(other)
        for copied in (twin, Delivery.objects.get(pk=twin.pk)):
            assert (copied.number, copied.successful) == (number, True)
            assert (copied.assignment_group, copied.copy_of) == (other, delivery)
            assert copied.time_of_delivery == delivery.time_of_delivery
            assert copied.delivered_by == user
        assert [(row.filename, row.content.read()) for row in twin.files] == [
            ("a.txt", b"a"),
            ("b.txt", b"b"),
            ("empty.txt", b""),
        ]
    assert delivery.copy(group).number == 2
    assert len(stored(store)) == 12
    delivery.delete()
    assert len(buried()) == 3
    for row in FileMeta.objects.all():
        assert len(row.content.read()) == row.size


def test_unfinished_delivery_cannot_be_copied(delivery: Delivery, row: Any) -> None:
    with pytest.raises(DeliveryStateError, match="because it is not finished: finish it first"):
        delivery.copy(delivery.assignment_group)
    assert Delivery.objects.count() == 1


@pytest.mark.parametrize("failure", ["full", "nearly_full", "unreadable", "missing"])
def test_failing_copy_leaves_nothing(
    failure: str, store: FailingStore, delivery: Delivery, row: Any
) -> None:
    """It can be repeated."""
    delivery.finish()
    name = row.content.name
    before, known = picture(store), state(delivery)
    if failure == "missing":
        store.delete(name)
    else:
        setattr(store, failure, True)
    with pytest.raises(OSError, match="No space|Input/output|has no file"):
        delivery.copy(delivery.assignment_group)
    if failure == "missing":
        store.save(name, ContentFile(OLD_BYTES))
    else:
        setattr(store, failure, False)
    assert (picture(store), state(delivery)) == (before, known)
    assert delivery.copy(delivery.assignment_group).files.get().content.read() == OLD_BYTES


def test_copy_leaves_out_rows_without_content(delivery: Delivery) -> None:
    delivery.add_files({"a.txt": b"a", "b.txt": b"b"})
    delivery.finish()
    delivery.files.get(filename="a.txt").content.delete()
    twin = delivery.copy(delivery.assignment_group)
    assert [row.filename for row in twin.files] == ["b.txt"]


# -- Models and stores --


def test_filemeta_model_is_neither_proxy_nor_child() -> None:
    assert Delivery.filemeta_model() is FileMeta


def test_row_of_a_child_model_is_a_delivered_file(delivery: Delivery) -> None:
    MarkedFile.objects.create(
        delivery=delivery, filename="child.txt", content=Source(b"child"), mark="A"
    )
    assert [row.filename for row in delivery.files] == ["child.txt"]
    delivery.finish()


def test_store_methods_accept_rows(store: FailingStore, delivery: Delivery) -> None:
    """Those of Devilry: write, exists, read, copy and remove."""
    row = FileMeta.objects.create(delivery=delivery, filename="a.txt")
    other = FileMeta.objects.create(delivery=delivery, filename="b.txt")
    assert store_for(row) is store
    assert not store.exists(row)
    with pytest.raises(FileNotFoundError) as caught:
        store.read_open(row)
    assert caught.value.filemeta is row  # type: ignore[attr-defined]
    with store.write_open(row) as writer:
        writer.write("hello")
        writer.write(b"world")
    assert store.exists(row)
    with store.read_open(row) as file:
        assert file.read() == b"helloworld"
    store.copy(row, other)
    assert (other.size, other.content.read()) == (10, b"helloworld")
    store.remove(row)
    assert not store.exists(row)
    assert not FileMeta.objects.get(pk=row.pk).content
    with pytest.raises(FileNotFoundError):
        store.remove(row)
    with pytest.raises(ValueError, match="save it"):
        store.write_open(FileMeta(delivery=delivery))
    assert len(buried()) == 1


@pytest.mark.parametrize("error", [Broken, KeyboardInterrupt])
def test_writer_left_by_an_exception_keeps_the_old_bytes(
    error: type[BaseException], store: FailingStore, row: Any
) -> None:
    before, known = picture(store), state(row)
    with pytest.raises(error), store.write_open(row) as writer:
        writer.write(b"half")
        raise error
    assert (picture(store), state(row)) == (before, known)
