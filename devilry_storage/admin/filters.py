"""Filters for large tables: they do not read or list all values of a column."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.db import models
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..views.base import parse_value
from .lists import related_admin

#: The maximum number of related rows to choose from.
MAX_CHOICES = 20


class StoredFilter(admin.SimpleListFilter):
    """Filter by whether the upload of a file is complete."""

    title = gettext_lazy("upload complete")
    parameter_name = "stored"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, Any]]:
        return [("yes", _("Yes")), ("no", _("No"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        is_null = {"yes": False, "no": True}.get(str(self.value()))
        return queryset if is_null is None else queryset.filter(content__isnull=is_null)


class _FormFilter(admin.FieldListFilter):
    """A filter with choices and a form, which works without JavaScript."""

    template = "admin/devilry_storage/filter.html"
    #: The names and labels of the form's fields. In the query string the model's field and two
    #: underscores precede the names, so that Django's links remove them.
    inputs: Mapping[str, Any] = {}

    def __init__(
        self, field: Any, request: Any, params: Any, model: Any, model_admin: Any, field_path: str
    ) -> None:
        super().__init__(field, request, params, model, model_admin, field_path)
        self.values = {name: self._pop(params, f"{field_path}__{name}") for name in self.inputs}
        #: The parameters of the other filters, which the form also sends.
        self.others = [
            (name, value)
            for name, value in request.GET.items()
            if name not in {"p", "e"} and not name.startswith(f"{field_path}__")
        ]

    @staticmethod
    def _pop(params: dict[str, Any], name: str) -> str:
        """Remove a parameter, so that Django does not use it as a lookup, and return it."""
        value = params.pop(name, "")
        return str(value[-1] if isinstance(value, list) else value)  # Django 4.2 has no lists

    def fields(self) -> Iterator[dict[str, str]]:
        """Yield label, name and value of each field of the form."""
        for name, label in self.inputs.items():
            yield {
                "label": label,
                "name": f"{self.field_path}__{name}",
                "value": self.values[name],
            }


class PeriodFilter(_FormFilter, admin.DateFieldListFilter):
    """Filter by date: Django's choices, or a first and a last day."""

    kind = "date"
    inputs = {"since": gettext_lazy("From"), "until": gettext_lazy("Until")}

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        rows: Any = super().queryset(request, queryset)
        since, until = (self._day(self.values[name]) for name in self.inputs)
        try:
            if since is not None:
                rows = rows.filter(**{self.lookup_kwarg_since: self._start(since)})
            if until is not None:
                end = self._start(until + timedelta(days=1))
                rows = rows.filter(**{self.lookup_kwarg_until: end})
        except OverflowError as exception:
            raise IncorrectLookupParameters(str(exception)) from exception
        return rows

    @staticmethod
    def _day(text: str) -> date | None:
        if not text:
            return None
        day: date | None = parse_value(models.DateField(), text)
        if day is None:
            raise IncorrectLookupParameters(f"Invalid date {text!r}: use the format 2026-01-31.")
        return day

    def _start(self, day: date) -> date | datetime:
        if not isinstance(self.field, models.DateTimeField):
            return day
        start = datetime.combine(day, time.min)
        return timezone.make_aware(start) if settings.USE_TZ else start


class ReferenceFilter(_FormFilter):
    """Filter by a related row, which is searched for as in the list of its model.

    If this model's admin has no search, or if the user may not view its rows, the filter only
    works in links.
    """

    kind = "search"
    inputs = {"search": gettext_lazy("Search")}

    def __init__(
        self, field: Any, request: Any, params: Any, model: Any, model_admin: Any, field_path: str
    ) -> None:
        self.target = field.target_field
        self.lookup = f"{field_path}__{self.target.name}__exact"
        super().__init__(field, request, params, model, model_admin, field_path)
        #: The value of the selected row as text, or "".
        self.chosen = self._pop(dict(self.used_parameters), self.lookup)
        if self.chosen and parse_value(self.target, self.chosen) is None:
            raise IncorrectLookupParameters(f"Invalid id {self.chosen!r}.")
        #: The rows to choose from, and a note about them.
        self.found: list[Any] = []
        self.note = ""
        related = related_admin(model_admin, field, request)
        if related is not None:
            self._search(request, related)
        else:
            self.inputs = {}

    def expected_parameters(self) -> list[str | None]:
        return [self.lookup]

    def has_output(self) -> bool:
        # Django ignores a filter without output.
        return bool(self.inputs or self.chosen)

    def _search(self, request: HttpRequest, related: Any) -> None:
        rows = related.get_queryset(request)
        if self.chosen:
            self.found = list(rows.filter(**{self.target.name: self.chosen}))
        if not self.values["search"]:
            return
        found, repeated = related.get_search_results(request, rows, self.values["search"])
        matches = list((found.distinct() if repeated else found)[: MAX_CHOICES + 1])
        if not matches:
            self.note = _("No matches were found.")
        elif len(matches) > MAX_CHOICES:
            self.note = _("More matches exist: refine your search.")
        self.found += [row for row in matches[:MAX_CHOICES] if row not in self.found]

    def choices(self, changelist: Any) -> Iterator[Any]:
        own = f"{self.field_path}__"
        yield {
            "selected": not self.chosen,
            "query_string": changelist.get_query_string(remove=[own]),
            "display": _("All"),
        }
        names = {str(getattr(row, self.target.attname)): str(row) for row in self.found}
        if self.chosen:
            names.setdefault(self.chosen, self.chosen)
        for value, name in names.items():
            yield {
                "selected": value == self.chosen,
                "query_string": changelist.get_query_string({self.lookup: value}, [own]),
                "display": name,
            }
