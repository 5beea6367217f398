"""Instances that are copied, stale, deferred, deleted or saved in part."""

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
from devilry_storage.resolving import store_for
from tests.testapp.models import Course, MarkedFile, Page, Paper, ProxyFile
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
def test_copy_of_an_instance_reads_and_saves_the_same_row(
    copied: Any, store: FailingStore, row: Any
) -> None:
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
def test_copy_of_a_pending_removal_removes_the_file(copied: Any, row: Any) -> None:
    name = row.content.name
    row.content = None
    twin = copied(row)
    twin.save()
    assert FileMeta.objects.get().content.name is None
    assert buried() == [name]


def test_shallow_copy_has_its_own_pending_file(delivery: Delivery) -> None:
    """Saving it leaves the file of the first instance pending."""
    row = FileMeta(delivery=delivery, filename="one.txt", content=upload())
    twin = copy.copy(row)
    twin.filename = "two.txt"
    before = state(row)
    twin.save()
    assert state(row) == before
    row.save()
    assert {saved.filename: saved.content.read() for saved in FileMeta.objects.all()} == {
        "one.txt": b"upload",
        "two.txt": b"upload",
    }


def test_save_with_pk_none_copies_the_bytes(store: FailingStore, row: Any) -> None:
    """Two rows never share bytes. Without content there is nothing to copy."""
    original = FileMeta.objects.get()
    row.pk = None
    row.filename = "twin.txt"
    row.save()
    assert row.pk != original.pk
    assert stored(store) == {original.content.name: OLD_BYTES, row.content.name: OLD_BYTES}
    original.delete()
    assert FileMeta.objects.get().content.read() == OLD_BYTES
    row.content.delete()
    row.pk, row.filename = None, "empty.txt"
    row.save()
    assert FileMeta.objects.filter(content=None).count() == 2


def test_save_with_pk_none_and_deferred_content_fails(store: FailingStore, row: Any) -> None:
    """The row whose bytes to copy is not known any more."""
    row = FileMeta.objects.defer("content").get()
    before = picture(store)
    row.pk = None
    row.filename = "twin.txt"
    with pytest.raises((FileMeta.DoesNotExist, AttributeError)):  # the latter since Django 6
        row.save()
    assert picture(store) == before


def test_save_with_pk_none_and_missing_bytes_inserts_nothing(
    store: FailingStore, row: Any
) -> None:
    store.delete(row.content.name)
    before = picture(store)
    row.pk, row.filename = None, "twin.txt"
    known = state(row)
    with pytest.raises(FileNotFoundError):
        row.save()
    assert (picture(store), state(row)) == (before, known)


# -- Stale instances --


def test_stale_save_does_not_write_the_old_name(row: Any) -> None:
    """Content is only written after an assignment."""
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


def test_stale_save_keeps_a_later_verification(row: Any) -> None:
    """verified_at is only written if update_fields names it."""
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
    def write() -> None:
        with store_for(row).write_open(row) as writer:
            writer.write(b"written")

    for change in (lambda: row.content.save("n", upload()), write, lambda: row.content.delete()):
        FileMeta.objects.update(verified_at=timezone.now())
        row.refresh_from_db()
        change()
        assert (row.verified_at, FileMeta.objects.get().verified_at) == (None, None)


def test_stale_delete_of_content_removes_the_current_bytes(row: Any) -> None:
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


def test_stale_save_of_a_deleted_row_fails(store: FailingStore, row: Any) -> None:
    """With new content and without."""
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


def test_saving_a_deleted_instance_inserts_a_new_row(store: FailingStore, row: Any) -> None:
    """As in Django, delete() clears the pk. The bytes are copied."""
    name = row.content.name
    row.delete()
    row.save()
    assert row.content.name != name
    assert stored(store) == {name: OLD_BYTES, row.content.name: OLD_BYTES}
    assert buried() == [name]


def test_save_of_a_row_that_is_deleted_meanwhile_fails(row: Any) -> None:
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


def test_save_writes_only_the_update_fields(store: FailingStore, row: Any) -> None:
    """Content that they do not name is left pending."""
    row.content, row.filename = upload(), "renamed.txt"
    row.save(update_fields=[])
    assert list(stored(store).values()) == [OLD_BYTES]
    row.save(update_fields=["content"])
    fresh = FileMeta.objects.get()
    assert (fresh.filename, fresh.content.read()) == ("old.txt", b"upload")
    row.content = upload(b"again")
    row.save(update_fields=["filename"])
    fresh = FileMeta.objects.get()
    assert (fresh.filename, fresh.content.read()) == ("renamed.txt", b"upload")
    row.save(update_fields={"content"})
    assert FileMeta.objects.get().content.read() == b"again"


def test_save_does_not_write_assigned_size_and_hash(row: Any) -> None:
    """Only stored bytes change them."""
    sha256 = row.sha256
    row.size, row.sha256 = 5, "forged"
    row.save()
    row.save(update_fields=["size", "sha256"])
    fresh = FileMeta.objects.get()
    assert (fresh.size, fresh.sha256) == (len(OLD_BYTES), sha256)
    new = FileMeta(delivery=row.delivery, filename="new", size=5, sha256="x", content=upload())
    new.save()
    assert FileMeta.objects.get(pk=new.pk).size == 6


def test_deferred_content_is_loaded_on_access(store: FailingStore, row: Any) -> None:
    for rows in (FileMeta.objects.defer("content"), FileMeta.objects.only("filename")):
        deferred = rows.get()
        before = picture(store)
        deferred.filename = "old.txt"
        deferred.save()
        assert picture(store) == before
        assert deferred.content.read() == OLD_BYTES


def test_refresh_from_db_discards_pending_content(row: Any) -> None:
    """As in Django. A refresh of other fields does not."""
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
    fresh = FileMeta.objects.get()
    assert fresh.content.name == row.content.name
    fresh.content = upload()
    fresh.save()
    row.refresh_from_db()
    assert row.content.name == fresh.content.name
    assert row.content.read() == b"upload"


def test_locked_row_can_be_replaced_and_deleted(store: FailingStore, row: Any) -> None:
    with transaction.atomic():
        locked = FileMeta.objects.select_for_update().get()
        assert locked.content.read() == OLD_BYTES
        locked.content = upload()
        locked.save()
        locked.content.delete()
        locked.delete()
    assert sorted(stored(store)) == buried()


def test_get_or_create_and_update_or_create_keep_the_content(
    store: FailingStore, row: Any
) -> None:
    """Django passes the content to save() as a field to update, although it was not assigned."""
    before, name = picture(store), row.content.name
    result = FileMeta.objects.get_or_create(
        delivery=row.delivery, filename="old.txt", defaults={"content": upload()}
    )
    assert result == (row, False)
    assert picture(store) == before
    FileMeta.objects.update_or_create(pk=row.pk, defaults={"filename": "renamed.txt"})
    fresh = FileMeta.objects.get()
    assert (fresh.filename, fresh.content.name) == ("renamed.txt", name)
    assert buried() == []


# -- Failures of the database --


def test_failing_update_keeps_the_old_content(row: Any) -> None:
    """New content and a taken filename in one save."""
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


def test_failing_post_save_receiver_leaves_no_row(store: FailingStore, delivery: Delivery) -> None:
    """post_save of a new row is sent before its bytes are stored."""

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


def test_failing_source_in_a_broken_transaction_sends_no_statement(
    store: FailingStore, delivery: Delivery
) -> None:
    """No statement is sent in a transaction marked for rollback, which removes the row."""

    class Breaking(ContentFile):  # type: ignore[type-arg]
        def chunks(self, chunk_size: int | None = None) -> Any:
            transaction.set_rollback(True)
            raise OSError("broken")

    with pytest.raises(OSError, match="broken") as caught, transaction.atomic():
        FileMeta.objects.create(delivery=delivery, filename="a.txt", content=Breaking(b"x", "x"))
    assert not hasattr(caught.value, "__notes__"), "it was tried to delete the row"
    assert not FileMeta.objects.exists()
    assert stored(store) == {}


# -- Several tables --


def test_failing_save_of_a_child_leaves_no_row(store: FailingStore, delivery: Delivery) -> None:
    """Neither in the parent's table nor in its own, and the ids are as before."""
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


def test_parent_proxy_and_child_share_one_file(store: FailingStore, delivery: Delivery) -> None:
    """Assigning it from one to the other changes nothing."""
    child = MarkedFile.objects.create(delivery=delivery, filename="a.txt", content=upload())
    before = picture(store)
    for row in (FileMeta.objects.get(), ProxyFile.objects.get(), child.filemeta_ptr):
        assert row.content.name == child.content.name
        child.content = row.content
        child.save()
        row.content = child.content
        row.save()
    assert picture(store) == before


def test_save_writes_columns_of_a_plain_parent(store: FailingStore, db: None) -> None:
    """With new content and without."""
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


# -- Queries and signals --


def test_save_without_new_content_sends_few_queries(row: Any) -> None:
    """The UPDATE, and a lookup whether the row was moved."""
    row.filename = "renamed.txt"
    with CaptureQueriesContext(connection) as queries:
        row.save()
    assert len(queries) <= 3, [query["sql"] for query in queries]


def test_pre_save_and_post_save_are_sent_once(delivery: Delivery) -> None:
    seen: list[Any] = []

    def see(created: bool | None = None, **kwargs: Any) -> None:
        seen.append(created)

    for signal in (signals.pre_save, signals.post_save):
        signal.connect(see, sender=FileMeta)
    try:
        row: Any = FileMeta.objects.create(delivery=delivery, filename="a", content=upload())
        assert seen == [None, True, None, False]  # of the row, then of its content
        seen.clear()
        row.content = upload()
        row.save()
        assert seen == [None, None, False]  # before and after the bytes are stored
    finally:
        for signal in (signals.pre_save, signals.post_save):
            signal.disconnect(see, sender=FileMeta)
