"""PrefixIndex: the database finds the beginnings of a text by it."""

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
    """Return how the database finds the rows, if it is not to read the whole table."""
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
def test_beginnings_are_found_by_the_index(model: Any, lookup: str, index: str) -> None:
    """Also those with characters that mean something to LIKE, and in either case."""
    for text in ("Report", "100%_\\"):
        found = plan(model.objects.filter(**{lookup: text}))
        assert index in found
        # Some of it, not all from its beginning to its end.
        assert "Index Cond" in found or "SEARCH" in found, found


@pytest.mark.postgres
def test_index_is_bytewise_on_postgresql() -> None:
    """In the order of another collation LIKE has no use for it."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT indexdef FROM pg_indexes WHERE indexname = 'devilry_deliveries_beginning'"
        )
        (definition,) = cursor.fetchone()
    assert "text_pattern_ops" in definition


def test_the_first_matches_in_its_order_need_no_sorting() -> None:
    """So that not more is read than is asked for."""
    rows = FileMeta.objects.filter(filename__istartswith="a").order_by(InPrefixOrder("filename"))
    found = plan(rows[:10])
    assert "devilry_deliveries_beginning" in found
    assert "Sort" not in found
    assert "TEMP B-TREE" not in found


def test_matches_come_in_the_order_of_the_index() -> None:
    """Whatever their case is."""
    names = ["b", "A2", "a1", "B", "a3"]
    AssignmentGroup.objects.bulk_create(AssignmentGroup(name=name) for name in names)
    rows = AssignmentGroup.objects.filter(name__istartswith="a").order_by(InPrefixOrder("name"))
    assert [row.name for row in rows] == ["a1", "A2", "a3"]


def test_a_migration_names_what_was_given_only() -> None:
    """No other word of PostgreSQL's is in it, so that SQLite can carry it out."""
    index = PrefixIndex(fields=["filename"], name="handin_filename")
    written, imports = MigrationWriter.serialize(index)
    assert written == (
        "devilry_storage.db.indexes.PrefixIndex(fields=['filename'], name='handin_filename')"
    )
    assert imports == {"import devilry_storage.db.indexes"}
    assert index.clone() == index
