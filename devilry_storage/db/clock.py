"""Read the clock of the database, which all hosts of a site share."""

from datetime import datetime, timezone
from typing import Any, cast

from django.conf import settings
from django.db import models
from django.db.models import Value
from django.db.models.functions import Now

#: Name of the annotation, which no field of a site should have.
_NOW = "devilry_storage_now"


class DatabaseNow(Now):
    """The database's current time, in the form of datetime columns."""

    def as_sqlite(self, compiler: Any, connection: Any, **extra_context: Any) -> Any:
        # SQLite reads the clock of this process, but returns UTC without microseconds.
        now = datetime.now(timezone.utc if settings.USE_TZ else None)
        return compiler.compile(Value(now, models.DateTimeField()))


def with_now(rows: models.QuerySet[Any]) -> models.QuerySet[Any]:
    """Annotate the rows with the database's current time, for :func:`read_at`."""
    return cast(models.QuerySet[Any], rows.annotate(**{_NOW: DatabaseNow()}))


def read_at(row: models.Model) -> datetime:
    """Return when the database read the row, in the form of datetime columns."""
    return cast(datetime, getattr(row, _NOW))
