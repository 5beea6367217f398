"""A temporary PostgreSQL database with millions of rows, made with ``generate_series``.

The rows are a hard case for the admin:

- Rare values are in old rows, while lists begin with the newest rows.
- A third of all files have the same filename.
- The filenames in the oldest tenth of the deliveries begin with a word that newer ones lack.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from django.contrib.auth import get_user_model
from django.db import connection
from django.utils import timezone

from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.models import MonthlySum, Tombstone
from tests.harness.users import login_field

#: Minutes between two deliveries: a million deliveries take ten years.
MINUTES = 5


@contextmanager
def database(name: str, files: int) -> Iterator[None]:
    """Create a copy of the connection's database and fill it with this number of files."""
    usual = connection.settings_dict["NAME"]
    connection.close()
    _administer(f'CREATE DATABASE "{name}" TEMPLATE "{usual}"')
    try:
        with connected_to(name):
            fill(files)
        yield
    finally:
        _administer(f'DROP DATABASE "{name}" WITH (FORCE)')


@contextmanager
def connected_to(name: str) -> Iterator[None]:
    """Connect Django to another database of the same server in the block."""
    usual = connection.settings_dict["NAME"]
    connection.close()
    connection.settings_dict["NAME"] = name
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict["NAME"] = usual


def _administer(sql: str) -> None:
    with psycopg.connect(dbname="postgres", autocommit=True) as server:
        server.execute(sql)


def fill(files: int) -> None:
    """Insert the files, a third as many deliveries and tombstones, and their groups and users."""
    deliveries = files // 3
    groups, users = max(deliveries // 10, 5), max(deliveries // 20, 5)
    user_model: Any = get_user_model()
    user_model.objects.bulk_create(
        (user_model(**{login_field(): f"user{number:06}"}) for number in range(users)),
        batch_size=5000,
    )
    tables = {
        "delivery": Delivery._meta.db_table,
        "filemeta": FileMeta._meta.db_table,
        "assignmentgroup": AssignmentGroup._meta.db_table,
        "tombstone": Tombstone._meta.db_table,
        "monthlysum": MonthlySum._meta.db_table,
        "users": user_model._meta.db_table,
        "login": login_field(),
    }
    numbers = {
        "files": files,
        "deliveries": deliveries,
        "groups": groups,
        "users": users,
        "minutes": MINUTES,
        "now": timezone.now(),
    }
    with connection.cursor() as cursor:
        large = [tables[name] for name in ("delivery", "filemeta", "tombstone")]
        with _without_indexes(cursor, large):
            for statement in _ROWS.format(**tables).split(";"):
                cursor.execute(statement, numbers)
        cursor.execute("VACUUM ANALYZE")


@contextmanager
def _without_indexes(cursor: Any, tables: list[str]) -> Iterator[None]:
    """Drop indexes and unique constraints in the block, and create them again afterwards."""
    cursor.execute(
        "SELECT format('DROP INDEX %%I', indexname), indexdef FROM pg_indexes "
        "WHERE tablename = ANY(%(tables)s) AND indexname NOT IN "
        "(SELECT conname FROM pg_constraint) "
        "UNION ALL "
        "SELECT format('ALTER TABLE %%s DROP CONSTRAINT %%I', conrelid::regclass, conname), "
        "format('ALTER TABLE %%s ADD CONSTRAINT %%I %%s', conrelid::regclass, conname, "
        "pg_get_constraintdef(oid)) FROM pg_constraint "
        "WHERE contype = 'u' AND conrelid = ANY(%(tables)s::regclass[])",
        {"tables": tables},
    )
    dropped = cursor.fetchall()
    # Foreign keys need no check either: the rows that they refer to exist.
    cursor.execute("SET session_replication_role = replica")
    cursor.execute("SET maintenance_work_mem = '512MB'")
    for drop, _ in dropped:
        cursor.execute(drop)
    yield
    for _, create in dropped:
        cursor.execute(create)
    cursor.execute("SET session_replication_role = DEFAULT")


_ROWS = """
INSERT INTO {assignmentgroup} (id, name)
SELECT n, 'Group ' || lpad(n::text, 6, '0') FROM generate_series(1, %(groups)s) n;

CREATE TEMPORARY TABLE numbered AS
SELECT id, row_number() OVER (ORDER BY {login}) AS n FROM {users};

INSERT INTO {delivery}
    (id, number, time_of_delivery, successful, assignment_group_id, delivered_by_id)
SELECT
    d,
    CASE WHEN d > %(deliveries)s / 100 THEN d / %(groups)s + 1 END,
    %(now)s - (%(deliveries)s - d) * %(minutes)s * interval '1 minute',
    d > %(deliveries)s / 100,
    d %% %(groups)s + 1,
    numbered.id
FROM generate_series(1, %(deliveries)s) d
JOIN numbered ON numbered.n = d %% %(users)s + 1
ORDER BY d;

INSERT INTO {filemeta} (id, filename, content, size, sha256, created, delivery_id)
SELECT
    f,
    CASE f %% 3
        WHEN 1 THEN 'main.py'
        WHEN 2 THEN 'Report ' || d || '.pdf'
        ELSE CASE WHEN d <= %(deliveries)s / 10 THEN 'old ' ELSE 'essay ' END || d || '.txt'
    END,
    CASE WHEN f > %(files)s / 1000 + 1 THEN
        d / 1000000 || '/' || d / 1000 %% 1000 || '/' || d || '/' || f
    END,
    f %% 100000,
    lpad(f::text, 64, '0'),
    %(now)s - (%(deliveries)s - d) * %(minutes)s * interval '1 minute' - interval '1 second',
    d
FROM generate_series(1, %(files)s) f, LATERAL (SELECT (f - 1) / 3 + 1 AS d) of;

INSERT INTO {tombstone}
    (id, model, alias, name, size, sha256, rows, filename, file_id, delivery_id, created, due,
     attempts, last_error)
SELECT
    n,
    CASE WHEN n <= %(deliveries)s / 20 THEN 'testapp.note' ELSE 'devilry_deliveries.filemeta' END,
    'deliveries',
    '9/' || n %% 1000 || '/' || n || '/' || n,
    n %% 5000,
    '',
    '[]',
    CASE
        WHEN n %% 3 = 1 THEN 'main.py'
        WHEN n > %(deliveries)s / 10 THEN 'Report ' || n || '.pdf'
        ELSE 'old ' || n || '.pdf'
    END,
    n * 3,
    n,
    %(now)s - interval '30 days' + (n - %(deliveries)s / 10) * interval '1 minute',
    %(now)s + (n - %(deliveries)s / 10) * interval '1 minute',
    0,
    ''
FROM generate_series(1, %(deliveries)s) n;

INSERT INTO {monthlysum} (model, month, deliveries, files, size, refreshed)
SELECT
    'devilry_deliveries.filemeta',
    (date_trunc('month', %(now)s) - m * interval '1 month')::date,
    m, 3 * m, 5000 * m, %(now)s
FROM generate_series(0, 119) m
"""
