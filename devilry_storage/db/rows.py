"""Row locks that work on PostgreSQL and on SQLite."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from django.db import connections, models, transaction
from django.db.models import F, Func, Value

from .._compat import add_note

M = TypeVar("M", bound=models.Model)

#: The name of the annotation, which no field of a site has.
_ISOLATION = "devilry_storage_isolation"


def lock_row(model: type[M], pk: Any, using: str) -> M | None:
    """Lock a row until the end of the transaction and return it as it is now; None if gone."""
    rows = model._base_manager.using(using).filter(pk=pk)
    take_write_lock(rows, using)
    rows = _with_isolation(rows, using)
    # no_key: nobody who only refers to the row has to wait.
    row = next(iter(rows.select_for_update(no_key=True)), None)
    if row is not None and row.__dict__.pop(_ISOLATION, None) == "repeatable read":
        # A lock alone leaves no trace after the COMMIT. A write does: a transaction that has read
        # before it then fails to lock the row, instead of acting on what it has read.
        _write(rows)
    return row


def _with_isolation(rows: models.QuerySet[M], using: str) -> models.QuerySet[M]:
    """Annotate the rows with the transaction's level, which costs no further statement."""
    if connections[using].vendor != "postgresql":
        return rows
    level = Func(
        Value("transaction_isolation"), function="current_setting", output_field=models.TextField()
    )
    annotated: models.QuerySet[M] = rows.annotate(**{_ISOLATION: level})
    return annotated


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
        _write(rows)


def _write(rows: models.QuerySet[Any]) -> None:
    """Write the rows as they are."""
    pk = rows.model._meta.pk.name
    rows.update(**{pk: F(pk)})


def loaded_columns(instance: models.Model) -> frozenset[str]:
    """Return the names of the fields that the instance knows, without keys and generated ones."""
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
    """Restore what the instance knows if the work on it fails, so that it can be tried again."""
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
    """Call ``undo`` if the work fails; if that fails too, a note tells what may be ``left``.

    In a transaction that can only be rolled back nothing is sent: that undoes it.
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
