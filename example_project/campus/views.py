"""The pages: a user's groups, a group, a delivery."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.template.defaultfilters import filesizeformat
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from devilry_storage.deliveries.models import AssignmentGroup, FileMeta
from devilry_storage.forms import DeliveryForm

from . import groups


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """Show the groups in which the user delivers, and those that they examine."""
    if not request.user.is_authenticated:
        return render(request, "campus/welcome.html")
    examining = groups.counted(groups.examining(request.user))
    yesterday = timezone.now() - timedelta(days=1)
    context = {
        "delivering": groups.counted(groups.delivering(request.user)),
        "examining": examining,
        "yesterday": yesterday,
        "tonight": any(group.last and group.last > yesterday for group in examining),
    }
    return render(request, "campus/home.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def group(request: HttpRequest, pk: int) -> HttpResponse:
    """Show what a group has delivered; its candidates deliver here."""
    if request.method == "POST":
        return _deliver(request, _get(groups.delivering(request.user), pk))
    seen = groups.delivering(request.user) | groups.examining(request.user)
    return _group_page(request, _get(seen.distinct(), pk))


@require_safe
@login_required
def delivery(request: HttpRequest, pk: int) -> HttpResponse:
    """Show what has arrived: each file with its size and checksum."""
    found = _get(groups.deliveries(request.user), pk)
    files = FileMeta.objects.visible_to(request.user).filter(delivery=found, content__isnull=False)
    context = {"delivery": found, "files": files.order_by("pk").distinct()}
    return render(request, "campus/delivery.html", context)


def _get(rows: QuerySet[Any], pk: int) -> Any:
    try:
        return get_object_or_404(rows, pk=pk)
    except OverflowError as exception:  # Django 4.2 on SQLite: no id is that large
        raise Http404 from exception


def _group_page(
    request: HttpRequest, group: AssignmentGroup, form: DeliveryForm | None = None
) -> HttpResponse:
    if form is None and groups.delivering(request.user).contains(group):
        form = DeliveryForm()
    context = {
        "group": group,
        "deliveries": groups.deliveries(request.user).filter(assignment_group=group),
        "form": form,
    }
    return render(request, "campus/group.html", context)


def _deliver(request: HttpRequest, group: AssignmentGroup) -> HttpResponse:
    """Deliver, and answer the page's script with JSON, a plain form with a page."""
    form = DeliveryForm(request.POST, request.FILES)
    delivery = form.save(group, request.user) if form.is_valid() else None
    scripted = request.headers.get("Accept") == "application/json"
    if delivery is None:
        if not scripted:
            return _group_page(request, group, form)
        faults = [fault for faults in form.errors.values() for fault in faults]
        answer = {"errors": faults, "perhaps_delivered": form.perhaps_delivered}
        return JsonResponse(answer, status=422)
    messages.success(request, _arrived(delivery))
    url = reverse("delivery", args=[delivery.pk])
    return JsonResponse({"url": url}, status=201) if scripted else redirect(url)


def _arrived(delivery: Any) -> str:
    sizes = [file.size for file in delivery.files]
    files = f"{len(sizes)} file{'s' if len(sizes) > 1 else ''}, {filesizeformat(sum(sizes))}"
    return f"Delivery {delivery.number} has arrived whole: {files}."
