"""django-reversion: revisions, which are reverted by raw saves."""

from __future__ import annotations

from typing import Any

import pytest
import reversion
from django.core.files.base import ContentFile
from reversion.models import Version

from devilry_storage.models import Tombstone
from devilry_storage.restoring import restore

from .accounts import account
from .models import Homework, VersionedFile

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def row(homework: Homework) -> VersionedFile:
    with reversion.create_revision(atomic=False):
        made: VersionedFile = VersionedFile.objects.create(
            delivery=homework, filename="a.txt", content=ContentFile(b"first", "upload.txt")
        )
    return made


def _change(row: VersionedFile, **columns: Any) -> None:
    with reversion.create_revision():
        for name, value in columns.items():
            setattr(row, name, value)
        row.save()


def _oldest(row: VersionedFile) -> Version:
    version: Version = Version.objects.get_for_object(row).last()
    return version


def test_versions_name_the_stored_files(row: VersionedFile) -> None:
    """Of a new row, and of new content."""
    names = [row.content.name]
    _change(row, content=ContentFile(b"second", "second.txt"))
    names.append(row.content.name)
    versions = Version.objects.get_for_object(row).order_by("pk")
    assert [str(version.field_dict["content"]) for version in versions] == names
    account(VersionedFile)


def test_revert_restores_columns(row: VersionedFile) -> None:
    """The file stays the same."""
    _change(row, filename="b.txt")
    _oldest(row).revision.revert()
    row.refresh_from_db()
    assert row.filename == "a.txt"
    assert row.content.open().read() == b"first"
    assert account(VersionedFile) == ({row.content.name}, set())


def test_revert_to_replaced_file_is_refused(row: VersionedFile) -> None:
    """Its bytes belong to a tombstone, and may be purged at any time."""
    old = row.content.name
    _change(row, filename="b.txt", content=ContentFile(b"second", "b.txt"))
    with pytest.raises(FileExistsError, match=f"'{old}' belongs to a deleted file"):
        _oldest(row).revision.revert()
    row.refresh_from_db()
    assert row.filename == "b.txt"
    assert row.content.open().read() == b"second"
    assert account(VersionedFile) == ({row.content.name}, {old})


def test_deleted_row_is_restored_by_its_tombstone(row: VersionedFile) -> None:
    """Recovering its version is refused."""
    pk, old = row.pk, row.content.name
    row.delete()
    (version,) = Version.objects.get_deleted(VersionedFile)
    with pytest.raises(FileExistsError, match="Restore that file"):
        version.revision.revert()
    assert account(VersionedFile) == (set(), {old})
    restored = restore(Tombstone.objects.get())
    assert restored.pk == pk
    assert restored.content.open().read() == b"first"
    assert account(VersionedFile) == ({restored.content.name}, {old})


def test_revert_to_no_file_writes_the_tombstone(homework: Homework) -> None:
    with reversion.create_revision():
        row = VersionedFile.objects.create(delivery=homework, filename="later.txt")
    _change(row, content=ContentFile(b"bytes", "a.txt"))
    name = row.content.name
    _oldest(row).revision.revert()
    row.refresh_from_db()
    assert (row.content.name, row.size, row.sha256) == (None, None, "")
    assert account(VersionedFile) == (set(), {name})
