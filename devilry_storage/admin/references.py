"""Widgets for references to other rows, which break no page whatever was sent in their place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib.admin.widgets import (
    AutocompleteMixin,
    AutocompleteSelect,
    AutocompleteSelectMultiple,
)
from django.core.exceptions import ValidationError

#: No database has a larger id.
LARGEST_ID = 2**63 - 1


def possible_id(model: Any, value: Any) -> Any:
    """Return what was sent as a primary key of the model's, None if it cannot be one."""
    try:
        pk = model._meta.pk.to_python(value)
    except ValidationError:
        return None
    # Django 4.2 hands the database whatever number it is given.
    return None if isinstance(pk, int) and abs(pk) > LARGEST_ID else pk


class _Robust(AutocompleteMixin):
    """Django's would look up, and fail on, what the form refuses."""

    def optgroups(self, name: str, value: Sequence[str], attr: Any = None) -> Any:
        model = self.field.remote_field.model
        looked_up = [each for each in value if possible_id(model, each) is not None]
        return super().optgroups(name, looked_up, attr)


class Reference(_Robust, AutocompleteSelect):
    """A reference to one row."""


class References(_Robust, AutocompleteSelectMultiple):
    """References to rows."""
