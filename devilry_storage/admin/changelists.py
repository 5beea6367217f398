"""Lists of millions of rows: counted, paged and ordered only as far as indexes reach."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db import models
from django.http import HttpRequest
from django.utils.formats import number_format
from django.utils.html import format_html
from django.utils.translation import gettext as _

from .searching import looked_up


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    """Pages of the first rows: to count all of them would be to read all of them."""

    #: So many rows are counted and paged through at the most.
    most = 10_000

    @cached_property
    def _counted(self) -> int:
        # In its order, which has an index, whatever the database believes of how many there are.
        return Paginator(self.object_list[: self.most + 1], self.per_page).count

    @cached_property
    def count(self) -> int:
        return min(self._counted, self.most)

    @property
    def has_more(self) -> bool:
        """Whether there are rows beyond those that are paged through."""
        return self._counted > self.most


class BoundedChangeList(ChangeList):
    """A list that reads the rows of its page, and of the others no more than their places."""

    model_admin: Any
    paginator: Any

    def get_ordering_field(self, field_name: Any) -> Any:
        # Django hides the links of columns that are not sortable, but heeds a URL that names one.
        is_sortable = field_name in (self.sortable_by or ())
        return super().get_ordering_field(field_name) if is_sortable else None

    def get_queryset(self, *args: Any, **kwargs: Any) -> models.QuerySet[Any]:
        rows = super().get_queryset(*args, **kwargs)
        was_cut = getattr(rows.query, "was_cut", None)
        if was_cut is None:
            return rows
        if was_cut:
            self._say(_("Not all that begins so is shown: write more of it, or filter."))
        return looked_up(rows)  # once more: Django 4.2 orders what was found

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        # What comes before the page is skipped in the index: without its columns, joins and sums.
        shown = list(self.result_list.values_list("pk", flat=True))
        rows = self.apply_select_related(self.root_queryset.filter(pk__in=shown))
        rows = rows.order_by(*self.queryset.query.order_by)
        self.result_list = self.model_admin.with_totals(rows)
        if self.paginator.has_more:
            text = _(
                "There are more than %(most)s; the first of them are shown: search, or filter."
            )
            self._say(text % {"most": number_format(self.paginator.most, force_grouping=True)})

    def _say(self, text: str) -> None:
        """Say something of the list, where it is told what can be searched."""
        note = format_html("<strong>{}</strong>", text)
        help_text = self.search_help_text
        self.search_help_text = format_html("{} {}", help_text, note) if help_text else note
