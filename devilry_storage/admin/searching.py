"""Searches in millions of rows: of each index no more is read than can be shown."""

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

#: Where a text has too many matches, so many rows of the list are looked through besides.
LOOKED_THROUGH = 200


class Matches:
    """The primary keys of rows that a text finds: all of them, or the first of each kind."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.pks: list[Any] = []
        self.complete = True

    def add(self, pks: Sequence[Any]) -> None:
        """Add those of one kind; more than ``most`` of them tell that there are more."""
        self.pks += pks[: self.most]
        self.complete &= len(pks) <= self.most


class Searching(admin.ModelAdmin):  # type: ignore[type-arg]
    """Finds ids by digits, and by text the beginnings of what has an index for them."""

    #: Fields of text whose beginnings a search finds, each with a
    #: :class:`~devilry_storage.models.PrefixIndex`. Without any, ``search_fields`` say what does.
    prefix_fields: Sequence[str] = ()
    #: So many rows of each kind that begin with a text are looked up.
    most_found = 500

    @property
    def finds_beginnings(self) -> bool:
        """Whether a search is one by :meth:`matches`."""
        return bool(self.prefix_fields)

    def get_search_fields(self, request: HttpRequest) -> Any:
        # Also what tells Django that there is something to search by.
        return super().get_search_fields(request) or self.prefix_fields

    def get_search_results(
        self, request: HttpRequest, queryset: models.QuerySet[Any], search_term: str
    ) -> tuple[models.QuerySet[Any], bool]:
        """Find ids by digits, and by text what :meth:`matches` or :meth:`text_query` say."""
        term = unicodedata.normalize("NFC", search_term.strip())
        if not term:
            return queryset, False
        if "\0" in term:
            return queryset.none(), False
        number = int(term[:20]) if term.isascii() and term.isdecimal() else None
        if number is None and self.finds_beginnings:
            return self._beginning_with(request, queryset, term), False
        by_text = Q() if self.finds_beginnings else self.text_query(term)
        if by_text is None:
            found, repeated = super().get_search_results(request, queryset, term)
            return found | queryset.filter(self._of_id(number)), repeated
        return queryset.filter(by_text if number is None else self._of_id(number)), False

    # -- By digits --

    def _of_id(self, number: int | None) -> Q:
        if number is None or number > LARGEST_ID:
            return Q(pk__in=[])
        return self.id_query(number)

    def id_query(self, number: int) -> Q:
        """Return the condition for digits that were searched."""
        return Q(pk=number)

    # -- By text --

    def text_query(self, text: str) -> Q | None:
        """Return the condition for a text that was searched; None: what ``search_fields`` say."""
        return None

    def _beginning_with(
        self, request: HttpRequest, queryset: models.QuerySet[Any], text: str
    ) -> models.QuerySet[Any]:
        matches = self.matches(request, text)
        pks, was_cut = set(matches.pks), False
        if not matches.complete:
            first = list(queryset.values_list("pk", flat=True)[:LOOKED_THROUGH])
            pks.update(self.matches(request, text, among=first).pks)
            # Unless that is all that the list has, as it is filtered.
            was_cut = len(first) == LOOKED_THROUGH
        found = looked_up(queryset.filter(pk__in=pks))
        found.query.was_cut = was_cut  # type: ignore[attr-defined]  # for the list, which says so
        return found

    def matches(
        self, request: HttpRequest, text: str, among: Collection[Any] | None = None
    ) -> Matches:
        """Return what a text finds.

        ``among``, where it is given, are the primary keys of the only rows to look through.
        """
        matches = Matches(self.most_found)
        rows = self.get_queryset(request)
        for field in self.prefix_fields:
            lookup = f"{field}__istartswith"
            matches.add(beginning(rows, lookup, text, among=among, most=self.most_found))
        return matches


def beginning(
    rows: models.QuerySet[Any],
    lookup: str,
    text: str,
    *,
    most: int,
    among: Collection[Any] | None = None,
    column: str = "pk",
) -> list[Any]:
    """Return a column of the rows whose field begins with the text, up to one more than ``most``.

    ``lookup`` is ``field__istartswith`` for a field with a PrefixIndex, or ``field__startswith``
    for one with Django's own index. ``among``: only the rows with one of these in the column.
    """
    field, _, kind = lookup.rpartition("__")
    exact = kind == "startswith"
    condition = begins_with(field, text, rows.db) if exact else Q(**{lookup: text})
    found = rows.order_by().filter(condition).values_list(column, flat=True)
    if among is not None:
        return list(found.filter(**{f"{column}__in": among}))
    return list(found.order_by(InPrefixOrder(field, exact=exact))[: most + 1])


def looked_up(rows: models.QuerySet[Any]) -> models.QuerySet[Any]:
    """Return the rows in the same order, but in one that no index has.

    A few rows are to be looked up by their keys, and sorted; a database that walks through a list
    in its order until it has met enough of them may meet none before the end.
    """
    found: models.QuerySet[Any] = rows.order_by(*map(_unindexed, rows.query.order_by))
    return found


def _unindexed(ordering: Any) -> Any:
    if not isinstance(ordering, str):
        return ordering
    name = ordering.lstrip("-")
    return OrderBy(Coalesce(F(name), F(name)), descending=ordering.startswith("-"))
