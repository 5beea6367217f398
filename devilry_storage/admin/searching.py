"""Searches in tables with millions of rows: they read a bounded part of each index."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Sequence
from typing import Any

from django.contrib import admin
from django.db import models
from django.db.models import F, OrderBy, Q
from django.db.models.functions import Coalesce
from django.http import HttpRequest

from ..db.indexes import InPrefixOrder, begins_with
from ..views.base import LARGEST_ID

#: How many of the first rows of a list to search if a text has too many matches.
SCANNED_ROWS = 200


class Matches:
    """The primary keys of matching rows: all of them, or the first ones of each kind."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.pks: list[Any] = []
        self.complete = True

    def add(self, pks: Sequence[Any]) -> None:
        """Add the matches of one kind; more than ``limit`` mean that there are others."""
        self.pks += pks[: self.limit]
        self.complete &= len(pks) <= self.limit

    def search(
        self,
        rows: models.QuerySet[Any],
        lookup: str,
        text: str,
        among: Collection[Any] | None,
        column: str = "pk",
    ) -> None:
        """Add a column of the rows whose field begins with the text.

        ``lookup`` is ``field__istartswith`` for a field with a PrefixIndex, or
        ``field__startswith`` for a field with an index of Django's. ``among`` restricts the values
        of the column, and the number of rows is then not limited.
        """
        field, _separator, kind = lookup.rpartition("__")
        exact = kind == "startswith"
        condition = begins_with(field, text, rows.db) if exact else Q(**{lookup: text})
        found = rows.order_by().filter(condition).values_list(column, flat=True)
        if among is not None:
            found = found.filter(**{f"{column}__in": among})
        else:
            found = found.order_by(InPrefixOrder(field, exact=exact))[: self.limit + 1]
        self.add(list(found))


class PrefixSearchAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Search ids by digits, and the beginnings of indexed fields by text."""

    #: Fields that a text is searched in, each with a
    #: :class:`~devilry_storage.models.PrefixIndex`. Without them ``search_fields`` is used.
    prefix_fields: Sequence[str] = ()
    #: The maximum number of matches of each kind.
    max_matches = 500

    @property
    def searches_prefixes(self) -> bool:
        """Whether a text is searched with :meth:`matches`."""
        return bool(self.prefix_fields)

    def get_search_fields(self, request: HttpRequest) -> Any:
        # Django shows the search field only if this is not empty.
        return super().get_search_fields(request) or self.prefix_fields

    def get_search_results(
        self, request: HttpRequest, queryset: models.QuerySet[Any], search_term: str
    ) -> tuple[models.QuerySet[Any], bool]:
        """Find rows by id if the term has only digits, else by text."""
        term = unicodedata.normalize("NFC", search_term.strip())
        if not term:
            return queryset, False
        if "\0" in term:
            return queryset.none(), False
        number = int(term[:20]) if term.isascii() and term.isdecimal() else None
        if not self.searches_prefixes:
            found, repeated = super().get_search_results(request, queryset, term)
            return found | queryset.filter(self._by_id(number)), repeated
        if number is None:
            return self._matching(request, queryset, term), False
        return queryset.filter(self._by_id(number)), False

    # -- By digits --

    def _by_id(self, number: int | None) -> Q:
        if number is None or number > LARGEST_ID:  # an OverflowError of Django 4.2
            return Q(pk__in=[])
        return self.id_query(number)

    def id_query(self, number: int) -> Q:
        """Return the condition for a number that was searched for."""
        return Q(pk=number)

    # -- By text --

    def _matching(
        self, request: HttpRequest, queryset: models.QuerySet[Any], text: str
    ) -> models.QuerySet[Any]:
        matches = self.matches(request, text)
        pks, is_partial = set(matches.pks), False
        if not matches.complete:
            first = list(queryset.values_list("pk", flat=True)[:SCANNED_ROWS])
            pks.update(self.matches(request, text, among=first).pks)
            # With fewer rows the filtered list was searched as a whole.
            is_partial = len(first) == SCANNED_ROWS
        found = unindexed_order(queryset.filter(pk__in=pks))
        found.query.is_partial = is_partial  # type: ignore[attr-defined]  # for the note of the list
        return found

    def matches(
        self, request: HttpRequest, text: str, among: Collection[Any] | None = None
    ) -> Matches:
        """Return the rows that match a text, if given only those with a primary key ``among``."""
        matches = Matches(self.max_matches)
        rows = self.get_queryset(request)
        for field in self.prefix_fields:
            matches.search(rows, f"{field}__istartswith", text, among)
        return matches


def unindexed_order(rows: models.QuerySet[Any]) -> models.QuerySet[Any]:
    """Return the rows in the same order, but expressed so that no index can provide it.

    The database has to look up the few rows by their keys and sort them. If an index provided the
    order, the database could read this index to its end to find them.
    """
    ordered: models.QuerySet[Any] = rows.order_by(*map(_unindexed, rows.query.order_by))
    return ordered


def _unindexed(ordering: Any) -> Any:
    if not isinstance(ordering, str):
        return ordering
    name = ordering.lstrip("-")
    return OrderBy(Coalesce(F(name), F(name)), descending=ordering.startswith("-"))


# -- Related rows --


def related_admin(model_admin: Any, field: Any, request: HttpRequest) -> Any:
    """Return the admin that searches the rows to which a field refers.

    Return None if this admin has no search, or if the user may not view its rows.
    """
    related = model_admin.admin_site._registry.get(field.related_model)
    if related is None or not related.get_search_fields(request):
        return None
    return related if related.has_view_permission(request) else None
