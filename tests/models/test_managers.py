"""Rows that a manager of the site hides or changes, and rows that cannot become instances."""

from __future__ import annotations

from typing import Any, cast

import pytest
from django.apps import apps
from django.core.files.base import ContentFile
from django.db import DatabaseError, models
from django.test import Client
from django.test.utils import isolate_apps
from django.urls import reverse
from django.utils import timezone

from devilry_storage import restoring
from devilry_storage.deletion import bury_orphan
from devilry_storage.deletion.burying import _serialised
from devilry_storage.deletion.removal import claim, refusal
from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.exceptions import NotAnOrphan
from devilry_storage.identity.recognition import newest_files
from devilry_storage.identity.stores import MarkedStore
from devilry_storage.integrity import State, verify
from devilry_storage.models import AbstractFileMeta, Tombstone
from devilry_storage.restoring import restore

from ..harness.managers import (
    ChildManager,
    HidingManager,
    JoiningManager,
    no_instance_is_loaded,
    set_manager,
)
from ..harness.purging import past_due
from ..harness.users import make_superuser, make_user
from ..testapp.models import Course, MarkedFile, Paper, ProxyFile
from ..testapp.pictures import buried, stored
from ..testapp.stores import FailingStore

pytest_plugins = ["tests.testapp.fixtures"]
pytestmark = pytest.mark.django_db

MODELS = (FileMeta, Delivery, AssignmentGroup)


@pytest.fixture(params=[HidingManager, ChildManager, JoiningManager])
def base_manager(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, row: Any
) -> None:
    """Base managers that hide all rows, return children, or join tables."""
    concerned = {HidingManager: MODELS, ChildManager: [FileMeta], JoiningManager: [Delivery]}
    for model in concerned[request.param]:
        set_manager(monkeypatch, model, request.param())


def mark(row: Any, text: str = "A") -> None:
    """Insert the row of the multi-table child."""
    MarkedFile(filemeta_ptr=row, mark=text).save_base(raw=True)


def change_files(row: Any, delivery: Delivery) -> None:
    """Replace, remove, restore and delete files, and finish the delivery."""
    mark(row)
    (more,) = delivery.add_files({"b.txt": b"b"})
    row.content = ContentFile(b"new", "new.txt")
    row.save()
    more.record_removed()
    assert len(buried()) == 2
    restore(Tombstone.objects.get(file_id=more.pk))
    delivery.finish()
    assert delivery.number == 1
    assert refusal(FileMeta, "default", 10) == ""
    name = row.content.name
    row.delete()
    assert [record["model"] for record in Tombstone.objects.get(name=name).rows] == [
        *("devilry_deliveries.delivery", "devilry_deliveries.filemeta", "testapp.markedfile")
    ]
    assert {state for _, state, *_ in verify(delivery)} == {State.WHOLE, State.TOMBSTONED}


@pytest.mark.parametrize("base_manager", [ChildManager, JoiningManager], indirect=True)
def test_base_manager_does_not_matter(row: Any, base_manager: None, delivery: Delivery) -> None:
    change_files(row, delivery)


@pytest.mark.parametrize("base_manager", [HidingManager], indirect=True)
def test_file_of_a_hidden_row_is_buried(
    row: Any, base_manager: None, store: FailingStore, delivery: Delivery
) -> None:
    """Django itself cannot save such a row: that fails and changes nothing."""
    (more,) = delivery.add_files({"b.txt": b"b"})
    with store.write_open(row) as writer:
        writer.write(b"new")
    assert len(buried()) == 1
    with pytest.raises(DatabaseError, match="did not affect any rows"):
        more.record_removed()
    delivery.finish()
    assert delivery.number == 1
    row.delete()
    assert len(buried()) == 2
    restored = restore(Tombstone.objects.latest("pk"))
    assert restored.content.read() == b"new"
    assert {state for _, state, *_ in verify(delivery)} == {State.WHOLE, State.TOMBSTONED}


def test_rows_ordered_by_a_nullable_relation_are_locked(
    monkeypatch: pytest.MonkeyPatch, row: Any, delivery: Delivery
) -> None:
    """PostgreSQL locks no rows of an outer join."""
    monkeypatch.setattr(Delivery._meta, "ordering", ["delivered_by__pk", "copy_of__number"])
    monkeypatch.setattr(FileMeta._meta, "ordering", ["delivery__copy_of__number"])
    monkeypatch.setattr(AssignmentGroup._meta, "ordering", ["deliveries__number"])
    change_files(row, delivery)


def test_no_instance_of_a_stored_row_is_created(row: Any, delivery: Delivery) -> None:
    """Constructors and receivers of post_init may need other files or columns."""
    with no_instance_is_loaded(*MODELS):
        change_files(row, delivery)


@isolate_apps("tests.testapp")
def test_row_with_a_missing_image_is_loaded_and_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ImageField with width_field opens its file if the width is unknown."""

    class Portrait(AbstractFileMeta):
        image = models.FileField()
        broken = False

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            if self.broken or self.__dict__.get("image"):
                raise FileNotFoundError("face.png")

        class Meta:
            app_label = "testapp"

    row = Portrait.from_db("default", ["id", "image"], [7, "face.png"])
    assert (row.pk, row.image.name, row._state.adding, row._state.db) == (
        *(7, "face.png", False, "default"),
    )
    monkeypatch.setattr(apps, "get_model", lambda label: Portrait)
    record = {"model": "testapp.portrait", "pk": 7, "fields": {"image": "face.png", "gone": 1}}
    (restored,) = restoring._deserialized([record], "It", "default")
    assert restored.object.image.name == "face.png"
    with pytest.raises(FileNotFoundError):
        Portrait(image="face.png")
    Portrait.broken = True
    with pytest.raises(FileNotFoundError):
        Portrait.from_db("default", ["id", "image"], [7, None])


def test_deleted_delivery_buries_files_of_children(
    monkeypatch: pytest.MonkeyPatch, row: Any, delivery: Delivery
) -> None:
    mark(row)
    set_manager(monkeypatch, FileMeta, ChildManager())
    delivery.delete()
    (tombstone,) = Tombstone.objects.all()
    restored = restore(tombstone)
    assert (type(restored), restored.pk) == (FileMeta, tombstone.file_id)
    assert MarkedFile.objects.get().mark == "A"


def test_tombstone_has_each_row_of_a_family_once(row: Any, store: FailingStore) -> None:
    mark(row)
    course = Course.objects.create(title="course")
    content = ContentFile(b"a", "a.txt")
    paper = Paper.objects.create(delivery=course, title="title", content=content)
    file, child = "devilry_deliveries.filemeta", "testapp.markedfile"
    for member, labels in [
        (row, [file, child]),
        (ProxyFile.objects.get(), ["testapp.proxyfile", child]),
        (MarkedFile.objects.get(), [file, child]),
        (paper, ["testapp.page", "testapp.paper"]),
    ]:
        assert [record["model"] for record in next(_serialised([member], "default"))] == labels


def test_copy_of_a_delivery_has_rows_of_children(row: Any, delivery: Delivery, group: Any) -> None:
    mark(row, "B")
    delivery.finish()
    copied = delivery.copy(group)
    assert MarkedFile.objects.get(delivery=copied).mark == "B"


def test_file_of_any_row_is_kept(
    row: Any, base_manager: None, store: FailingStore, delivery: Delivery
) -> None:
    """Adopting, orphans, purges and checks look at all rows."""
    name = row.content.name
    with pytest.raises(FileExistsError, match="is the file of"):
        FileMeta.objects.adopt(name, delivery=delivery)
    with pytest.raises(NotAnOrphan, match="recorded"):
        bury_orphan(FileMeta, name, using="default")
    alias = "devilry_deliveries.filemeta"
    Tombstone.objects.create(model=alias, alias=alias, name=name, due=timezone.now())
    past_due()
    assert claim(FileMeta, Tombstone.objects.all()) == 0
    assert newest_files(MarkedStore(FileMeta, "default", store, cast(Any, None), "")) == (1, 1)
    store.delete(name)
    assert "not in the store" in refusal(FileMeta, "default", 10)
    assert stored(store) == {}


def test_default_manager_of_the_site_decides_what_is_shown(
    monkeypatch: pytest.MonkeyPatch, subtests: Any, row: Any, delivery: Delivery
) -> None:
    """Without visible_to(), its rows are shown by the rules of the package."""
    hidden = delivery.add_file("hidden.txt", b"hidden")
    delivery.finish()

    class Shown(models.Manager[Any]):
        def get_queryset(self) -> Any:
            return super().get_queryset().exclude(pk=hidden.pk)

    set_manager(monkeypatch, FileMeta, Shown(), "default_manager")
    set_manager(monkeypatch, Delivery, models.Manager(), "default_manager")
    candidate, other = make_user("anna"), make_user("other")
    delivery.assignment_group.candidates.add(candidate)
    download = [
        reverse("devilry_storage:download", args=["devilry_deliveries.filemeta", each.pk])
        for each in (row, hidden)
    ]
    archive = reverse(
        "devilry_storage:delivery_archive", args=["devilry_deliveries.delivery", delivery.pk]
    )
    for user, statuses in [
        (make_superuser("root"), [200, 404, 200]),
        (candidate, [200, 404, 200]),
        (other, [404, 404, 404]),
    ]:
        client = Client()
        client.force_login(user)
        responses = [client.get(url) for url in (*download, archive)]
        with subtests.test(user=user.get_username()):
            assert [response.status_code for response in responses] == statuses
            if responses[2].status_code == 200:
                content = b"".join(responses[2])
                assert (b"old.txt" in content, b"hidden.txt" in content) == (True, False)
