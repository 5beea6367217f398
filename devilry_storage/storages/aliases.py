"""Aliases of storages in ``STORAGES``."""

from __future__ import annotations

from contextlib import suppress

from django.core.files.storage import Storage, default_storage, storages


def alias_of(store: Storage) -> str | None:
    """Return the alias of ``STORAGES`` whose storage is this very object, None without one.

    A lazy object such as ``default_storage`` has the alias of the storage that it stands for.
    """
    for alias in storages.backends:
        with suppress(Exception):  # another storage that cannot be created
            # Not "is": a lazy object compares the storage that it stands for.
            if storages[alias] == store:
                return alias
    with suppress(Exception):
        # Threads that use the default storage first at the same time create several.
        if default_storage == store:
            return "default"
    return None


def aliased(alias: str) -> Storage:
    """Return the storage of an alias. Migrations refer to a store by this function."""
    return storages[alias]
