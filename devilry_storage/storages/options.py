"""Validation of a store's options."""

import math
import os
from collections.abc import Callable, Mapping
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.utils.functional import Promise


def _is_folder(value: Any) -> bool:
    return value is None or (isinstance(value, (str, os.PathLike)) and os.fspath(value) != "")


def _is_integer(value: Any, least: int, most: float = math.inf) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_seconds(value: Any) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and 0 <= value < math.inf


_MODE = (lambda value: value is None or _is_integer(value, 1, 0o7777)), "permissions such as 0o640"
_SWITCH = (lambda value: isinstance(value, bool)), "True or False"
_NEVER = (
    "False, because save() never overwrites a file. To replace an ordinary file, write it with "
    "open(name, 'wb')"
)

# What the options of all stores accept, and what to use instead of another value.
_ACCEPTED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "location": (_is_folder, "the path of a folder"),
    "base_url": (lambda value: value is None or isinstance(value, (str, Promise)), "a string"),
    "file_permissions_mode": _MODE,
    "directory_permissions_mode": _MODE,
    "allow_overwrite": (lambda value: value is False, _NEVER),
    "interval": (lambda value: value is None or _is_integer(value, 2), "an integer of at least 2"),
    "attempts": (lambda value: _is_integer(value, 1), "an integer of at least 1"),
    "deadline": (_is_seconds, "a number of seconds, 0 or more"),
    "durable": _SWITCH,
    "identity": _SWITCH,
    "server_side_copy": _SWITCH,
}


def validate_options(store: object, unknown: Mapping[str, Any], **options: Any) -> None:
    """Raise ImproperlyConfigured for an unknown option, or an invalid value of another one."""
    for option in unknown:
        # Without its value, which may be a secret under a misspelt name.
        raise ImproperlyConfigured(
            f"{type(store).__name__} has no option {option!r}: remove it, or look up its spelling "
            "in the reference of the stores."
        )
    for option, value in options.items():
        accepts, remedy = _ACCEPTED[option]
        if not accepts(value):
            raise ImproperlyConfigured(
                f"Invalid value {value!r} for option {option!r} of {type(store).__name__}: use "
                f"{remedy}."
            )
