"""Checks that query the database. They run only with ``--database``."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from django.core.checks import CheckMessage, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, router, transaction

from ..db.rows import stored_rows
from ..layout import HierLayout
from ..registry import FileModel, file_models
from ..resolving import store_for

#: Number of the newest keys to compare with the layout.
SAMPLE = 50

_HIER_LIKE = re.compile("/".join(["(0|[1-9][0-9]*)"] * 4))

_ISOLATION_LEVELS = {
    "repeatable read": (
        "storing a file also updates its delivery, and only one of several concurrent operations "
        "on a delivery or group succeeds"
    ),
    "serializable": (
        "only one of several concurrent operations on a delivery or group may succeed"
    ),
}

_CASCADES = {
    # See pg_constraint in PostgreSQL's manual, "System Catalogs".
    "postgresql": (
        "SELECT conname FROM pg_constraint "
        "WHERE contype = 'f' AND confdeltype = 'c' AND conrelid = to_regclass(%s)"
    ),
    # See PRAGMA foreign_key_list in SQLite's manual.
    "sqlite": ("SELECT \"table\" FROM pragma_foreign_key_list(%s) WHERE on_delete = 'CASCADE'"),
}


@register(Tags.database, "devilry_storage")
def check_databases(
    *, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Report problems that only the database reveals."""
    messages: list[CheckMessage] = []
    for alias in databases or ():
        tables = set(connections[alias].introspection.table_names())
        models = [
            model
            for model in file_models()
            if model._meta.db_table in tables and router.allow_migrate_model(alias, model)
        ]
        for model in models:
            messages += _cascades(model, alias)
            messages += _interval(model, alias)
        if models:
            messages += _isolation_level(alias)
    return messages


def _isolation_level(alias: str) -> Iterator[CheckMessage]:
    if connections[alias].vendor != "postgresql":
        return
    # The level of the settings applies only within transactions.
    with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
        cursor.execute("SHOW transaction_isolation")
        (level,) = cursor.fetchone()
    if level in _ISOLATION_LEVELS:
        yield Warning(
            f"Transactions in the database {alias!r} have the isolation level {level.upper()}: "
            f"{_ISOLATION_LEVELS[level]}. The others raise OperationalError (could not serialize "
            "access); nothing is lost.",
            hint=(
                "Remove 'isolation_level' from the OPTIONS of the database (and any "
                "'default_transaction_isolation'), so that it is READ COMMITTED; or repeat "
                "failed transactions, and use the same level in all processes."
            ),
            id="devilry_storage.W028",
        )


def _cascades(model: FileModel, alias: str) -> Iterator[CheckMessage]:
    connection = connections[alias]
    sql = _CASCADES.get(connection.vendor)
    if sql is None:
        return
    table = model._meta.db_table
    name = connection.ops.quote_name(table) if connection.vendor == "postgresql" else table
    with connection.cursor() as cursor:
        cursor.execute(sql, [name])
        found = [row[0] for row in cursor.fetchall()]
    if found:
        yield Warning(
            f"The database deletes rows of {model._meta.label} itself (ON DELETE CASCADE: "
            f"{', '.join(found)}): no tombstones are written, and the files become orphans.",
            hint="Use on_delete=models.CASCADE, which is carried out by Django.",
            obj=model,
            id="devilry_storage.W024",
        )


def _interval(model: FileModel, alias: str) -> Iterator[CheckMessage]:
    try:
        layout = store_for(model).layout
    except ImproperlyConfigured:
        return  # reported by check_stores
    if not isinstance(layout, HierLayout):
        return
    rows = stored_rows(model, alias).filter(content__isnull=False).order_by("-pk")
    for name in rows.values_list("content", flat=True)[:SAMPLE]:
        if not _HIER_LIKE.fullmatch(name):
            continue  # adopted, or an alternative name
        try:
            layout.parse(name)
        except ValueError:
            yield Warning(
                f"Files of {model._meta.label} have keys such as {name!r}, which do not match the "
                f"interval {layout.interval}. They are still found, but new files get keys in "
                "other branches.",
                hint=(
                    "Set the store's option 'interval' (or DEVILRY_FSHIERDELIVERYSTORE_INTERVAL) "
                    "to the interval of the stored keys, unless you changed it on purpose."
                ),
                obj=model,
                id="devilry_storage.W025",
            )
            return
