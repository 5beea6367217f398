"""Instances: copied, pickled, stale, deferred, deleted; saved in part, in savepoints, again."""

from __future__ import annotations

import copy
import pickle
from datetime import timedelta
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.models import signals
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from devilry_storage.deliveries.models import Delivery, FileMeta
from tests.testapp.models import MarkedFile, Page, Paper, ProxyFile
from tests.testapp.pictures import buried, picture, state, stored
from tests.testapp.stores import OLD_BYTES, FailingStore

pytest_plugins = ["tests.testapp.fixtures"]
pytestmark = pytest.mark.django_db


def upload(data: bytes = b"upload") -> ContentFile[bytes]:
    return ContentFile(data, "upload.txt")


# -- Copies --


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda row: pickle.loads(pickle.dumps(row))]
)
def test_a_copy_of_a_stored_row_reads_and_saves(
    copied: Any, store: FailingStore, row: Any
) -> None:
    """A copy of an instance is another instance of the same row."""
    row.content.open()
    before = picture(store)
    twin = copied(row)
    assert twin == row
    assert twin.content is not row.content
    assert twin.content.instance is twin
    assert twin.content.read() == OLD_BYTES
    twin.save()
    assert picture(store) == before
    twin.filename = "renamed.txt"
    twin.save()
    assert row.filename == "old.txt"
    assert FileMeta.objects.get().filename == "renamed.txt"


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda row: pickle.loads(pickle.dumps(row))])
def test_a_copy_of_a_pending_removal_removes(copied: Any, store: FailingStore, row: Any) -> None:
    """A removal that is pending is pending in the copy, too: there are no bytes to lose."""
    name = row.content.name
    row.content = None
    twin = copied(row)
    twin.save()
    assert FileMeta.objects.get().content.name is None
    assert buried() == [name]


def test_a_shallow_copy_has_a_pending_file_of_its_own(
    store: FailingStore, delivery: Delivery
) -> None:
    """copy.copy() of an instance with an upload is a second row; the first stays pending."""
    row = FileMeta(delivery=delivery, filename="one.txt", content=upload())
    twin = copy.copy(row)
    twin.filename = "two.txt"
    before = state(row)
    twin.save()
    assert state(row) == before
    row.save()
    assert {each.filename: each.content.read() for each in FileMeta.objects.all()} == {
        "one.txt": b"upload",
        "two.txt": b"upload",
    }


def test_pk_none_copies_the_bytes(store: FailingStore, row: Any) -> None:
    """Two rows never share bytes."""
    original = FileMeta.objects.get()
    row.pk = None
    row.filename = "twin.txt"
    row.save()
    assert row.pk != original.pk
    assert stored(store) == {original.content.name: OLD_BYTES, row.content.name: OLD_BYTES}
    original.delete()
    assert FileMeta.objects.get().content.read() == OLD_BYTES


def test_pk_none_without_content_is_a_row_without_content(delivery: Delivery) -> None:
    """There is nothing to copy then."""
    row = FileMeta.objects.create(delivery=delivery, filename="a.txt")
    row.pk = None
    row.filename = "b.txt"
    row.save()
    assert FileMeta.objects.filter(content=None).count() == 2


def test_pk_none_with_deferred_content_is_refused(store: FailingStore, row: Any) -> None:
    """Whose bytes would be copied is not known any more: an error, as in Django, no empty row."""
    row = FileMeta.objects.defer("content").get()
    before = picture(store)
    row.pk = None
    row.filename = "twin.txt"
    with pytest.raises((FileMeta.DoesNotExist, AttributeError)):  # the latter since Django 6
        row.save()
    assert picture(store) == before


def test_pk_none_with_missing_bytes_is_no_row(store: FailingStore, row: Any) -> None:
    """Bytes that are not there cannot be copied."""
    store.delete(row.content.name)
    before = picture(store)
    row.pk, row.filename = None, "twin.txt"
    known = state(row)
    with pytest.raises(FileNotFoundError):
        row.save()
    assert (picture(store), state(row)) == (before, known)


# -- Stale instances --


def test_a_stale_instance_brings_no_name_back(store: FailingStore, row: Any) -> None:
    """Content that was not assigned since it was loaded is never written."""
    stale = FileMeta.objects.get()
    row.content = upload()
    row.save()
    stale.filename = "renamed.txt"
    stale.save()
    stale.save(update_fields=["content", "size", "sha256"])
    stale.save(force_update=True)
    fresh = FileMeta.objects.get()
    assert (fresh.filename, fresh.content.read(), fresh.size) == ("renamed.txt", b"upload", 6)
    assert (fresh.content.name, fresh.sha256) == (row.content.name, row.sha256)


def test_stale_instance_keeps_later_verification(row: Any) -> None:
    """A save writes verified_at only where update_fields names it."""
    stale, now = FileMeta.objects.get(), timezone.now()
    FileMeta.objects.update(verified_at=now)
    stale.filename = "renamed.txt"
    stale.save()
    fresh = FileMeta.objects.get()
    assert (fresh.filename, fresh.verified_at) == ("renamed.txt", now)
    stale.verified_at = later = now + timedelta(days=1)
    stale.save(update_fields=["verified_at"])
    assert FileMeta.objects.get().verified_at == later


def test_changed_content_is_not_verified(row: Any) -> None:
    """New content has not been verified, and neither has removed content."""
    for change in (upload(), None):
        FileMeta.objects.update(verified_at=timezone.now())
        row.refresh_from_db()
        row.content = change
        row.save()
        assert (row.verified_at, FileMeta.objects.get().verified_at) == (None, None)


def test_a_stale_instance_does_not_remove_twice(store: FailingStore, row: Any) -> None:
    """What is removed is what the row names now."""
    stale = FileMeta.objects.get()
    old = row.content.name
    row.content = upload()
    row.save()
    stale.content.delete()
    assert buried() == sorted([old, row.content.name])
    assert FileMeta.objects.get().content.name is None
    row.content = None
    row.save()
    assert len(buried()) == 2


def test_a_deleted_row_is_not_resurrected(store: FailingStore, row: Any) -> None:
    """A stale instance of a deleted row cannot be saved, with or without new content."""
    stale = FileMeta.objects.get()
    row.delete()
    before = picture(store)
    stale.filename = "renamed.txt"
    with pytest.raises(DatabaseError), transaction.atomic():
        stale.save()
    stale.content = upload()
    known = state(stale)
    with pytest.raises(FileMeta.DoesNotExist, match=r"the row was deleted"):
        stale.save()
    assert state(stale) == known
    stale.content = None
    with pytest.raises(FileMeta.DoesNotExist):
        stale.save()
    with pytest.raises(FileMeta.DoesNotExist):
        stale.content = upload()
        stale.save(update_fields=["content"])
    assert picture(store) == before


def test_a_deleted_instance_saved_again_is_a_new_row(store: FailingStore, row: Any) -> None:
    """As in Django: delete() clears the pk, and save() inserts; the bytes are copied."""
    name = row.content.name
    row.delete()
    row.save()
    assert row.content.name != name
    assert stored(store) == {name: OLD_BYTES, row.content.name: OLD_BYTES}
    assert buried() == [name]


def test_a_row_deleted_while_its_bytes_are_stored(store: FailingStore, row: Any) -> None:
    """The row is not there any more when its bytes are recorded: an error, no row."""

    class Slow(ContentFile):  # type: ignore[type-arg]
        def chunks(self, chunk_size: int | None = None) -> Any:
            FileMeta.objects.all().delete()
            return super().chunks(chunk_size)

    row.content = Slow(b"slow", "slow.txt")
    with pytest.raises(FileMeta.DoesNotExist):
        row.save()
    assert not FileMeta.objects.exists()
    assert len(buried()) == 1


# -- Parts of a row --


def test_update_fields_without_content_leaves_it_pending(store: FailingStore, row: Any) -> None:
    """With update_fields content is stored only if they name it."""
    row.content = upload()
    row.filename = "renamed.txt"
    row.save(update_fields=["filename"])
    assert FileMeta.objects.get().content.read() == OLD_BYTES
    row.save(update_fields=[])
    assert list(stored(store).values()) == [OLD_BYTES]
    row.save(update_fields=["content"])
    fresh = FileMeta.objects.get()
    assert (fresh.filename, fresh.content.read()) == ("renamed.txt", b"upload")


def test_update_fields_with_content_alone(row: Any) -> None:
    """Other columns are not written with it."""
    row.content, row.filename = upload(), "renamed.txt"
    row.save(update_fields={"content"})
    fresh = FileMeta.objects.get()
    assert (fresh.filename, fresh.content.read()) == ("old.txt", b"upload")


def test_size_and_hash_are_the_stores(row: Any) -> None:
    """Nothing but the store step writes content, size and SHA-256."""
    sha256 = row.sha256
    row.size, row.sha256 = 5, "forged"
    row.save()
    row.save(update_fields=["size", "sha256"])
    fresh = FileMeta.objects.get()
    assert (fresh.size, fresh.sha256) == (len(OLD_BYTES), sha256)
    new = FileMeta(delivery=row.delivery, filename="new", size=5, sha256="x", content=upload())
    new.save()
    assert FileMeta.objects.get(pk=new.pk).size == 6


def test_deferred_content_is_loaded_when_asked_for(store: FailingStore, row: Any) -> None:
    """defer() and only() change what is loaded, nothing else."""
    for rows in (FileMeta.objects.defer("content"), FileMeta.objects.only("filename")):
        deferred = rows.get()
        before = picture(store)
        deferred.filename = "old.txt"
        deferred.save()
        assert picture(store) == before
        assert deferred.content.read() == OLD_BYTES


def test_refresh_from_db_forgets_what_is_pending(store: FailingStore, row: Any) -> None:
    """As in Django; a refresh of other fields does not."""
    row.content = upload()
    row.refresh_from_db(fields=["filename"])
    assert row.content.read() == b"upload"
    row.refresh_from_db()
    assert row.content.read() == OLD_BYTES
    row.save()
    assert buried() == []
    row.content = None
    row.refresh_from_db(fields=["content"])
    row.save()
    assert FileMeta.objects.get().content.name == row.content.name


def test_refresh_from_db_sees_what_others_stored(row: Any) -> None:
    """The name, and the bytes, are those of the row as it is now."""
    assert row.content.read() == OLD_BYTES
    fresh = FileMeta.objects.get()
    fresh.content = upload()
    fresh.save()
    row.refresh_from_db()
    assert row.content.name == fresh.content.name
    assert row.content.read() == b"upload"


def test_select_for_update(store: FailingStore, row: Any) -> None:
    """A row that the caller locked may be read, replaced, removed and deleted."""
    with transaction.atomic():
        locked = FileMeta.objects.select_for_update().get()
        assert locked.content.read() == OLD_BYTES
        locked.content = upload()
        locked.save()
        locked.content.delete()
        locked.delete()
    assert sorted(stored(store)) == buried()


def test_get_or_create_gets_without_storing(store: FailingStore, row: Any) -> None:
    """Where there is a row, nothing is stored."""
    before = picture(store)
    same, created = FileMeta.objects.get_or_create(
        delivery=row.delivery, filename="old.txt", defaults={"content": upload()}
    )
    assert (same, created) == (row, False)
    assert picture(store) == before


def test_update_or_create_of_other_fields_leaves_the_content(
    store: FailingStore, row: Any
) -> None:
    """Django names the content among the fields to be saved, although it was not assigned."""
    name = row.content.name
    FileMeta.objects.update_or_create(pk=row.pk, defaults={"filename": "renamed.txt"})
    fresh = FileMeta.objects.get()
    assert (fresh.filename, fresh.content.name) == ("renamed.txt", name)
    assert buried() == []


# -- Failures of the database --


def test_a_failing_update_keeps_the_old_content(store: FailingStore, row: Any) -> None:
    """New content and a taken filename in one save: the row stays as it was, and named bytes."""
    row.delivery.add_file("taken.txt", b"taken")
    old = row.content.name
    row.content, row.filename = upload(), "taken.txt"
    known = state(row)
    with pytest.raises(IntegrityError), transaction.atomic():
        row.save()
    assert state(row) == known
    assert buried() == []
    row.filename = "free.txt"
    row.save()
    assert (row.content.read(), buried()) == (b"upload", [old])


def test_a_failing_receiver_of_post_save_leaves_no_row(
    store: FailingStore, delivery: Delivery
) -> None:
    """post_save of a new row comes before its bytes; if a receiver raises there is no row."""

    def fail(**kwargs: Any) -> None:
        raise RuntimeError("no")

    row = FileMeta(delivery=delivery, filename="a.txt", content=upload())
    before, known = picture(store), state(row)
    signals.post_save.connect(fail, sender=FileMeta)
    try:
        with pytest.raises(RuntimeError, match="no"):
            row.save()
    finally:
        signals.post_save.disconnect(fail, sender=FileMeta)
    assert (picture(store), state(row)) == (before, known)
    row.save()


def test_a_broken_transaction_is_left_to_its_owner(
    store: FailingStore, delivery: Delivery
) -> None:
    """In a transaction that is marked for rollback nothing more is sent; the error is the first.

    The rollback takes the row.
    """

    class Breaking(ContentFile):  # type: ignore[type-arg]
        def chunks(self, chunk_size: int | None = None) -> Any:
            transaction.set_rollback(True)
            raise OSError("broken")

    with pytest.raises(OSError, match="broken") as caught, transaction.atomic():
        FileMeta.objects.create(delivery=delivery, filename="a.txt", content=Breaking(b"x", "x"))
    assert not hasattr(caught.value, "__notes__"), "it was tried to delete the row"
    assert not FileMeta.objects.exists()
    assert stored(store) == {}


def test_a_rolled_back_savepoint_keeps_the_old_content(store: FailingStore, row: Any) -> None:
    """What is rolled back was never replaced, removed or deleted; bytes of nobody may stay."""
    before = FileMeta.objects.values().get()

    def roll_back(change: Any) -> None:
        try:
            with transaction.atomic():
                change(FileMeta.objects.get())
                raise RuntimeError("roll back")
        except RuntimeError:
            pass
        assert FileMeta.objects.values().get() == before
        assert buried() == []
        assert FileMeta.objects.get().content.read() == OLD_BYTES

    roll_back(lambda fresh: fresh.content.save("new.txt", upload()))
    roll_back(lambda fresh: fresh.content.delete())
    roll_back(lambda fresh: fresh.delete())
    roll_back(lambda fresh: fresh.delivery.delete())
    roll_back(lambda fresh: fresh.delivery.finish())
    roll_back(lambda fresh: fresh.delivery.add_file("new.txt", b"new"))


def test_a_name_that_a_rollback_left_is_not_overwritten(
    store: FailingStore, delivery: Delivery
) -> None:
    """SQLite hands a rolled-back id out again: the orphan at its key stays as it is."""
    store.save(store.layout.key(delivery.pk, 1), ContentFile(b"orphan 1"))
    row: Any = FileMeta(pk=1, delivery=delivery, filename="a.txt", content=upload())
    row.save()
    assert row.content.read() == b"upload"
    assert row.content.name.startswith(f"{store.layout.key(delivery.pk, 1)}_")
    assert sorted(stored(store).values()) == [b"orphan 1", b"upload"]


def test_a_key_with_a_tombstone_is_taken(store: FailingStore, delivery: Delivery) -> None:
    """The bytes of a tombstone may go at any time: no row ever names them again."""
    first: Any = FileMeta(pk=1, delivery=delivery, filename="a.txt", content=upload(b"first"))
    first.save()
    name = first.content.name
    first.delete()
    store.delete(name)
    second = FileMeta(pk=1, delivery=delivery, filename="a.txt", content=upload(b"second"))
    second.save()
    assert second.content.name != name
    assert second.content.read() == b"second"
    third = FileMeta(pk=2, delivery=delivery, filename="b.txt", content=upload(b"third"))
    third.save()
    (fourth,) = delivery.add_files({"c.txt": b"fourth"})
    fourth.delete()
    assert {each.content.read() for each in FileMeta.objects.all()} == {b"second", b"third"}


# -- Several tables --


def test_a_child_that_fails_leaves_none_of_its_rows(
    store: FailingStore, delivery: Delivery
) -> None:
    """All the rows that the insert made go again; ids are as before in the whole chain."""
    row: Any = MarkedFile(delivery=delivery, filename="a.txt", content=upload(), mark="A")
    before, known = picture(store), state(row)
    store.full = True
    with pytest.raises(OSError, match="No space"):
        row.save()
    assert (picture(store), state(row)) == (before, known)
    assert (row.pk, row.id, row.filemeta_ptr_id) == (None, None, None)
    store.full = False
    row.save()
    assert MarkedFile.objects.get().content.read() == b"upload"


def test_the_parent_and_the_proxy_see_the_childs_file(
    store: FailingStore, delivery: Delivery
) -> None:
    """They are one file, whoever looks; assigning it from one to the other changes nothing."""
    child = MarkedFile.objects.create(delivery=delivery, filename="a.txt", content=upload())
    before = picture(store)
    for row in (FileMeta.objects.get(), ProxyFile.objects.get(), child.filemeta_ptr):
        assert row.content.name == child.content.name
        child.content = row.content
        child.save()
        row.content = child.content
        row.save()
    assert picture(store) == before


def test_a_plain_parent_is_renamed_with_the_file(store: FailingStore, db: None) -> None:
    """Columns of the parent are saved as well, with new content or without."""
    from tests.testapp.models import Course

    course = Course.objects.create(title="course")
    paper = Paper.objects.create(delivery=course, title="one", filename="a", content=upload())
    paper.title = "two"
    paper.save()
    assert Page.objects.get().title == "two"
    paper.title, paper.content = "three", upload(b"new")
    paper.save()
    assert Page.objects.get().title == "three"
    assert Paper.objects.get().content.read() == b"new"
    course.delete()
    assert not Page.objects.exists()
    assert len(buried()) == 2


# -- What is sent --


def test_a_plain_save_stays_cheap(row: Any) -> None:
    """A stored row without new content: a look whether it was moved, and the UPDATE."""
    row.filename = "renamed.txt"
    with CaptureQueriesContext(connection) as queries:
        row.save()
    assert len(queries) <= 3, [each["sql"] for each in queries]


def test_signals_of_django_are_sent_once(delivery: Delivery) -> None:
    """pre_save and post_save are sent once a save, created only for a new row."""
    seen: list[Any] = []

    def see(created: bool | None = None, **kwargs: Any) -> None:
        seen.append(created)

    for signal in (signals.pre_save, signals.post_save):
        signal.connect(see, sender=FileMeta)
    try:
        row: Any = FileMeta.objects.create(delivery=delivery, filename="a", content=upload())
        assert seen == [None, True]
        row.content = upload()
        row.save()
        assert seen == [None, True, None, False]
    finally:
        for signal in (signals.pre_save, signals.post_save):
            signal.disconnect(see, sender=FileMeta)
