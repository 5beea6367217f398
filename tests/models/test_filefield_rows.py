"""Every way to store, replace and remove the file of a row, with working and failing stores."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from django.apps import apps

from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.models import Tombstone
from tests.testapp import rows
from tests.testapp.models import MarkedFile, Note, Page, Paper
from tests.testapp.pictures import buried, picture, state, stored
from tests.testapp.stores import OLD_BYTES, FailingStore, Source, taken_back

pytest_plugins = ["tests.testapp.fixtures"]
pytestmark = pytest.mark.django_db

NEW_BYTES = b"new bytes of the file"

FAILURES = ("full", "nearly_full", "unreadable")


def fail(store: FailingStore, file: Source, failure: str | None) -> None:
    """Let the store or the source fail from now on; None lets them work again."""
    store.full = failure == "full"
    store.nearly_full = failure == "nearly_full"
    store.unreadable = file.broken = failure == "unreadable"


def check_stored(row: Any, store: FailingStore) -> None:
    """Check that bytes, row and instance agree."""
    fresh = type(row)._base_manager.get(pk=row.pk)
    assert stored(store)[fresh.content.name] == NEW_BYTES
    assert (fresh.size, fresh.sha256) == (len(NEW_BYTES), hashlib.sha256(NEW_BYTES).hexdigest())
    for instance in (fresh, row):
        assert (instance.content.name, instance.size, instance.sha256) == (
            fresh.content.name,
            fresh.size,
            fresh.sha256,
        )
        with instance.content.open() as file:
            assert file.read() == NEW_BYTES
        assert instance.content.size == len(NEW_BYTES)
        assert instance.content._committed
    assert not row._state.adding
    assert store.layout.parse(fresh.content.name) == fresh.key_ids()


# -- New rows --


def test_new_row_gets_its_bytes(
    store: FailingStore, group: AssignmentGroup, subtests: pytest.Subtests
) -> None:
    """At its key."""
    for way, new in rows.NEW.items():
        with subtests.test(way), taken_back(store):
            instance, save = new(Delivery.begin(group), Source(NEW_BYTES))
            row = save() or instance
            check_stored(row, store)
            assert row.filename == way
            if way != "assigned_after_create":  # a stored row gets fresh names only
                assert row.content.name == store.layout.key(*row.key_ids())
            assert buried() == []


@pytest.mark.parametrize("failure", FAILURES)
def test_new_row_with_a_failing_store_leaves_no_trace(
    failure: str, store: FailingStore, group: AssignmentGroup, subtests: pytest.Subtests
) -> None:
    """No row, bytes or tombstone. The instance can be saved again."""
    for way in rows.NEW:
        with subtests.test(way), taken_back(store):
            new_row_fails(way, failure, store, Delivery.begin(group))


def new_row_fails(way: str, failure: str, store: FailingStore, delivery: Delivery) -> None:
    file = Source(NEW_BYTES)
    instance, save = rows.NEW[way](delivery, file)
    before = picture(store)
    known = instance and state(instance)
    if way == "fieldfile_save":
        known["content"] = (way, False, file)  # now pending
    fail(store, file, failure)
    with pytest.raises(OSError, match=r"No space left|Input/output error"):
        save()
    fail(store, file, None)
    assert picture(store) == before
    assert (instance and state(instance)) == known
    row = save() or instance
    check_stored(row, store)
    assert buried() == []


# -- New content --


def old_row(group: AssignmentGroup) -> Any:
    """Return a row with ``OLD_BYTES`` in the store, in a delivery of its own."""
    return Delivery.begin(group).add_file("old.txt", OLD_BYTES)


def test_new_content_buries_the_old(
    store: FailingStore, group: AssignmentGroup, subtests: pytest.Subtests
) -> None:
    """The row is kept, and names new bytes."""
    for way, replace in rows.REPLACE.items():
        with subtests.test(way), taken_back(store):
            row = old_row(group)
            old = row.content.name
            instance, save = replace(row, Source(NEW_BYTES))
            current = FileMeta.objects.get(pk=row.pk).content.name
            replaced = save() or instance
            check_stored(replaced, store)
            assert replaced.pk == row.pk
            assert replaced.content.name not in {old, current}
            assert set(buried()) == {old, current}
            assert stored(store)[old] == OLD_BYTES
            buried_as = Tombstone.objects.values_list("size", "model").get(name=old)
            assert buried_as == (len(OLD_BYTES), "devilry_deliveries.filemeta")


@pytest.mark.parametrize("failure", FAILURES)
def test_new_content_with_a_failing_store_keeps_the_old(
    failure: str, store: FailingStore, group: AssignmentGroup, subtests: pytest.Subtests
) -> None:
    """The instance can be saved again."""
    for way in rows.REPLACE:
        with subtests.test(way), taken_back(store):
            new_content_fails(way, failure, store, old_row(group))


def new_content_fails(way: str, failure: str, store: FailingStore, row: Any) -> None:
    old = row.content.name
    file = Source(NEW_BYTES)
    instance, save = rows.REPLACE[way](row, file)
    before = picture(store)
    known = instance and state(instance)
    if way == "by_fieldfile":
        known["content"] = ("upload.txt", False, file)  # now pending
    fail(store, file, failure)
    with pytest.raises(OSError, match=r"No space left|Input/output error"):
        save()
    fail(store, file, None)
    assert picture(store) == before
    assert (instance and state(instance)) == known
    check_stored(save() or instance, store)
    assert stored(store)[old] == OLD_BYTES


def test_new_content_of_a_child_buries_the_old(store: FailingStore, delivery: Delivery) -> None:
    """The rows of parent and child are updated together."""
    row = MarkedFile.objects.create(delivery=delivery, filename="a", content=Source(OLD_BYTES))
    old = row.content.name
    for failure in FAILURES:
        file = Source(NEW_BYTES)
        row.content, row.mark = file, "B"
        before = picture(store)
        fail(store, file, failure)
        with pytest.raises(OSError, match=r"No space left|Input/output error"):
            row.save()
        fail(store, file, None)
        assert picture(store) == before
    row.save()
    check_stored(row, store)
    assert MarkedFile.objects.get().mark == "B"
    assert buried() == [old]


# -- Removed content and deleted rows --


def test_removed_content_is_buried(
    store: FailingStore, group: AssignmentGroup, subtests: pytest.Subtests
) -> None:
    """The row is kept."""
    for way, remove in rows.REMOVE.items():
        with subtests.test(way), taken_back(store):
            row = old_row(group)
            name = row.content.name
            remove(row)
            fresh = FileMeta.objects.get(pk=row.pk)
            assert (fresh.content.name, fresh.size, fresh.sha256) == (None, None, "")
            assert not fresh.content
            assert buried() == [name]
            assert stored(store) == {name: OLD_BYTES}
            fresh.content = Source(NEW_BYTES)
            fresh.save()
            check_stored(fresh, store)
            assert fresh.content.name != name


def test_deleted_row_is_buried(
    store: FailingStore, group: AssignmentGroup, subtests: pytest.Subtests
) -> None:
    for way, delete in rows.DELETE.items():
        with subtests.test(way), taken_back(store):
            row = old_row(group)
            name = row.content.name
            delete(row)
            assert not FileMeta.objects.exists()
            assert stored(store)[name] == OLD_BYTES
            assert buried() == sorted(stored(store))
            (tombstone,) = Tombstone.objects.filter(name=name)
            models = [record["model"] for record in tombstone.rows]
            assert models == ["devilry_deliveries.delivery", "devilry_deliveries.filemeta"]


@pytest.mark.parametrize("of", ["child", "parent", "proxy", "cascade", "queryset"])
def test_deleted_child_is_buried_once(of: str, store: FailingStore, delivery: Delivery) -> None:
    """The tombstone has the rows of child and parent."""
    child = MarkedFile.objects.create(
        delivery=delivery, filename="a", mark="A", content=Source(OLD_BYTES)
    )
    if of == "child":
        child.delete()
    elif of == "parent":
        child.filemeta_ptr.delete()
    elif of == "proxy":
        rows.proxy_delete(child)
    elif of == "cascade":
        delivery.delete()
    else:
        MarkedFile.objects.all().delete()
    assert not FileMeta.objects.exists()
    (tombstone,) = Tombstone.objects.all()
    assert [record["model"] for record in tombstone.rows] == [
        "devilry_deliveries.delivery",
        "devilry_deliveries.filemeta",
        "testapp.markedfile",
    ]
    assert stored(store) == {tombstone.name: OLD_BYTES}


def test_deleted_row_without_content_has_no_tombstone(delivery: Delivery) -> None:
    row = FileMeta.objects.create(delivery=delivery, filename="empty.txt")
    row.content.delete()
    row.content = None
    row.save()
    row.delete()
    assert buried() == []


# -- Autocommit --

#: Ways that raise KeyError if django-cleanup is installed, with Django's FileField as well.
DEFERRED = {"defer", "only"} if apps.is_installed("django_cleanup") else set()


@pytest.mark.django_db(transaction=True)
def test_every_way_fails_without_a_trace_in_autocommit(store: FailingStore) -> None:
    group = AssignmentGroup.objects.create(name="group")
    for failure in ("full", "unreadable"):
        for way in rows.NEW:
            delivery = Delivery.begin(group)
            new_row_fails(way, failure, store, delivery)
            clear(store)
        for way in rows.REPLACE.keys() - DEFERRED:
            new_content_fails(way, failure, store, old_row(group))
            clear(store)


@pytest.mark.django_db(transaction=True)
def test_every_way_buries_the_bytes_in_autocommit(store: FailingStore) -> None:
    group = AssignmentGroup.objects.create(name="group")
    for way in (*rows.REMOVE.values(), *rows.DELETE.values()):
        row = old_row(group)
        name = row.content.name
        way(row)
        assert not FileMeta.objects.filter(content__isnull=False).exists()
        assert stored(store)[name] == OLD_BYTES
        assert buried() == sorted(stored(store))
        clear(store)


def clear(store: FailingStore) -> None:
    for model in (MarkedFile, FileMeta, Delivery, Paper, Page, Note, Tombstone):
        model._base_manager.all()._raw_delete("default")
    store.delete_many([entry.name for entry in store.scan()])
