"""Download of a single file."""

from __future__ import annotations

from typing import Any

from django.db.models import Model
from django.http import HttpRequest, HttpResponseBase

from ..registry import file_models
from ..serving import serve
from .base import RowView


class DownloadView(RowView):
    """Serve the file of one row of any subclass of AbstractFileMeta.

    The URL argument ``pk`` is the id of the row. ``model`` is the label of its model, unless the
    attribute ``model`` is set. With ``?inline`` browsers may display files of safe types.
    """

    def models(self) -> list[type[Model]]:
        return file_models()

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        return serve(request, self.object, inline="inline" in request.GET)
