"""Downloads of many files as one zip."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, time
from datetime import timezone as zones
from functools import partial
from typing import Any

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
from django.utils.dateparse import parse_date, parse_datetime
from django.utils.translation import gettext as _

from .. import rfc9110
from ..abstract_models.querysets import may_view
from ..archive import Archive, latest_of, of_deliveries
from ..archive.entries import local_date
from ..archive.paths import FILE_BYTES, clean
from ..exceptions import ArchiveTooLarge
from ..models import AbstractDelivery
from ..schema import group_model
from ..serving import Body, protect, record_access, streamed
from .base import LARGEST_ID, RowView


def archive_response(
    request: HttpRequest, archive: Callable[[], Archive], filename: str
) -> HttpResponseBase:
    """Answer a GET or HEAD with the archive that the function makes, called ``filename``.

    One that is too large is answered with status 413, and with words.
    """
    try:
        made = archive()
    except ArchiveTooLarge as exception:
        return protect(HttpResponse(str(exception), status=413, content_type="text/plain"))
    name = clean(filename, FILE_BYTES, "archive.zip")
    answer: HttpResponseBase
    if request.method == "HEAD":
        answer = HttpResponse()
    else:
        # The path says of which row: no user has chosen a word of it.
        record = partial(record_access, request, f"archive:{request.path}", "archive")
        answer = streamed(request, Body(iter(made), made.length, f"archive {name}", record))
    answer["Content-Type"] = "application/zip"
    answer["Content-Length"] = str(made.length)
    answer["Content-Disposition"] = rfc9110.content_disposition(name)
    answer["Content-Encoding"] = "identity"
    return protect(answer)


class _ArchiveView(RowView):
    """An archive of deliveries of any subclass of AbstractDelivery."""

    def models(self) -> list[type[Model]]:
        return [model for model in apps.get_models() if issubclass(model, AbstractDelivery)]

    def get_queryset(self) -> QuerySet[Any]:
        """Return the deliveries that the user may see; each for whoever may view all files."""
        model: Any = self.get_model()
        if may_view(self.request.user, model.filemeta_model()):
            everything: QuerySet[Any] = model._default_manager.all()
            return everything
        return super().get_queryset()

    def get_files(self) -> QuerySet[Any]:
        """Return the files that the user may see; override it for rules of your own."""
        model: Any = self.get_model()
        files: QuerySet[Any] = model.filemeta_model()._default_manager.visible_to(
            self.request.user
        )
        return files

    def get_deliveries(self) -> QuerySet[Any]:
        """Return the deliveries that the archive is to have; Http404 where there are none."""
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

    def _readable(self, deliveries: QuerySet[Any]) -> QuerySet[Any]:
        """Leave out what a user knows by only one of two permissions, and sees no file of."""
        model: Any = self.get_model()
        files = model.filemeta_model()
        if may_view(self.request.user, model) != may_view(self.request.user, files):
            deliveries = deliveries.filter(pk__in=self.get_files().order_by().values("delivery"))
        return deliveries

    def get_object(self) -> Any:
        deliveries = self._readable(self.get_deliveries())
        if not deliveries.exists():
            raise Http404("No such row.")
        return deliveries

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        archive = partial(of_deliveries, self.object, self.get_files())
        return archive_response(request, archive, self.get_filename())

    head = get


class _GroupedArchiveView(_ArchiveView):
    """An archive of deliveries that have a group."""

    def get_model(self) -> type[Model]:
        model = super().get_model()
        if group_model(model) is None:
            raise Http404("No such row.")
        return model


class DeliveryArchiveView(_ArchiveView):
    """All files of one delivery; ``pk`` is its id."""

    def get_deliveries(self) -> QuerySet[Any]:
        return self._visible(pk=self.kwargs["pk"])

    def get_filename(self) -> str:
        return f"{self.object.get()}.zip"


class GroupArchiveView(_GroupedArchiveView):
    """All files of all deliveries of one group that the user may see; ``pk`` is the group's id."""

    def get_deliveries(self) -> QuerySet[Any]:
        return self._visible(assignment_group=self.kwargs["pk"])

    def get_filename(self) -> str:
        group = self.object.select_related("assignment_group").first().assignment_group
        return f"{group}.zip"


class LatestArchiveView(_GroupedArchiveView):
    """The last finished delivery of each group, of those that the user may see.

    ``?since=`` and ``?until=`` narrow the time of delivery, which is before ``until``: dates, or
    moments in ISO 8601, local ones where they have no zone.
    """

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        for name in ("since", "until"):
            try:
                setattr(self, name, _moment(request.GET.get(name, "")))
            except ValueError:
                return HttpResponseBadRequest(
                    _("'%(name)s' is neither a date nor a time: write 2026-05-17T20:00.")
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


def _moment(text: str) -> datetime | None:
    """Return the moment that a query names; ValueError where it names none."""
    if not text:
        return None
    day = parse_date(text) if len(text) <= 10 else None
    moment = datetime.combine(day, time.min) if day is not None else parse_datetime(text)
    if moment is None:
        raise ValueError(text)
    try:
        return _as_stored(moment)
    except OverflowError as exception:  # before the first year there, or after the last
        raise ValueError(text) from exception


def _as_stored(moment: datetime) -> datetime:
    """Return the moment as the database takes it; OverflowError where it has no such date."""
    if settings.USE_TZ:
        aware = timezone.make_aware(moment) if timezone.is_naive(moment) else moment
        return aware.astimezone(zones.utc)
    if timezone.is_naive(moment):
        return moment
    return timezone.make_naive(moment, timezone.get_default_timezone())
