"""Instances that are as before when the work on them fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import models


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
