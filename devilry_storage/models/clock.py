"""The clock of the database, which all hosts of a site share."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from django.conf import settings
from django.db import connections, models
from django.db.models.functions import Now
from django.utils.timezone import get_default_timezone, make_naive

#: The name of the annotation, which no field of a site has.
_NOW = "devilry_storage_now"


def with_now(rows: models.QuerySet[Any]) -> models.QuerySet[Any]:
    """Return the queryset such that :func:`read_at` works on its rows."""
    annotated: models.QuerySet[Any] = rows.annotate(**{_NOW: Now()})
    return annotated


def read_at(row: models.Model) -> datetime:
    """Return when the database read the row, by its own clock, as its columns have datetimes."""
    now: datetime = getattr(row, _NOW)
    assert row._state.db is not None
    if connections[row._state.db].vendor == "sqlite":
        # Its clock is in UTC whatever the time zone of the connection.
        now = now.replace(tzinfo=timezone.utc)
        if not settings.USE_TZ:
            now = make_naive(now, get_default_timezone())
    return now
