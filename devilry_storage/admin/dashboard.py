"""The dashboard: the stores, pending work, and the files of each month."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar, NamedTuple

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import router
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.defaultfilters import filesizeformat
from django.utils.formats import number_format
from django.utils.translation import gettext as _

from ..models import MonthlySum
from ..registry import configured_stores, unconfigured
from ..store_info import describe
from ..usage import BOUND, Month, months, refresh, waiting
from .base import ReadOnlyAdmin
from .utils import admin_path, admin_url, render

#: The size of a plot, and the gap between two bars, in the units of its SVG.
_WIDTH, _HEIGHT, _GAP = 720, 120, 4


class Bar(NamedTuple):
    """The bar of a month, from ``y`` down to the bottom, and its value as text."""

    x: int
    y: int
    width: int
    height: int
    month: Any
    text: str


class Plot(NamedTuple):
    """A bar chart by month: its name, its bars, and the highest bar."""

    name: str
    bars: list[Bar]
    highest: Bar


def plots(months: Sequence[Month]) -> list[Plot]:
    """Return the plots of deliveries, files and bytes; an empty list without statistics."""
    if not months:
        return []
    as_number: Any = partial(number_format, force_grouping=True)
    return [
        _plot(_("Deliveries"), months, [month.deliveries for month in months], as_number),
        _plot(_("Files"), months, [month.files for month in months], as_number),
        _plot(_("Size"), months, [month.size for month in months], filesizeformat),
    ]


def _plot(
    name: str, months: Sequence[Month], values: Sequence[int], as_text: Callable[[int], str]
) -> Plot:
    # Positions follow the calendar, so that a month without files leaves a gap.
    positions = [12 * month.month.year + month.month.month for month in months]
    step = max(_WIDTH // (positions[-1] - positions[0] + 1), 2)
    width = max(step - _GAP, 1)
    bars = []
    for month, position, value in zip(months, positions, values, strict=True):
        height = _HEIGHT * value // (max(values) or 1)
        left = (position - positions[0]) * step
        bars.append(Bar(left, _HEIGHT - height, width, height, month.month, as_text(value)))
    return Plot(name, bars, max(bars, key=lambda bar: bar.height))


@admin.register(MonthlySum)
class DashboardAdmin(ReadOnlyAdmin):
    """Show the dashboard to users who may view monthly sums (``view_monthlysum``).

    The permission ``refresh_statistics`` allows users to refresh the sums.
    """

    class Media:
        css: ClassVar[Any] = {
            "all": ["devilry_storage/admin.css", "devilry_storage/dashboard.css"]
        }

    def has_refresh_permission(self, request: HttpRequest) -> bool:
        return self._has_perm(request, "refresh_statistics") and self.has_view_permission(request)

    def get_urls(self) -> list[Any]:
        # Only the dashboard: single sums do not have pages.
        return [
            admin_path(self, "", self.changelist_view, "changelist"),
            admin_path(self, "refresh/", self.refresh_view, "refresh"),
        ]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        using = router.db_for_read(MonthlySum)
        counted = months(using=using)
        latest = MonthlySum.objects.using(using).order_by("-refreshed").first()
        context = {
            "title": _("Dashboard of the delivery stores"),
            "months": counted[::-1],
            "plots": plots(counted),
            "width": _WIDTH,
            "height": _HEIGHT,
            "refreshed": latest and latest.refreshed,
            "waiting": waiting(using=using),
            "bound": BOUND,
            "stores": [describe(configured) for configured in configured_stores()],
            "problems": [problem for _model, problem in unconfigured()],
            "may_refresh": self.has_refresh_permission(request),
            **(extra_context or {}),
        }
        return render(self, request, "admin/devilry_storage/dashboard.html", context)

    def refresh_view(self, request: HttpRequest) -> HttpResponse:
        """Refresh the statistics; only POST is allowed."""
        if not self.has_refresh_permission(request):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        refresh(using=router.db_for_write(MonthlySum))
        self.message_user(request, _("Statistics updated."), messages.SUCCESS)
        return HttpResponseRedirect(admin_url(self.admin_site, self.model, "changelist"))
