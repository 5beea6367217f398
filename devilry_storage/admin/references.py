"""References to other rows: searched for, and no page breaks whatever was sent in their place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib.admin.widgets import (
    AutocompleteMixin,
    AutocompleteSelect,
    AutocompleteSelectMultiple,
)
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils.translation import gettext as _

from ..views.base import LARGEST_ID

#: So many rows that a search found are shown to choose from.
MOST_CHOICES = 20


def possible_id(model: Any, value: Any) -> Any:
    """Return what was sent as a primary key of the model's, None if it cannot be one."""
    return possible_value(model._meta.pk, value)


def possible_value(field: Any, value: Any) -> Any:
    """Return what was sent as a value of the field, None if it cannot be one."""
    try:
        found = field.to_python(value)
    except ValidationError:
        return None
    # Django 4.2 hands the database whatever number it is given.
    return None if isinstance(found, int) and abs(found) > LARGEST_ID else found


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


def searchable(model_admin: Any, field: Any, request: HttpRequest) -> Any:
    """Return the admin in which the rows that a field refers to can be searched, if there is one.

    None where that admin has no search, or its rows are not for the user's eyes.
    """
    other = model_admin.admin_site._registry.get(field.related_model)
    if other is None or not other.get_search_fields(request):
        return None
    return other if other.has_view_permission(request) else None


def found_in(other: Any, request: HttpRequest, text: str) -> tuple[list[Any], str]:
    """Return the first rows that a search in another admin finds, and what to say of it."""
    rows, repeated = other.get_search_results(request, other.get_queryset(request), text)
    found = list((rows.distinct() if repeated else rows)[: MOST_CHOICES + 1])
    if not found:
        return [], _("Nothing was found.")
    more = _("There are more: write more of it.") if len(found) > MOST_CHOICES else ""
    return found[:MOST_CHOICES], more
