"""django-auditlog: entries made by post_save of new rows and by pre_save of others."""

from __future__ import annotations

from typing import Any

import pytest
from auditlog.models import LogEntry
from django.core.files.base import ContentFile

from .accounts import account
from .models import Homework, PlainFile, TrackedFile

pytestmark = pytest.mark.django_db(transaction=True)


def _story(model: Any, **fields: Any) -> tuple[list[str], list[Any]]:
    """Create, rename, replace and delete a row; return the stored names and the changes."""
    row = model.objects.create(filename="a.txt", content=ContentFile(b"1", "a.txt"), **fields)
    names = [row.content.name]
    row.filename = "b.txt"
    row.save()
    row.content = ContentFile(b"2", "second.txt")
    row.save()
    names.append(row.content.name)
    row.delete()
    entries = LogEntry.objects.get_for_model(model).order_by("pk")
    changes = [(entry.get_action_display(), entry.changes.get("content")) for entry in entries]
    return names, [change for change in changes if change[1]]


def test_entries_name_the_stored_files(homework: Homework) -> None:
    """Of new content, after an entry with the name of the upload; Django's field has only that."""
    (first, second), changes = _story(PlainFile)
    assert changes == [
        ("create", ["None", first]),
        ("update", [first, "second.txt"]),
        ("delete", [second, "None"]),
    ]
    (first, second), changes = _story(TrackedFile, delivery=homework)
    assert changes == [
        ("create", ["None", "a.txt"]),
        ("update", ["", first]),
        ("update", [first, "second.txt"]),
        ("update", [first, second]),
        ("delete", [second, "None"]),
    ]
    account(TrackedFile)
