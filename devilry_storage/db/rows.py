"""Lock rows on PostgreSQL and SQLite, and undo changes if a block raises."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from django.db import connections, models, transaction
from django.db.models import F, Func, Value

from .._compat import add_note

M = TypeVar("M", bound=models.Model)

#: Name of the annotation, which no field of a site should have.
_ISOLATION = "devilry_storage_isolation"


def lock_row(model: type[M], pk: Any, using: str) -> M | None:
    """Lock a row until the end of the transaction, and return it as it is now, or None."""
    rows = model._base_manager.using(using).filter(pk=pk)
    take_write_lock(rows, using)
    rows = _with_isolation(rows, using)
    # no_key: transactions that only refer to the row need not wait.
    row = next(iter(rows.select_for_update(no_key=True)), None)
    if row is not None and row.__dict__.pop(_ISOLATION, None) == "repeatable read":
        # A lock leaves no trace after COMMIT, but a write does: another transaction that has read
        # the row before then fails to lock it, instead of acting on outdated values.
        _write(rows)
    return row


def _with_isolation(rows: models.QuerySet[M], using: str) -> models.QuerySet[M]:
    """Annotate the rows with the isolation level, without another statement."""
    if connections[using].vendor != "postgresql":
        return rows
    level = Func(
        Value("transaction_isolation"), function="current_setting", output_field=models.TextField()
    )
    annotated: models.QuerySet[M] = rows.annotate(**{_ISOLATION: level})
    return annotated


def read_row(model: type[M], pk: Any, using: str) -> M | None:
    """Return a row as it is now, without a lock, or None."""
    rows = model._base_manager.using(using).filter(pk=pk)
    intend_to_write(rows, using)
    return next(iter(rows), None)


def intend_to_write(rows: models.QuerySet[Any], using: str) -> None:
    """Wait for the write lock in a caller's transaction before rows are read.

    On SQLite, a transaction that has read cannot write after another one has written.
    """
    if connections[using].in_atomic_block:
        take_write_lock(rows, using)


def take_write_lock(rows: models.QuerySet[Any], using: str) -> None:
    """Take the write lock of a database without row locks.

    SQLite has no row locks, and Django ignores ``select_for_update`` there. An UPDATE takes the
    database's write lock before rows are read.
    """
    if not connections[using].features.has_select_for_update:
        _write(rows)


def _write(rows: models.QuerySet[Any]) -> None:
    """Write the rows without a change."""
    pk = rows.model._meta.pk.name
    rows.update(**{pk: F(pk)})


def loaded_columns(instance: models.Model) -> frozenset[str]:
    """Return the names of the loaded fields, without primary keys and generated fields."""
    deferred = instance.get_deferred_fields()
    return frozenset(
        field.name
        for field in instance._meta.concrete_fields
        if not field.primary_key
        and field.attname not in deferred
        and not getattr(field, "generated", False)
    )


@contextmanager
def restored_on_error(instance: models.Model) -> Iterator[None]:
    """Restore the instance's attributes if the block raises, so that it can be tried again."""
    known = instance.__dict__.copy()
    state = instance._state
    adding, db, cache = state.adding, state.db, dict(state.fields_cache)
    try:
        yield
    except BaseException:
        instance.__dict__.clear()
        instance.__dict__.update(known)
        state.adding, state.db = adding, db
        state.fields_cache.clear()
        state.fields_cache.update(cache)
        raise


@contextmanager
def undone_on_error(undo: Callable[[], object], using: str | None, left: str) -> Iterator[None]:
    """Call ``undo`` if the block raises.

    If ``undo`` fails, too, a note on the exception names what may be ``left`` behind. Nothing is
    called in a transaction that can only be rolled back: the rollback undoes the changes.
    """
    try:
        yield
    except BaseException as exception:
        try:
            if not transaction.get_connection(using).needs_rollback:
                undo()
        except Exception as failure:  # noqa: BLE001  # the first exception matters
            add_note(exception, f"{left} may be left behind: {type(failure).__name__}: {failure}")
        raise
