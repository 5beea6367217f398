"""URLs of the benchmarks' site: the package's, and views as a site would write them without it."""

from __future__ import annotations

import time
from typing import Any

from django.contrib.auth.decorators import login_required
from django.core.files.storage import FileSystemStorage, default_storage
from django.db.models import FileField
from django.http import FileResponse, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404
from django.urls import include, path

from devilry_storage.deliveries.models import AssignmentGroup, FileMeta
from devilry_storage.forms import DeliveryForm
from devilry_storage.resolving import store_for


def cpu(request: HttpRequest) -> HttpResponse:
    """Return the CPU time of this process."""
    return HttpResponse(str(time.process_time()))


@login_required
def plain(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Serve a file by Django alone."""
    row = get_object_or_404(FileMeta, pk=pk)
    file = FileSystemStorage(store_for(FileMeta).path("")).open(row.content.name)
    return FileResponse(file, as_attachment=True, filename=row.filename)


@login_required
def accel(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Let nginx serve a file."""
    row = get_object_or_404(FileMeta, pk=pk)
    return HttpResponse(headers={"X-Accel-Redirect": f"/the-store/{row.content.name}"})


@login_required
def deliver(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Store the uploads as a delivery."""
    group = get_object_or_404(AssignmentGroup, pk=pk)
    form = DeliveryForm(request.POST, request.FILES)
    if not form.is_valid() or form.save(group, request.user) is None:
        return HttpResponse(form.errors.as_text(), status=400)
    return HttpResponse()


@login_required
def upload(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Store an upload as a FileField does."""
    get_object_or_404(AssignmentGroup, pk=pk)
    file: Any = request.FILES["uploads"]
    default_storage.save(FileField(upload_to="plain").generate_filename(None, file.name), file)
    return HttpResponse()


urlpatterns = [
    path("cpu/", cpu),
    path("files/", include("devilry_storage.urls")),
    path("plain/<int:pk>/", plain),
    path("accel/<int:pk>/", accel),
    path("deliver/<int:pk>/", deliver),
    path("upload/<int:pk>/", upload),
]
