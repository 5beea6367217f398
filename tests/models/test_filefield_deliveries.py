"""Deliveries: begun, given files in every form, finished, numbered, copied."""

from __future__ import annotations

import hashlib
import io
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
    """What a source raises."""


def break_off() -> Iterator[bytes]:
    yield b"four"
    raise Broken


def temporary(path: Path) -> TemporaryUploadedFile:
    made = TemporaryUploadedFile("sent.bin", "text/plain", len(DATA), None)
    made.write(DATA)
    made.seek(0)
    return made


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
    made = tmp_path / "source.txt"
    made.write_bytes(DATA)
    return made


# -- add_file --


@pytest.mark.parametrize("many", [False, True])
def test_a_file_in_every_form(
    many: bool, path: Path, store: FailingStore, delivery: Delivery, subtests: pytest.Subtests
) -> None:
    """add_file() and add_files() take whatever a site has; an open file stays open."""
    for form, made in FORMS.items():
        with subtests.test(form), taken_back(store):
            content = made(path)
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


def test_an_empty_file(
    store: FailingStore, group: AssignmentGroup, subtests: pytest.Subtests
) -> None:
    """Nothing at all is an empty file."""
    contents: list[Any] = [b"", "", [], [b"", ""], iter(()), io.BytesIO()]
    for content in contents:
        with subtests.test(content=content), taken_back(store):
            delivery = Delivery.begin(group)
            row = delivery.add_file("empty.txt", content)
            assert (row.size, stored(store)) == (0, {row.content.name: b""})
            delivery.finish()


@pytest.mark.parametrize("many", [False, True])
def test_content_that_is_none(
    many: bool, store: FailingStore, delivery: Delivery, subtests: pytest.Subtests
) -> None:
    """What cannot be read leaves no trace, and says what it is."""
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


def test_a_bad_filename(
    store: FailingStore, delivery: Delivery, subtests: pytest.Subtests
) -> None:
    """A filename that would hurt whoever downloads it is refused before anything is stored."""
    names: list[Any] = ["", " ", "..", "a/b", "a\\b", "a\x00", "x" * 256, None, b"a"]
    before = picture(store)
    for name in names:
        with subtests.test(name=name):
            with pytest.raises(InvalidFilename):
                delivery.add_file(name, b"data")
            with pytest.raises(InvalidFilename):
                delivery.add_files({"good.txt": b"data", name: b"data"})
            assert picture(store) == before


def test_a_taken_filename(store: FailingStore, delivery: Delivery, row: Any) -> None:
    """Another file of the same name: an error that says so; the first one stays."""
    before = picture(store)
    with pytest.raises(FileExistsError, match=r"'old\.txt' .* exists already: take another"):
        delivery.add_file("old.txt", b"new")
    with pytest.raises(FileExistsError, match="exists already"):
        delivery.add_files({"new.txt": b"new", "old.txt": b"new"})
    assert picture(store) == before
    Delivery.begin(delivery.assignment_group).add_file("old.txt", b"in another delivery")


# -- add_files --


def test_many_files(store: FailingStore, delivery: Delivery) -> None:
    """Many files of mixed sizes, stored several at a time, come back in their order."""
    files = {f"file {n:03}.txt": bytes([n % 256]) * (n * 37) for n in range(150)}
    threads = set()

    class Watched(ContentFile):  # type: ignore[type-arg]
        def chunks(self, chunk_size: int | None = None) -> Any:
            threads.add(threading.current_thread().name)
            return super().chunks(chunk_size)

    rows = delivery.add_files({name: Watched(data) for name, data in files.items()})
    assert [row.filename for row in rows] == list(files)
    for row in FileMeta.objects.all():
        data = files[row.filename]
        assert row.content.name == store.layout.key(delivery.pk, row.pk)
        assert row.content.read() == data
        assert (row.size, row.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert len(threads) > 1
    assert threading.current_thread().name not in threads
    delivery.finish()


def test_no_files(store: FailingStore, delivery: Delivery) -> None:
    """Nothing to add adds nothing."""
    assert delivery.add_files({}) == []


def test_a_large_file_among_many(store: FailingStore, delivery: Delivery) -> None:
    """A file of many chunks is stored whole beside small ones."""
    large = hashlib.sha256(b"seed").digest() * 100_000
    rows = delivery.add_files(
        {"large.bin": (large[at : at + 4096] for at in range(0, len(large), 4096)), "a": b"a"}
    )
    assert rows[0].size == len(large) == store.size(rows[0].content.name)
    assert rows[0].sha256 == hashlib.sha256(large).hexdigest()


def test_one_of_many_fails(store: FailingStore, delivery: Delivery, row: Any) -> None:
    """If one fails none is added: no row, no tombstone; published bytes may be left, nobody's."""
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
    assert {each.content.read() for each in rows} == {b"good"}
    delivery.finish()


def test_names_that_are_one_in_unicode(delivery: Delivery) -> None:
    """Two spellings of one name are one name."""
    with pytest.raises(FileExistsError, match="given twice"):
        delivery.add_files({"\u00e5": b"one", "a\u030a": b"two"})
    assert not FileMeta.objects.exists()


# -- Taking over what a dead writer left --


@pytest.fixture
def left_behind(delivery: Delivery) -> Any:
    """A row without content, as a writer leaves it that was killed two hours ago."""
    row = FileMeta.objects.create(delivery=delivery, filename="left.txt")
    FileMeta.objects.update(created=timezone.now() - timedelta(hours=2))
    row.refresh_from_db()
    return row


@pytest.mark.parametrize("many", [False, True])
def test_a_row_left_behind_is_taken_over(
    many: bool, store: FailingStore, delivery: Delivery, left_behind: Any
) -> None:
    """After the grace time the row, and its id, is used by who adds a file of that name."""

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
        assert after == before, "a take-over that failed can be tried again"
        row = add(b"taken over")
    assert row.pk == left_behind.pk
    assert row.content.read() == b"taken over"
    assert row.created > left_behind.created
    assert buried() == []
    delivery.finish()


def test_one_take_over_that_is_too_early_gives_back_the_others(
    store: FailingStore, delivery: Delivery, left_behind: Any
) -> None:
    """Of several names one is still being stored: none is taken."""
    FileMeta.objects.create(delivery=delivery, filename="young.txt")
    before = picture(store)
    hour = override_settings(DELIVERY_STORE_GRACE_HOURS=1)
    with hour, pytest.raises(FileExistsError, match=r"young\.txt"):
        delivery.add_files({"left.txt": b"", "young.txt": b""})
    assert picture(store) == before


# -- finish --


def test_finish(store: FailingStore, group: AssignmentGroup) -> None:
    """A finished delivery has number, time and user; its instance knows, and so does the row."""
    user = make_user("candidate")
    before = timezone.now()
    delivery = Delivery.begin(group, user)
    assert (delivery.number, delivery.successful, delivery.delivered_by) == (None, False, user)
    delivery.add_file("a.txt", b"a")
    delivery.add_files({"b.txt": b"b", "c.txt": b"c"})
    begun = delivery.time_of_delivery
    delivery.finish()
    for each in (delivery, Delivery.objects.get()):
        assert (each.number, each.successful) == (1, True)
        assert before <= begun <= each.time_of_delivery <= timezone.now()
    assert [row.filename for row in delivery.files] == ["a.txt", "b.txt", "c.txt"]


def test_finish_twice(store: FailingStore, delivery: Delivery, row: Any) -> None:
    """A finished delivery is not finished again, whatever the instance knows."""
    stale = Delivery.objects.get(pk=delivery.pk)
    delivery.finish()
    known = Delivery.objects.values().get()
    for each in (delivery, stale):
        with pytest.raises(DeliveryFinished, match="Begin another delivery"):
            each.finish()
    assert Delivery.objects.values().get() == known


def spoil(store: FailingStore, row: Any, how: str) -> str:
    """Damage a stored file, and return what is then said about it."""
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


SPOILT = ["missing", "size", "empty", "removed", "adopted missing", "adopted size"]


@pytest.mark.parametrize("how", SPOILT)
def test_a_delivery_that_is_not_whole(
    how: str, store: FailingStore, delivery: Delivery, row: Any
) -> None:
    """finish() looks up every file in the store: what is wrong is named, and to be repaired."""
    delivery.add_file("good.txt", b"good")
    words = spoil(store, row, how)
    before, known = picture(store), state(delivery)
    with pytest.raises(DeliveryIncomplete, match=f"cannot be finished: {words}.*Add these files"):
        delivery.finish()
    assert (picture(store), state(delivery)) == (before, known)
    delivery.files.exclude(filename="good.txt").delete()
    delivery.finish()
    assert Delivery.objects.get().successful


def test_many_faults_are_counted(store: FailingStore, delivery: Delivery) -> None:
    """Ten are named, the others counted."""
    delivery.add_files({f"{n}.txt": b"data" for n in range(13)})
    store.delete_many(stored(store))
    with pytest.raises(
        DeliveryIncomplete, match=r"(is missing.*){10}; and 3 more\. Add"
    ) as caught:
        delivery.finish()
    assert str(caught.value).count("is missing") == 10


def test_an_empty_delivery(store: FailingStore, delivery: Delivery) -> None:
    """A delivery without files is not finished."""
    with pytest.raises(DeliveryIncomplete, match="has no files: add one"):
        delivery.finish()
    assert not Delivery.objects.get().successful


def test_adopted_files_outside_of_the_folder(store: FailingStore, delivery: Delivery) -> None:
    """An adopted file is looked up where it lies."""
    store.save("imported/a.txt", ContentFile(b"imported"))
    FileMeta.objects.adopt("imported/a.txt", delivery=delivery)
    delivery.finish()


def test_a_deleted_delivery(store: FailingStore, delivery: Delivery, row: Any) -> None:
    """Nothing can be done with a delivery that is gone."""
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


def test_deleting_from_a_finished_delivery(
    store: FailingStore, delivery: Delivery, row: Any
) -> None:
    """Files of a finished delivery may be removed and deleted, and renamed; not replaced."""
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


def test_numbers(store: FailingStore, group: AssignmentGroup) -> None:
    """Numbers count the finished deliveries of a group, in the order of finishing."""
    other = AssignmentGroup.objects.create(name="other")
    first, second, third, elsewhere = (
        Delivery.begin(each) for each in (group, group, group, other)
    )
    for delivery in (second, first, elsewhere, third):
        delivery.add_file("a.txt", b"a")
        delivery.finish()
    assert [each.number for each in (first, second, third, elsewhere)] == [2, 1, 3, 1]
    first.delete()
    last = Delivery.begin(group)
    last.add_file("a.txt", b"a")
    last.finish()
    assert last.number == 4


# -- copy --


def test_copy(store: FailingStore, group: AssignmentGroup) -> None:
    """A copy is finished, has bytes of its own, the next number, and time and user as before."""
    user = make_user("candidate")
    delivery = Delivery.begin(group, user)
    delivery.add_files({"a.txt": b"a", "b.txt": b"b", "empty.txt": b""})
    delivery.finish()
    other = AssignmentGroup.objects.create(name="other")
    for number in (1, 2):
        twin = Delivery.objects.get(pk=delivery.pk).copy(other)
        for each in (twin, Delivery.objects.get(pk=twin.pk)):
            assert (each.number, each.successful) == (number, True)
            assert (each.assignment_group, each.copy_of) == (other, delivery)
            assert (each.time_of_delivery, each.delivered_by) == (delivery.time_of_delivery, user)
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


def test_an_unfinished_delivery_is_not_copied(
    store: FailingStore, delivery: Delivery, row: Any
) -> None:
    """There is nothing to be copied yet."""
    with pytest.raises(DeliveryStateError, match="not finished and cannot be copied: finish it"):
        delivery.copy(delivery.assignment_group)
    assert Delivery.objects.count() == 1


@pytest.mark.parametrize("failure", ["full", "nearly_full", "unreadable", "missing"])
def test_a_copy_that_fails(
    failure: str, store: FailingStore, delivery: Delivery, row: Any
) -> None:
    """Then there is no copy; it can be tried again."""
    delivery.finish()
    name = row.content.name
    before, known = picture(store), state(delivery)
    if failure == "missing":
        store.delete(name)
    else:
        setattr(store, failure, True)
    with pytest.raises(OSError, match="No space|Input/output|holds no file"):
        delivery.copy(delivery.assignment_group)
    if failure == "missing":
        store.save(name, ContentFile(OLD_BYTES))
    else:
        setattr(store, failure, False)
    assert (picture(store), state(delivery)) == (before, known)
    assert delivery.copy(delivery.assignment_group).files.get().content.read() == OLD_BYTES


def test_files_that_were_removed_are_not_copied(store: FailingStore, delivery: Delivery) -> None:
    """What the delivery has no bytes of any more, its copy has no row of."""
    delivery.add_files({"a.txt": b"a", "b.txt": b"b"})
    delivery.finish()
    delivery.files.get(filename="a.txt").content.delete()
    twin = delivery.copy(delivery.assignment_group)
    assert [row.filename for row in twin.files] == ["b.txt"]


# -- The parts that a site sees --


def test_the_model_of_the_files() -> None:
    """The model whose foreign key 'delivery' it is; proxies and children are no others."""
    assert Delivery.filemeta_model() is FileMeta


def test_files_of_a_child_model_are_files(store: FailingStore, delivery: Delivery) -> None:
    """A multi-table child's row is one of the delivery's files, and looked up like any."""
    MarkedFile.objects.create(
        delivery=delivery, filename="child.txt", content=Source(b"child"), mark="A"
    )
    assert [row.filename for row in delivery.files] == ["child.txt"]
    delivery.finish()


def test_the_stores_own_interface(store: FailingStore, delivery: Delivery) -> None:
    """The original's five methods take rows: write, exists, read, copy, remove."""
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
def test_a_writer_that_is_left_by_an_exception(
    error: type[BaseException], store: FailingStore, row: Any
) -> None:
    """The old bytes stay in store and row."""
    before, known = picture(store), state(row)
    with pytest.raises(error), store.write_open(row) as writer:
        writer.write(b"half")
        raise error
    assert (picture(store), state(row)) == (before, known)
