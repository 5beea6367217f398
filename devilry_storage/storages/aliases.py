"""Find the alias of a store in ``STORAGES``."""

from __future__ import annotations

from contextlib import suppress

from django.core.files.storage import Storage, storages


def alias_of(store: Storage) -> str | None:
    """Return the alias of ``STORAGES`` whose storage is this very object, None without one."""
    for alias in storages.backends:
        with suppress(Exception):  # another storage that cannot be created
            if storages[alias] is store:
                return alias
    return None
