"""A view that receives a file."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse

from .forms import FileForm


def receive(request: HttpRequest) -> HttpResponse:
    """Store an upload; raise an error afterwards if the request has a field ``fail``."""
    form = FileForm(request.POST, request.FILES)
    if not form.is_valid():
        return HttpResponse(form.errors.as_json(), status=400)
    row = form.save()
    if "fail" in request.POST:
        raise RuntimeError("The view fails after it has stored the file.")
    return HttpResponse(str(row.pk))
