"""django-polymorphic: kinds of files, which the manager of their parent returns."""

from __future__ import annotations

import pytest
from django.core.files.base import ContentFile

from devilry_storage.models import Tombstone
from devilry_storage.restoring import restore

from .accounts import account
from .models import Essay, Film, Homework, Work

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def works(homework: Homework) -> tuple[Essay, Film]:
    fields = {"delivery": homework}
    return (
        Essay.objects.create(**fields, words=3, content=ContentFile(b"essay", "e.txt")),
        Film.objects.create(**fields, minutes=5, content=ContentFile(b"film", "f.mp4")),
    )


def test_parent_returns_the_kinds(works: tuple[Essay, Film]) -> None:
    assert list(Work.objects.order_by("pk")) == list(works)
    assert [work.content.open().read() for work in Work.objects.order_by("pk")] == [
        b"essay",
        b"film",
    ]


def test_new_content_has_a_tombstone_for_the_old(works: tuple[Essay, Film]) -> None:
    """Of a child, from both managers."""
    old = {work.content.name for work in works}
    for work in (Work.objects.first(), Film.objects.get()):
        work.content = ContentFile(b"new", "new.txt")
        work.save()
    assert [work.content.open().read() for work in Work.objects.all()] == [b"new", b"new"]
    assert account(Work)[1] == old


@pytest.mark.parametrize("way", ["child", "parent", "queryset", "cascade", "content"])
def test_delete_writes_tombstones(way: str, works: tuple[Essay, Film], homework: Homework) -> None:
    names = {work.content.name for work in works}
    if way == "child":
        Essay.objects.get().delete()
        Film.objects.get().delete()
    elif way == "parent":
        for work in Work.objects.all():
            work.delete()
    elif way == "queryset":
        Work.objects.all().delete()
    elif way == "cascade":
        homework.delete()
    else:
        for work in Work.objects.all():
            work.content.delete()
    assert account(Work) == (set(), names)


def test_deleted_child_is_restored(works: tuple[Essay, Film]) -> None:
    """With the columns of both tables."""
    works[0].delete()
    restore(Tombstone.objects.get())
    essay = Essay.objects.get()
    assert (essay.words, essay.content.open().read()) == (3, b"essay")
    assert list(Work.objects.order_by("pk")) == [essay, works[1]]
    account(Work)
