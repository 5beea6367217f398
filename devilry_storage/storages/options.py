"""Validation of a store's options."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.utils.functional import Promise


def _invalid(store: object, option: str, value: object, remedy: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(
        f"Invalid value {value!r} for option {option!r} of {type(store).__name__}: {remedy}."
    )


def refuse_unknown(store: object, unknown: Mapping[str, Any]) -> None:
    """Raise ImproperlyConfigured for options that the store does not have."""
    for option in unknown:
        # Without its value, which may be a secret under a misspelt name.
        raise ImproperlyConfigured(
            f"{type(store).__name__} has no option {option!r}: remove it, or look up its spelling "
            "in the reference of the stores."
        )


def check_path(store: object, option: str, value: object) -> None:
    """Raise ImproperlyConfigured unless the value is None or a path."""
    if value is not None and not (isinstance(value, (str, os.PathLike)) and os.fspath(value)):
        raise _invalid(store, option, value, "use the path of a folder")


def check_text(store: object, option: str, value: object) -> None:
    """Raise ImproperlyConfigured unless the value is None or a string, which may be lazy."""
    if value is not None and not isinstance(value, (str, Promise)):
        raise _invalid(store, option, value, "use a string")


def refuse_overwriting(store: object, option: str, value: object) -> None:
    """Raise ImproperlyConfigured unless the value is False."""
    if value is not False:
        raise _invalid(
            store,
            option,
            value,
            "use False, because save() never overwrites a file. To replace an ordinary file, "
            "write it with open(name, 'wb')",
        )


def check_bool(store: object, option: str, value: object) -> None:
    """Raise ImproperlyConfigured unless the value is True or False."""
    if not isinstance(value, bool):
        raise _invalid(store, option, value, "use True or False")


def check_mode(store: object, option: str, value: object) -> None:
    """Raise ImproperlyConfigured unless the value is None or permissions."""
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= 0o7777:
        raise _invalid(store, option, value, "use permissions such as 0o640")


def check_interval(store: object, option: str, value: object) -> None:
    """Raise ImproperlyConfigured unless the value is None or the interval of a layout."""
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool) or value < 2:
        raise _invalid(store, option, value, "use an integer of at least 2")


def check_count(store: object, option: str, value: object) -> None:
    """Raise ImproperlyConfigured unless the value is an integer of at least 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise _invalid(store, option, value, "use an integer of at least 1")


def check_seconds(store: object, option: str, value: object) -> None:
    """Raise ImproperlyConfigured unless the value is a number of seconds of at least 0."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise _invalid(store, option, value, "use a number of seconds, 0 or more")
