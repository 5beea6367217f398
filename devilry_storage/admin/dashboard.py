"""The dashboard: what is stored month by month, what waits, and where the stores are."""

from __future__ import annotations

from typing import Any, NamedTuple

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import router
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.translation import gettext as _

from ..info import describe, uses
from ..models import MonthlySum
from ..statistics import BOUND, Month, months, refresh, waiting

#: The plot in units of its own: the browser makes it as wide as there is room.
_WIDTH, _HEIGHT, _GAP = 720, 160, 4


class Bar(NamedTuple):
    """A month in the plot."""

    x: float
    y: float
    width: float
    height: float
    month: Month


def bars(found: list[Month]) -> list[Bar]:
    """Return the bars of a plot of bytes by month."""
    highest = max((each.size for each in found), default=0) or 1
    step = _WIDTH / max(len(found), 1)
    return [
        Bar(
            round(number * step + _GAP / 2, 1),
            round(_HEIGHT - _HEIGHT * each.size / highest, 1),
            round(step - _GAP, 1),
            round(_HEIGHT * each.size / highest, 1),
            each,
        )
        for number, each in enumerate(found)
    ]


@admin.register(MonthlySum)
class DashboardAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Shown to whoever may view monthly sums; ``refresh_statistics`` permits to count anew."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_refresh_permission(self, request: HttpRequest) -> bool:
        allowed: bool = request.user.has_perm(f"{self.opts.app_label}.refresh_statistics")
        return allowed and self.has_view_permission(request)

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
            "bars": bars(found),
            "width": _WIDTH,
            "height": _HEIGHT,
            "counted": counted and counted.refreshed,
            "waiting": waiting(using=using),
            "bound": BOUND,
            "stores": [describe(use) for use in uses() if use.resolved is not None],
            "problems": [use.problem for use in uses() if use.resolved is None],
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
