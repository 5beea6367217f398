"""Lists of tables with millions of rows: bounded counts, and only orders that have an index."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from django.contrib.admin.exceptions import DisallowedModelAdminLookup
from django.contrib.admin.views.main import ChangeList
from django.contrib.admin.widgets import url_params_from_lookup_dict
from django.core.paginator import Paginator
from django.db import models
from django.http import HttpRequest
from django.utils.formats import number_format
from django.utils.html import format_html
from django.utils.translation import gettext as _

from .searching import unindexed_order


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
