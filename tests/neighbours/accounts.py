"""No bytes are without a row or a tombstone, and no row names the bytes of a tombstone."""

from __future__ import annotations

from typing import Any

from devilry_storage.models import AbstractFileMeta, Tombstone
from devilry_storage.resolving import store_for


def account(model: type[AbstractFileMeta]) -> tuple[set[str], set[str]]:
    """Return the names of rows and of tombstones; fail if the store or both have others."""
    store: Any = store_for(model)
    stored = {entry.name for entry in store.scan()}
    rows = {row.content.name for row in model._base_manager.all() if row.content}
    buried = set(Tombstone.objects.naming(model, stored).values_list("name", flat=True))
    assert not rows & buried
    assert rows | buried == stored
    return rows, buried
