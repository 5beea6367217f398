"""Deleted files come back whole, with their ids, or not at all and with a reason."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.files.base import ContentFile

from devilry_storage import signals
from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.exceptions import NotRestorable
from devilry_storage.models import Tombstone
from devilry_storage.removal import carry_out
from devilry_storage.restoring import restore
from devilry_storage.store import store_for

from .testapp.models import Course, MarkedFile, Note, Paper
from .users import make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def group() -> Any:
    return AssignmentGroup.objects.create(name="group")


@pytest.fixture
def delivery(group: Any) -> Any:
    user = make_user("anna")
    made = Delivery.begin(group, user)
    made.add_files({"a.txt": b"aaa", "b.txt": b"bbb"})
    made.finish()
    return made


def _picture(model: Any) -> list[Any]:
    return list(model.objects.order_by("pk").values())


def _tombstone() -> Any:
    return Tombstone.objects.get()


def test_a_deleted_row_comes_back_as_it_was(delivery: Any) -> None:
    """Every column, and the bytes; the tombstone is gone."""
    before = _picture(FileMeta)
    delivery.files[0].delete()
    row = restore(_tombstone())
    assert _picture(FileMeta) == before
    with row.content.open() as file:
        assert file.read() == b"aaa"
    assert not Tombstone.objects.exists()


def test_a_deleted_delivery_comes_back_with_all_its_files(delivery: Any) -> None:
    """Finished, with its number, by whichever of its files is restored first."""
    before = _picture(Delivery), _picture(FileMeta)
    delivery.delete()
    assert not Delivery.objects.exists()
    for tombstone in Tombstone.objects.order_by("-pk"):
        restore(tombstone)
    assert (_picture(Delivery), _picture(FileMeta)) == before


def test_a_cleared_row_gets_its_content_back(delivery: Any) -> None:
    """The row was there all the time."""
    before = _picture(FileMeta)
    delivery.files[0].content.delete()
    restore(_tombstone())
    assert _picture(FileMeta) == before


def test_whoever_is_gone_is_let_go_of(delivery: Any) -> None:
    """The user may be deleted meanwhile; the delivery comes back without."""
    user = delivery.delivered_by
    delivery.delete()
    user.delete()
    restore(Tombstone.objects.order_by("pk")[0])
    assert Delivery.objects.get().delivered_by is None


def test_a_file_is_told_of_when_it_is_back(
    delivery: Any, django_capture_on_commit_callbacks: Any
) -> None:
    """The signal is that of a file that was stored."""
    delivery.files[0].delete()
    told: list[Any] = []

    def receive(*, instance: Any, name: str, size: int, **kwargs: Any) -> None:
        told.append((instance.filename, size))

    signals.file_stored.connect(receive)
    try:
        with django_capture_on_commit_callbacks(execute=True):
            restore(_tombstone())
    finally:
        signals.file_stored.disconnect(receive)
    assert told == [("a.txt", 3)]


def _gone(delivery: Any) -> str:
    row = delivery.files[0]
    row.delete()
    store_for(FileMeta).delete(row.content.name)
    return "nothing is left"


def _other_size(delivery: Any) -> str:
    row = delivery.files[0]
    row.delete()
    Tombstone.objects.update(size=99)
    return "'3' bytes"


def _other_content(delivery: Any) -> str:
    Delivery.objects.update(successful=False)
    row = FileMeta.objects.order_by("pk")[0]
    row.content = ContentFile(b"new", "a.txt")
    row.save()
    return "other content now"


def _filename_taken(delivery: Any) -> str:
    delivery.files[0].delete()
    Delivery.objects.update(successful=False)
    Delivery.objects.get().add_file("a.txt", b"another")
    return "has a file of this name already"


def _number_taken(delivery: Any) -> str:
    group = delivery.assignment_group
    delivery.delete()
    other = Delivery.begin(group)
    other.add_file("a.txt", b"x")
    other.finish()
    Tombstone.objects.order_by("pk").last().delete()
    return "cannot be restored"


def _group_gone(delivery: Any) -> str:
    group = delivery.assignment_group
    delivery.files[0].delete()
    delivery.delete()
    Tombstone.objects.exclude(pk=Tombstone.objects.order_by("pk")[0].pk).delete()
    group.delete()
    return "is gone. Restore that first"


def _no_model(delivery: Any) -> str:
    delivery.files[0].delete()
    Tombstone.objects.update(model="gone.file")
    return "no such model"


def _other_store(delivery: Any) -> str:
    delivery.files[0].delete()
    Tombstone.objects.update(alias="elsewhere")
    return "'elsewhere'"


def _orphan(delivery: Any) -> str:
    delivery.files[0].delete()
    Tombstone.objects.update(rows=[])
    return "had no row"


def _carried_out(delivery: Any) -> str:
    delivery.files[0].delete()
    return ""


REFUSED = [
    *(_gone, _other_size, _other_content, _filename_taken, _number_taken),
    *(_group_gone, _no_model, _other_store, _orphan),
]


@pytest.mark.parametrize("change", REFUSED, ids=lambda change: change.__name__)
def test_what_cannot_come_back_says_why_and_changes_nothing(delivery: Any, change: Any) -> None:
    """The tombstone stays, and so do all rows."""
    reason = change(delivery)
    before = _picture(FileMeta), _picture(Delivery), _picture(Tombstone)
    with pytest.raises(NotRestorable) as caught:
        restore(Tombstone.objects.order_by("pk")[0])
    assert reason in str(caught.value)
    assert (_picture(FileMeta), _picture(Delivery), _picture(Tombstone)) == before


def test_a_tombstone_that_was_carried_out_meanwhile_restores_nothing(delivery: Any) -> None:
    """Whoever was first has it."""
    delivery.files[0].delete()
    stale = _tombstone()
    carry_out(FileMeta, [stale], "default")
    with pytest.raises(NotRestorable, match="meanwhile"):
        restore(stale)
    assert FileMeta.objects.count() == 1


def test_children_and_parents_come_back(delivery: Any) -> None:
    """The rows of a multi-table child, and of a plain parent."""
    Delivery.objects.update(successful=False)
    delivery.refresh_from_db()
    marked = MarkedFile(delivery=delivery, filename="m.txt", mark="x")
    marked.content = ContentFile(b"mmm", "m.txt")
    marked.save()
    course = Course.objects.create(title="course")
    paper = Paper(delivery=course, filename="p.txt", title="paper")
    paper.content = ContentFile(b"ppp", "p.txt")
    paper.save()
    note = Note(filename="n.txt", content=ContentFile(b"nnn", "n.txt"))
    note.save()
    before = _picture(MarkedFile), _picture(Paper), _picture(Note)
    for row in (marked, paper, note):
        row.delete()
    for tombstone in Tombstone.objects.order_by("pk"):
        restore(tombstone)
    assert (_picture(MarkedFile), _picture(Paper), _picture(Note)) == before
