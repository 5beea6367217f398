"""Lists of tables with millions of rows: bounded counts and searches, orders with an index."""

import unicodedata
from collections.abc import Collection, Sequence
from functools import cached_property
from typing import Any

from django.contrib import admin
from django.contrib.admin.exceptions import DisallowedModelAdminLookup
from django.contrib.admin.views.main import ChangeList
from django.contrib.admin.widgets import url_params_from_lookup_dict
from django.core.paginator import Paginator
from django.db import models
from django.db.models import F, OrderBy, Q
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils.formats import number_format
from django.utils.html import format_html
from django.utils.translation import gettext as _

from ..db.indexes import InPrefixOrder, begins_with
from ..views.base import LARGEST_ID

#: How many of the first rows of a list to search if a text has too many matches.
SCANNED_ROWS = 200

# -- Searches --


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


# -- Pages --


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    """Paginate only the first rows, because counting all rows would read all of them."""

    #: The maximum number of rows to count and to show.
    max_rows = 10_000

    @cached_property
    def _counted(self) -> int:
        # Keep the order: it has an index, so no database reads more rows than the limit.
        return Paginator(self.object_list[: self.max_rows + 1], self.per_page).count

    @cached_property
    def count(self) -> int:
        return min(self._counted, self.max_rows)

    @property
    def has_more(self) -> bool:
        """Whether the list has more rows than the maximum."""
        return self._counted > self.max_rows


class BoundedChangeList(ChangeList):
    """A list that reads only the rows of its page; of earlier pages it reads the index."""

    model_admin: Any
    paginator: Any

    def get_ordering_field(self, field_name: Any) -> Any:
        # Django hides the links of columns that are not sortable, but accepts them in URLs.
        is_sortable = field_name in (self.sortable_by or ())
        return super().get_ordering_field(field_name) if is_sortable else None

    def get_filters(self, request: HttpRequest) -> Any:
        """Reject lookups other than those of the filters, which may read the whole table."""
        given = self.get_filters_params()
        found = super().get_filters(request)
        names = {"pk", self.lookup_opts.pk.name}
        allowed = {f"{name}{lookup}" for name in names for lookup in ("", "__exact", "__in")}
        allowed |= {f"{self.date_hierarchy}__gte", f"{self.date_hierarchy}__lt"}
        for limit in self.lookup_opts.related_fkey_lookups:  # for popups of fields with a limit
            limits = url_params_from_lookup_dict(limit() if callable(limit) else limit)
            allowed |= {
                name for name, value in limits.items() if given.get(name) in (value, [value])
            }
        if disallowed := found[2].keys() - allowed:
            raise DisallowedModelAdminLookup(f"Filtering by {sorted(disallowed)} not allowed")
        return found

    def get_queryset(self, *args: Any, **kwargs: Any) -> models.QuerySet[Any]:
        rows = super().get_queryset(*args, **kwargs)
        is_partial = getattr(rows.query, "is_partial", None)
        if is_partial is None:
            return rows
        if is_partial:
            self._add_note(
                _("Only the first matches are shown. Refine your search or use a filter.")
            )
        return unindexed_order(rows)  # again, because Django 4.2 orders the rows itself

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        # Skip the rows of earlier pages in the index, without their columns, joins and sums.
        pks = list(self.result_list.values_list("pk", flat=True))
        rows = self.apply_select_related(self.root_queryset.filter(pk__in=pks))
        rows = rows.order_by(*self.queryset.query.order_by)
        self.result_list = self.model_admin.with_totals(rows)
        if self.paginator.has_more:
            text = _(
                "Only the first %(count)s rows are shown. Refine your search or use a filter."
            )
            count = number_format(self.paginator.max_rows, force_grouping=True)
            self._add_note(text % {"count": count})

    def _add_note(self, text: str) -> None:
        """Add a note to the help text of the search."""
        note = format_html("<strong>{}</strong>", text)
        help_text = self.search_help_text
        self.search_help_text = format_html("{} {}", help_text, note) if help_text else note


# -- Related rows --


def related_admin(model_admin: Any, field: Any, request: HttpRequest) -> Any:
    """Return the admin that searches the rows to which a field refers.

    Return None if this admin has no search, or if the user may not view its rows.
    """
    related = model_admin.admin_site._registry.get(field.related_model)
    if related is None or not related.get_search_fields(request):
        return None
    return related if related.has_view_permission(request) else None
