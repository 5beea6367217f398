"""django-import-export: tables of rows."""

from __future__ import annotations

import pytest
from django.core.files.base import ContentFile

from .accounts import account
from .models import Homework, ImportedFile
from .resources import AllColumns, Filenames

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def rows(homework: Homework) -> list[ImportedFile]:
    return [
        ImportedFile.objects.create(delivery=homework, content=ContentFile(data, name))
        for data, name in ((b"a", "a.txt"), (b"bb", "b.txt"))
    ]


def test_export_has_the_stored_names(rows: list[ImportedFile]) -> None:
    assert AllColumns().export()["content"] == [row.content.name for row in rows]
    assert Filenames().export()["size"] == ["1", "2"]


def test_import_changes_other_columns(rows: list[ImportedFile]) -> None:
    """Files that the table names are not read."""
    table = Filenames().export()
    row = dict(zip(table.headers, table[0], strict=True))
    row["filename"] = "renamed.txt"
    del table[0]
    table.append([row[header] for header in table.headers])
    before = account(ImportedFile)
    Filenames().import_data(table, raise_errors=True)
    assert {row.filename for row in ImportedFile.objects.all()} == {"renamed.txt", "b.txt"}
    assert account(ImportedFile) == before


@pytest.mark.parametrize("change", ["same", "other", "new", "unknown", "empty"])
def test_import_of_names_loses_no_bytes(change: str, rows: list[ImportedFile]) -> None:
    """A name that the row does not have is refused; an empty one writes the file's tombstone."""
    table = AllColumns().export()
    row = dict(zip(table.headers, table[0], strict=True))
    own, other = (row.content.name for row in rows)
    row["content"] = {"same": own, "unknown": "1/2/3", "empty": ""}.get(change, other)
    row["id"] = "" if change == "new" else row["id"]
    row["filename"] = "renamed.txt"
    del table[1], table[0]
    table.append([row[header] for header in table.headers])
    (result,) = AllColumns().import_data(table).rows
    renamed = ImportedFile.objects.filter(filename="renamed.txt").exists()
    if change == "same":
        assert renamed
    elif change != "empty":
        assert not renamed
        assert f"Cannot assign '{row['content']}'" in str(result.validation_error)
    kept = {other} if change == "empty" else {own, other}
    assert account(ImportedFile) == (kept, {own, other} - kept)
