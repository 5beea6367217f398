"""The clock of the database, which all hosts of a site share."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Value
from django.db.models.functions import Now

#: The name of the annotation, which no field of a site has.
_NOW = "devilry_storage_now"


class DatabaseNow(Now):
    """The time of a statement by the database's clock, as datetime columns have it."""

    def as_sqlite(self, compiler: Any, connection: Any, **extra_context: Any) -> Any:
        # SQLite runs in this process and reads the same clock, but returns UTC without
        # microseconds, whatever datetimes its columns have.
        now = datetime.now(timezone.utc if settings.USE_TZ else None)
        return compiler.compile(Value(now, models.DateTimeField()))


def with_now(rows: models.QuerySet[Any]) -> models.QuerySet[Any]:
    """Return the queryset such that :func:`read_at` works on its rows."""
    annotated: models.QuerySet[Any] = rows.annotate(**{_NOW: DatabaseNow()})
    return annotated


def read_at(row: models.Model) -> datetime:
    """Return when the database read the row, by its own clock, as its columns have datetimes."""
    now: datetime = getattr(row, _NOW)
    return now
