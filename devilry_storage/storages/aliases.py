"""Aliases of storages in ``STORAGES``."""

from contextlib import suppress
from typing import Any

from django.core.files.storage import Storage, default_storage, storages
from django.utils.functional import LazyObject, empty


def unwrapped(storage: Any) -> Any:
    """Return the storage that a lazy object such as ``default_storage`` stands for."""
    while isinstance(storage, LazyObject):
        if storage._wrapped is empty:
            storage._setup()
        storage = storage._wrapped
    return storage


def alias_of(store: Storage) -> str | None:
    """Return the alias of ``STORAGES`` whose storage is this very object, None without one.

    A lazy object such as ``default_storage`` has the alias of the storage that it stands for.
    """
    store = unwrapped(store)
    for alias in storages.backends:
        with suppress(Exception):  # another storage that cannot be created
            # Not "==", by which a site may declare different storages equal.
            if unwrapped(storages[alias]) is store:
                return alias
    with suppress(Exception):
        # Threads that use the default storage first at the same time create several.
        if unwrapped(default_storage) is store:
            return "default"
    return None


def aliased(alias: str) -> Storage:
    """Return the storage of an alias. Migrations refer to a store by this function."""
    return storages[alias]
