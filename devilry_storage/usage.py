"""Count stored files by month, and unfinished deliveries and due tombstones up to a limit."""

from typing import Any, NamedTuple

from django.apps import apps
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, models, transaction
from django.db.models import Count, DateField, Sum
from django.db.models.functions import Coalesce, TruncMonth
from django.utils import timezone

from .db.rows import stored_rows
from .models import AbstractDelivery, MonthlySum, Tombstone
from .registry import FileModel, file_models
from .schema import DELIVERY, has_column

#: Pages count rows up to this number.
BOUND = 1000


class Waiting(NamedTuple):
    """A number of unfinished deliveries or due tombstones, at most ``BOUND + 1``.

    ``what`` is ``unfinished`` or ``due``. ``label`` is the label of the model of deliveries.
    """

    what: str
    number: int
    label: str = ""


def refresh(*, using: str = DEFAULT_DB_ALIAS) -> list[MonthlySum]:
    """Count the stored files of all models by month, save the sums, and return them.

    Sends one query for each model, which reads all of its rows. Run it with cron.
    """
    now = timezone.now()
    sums = [found for model in file_models() for found in _counted(model, using, now)]
    stored = MonthlySum.objects.using(using)
    with transaction.atomic(using=using):
        # Updated, not deleted and inserted: another process may be counting, too.
        stored.bulk_create(
            sums,
            update_conflicts=True,
            unique_fields=["model", "month"],
            update_fields=["deliveries", "files", "size", "refreshed"],
        )
        stored.filter(refreshed__lt=now).delete()
    return sums


def _counted(model: FileModel, using: str, now: Any) -> list[MonthlySum]:
    deliveries: Any = (
        Count(DELIVERY, distinct=True)
        if has_column(model, DELIVERY)
        else models.Value(0, output_field=models.BigIntegerField())
    )
    # TIME_ZONE, not the current time zone, which may be a user's.
    zone = timezone.get_default_timezone() if settings.USE_TZ else None
    rows = (
        stored_rows(model, using)
        .filter(content__isnull=False)
        .annotate(month=TruncMonth("created", output_field=DateField(), tzinfo=zone))
        .values("month")
        .annotate(files=Count("pk"), bytes=Coalesce(Sum("size"), 0), deliveries=deliveries)
        .order_by("month")
    )
    return [
        MonthlySum(
            model=model._meta.label_lower,
            month=row["month"],
            deliveries=row["deliveries"],
            files=row["files"],
            size=row["bytes"],
            refreshed=now,
        )
        for row in rows
    ]


class Month(NamedTuple):
    """The sums of a month, of all models together. ``size`` is in bytes."""

    month: Any
    deliveries: int
    files: int
    size: int


def months(*, using: str = DEFAULT_DB_ALIAS, most: int = 24) -> list[Month]:
    """Return the sums of the last months, oldest first, at most ``most``."""
    rows = (
        MonthlySum.objects.using(using)
        .values_list("month")
        .annotate(Sum("deliveries"), Sum("files"), Sum("size"))
        .order_by("-month")[:most]
    )
    return [Month(*row) for row in reversed(rows)]


def waiting(*, using: str = DEFAULT_DB_ALIAS) -> list[Waiting]:
    """Return the numbers of unfinished deliveries, by model, and of tombstones that are due."""
    found = [
        Waiting(
            "unfinished",
            _bounded(stored_rows(model, using).filter(successful=False)),
            model._meta.label_lower,
        )
        for model in apps.get_models()
        if issubclass(model, AbstractDelivery) and not model._meta.proxy
    ]
    due = Tombstone.objects.using(using).past_due().not_done()
    return [*found, Waiting("due", _bounded(due))]


def _bounded(rows: models.QuerySet[Any]) -> int:
    return int(rows.order_by()[: BOUND + 1].count())
