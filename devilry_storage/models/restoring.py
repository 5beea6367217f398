"""Instances and rows that are as before when the work on them fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.db import models, transaction

from ..exceptions import add_note


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
