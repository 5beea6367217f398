"""Sites that read from a replica: everything is written to the database that the router names.

The rows of each operation were read from a replica. On SQLite the replica does not see what the
operation writes, so the operation fails if it decides by what it reads there.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import pytest
from django.core.files.base import ContentFile
from django.db.models import F
from django.test import Client, override_settings
from django.utils.datastructures import MultiValueDict

from devilry_storage import deletion, restoring
from devilry_storage.abstract_models.delivery import AbstractDelivery
from devilry_storage.abstract_models.filemeta import AbstractFileMeta, FileMetaQuerySet
from devilry_storage.deletion import bury_orphan, orphans, purge, remove_now
from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.exceptions import DeliveryFinished, NotCommitted, NotRestorable
from devilry_storage.fields import DeliveryFieldFile, StoredName
from devilry_storage.forms import DeliveryForm
from devilry_storage.integrity import State, verify
from devilry_storage.models import Tombstone
from devilry_storage.resolving import store_for
from devilry_storage.restoring import restore, take_back

from ..admin.pages import Page, add_files, upload, url_for, url_of
from ..harness.purging import past_due
from ..harness.users import make_superuser
from ..slow import database_state as state

pytest_plugins = ["tests.harness.replicas"]
pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "replica"]),
    pytest.mark.usefixtures("replica_alias"),
]


class Site:
    """A group, an unfinished delivery and its file, each read from the replica."""

    def __init__(self, replica: Any, user: Any) -> None:
        self.reread, self.user = replica.reread, user
        self.browser = Client()
        self.browser.force_login(user)
        group = AssignmentGroup.objects.create(name="group")
        delivery = Delivery.begin(group)
        row = delivery.add_file("a.txt", b"a")
        self.group, self.delivery, self.row = map(self.reread, (group, delivery, row))
        self.store: Any = store_for(FileMeta)

    def finished(self) -> Any:
        self.delivery.finish()
        return self.reread(self.delivery)

    def tombstone(self) -> Any:
        """Return the tombstone of the file, which is deleted."""
        FileMeta(pk=self.row.pk).delete()
        return self.reread(primary(Tombstone).latest("pk"))

    def orphan(self) -> str:
        """Return the name of a file that no row and no tombstone names."""
        key = self.store.layout.key(self.delivery.pk, self.row.pk)
        name: str = self.store.save(key, ContentFile(b"o"))
        return name

    def act(self, action: str, row: Any, **data: Any) -> Page:
        """Run an action of the list of the row's model in the admin."""
        url = url_for(type(row))
        data |= {"action": action, "_selected_action": [str(row.pk)]}
        return Page(self.browser, self.browser.post(url, data, follow=True), url)


OPERATIONS: list[tuple[str, Callable[[Site], None]]] = []


def operation(*names: str) -> Callable[[Callable[[Site], None]], Callable[[Site], None]]:
    """Add a function to the table, with the public names that it tries."""

    def add(function: Callable[[Site], None]) -> Callable[[Site], None]:
        OPERATIONS.extend((name, function) for name in names or [function.__name__])
        return function

    return add


def primary(model: Any) -> Any:
    return model.objects.using("default")


def stored(row: Any) -> tuple[bytes | None, str]:
    """Return the bytes and the filename of a row, as the primary has them."""
    now = primary(FileMeta).get(pk=row.pk)
    return state.bytes_under(now.content.name) if now.content else None, now.filename


# -- Deliveries --


@operation("AbstractDelivery.begin", "AbstractDelivery.add_file")
def deliver(site: Site) -> None:
    begun = Delivery.begin(site.group)
    begun.add_file("b.txt", b"b")
    begun.finish()
    site.delivery.add_file("b.txt", b"b")
    assert primary(FileMeta).filter(delivery=site.delivery).count() == 2


@operation()
def take_over(site: Site) -> None:
    primary(FileMeta).create(delivery=site.delivery, filename="b", created=state.LONG_AGO)
    assert stored(site.delivery.add_file("b", b"b")) == (b"b", "b")


@operation("AbstractDelivery.add_files")
def deliver_many(site: Site) -> None:
    site.delivery.add_files({"b.txt": b"b", "c.txt": b"c"})
    site.delivery.finish()


@operation("AbstractDelivery.finish")
def finish(site: Site) -> None:
    site.delivery.finish()
    assert primary(Delivery).get(pk=site.delivery.pk).number == 1
    assert site.delivery._state.db == "default"


@operation("AbstractDelivery.copy")
def copy(site: Site) -> None:
    assert site.finished().copy(site.group).number == 2


@operation("AbstractDelivery.save")
def save_unfinished_instance_of_finished_delivery(site: Site) -> None:
    stale = site.delivery
    site.reread(stale).finish()
    stale.save(using="default")
    stale.save()
    assert primary(Delivery).get(pk=stale.pk).successful


@operation("AbstractDelivery.files")
def write_files(site: Site) -> None:
    """The queryset is read from the replica, and written to the primary."""
    assert site.delivery.files.db == "replica"
    assert site.delivery.files.update(filename="b.txt") == 1
    assert site.delivery.files.all().delete()[0] == 1


@operation("AbstractDelivery.refuse_finished")
def add_to_finished_delivery(site: Site) -> None:
    """The instances are from before it was finished."""
    site.reread(site.delivery).finish()
    site.row.content = ContentFile(b"new")
    late = FileMeta(delivery=site.delivery, filename="b", content=ContentFile(b"b"))
    for add in (
        lambda: site.delivery.add_file("b.txt", b"b"),
        lambda: site.delivery.add_files({"b.txt": b"b"}),
        lambda: FileMeta.objects.adopt(site.orphan(), delivery=site.delivery),
        *(late.save, site.row.save, site.delivery.finish),
    ):
        with pytest.raises(DeliveryFinished):
            add()


@operation()
def form(site: Site) -> None:
    form = DeliveryForm({"end": "end"}, MultiValueDict({"uploads": [upload()]}))
    assert form.is_valid()
    assert form.save(site.group) is not None, form.errors


@operation()
def delete_delivery(site: Site) -> None:
    site.delivery.delete()
    assert primary(Tombstone).latest("pk").filename == "a.txt"


# -- Files --


@operation("AbstractFileMeta.save", "AbstractFileMeta.clean", "AbstractFileMeta.clean_fields")
def save_new_content(site: Site) -> None:
    site.row.filename = "b.txt"
    site.row.content = ContentFile(b"new")
    site.row.full_clean()
    site.row.save()
    assert (*stored(site.row), site.row._state.db) == (b"new", "b.txt", "default")


@operation()
def save_column(site: Site) -> None:
    site.row.filename = "b.txt"
    site.row.save()
    assert stored(site.row) == (b"a", "b.txt")


@operation()
def save_content_alone(site: Site) -> None:
    site.row.content = ContentFile(b"new")
    site.row.save(update_fields=["content"])
    assert (*stored(site.row), site.row._state.db) == (b"new", "a.txt", "default")


@operation()
def move(site: Site) -> None:
    site.row.delivery = Delivery.begin(site.group)
    site.row.save()
    site.row.delivery.finish()


@operation("DeliveryFieldFile.save", "DeliveryFieldFile.delete")
def write_content(site: Site) -> None:
    site.row.content.save("new.txt", ContentFile(b"new"))
    assert stored(site.row) == (b"new", "a.txt")
    site.reread(site.row).content.delete()
    assert stored(site.row) == (None, "a.txt")


@operation()
def create(site: Site) -> None:
    made = FileMeta.objects.create(delivery=site.delivery, content=ContentFile(b"b", "b.txt"))
    assert stored(made) == (b"b", "b.txt")


@operation()
def delete(site: Site) -> None:
    site.row.delete()
    assert site.reread(primary(Tombstone).latest("pk")).filename == "a.txt"


@operation("FileMetaQuerySet.delete")
def delete_visible(site: Site) -> None:
    rows = FileMeta.objects.visible_to(site.user).filter(pk=site.row.pk)
    assert rows.delete()[0] == 1


@operation()
def delete_with_retention_of_0(site: Site) -> None:
    with override_settings(DELIVERY_STORE_RETENTION_DAYS=0):
        site.row.delete()
    assert primary(Tombstone).latest("pk").done


@operation("FileMetaQuerySet.bulk_update", "FileMetaQuerySet.update")
def update_in_bulk(site: Site) -> None:
    """The row in the primary decides which file an instance may have."""
    site.row.filename = "bulk.txt"
    FileMeta.objects.bulk_update([site.row], ["content", "filename"])
    assert stored(site.row) == (b"a", "bulk.txt")
    stale = site.row
    primary(FileMeta).get(pk=stale.pk).content.delete()
    with pytest.raises(NotCommitted, match="load it again"):
        FileMeta.objects.bulk_update([stale], ["content"])
    FileMeta.objects.update(content=F("content"))


@operation("FileMetaQuerySet.adopt", "FileMetaQuerySet.bulk_create")
def adopt(site: Site) -> None:
    """Neither may name the file of a tombstone."""
    made = FileMeta.objects.adopt(site.orphan(), delivery=site.delivery, filename="o")
    assert stored(made) == (b"o", "o")
    made.delete()
    name = made.content.name
    with pytest.raises(FileExistsError, match="deleted file"):
        FileMeta.objects.adopt(name, delivery=site.delivery)
    again = FileMeta(delivery=site.delivery, filename="b", content=StoredName(name))
    with pytest.raises(FileExistsError, match="deleted file"):
        FileMeta.objects.bulk_create([again])


@operation(
    *("AbstractFileMeta.record_stored", "AbstractFileMeta.before_storing", "write_open"),
    *("AbstractFileMeta.is_buried", "AbstractFileMeta.record_removed", "remove"),
)
def write_through_store(site: Site) -> None:
    with site.store.write_open(site.row) as writer:
        writer.write(b"new")
    assert stored(site.row) == (b"new", "a.txt")
    assert site.row.is_buried(primary(Tombstone).latest("pk").name)
    site.store.remove(site.reread(site.row))
    assert stored(site.row) == (None, "a.txt")


@operation()
def copy_through_store(site: Site) -> None:
    target = site.reread(primary(FileMeta).create(delivery=site.delivery, filename="b"))
    site.store.copy(site.row, target)
    assert stored(target) == (b"a", "b")


# -- Tombstones --


@operation("restore")
def restore_file(site: Site) -> None:
    assert stored(restore(site.tombstone())) == (b"a", "a.txt")


@operation()
def restore_delivery(site: Site) -> None:
    site.finished().delete()
    restore(site.reread(primary(Tombstone).latest("pk")))
    assert primary(Delivery).get(pk=site.row.delivery_id).number == 1


@operation("purge")
def restore_purged(site: Site) -> None:
    """The tombstone was read before it was purged."""
    tombstone = site.tombstone()
    past_due()
    assert tombstone.name in {event.subject for event in purge()}
    with pytest.raises(NotRestorable, match="permanently"):
        restore(tombstone)


@operation("remove_now")
def remove_permanently(site: Site) -> None:
    assert [event.result for event in remove_now([site.tombstone()])] == ["removed"]


@operation("bury_orphan", "take_back")
def bury_and_take_back(site: Site) -> None:
    name = site.orphan()
    site.delivery.add_file("newer", b"")
    with override_settings(DELIVERY_STORE_GRACE_HOURS=0), patch.object(orphans, "ONE_IN", 1):
        tombstone = bury_orphan(FileMeta, name, using="default")
    assert state.bytes_under(take_back(site.reread(tombstone))) == b"o"


# -- The admin --


@operation()
def check_and_finish_in_admin(site: Site) -> None:
    late = site.delivery.add_file("late.txt", b"")
    page = site.act("verify", site.delivery)
    assert primary(FileMeta).get(pk=late.pk).verified_at, page.text
    assert [verdict.state for verdict in verify(site.delivery)] == [State.WHOLE] * 2
    newest = Delivery.begin(site.group)
    newest.add_file("a.txt", b"")
    for delivery in (site.delivery, newest):  # the replica does not have the second one yet
        site.act("finish", delivery)
        assert primary(Delivery).get(pk=delivery.pk).successful


@operation()
def copy_in_admin(site: Site) -> None:
    site.act("copy", site.finished(), group=str(site.group.pk), copy="copy")
    assert primary(Delivery).latest("pk").copy_of_id == site.delivery.pk


@operation()
def change_in_admin(site: Site) -> None:
    page = Page.get(site.browser, url_of(site.delivery))
    add_files(page, ("b.txt", upload()))
    assert primary(FileMeta).latest("pk").filename == "b.txt"
    page = Page.get(site.browser, url_of(site.delivery))
    page.submit("delivery_form", {"stored-filemetas-0-DELETE": True}, "_save")
    assert not primary(FileMeta).filter(pk=site.row.pk).exists()


@operation()
def delete_in_admin(site: Site) -> None:
    site.act("delete_selected", site.row, post="yes")
    assert primary(Tombstone).latest("pk").file_id == site.row.pk
    site.act("delete_selected", site.delivery, post="yes")
    assert not primary(Delivery).filter(pk=site.delivery.pk).exists()


@operation()
def restore_and_remove_in_admin(site: Site) -> None:
    tombstone = site.tombstone()
    site.act("restore_selected", tombstone)
    assert stored(site.row) == (b"a", "a.txt")
    site.act("remove_selected", tombstone, confirmed="yes")
    assert primary(Tombstone).get(pk=tombstone.pk).done


# -- The table --

#: Public names that do not write.
READING = {
    *("AbstractDelivery.filemeta_model", "AbstractFileMeta.from_db", "AbstractFileMeta.key_ids"),
    *("AbstractFileMeta.refresh_from_db", "AbstractFileMeta.validate_constraints"),
    "AbstractFileMeta.validate_unique",
    *("DeliveryFieldFile.close", "DeliveryFieldFile.copy_for", "DeliveryFieldFile.file"),
    *("DeliveryFieldFile.is_pending_file", "DeliveryFieldFile.open"),
    *("DeliveryFieldFile.settle", "DeliveryFieldFile.size", "DeliveryFieldFile.storage"),
    "DeliveryFieldFile.url",
}


def public() -> Iterator[str]:
    """Yield the public methods and functions by which files are written."""
    for cls in (AbstractDelivery, AbstractFileMeta, FileMetaQuerySet, DeliveryFieldFile):
        for name, value in vars(cls).items():
            is_method = isinstance(value, (classmethod, property)) or inspect.isfunction(value)
            if is_method and not name.startswith("_"):
                yield f"{cls.__name__}.{name}"
    yield from (name for name in deletion.__all__ if name.islower())
    for name, value in inspect.getmembers(restoring, inspect.isfunction):
        if value.__module__ == restoring.__name__ and not name.startswith("_"):
            yield name


def test_everything_is_written_to_the_primary(replica: Any, subtests: Any) -> None:
    user = make_superuser()
    for function in dict.fromkeys(function for _name, function in OPERATIONS):
        with subtests.test(function.__name__):
            function(Site(replica, user))
            replica.catch_up()
            assert state.faults() == []


def test_table_has_all_public_names() -> None:
    """A new one needs an operation, unless it only reads."""
    assert {*public()} - READING == {name for name, _ in OPERATIONS} & {*public()}
