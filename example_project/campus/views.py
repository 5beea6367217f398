"""The pages: the groups of a user, one group, one delivery."""

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
    """Show the groups in which the user delivers, and the groups that they examine."""
    if not request.user.is_authenticated:
        return render(request, "campus/welcome.html")
    examining = groups.with_counts(groups.examining(request.user))
    yesterday = timezone.now() - timedelta(days=1)
    context = {
        "delivering": groups.with_counts(groups.delivering(request.user)),
        "examining": examining,
        "yesterday": yesterday,
        "tonight": any(group.last and group.last > yesterday for group in examining),
    }
    return render(request, "campus/home.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def group(request: HttpRequest, pk: int) -> HttpResponse:
    """Show the deliveries of a group, and the upload form to its candidates."""
    if request.method == "POST":
        return _deliver(request, _get(groups.delivering(request.user), pk))
    visible = groups.delivering(request.user) | groups.examining(request.user)
    return _group_page(request, _get(visible.distinct(), pk))


@require_safe
@login_required
def delivery(request: HttpRequest, pk: int) -> HttpResponse:
    """Show the files of a delivery with size and checksum."""
    found = _get(groups.deliveries(request.user), pk)
    files = FileMeta.objects.visible_to(request.user).filter(delivery=found, content__isnull=False)
    context = {"delivery": found, "files": files.order_by("pk").distinct()}
    return render(request, "campus/delivery.html", context)


def _get(rows: QuerySet[Any], pk: int) -> Any:
    try:
        return get_object_or_404(rows, pk=pk)
    except OverflowError as exception:  # Django 4.2 on SQLite, for too large ids
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
    """Create a delivery. The response is JSON for the page's script, otherwise a page."""
    form = DeliveryForm(request.POST, request.FILES)
    delivery = form.save(group, request.user) if form.is_valid() else None
    scripted = request.headers.get("Accept") == "application/json"
    if delivery is None:
        if not scripted:
            return _group_page(request, group, form)
        errors = [error for errors in form.errors.values() for error in errors]
        data = {"errors": errors, "perhaps_delivered": form.perhaps_delivered}
        return JsonResponse(data, status=422)
    messages.success(request, _success_message(delivery))
    url = reverse("delivery", args=[delivery.pk])
    return JsonResponse({"url": url}, status=201) if scripted else redirect(url)


def _success_message(delivery: Any) -> str:
    sizes = [file.size for file in delivery.files]
    files = f"{len(sizes)} file{'s' if len(sizes) > 1 else ''}, {filesizeformat(sum(sizes))}"
    return f"Delivery {delivery.number} was received in full: {files}."
