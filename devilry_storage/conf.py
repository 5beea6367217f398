"""The settings, each read at every access, so that ``override_settings`` works."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from .layout import DEFAULT_INTERVAL


def _setting(name: str, default: Any) -> Any:
    value = getattr(settings, name, None)
    return default if value is None else value


def _path(name: str) -> str | None:
    value = _setting(name, None)
    if value is None:
        return None
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if isinstance(path, str) and "\0" not in path:
        return path or None
    raise ImproperlyConfigured(
        f"{name} {value!r} is not a path: set it to the folder of the store as a string or Path."
    )


def _number(name: str, default: float, unit: str) -> float:
    value = _setting(name, default)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e6:
        return value
    raise ImproperlyConfigured(
        f"{name} {value!r} is not a number of {unit}: set it to 0 or more, below 1,000,000."
    )


def _is_dotted_path(value: str) -> bool:
    return "." in value and all(part.isidentifier() for part in value.split("."))


class Settings:
    """Our settings by name in lower case; ImproperlyConfigured for a value that cannot be."""

    @property
    def delivery_store_backend(self) -> str | None:
        """``DELIVERY_STORE_BACKEND: str | None = None``: dotted path of the store's class."""
        value = _setting("DELIVERY_STORE_BACKEND", None)
        if value is None or (isinstance(value, str) and _is_dotted_path(value)):
            return value
        raise ImproperlyConfigured(
            f"DELIVERY_STORE_BACKEND {value!r} is not a dotted path: set it to one such as "
            "'devilry_storage.storages.FsHierDeliveryStore'."
        )

    @property
    def delivery_store_root(self) -> str | None:
        """``DELIVERY_STORE_ROOT: str | Path | None = None``: folder of the stores on disk."""
        return _path("DELIVERY_STORE_ROOT")

    @property
    def fshierdeliverystore_root(self) -> str | None:
        """``DEVILRY_FSHIERDELIVERYSTORE_ROOT: str | Path | None = None``: folder of the
        hierarchical store on disk, before ``DELIVERY_STORE_ROOT``.
        """
        return _path("DEVILRY_FSHIERDELIVERYSTORE_ROOT")

    @property
    def fshierdeliverystore_interval(self) -> int:
        """``DEVILRY_FSHIERDELIVERYSTORE_INTERVAL: int = 1000``: interval of every hierarchical
        store.
        """
        value = _setting("DEVILRY_FSHIERDELIVERYSTORE_INTERVAL", DEFAULT_INTERVAL)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 2:
            return value
        raise ImproperlyConfigured(
            f"DEVILRY_FSHIERDELIVERYSTORE_INTERVAL {value!r} is not an interval: set it to an "
            "integer of at least 2."
        )

    @property
    def retention(self) -> timedelta:
        """``DELIVERY_STORE_RETENTION_DAYS: float = 30``: days between a delete and the removal of
        the bytes; 0 removes them right after COMMIT.
        """
        return timedelta(days=_number("DELIVERY_STORE_RETENTION_DAYS", 30, "days"))

    @property
    def grace(self) -> timedelta:
        """``DELIVERY_STORE_GRACE_HOURS: float = 24``: hours for which bytes and rows may be the
        work of somebody who is still storing.
        """
        return timedelta(hours=_number("DELIVERY_STORE_GRACE_HOURS", 24, "hours"))


conf = Settings()
