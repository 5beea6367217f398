"""django-model-utils: a tracker, which compares with the values of the last save."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.files.base import ContentFile

from .accounts import account
from .models import Homework, PlainFile, TrackedFile

pytestmark = pytest.mark.django_db(transaction=True)


def _story(model: Any, **fields: Any) -> None:
    row = model.objects.create(filename="a.txt", content=ContentFile(b"1", "a.txt"), **fields)
    assert not row.tracker.has_changed("content")
    assert row.tracker.previous("content").name == row.content.name
    deferred = model.objects.defer("content")
    for get in (None, model.objects.get, deferred.get):
        row = get() if get else row
        stored = model.objects.get().content.name
        row.content = ContentFile(b"2", "b.txt")
        assert row.tracker.has_changed("content")
        assert row.tracker.previous("content").name == stored
        row.save()
        assert row.content.open().read() == b"2"
        assert not row.tracker.has_changed("content")
        assert row.tracker.previous("content").name == row.content.name
    other = deferred.get()
    assert not other.tracker.has_changed("content")
    other.filename = "c.txt"
    other.save()
    assert other.tracker.previous("content").name == row.content.name
    assert model.objects.get().content.name == row.content.name


def test_tracker_follows_the_stored_name(homework: Homework) -> None:
    """As with Django's own field."""
    _story(PlainFile)
    _story(TrackedFile, delivery=homework)
    rows, tombstones = account(TrackedFile)
    assert (len(rows), len(tombstones)) == (1, 3)
