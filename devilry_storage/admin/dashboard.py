"""The dashboard: what is stored month by month, what waits, and where the stores are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import router
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.defaultfilters import filesizeformat
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.formats import number_format
from django.utils.translation import gettext as _

from ..models import MonthlySum
from ..registry import configured_stores, unconfigured
from ..store_info import describe
from ..usage import BOUND, Month, months, refresh, waiting
from .permissions import LookedAt

#: A plot in units of its own: the browser makes it as wide as there is room.
_WIDTH, _HEIGHT, _GAP = 720, 120, 4


class Bar(NamedTuple):
    """A month in a plot, from ``y`` down to the bottom, and what it says."""

    x: int
    y: int
    width: int
    height: int
    month: Any
    text: str


class Plot(NamedTuple):
    """Something by month: its name, its bars, and the highest of them."""

    name: str
    bars: list[Bar]
    highest: Bar


def plots(found: Sequence[Month]) -> list[Plot]:
    """Return a plot of each sum; none where nothing was counted."""
    if not found:
        return []
    counted: Any = partial(number_format, force_grouping=True)
    return [
        _plot(_("Deliveries"), found, [each.deliveries for each in found], counted),
        _plot(_("Files"), found, [each.files for each in found], counted),
        _plot(_("Size"), found, [each.size for each in found], filesizeformat),
    ]


def _plot(
    name: str, found: Sequence[Month], values: Sequence[int], shown: Callable[[int], str]
) -> Plot:
    # By the calendar: a month without files leaves a gap.
    places = [12 * each.month.year + each.month.month for each in found]
    step = max(_WIDTH // (places[-1] - places[0] + 1), 2)
    bars = []
    for each, place, value in zip(found, places, values, strict=True):
        height = _HEIGHT * value // (max(values) or 1)
        left = (place - places[0]) * step
        width = max(step - _GAP, 1)
        bars.append(Bar(left, _HEIGHT - height, width, height, each.month, shown(value)))
    return Plot(name, bars, max(bars, key=lambda bar: bar.height))


@admin.register(MonthlySum)
class DashboardAdmin(LookedAt):
    """Shown to whoever may view monthly sums; ``refresh_statistics`` permits to count anew."""

    def has_refresh_permission(self, request: HttpRequest) -> bool:
        return self._permits(request, "refresh_statistics") and self.has_view_permission(request)

    def get_urls(self) -> list[Any]:
        # Nothing but the dashboard: a single sum has no page.
        name = f"{self.opts.app_label}_{self.opts.model_name}"
        view = self.admin_site.admin_view
        return [
            path("", view(self.changelist_view), name=f"{name}_changelist"),
            path("refresh/", view(self.refresh_view), name=f"{name}_refresh"),
        ]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        using = router.db_for_read(MonthlySum)
        found = months(using=using)
        counted = MonthlySum.objects.using(using).order_by("-refreshed").first()
        context = {
            **self.admin_site.each_context(request),
            "title": _("Delivery stores: dashboard"),
            "opts": self.opts,
            "months": found[::-1],
            "plots": plots(found),
            "width": _WIDTH,
            "height": _HEIGHT,
            "counted": counted and counted.refreshed,
            "waiting": waiting(using=using),
            "bound": BOUND,
            "stores": [describe(configured) for configured in configured_stores()],
            "problems": [problem for _model, problem in unconfigured()],
            "may_refresh": self.has_refresh_permission(request),
            **(extra_context or {}),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/devilry_storage/dashboard.html", context)

    def refresh_view(self, request: HttpRequest) -> HttpResponse:
        """Count anew; by POST alone."""
        if not self.has_refresh_permission(request):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        refresh(using=router.db_for_write(MonthlySum))
        self.message_user(request, _("All was counted anew."), messages.SUCCESS)
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist"
        return HttpResponseRedirect(reverse(name, current_app=self.admin_site.name))
