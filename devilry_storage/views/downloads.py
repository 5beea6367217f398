"""The download of one file."""

from __future__ import annotations

from typing import Any

from django.db.models import Model
from django.http import HttpRequest, HttpResponseBase

from ..registry import file_models
from ..serving import serve
from .base import RowView


class DownloadView(RowView):
    """The file of one row of any subclass of AbstractFileMeta.

    In a URL ``pk`` is the row's id and ``model`` the label of its model, unless the attribute
    ``model`` says which. With ``?inline`` a browser may show it, where the type is a safe one.
    """

    def models(self) -> list[type[Model]]:
        return file_models()

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        return serve(request, self.object, inline="inline" in request.GET)

    head = get
