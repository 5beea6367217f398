"""Downloads of many files as a zip archive."""

from collections.abc import Callable
from datetime import datetime
from datetime import timezone as zones
from functools import partial
from typing import Any
from urllib.parse import unquote

from django.apps import apps
from django.conf import settings
from django.db.models import Model, QuerySet
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBadRequest,
    HttpResponseBase,
)
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _

from .. import rfc9110
from ..abstract_models.querysets import may_view, visible_rows
from ..archive import Archive, latest_of, of_deliveries
from ..archive.entries import local_date
from ..archive.paths import FILE_BYTES, clean
from ..exceptions import ArchiveTooLarge
from ..models import AbstractDelivery
from ..schema import GROUP, related_model
from ..serving import Body, protect, record_access, streamed
from .base import LARGEST_ID, RowView


def archive_response(
    request: HttpRequest, make_archive: Callable[[], Archive], filename: str, contents: str = ""
) -> HttpResponseBase:
    """Return the response to a GET or HEAD request for an archive.

    ``make_archive`` returns the archive. If it raises ArchiveTooLarge, the response has the status
    413 and contains the message. ``contents`` says in the access log which rows the archive has,
    by default with the URL.
    """
    try:
        archive = make_archive()
    except ArchiveTooLarge as exception:
        return protect(HttpResponse(str(exception), status=413, content_type="text/plain"))
    name = clean(filename, FILE_BYTES, "archive.zip")
    response: HttpResponseBase
    if request.method == "HEAD":
        response = HttpResponse()
    else:
        # The URL has ids, a folder or a range of time, and no names.
        what = f"archive:{archive.count}:{contents or unquote(request.get_full_path())}"
        record = partial(record_access, request, what, "archive")
        response = streamed(
            request, Body(iter(archive), archive.length, f"archive {name}", record)
        )
    response["Content-Type"] = "application/zip"
    response["Content-Length"] = str(archive.length)
    response["Content-Disposition"] = rfc9110.content_disposition(name)
    response["Content-Encoding"] = "identity"
    return protect(response)


class _ArchiveView(RowView):
    """Base view of archives of deliveries, for any subclass of AbstractDelivery."""

    def models(self) -> list[type[Model]]:
        return [model for model in apps.get_models() if issubclass(model, AbstractDelivery)]

    def get_queryset(self) -> QuerySet[Any]:
        """Return the deliveries that the user may see.

        Users with the permission to view files see all deliveries.
        """
        model: Any = self.get_model()
        if may_view(self.request.user, model.filemeta_model()):
            deliveries: QuerySet[Any] = model._default_manager.all()
            return deliveries
        return super().get_queryset()

    def get_files(self) -> QuerySet[Any]:
        """Return the files that the user may see. Override it for rules of your own."""
        model: Any = self.get_model()
        files: QuerySet[Any] = visible_rows(model.filemeta_model(), self.request.user)
        return files

    def get_deliveries(self) -> QuerySet[Any]:
        """Return the deliveries of the archive. If there are none, the response has status 404."""
        raise NotImplementedError

    def _visible(self, **ids: int) -> QuerySet[Any]:
        visible = self.get_queryset()
        found: QuerySet[Any] = (
            visible.none() if max(ids.values()) > LARGEST_ID else visible.filter(**ids)
        )
        return found

    def get_filename(self) -> str:
        """Return the name of the archive."""
        return "deliveries.zip"

    def get_object(self) -> Any:
        deliveries = self.get_deliveries()
        model: Any = self.get_model()
        files = model.filemeta_model()
        # Users who may view all deliveries or all files, but not both, get no empty deliveries.
        if may_view(self.request.user, model) != may_view(self.request.user, files):
            readable = self.get_files().order_by().values("delivery__pk")
            deliveries = deliveries.filter(pk__in=readable)
        if not deliveries.exists():
            raise Http404("No such row.")
        return deliveries

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        archive = partial(of_deliveries, self.object, self.get_files())
        return archive_response(request, archive, self.get_filename())


class _GroupedArchiveView(_ArchiveView):
    """Base view of archives of deliveries with a group."""

    def get_model(self) -> type[Model]:
        model = super().get_model()
        if related_model(model, GROUP) is None:
            raise Http404("No such row.")
        return model


class DeliveryArchiveView(_ArchiveView):
    """Serve all files of one delivery. ``pk`` is its id."""

    def get_deliveries(self) -> QuerySet[Any]:
        return self._visible(pk=self.kwargs["pk"])

    def get_filename(self) -> str:
        return f"{self.object.get()}.zip"


class GroupArchiveView(_GroupedArchiveView):
    """Serve all files of one group that the user may see. ``pk`` is the id of the group."""

    def get_deliveries(self) -> QuerySet[Any]:
        return self._visible(assignment_group__pk=self.kwargs["pk"])

    def get_filename(self) -> str:
        group = self.object.select_related("assignment_group").first().assignment_group
        return f"{group}.zip"


class LatestArchiveView(_GroupedArchiveView):
    """Serve the last finished delivery of each group, of the deliveries that the user may see.

    ``?since=`` and ``?until=`` limit the time of delivery: from ``since`` on and before ``until``.
    They are dates or datetimes in ISO 8601, in local time unless they have a time zone.
    """

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        for name in ("since", "until"):
            try:
                setattr(self, name, _parse_datetime(request.GET.get(name, "")))
            except ValueError:
                return HttpResponseBadRequest(
                    _("'%(name)s' is not a date or time: use a format such as 2026-05-17T20:00.")
                    % {"name": name},
                    content_type="text/plain; charset=utf-8",
                )
        return super().dispatch(request, *args, **kwargs)

    since: datetime | None
    until: datetime | None

    def get_deliveries(self) -> QuerySet[Any]:
        return latest_of(self.get_queryset(), self.since, self.until)

    def get_filename(self) -> str:
        year, month, day, hour, minute, _second = local_date(timezone.now())
        return f"latest deliveries {year}-{month:02}-{day:02} {hour:02}.{minute:02}.zip"


def _parse_datetime(text: str) -> datetime | None:
    """Return the datetime of a query parameter, None for ``""``. Raises ValueError if invalid."""
    if not text:
        return None
    value = parse_datetime(text)  # of a date, its first moment
    if value is None:
        raise ValueError(text)
    is_naive = timezone.is_naive(value)
    try:
        if settings.USE_TZ:
            return (timezone.make_aware(value) if is_naive else value).astimezone(zones.utc)
        return value if is_naive else timezone.make_naive(value, timezone.get_default_timezone())
    except OverflowError as exception:  # before year 1 or after year 9999 in the other zone
        raise ValueError(text) from exception
