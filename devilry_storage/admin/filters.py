"""Filters of lists in which no filter may read, or list, all that there is to choose from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.db import models
from django.http import HttpRequest
from django.utils import timezone
from django.utils.dateparse import parse_date
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from .references import found_in, possible_value, searchable


class StoredFilter(admin.SimpleListFilter):
    """By whether there are bytes: a row has none while they are stored, or if that failed."""

    title = gettext_lazy("stored")
    parameter_name = "stored"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, Any]]:
        return [("yes", _("Yes")), ("no", _("No"))]

    def queryset(
        self, request: HttpRequest, queryset: models.QuerySet[Any]
    ) -> models.QuerySet[Any]:
        wanted = {"yes": False, "no": True}.get(str(self.value()))
        return queryset if wanted is None else queryset.filter(content__isnull=wanted)


class _FormFilter(admin.FieldListFilter):
    """A filter with a form beside its choices, which works without a script."""

    #: The names of the form's fields; each after that of the model's field and two underscores,
    #: by which Django's links drop them.
    inputs: Sequence[str] = ()

    def __init__(
        self,
        field: Any,
        request: HttpRequest,
        params: dict[str, Any],
        model: type[models.Model],
        model_admin: Any,
        field_path: str,
    ) -> None:
        super().__init__(field, request, params, model, model_admin, field_path)
        self.values = {name: self._taken(params, f"{field_path}__{name}") for name in self.inputs}
        #: What the form has to send along, so that the other filters stay.
        self.others = [
            (name, value)
            for name, value in request.GET.items()
            if name not in {"p", "e"} and not name.startswith(f"{field_path}__")
        ]

    @staticmethod
    def _taken(params: dict[str, Any], name: str) -> str:
        """Take a parameter out of those that are left to be lookups."""
        value = params.pop(name, "")
        return str(value[-1] if isinstance(value, list) else value)  # a text on Django 4.2

    def fields(self) -> Iterator[dict[str, str]]:
        """Yield what the form asks for: label, name and value of each field."""
        labels = self.labels()
        for name in self.inputs:
            yield {
                "label": labels[name],
                "name": f"{self.field_path}__{name}",
                "value": self.values[name],
            }

    def labels(self) -> dict[str, str]:
        """Return the label of each input."""
        raise NotImplementedError


class PeriodFilter(_FormFilter, admin.DateFieldListFilter):
    """By date: Django's choices, and a first and a last day."""

    template = "admin/devilry_storage/filter.html"
    kind = "date"
    inputs = ("since", "until")

    def labels(self) -> dict[str, str]:
        return {"since": _("From"), "until": _("Until")}

    def queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> Any:
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
        try:
            day = parse_date(text)
        except ValueError:
            day = None
        if day is None:
            raise IncorrectLookupParameters(f"{text!r} is no date: write it as 2026-01-31.")
        return day

    def _start(self, day: date) -> date | datetime:
        if not isinstance(self.field, models.DateTimeField):
            return day
        start = datetime.combine(day, time.min)
        return timezone.make_aware(start) if settings.USE_TZ else start


class ReferenceFilter(_FormFilter):
    """By a row of another model, which is searched for as in the list of that model.

    Nothing can be searched for where that model's admin has no search, or its rows are not for
    the user's eyes; the filter is there for links to it even then.
    """

    template = "admin/devilry_storage/filter.html"
    kind = "search"
    inputs: Sequence[str] = ("search",)

    def __init__(
        self,
        field: Any,
        request: HttpRequest,
        params: dict[str, Any],
        model: type[models.Model],
        model_admin: Any,
        field_path: str,
    ) -> None:
        self.target = field.target_field
        self.lookup = f"{field_path}__{self.target.name}__exact"
        super().__init__(field, request, params, model, model_admin, field_path)
        #: The row's id as text, "" for none; and the rows to choose from.
        self.chosen = self._taken(dict(self.used_parameters), self.lookup)
        if self.chosen and possible_value(self.target, self.chosen) is None:
            raise IncorrectLookupParameters(f"{self.chosen!r} is no id.")
        self.found: list[Any] = []
        self.note = ""
        other = searchable(model_admin, field, request)
        self._is_open = other is not None
        if other is not None:
            self._search(request, other)
        else:
            self.inputs = ()

    def labels(self) -> dict[str, str]:
        return {"search": _("Search")}

    def expected_parameters(self) -> list[str | None]:
        return [self.lookup]

    def has_output(self) -> bool:
        # Without output Django would not filter.
        return self._is_open or bool(self.chosen)

    def _search(self, request: HttpRequest, other: Any) -> None:
        if self.chosen:
            self.found = list(
                other.get_queryset(request).filter(**{self.target.name: self.chosen})
            )
        term = self.values["search"]
        if not term:
            return
        found, self.note = found_in(other, request, term)
        self.found += [row for row in found if row not in self.found]

    def choices(self, changelist: Any) -> Iterator[Any]:
        mine = f"{self.field_path}__"
        yield {
            "selected": not self.chosen,
            "query_string": changelist.get_query_string(remove=[mine]),
            "display": _("All"),
        }
        names = {str(getattr(row, self.target.attname)): str(row) for row in self.found}
        if self.chosen:
            names.setdefault(self.chosen, self.chosen)
        for value, name in names.items():
            yield {
                "selected": value == self.chosen,
                "query_string": changelist.get_query_string({self.lookup: value}, [mine]),
                "display": name,
            }
