"""Row locks that work on PostgreSQL and on SQLite."""

from __future__ import annotations

from typing import Any, TypeVar

from django.db import connections, models
from django.db.models import F

M = TypeVar("M", bound=models.Model)


def lock_row(model: type[M], pk: Any, using: str) -> M | None:
    """Lock a row until the end of the transaction and return it as it is now; None if gone."""
    rows = model._base_manager.using(using).filter(pk=pk)
    take_write_lock(rows, using)
    # no_key: nobody who only refers to the row has to wait.
    return next(iter(rows.select_for_update(no_key=True)), None)


def read_row(model: type[M], pk: Any, using: str) -> M | None:
    """Return a row as it is now, without a lock; None if it is gone."""
    rows = model._base_manager.using(using).filter(pk=pk)
    intend_to_write(rows, using)
    return next(iter(rows), None)


def intend_to_write(rows: models.QuerySet[Any], using: str) -> None:
    """Wait for the write lock in a caller's transaction before anything is read in it.

    SQLite refuses to let a transaction write that has read before another one wrote.
    """
    if connections[using].in_atomic_block:
        take_write_lock(rows, using)


def take_write_lock(rows: models.QuerySet[Any], using: str) -> None:
    """Begin to write where rows cannot be locked.

    SQLite has no row locks, and Django ignores ``select_for_update`` there silently; an UPDATE
    takes the database's one write lock, and takes it before anything was read.
    """
    if not connections[using].features.has_select_for_update:
        pk = rows.model._meta.pk.name
        rows.update(**{pk: F(pk)})
