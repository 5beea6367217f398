"""PrefixIndex: an index for searches of the beginning of a text."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.db.migrations.writer import MigrationWriter
from django.db.models import QuerySet

from devilry_storage.db.indexes import InPrefixOrder
from devilry_storage.deliveries.models import AssignmentGroup, FileMeta
from devilry_storage.models import PrefixIndex

pytestmark = pytest.mark.django_db


def plan(rows: QuerySet[Any]) -> str:
    """Return the query plan; PostgreSQL must not scan the whole table."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute("SET LOCAL enable_bitmapscan = off")
    return rows.explain()


@pytest.mark.parametrize(
    ("model", "lookup", "index"),
    [
        (FileMeta, "filename__istartswith", "devilry_deliveries_beginning"),
        (AssignmentGroup, "name__istartswith", "devilry_deliveries_group_name"),
    ],
)
def test_istartswith_uses_the_index(model: Any, lookup: str, index: str) -> None:
    """Also with wildcards of LIKE in the text, and in either case."""
    for text in ("Report", "100%_\\"):
        explained = plan(model.objects.filter(**{lookup: text}))
        assert index in explained
        # A range of the index, not all of it.
        assert "Index Cond" in explained or "SEARCH" in explained, explained


@pytest.mark.postgres
def test_index_is_bytewise_on_postgresql() -> None:
    """LIKE cannot use an index in the order of another collation."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT indexdef FROM pg_indexes WHERE indexname = 'devilry_deliveries_beginning'"
        )
        (definition,) = cursor.fetchone()
    assert "text_pattern_ops" in definition


def test_first_matches_are_not_sorted() -> None:
    """Only the requested rows are read."""
    rows = FileMeta.objects.filter(filename__istartswith="a").order_by(InPrefixOrder("filename"))
    explained = plan(rows[:10])
    assert "devilry_deliveries_beginning" in explained
    assert "Sort" not in explained
    assert "TEMP B-TREE" not in explained


def test_matches_are_ordered_regardless_of_case() -> None:
    names = ["b", "A2", "a1", "B", "a3"]
    AssignmentGroup.objects.bulk_create(AssignmentGroup(name=name) for name in names)
    rows = AssignmentGroup.objects.filter(name__istartswith="a").order_by(InPrefixOrder("name"))
    assert [row.name for row in rows] == ["a1", "A2", "a3"]


def test_index_deconstructs_without_operator_classes() -> None:
    """They would fail on SQLite."""
    index = PrefixIndex(fields=["filename"], name="handin_filename")
    written, imports = MigrationWriter.serialize(index)
    assert written == (
        "devilry_storage.db.indexes.PrefixIndex(fields=['filename'], name='handin_filename')"
    )
    assert imports == {"import devilry_storage.db.indexes"}
    assert index.clone() == index
