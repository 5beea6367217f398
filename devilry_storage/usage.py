"""What is stored, and how much waits to be done: counted now and then, or up to a bound."""

from __future__ import annotations

from typing import Any, NamedTuple

from django.apps import apps
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, models, transaction
from django.db.models import Count, DateField, Sum
from django.db.models.functions import Coalesce, TruncMonth
from django.utils import timezone

from .models import AbstractDelivery, MonthlySum, Tombstone
from .registry import FileModel, file_models
from .schema import DELIVERY, has_column

#: What a page counts itself it counts up to this.
BOUND = 1000


class Waiting(NamedTuple):
    """What waits to be done: how much, at most ``BOUND + 1``, and the label of a model."""

    what: str
    number: int
    label: str = ""


def refresh(*, using: str = DEFAULT_DB_ALIAS) -> list[MonthlySum]:
    """Count anew what is stored of every model of files, month by month, and return the sums.

    One query a model, which reads all of its rows: for cron, or for whoever can wait.
    """
    now = timezone.now()
    sums = [found for model in file_models() for found in _counted(model, using, now)]
    kept = MonthlySum.objects.using(using)
    with transaction.atomic(using=using):
        # Not deleted and inserted: somebody else may be counting, too.
        kept.bulk_create(
            sums,
            update_conflicts=True,
            unique_fields=["model", "month"],
            update_fields=["deliveries", "files", "size", "refreshed"],
        )
        kept.filter(refreshed__lt=now).delete()
    return sums


def _counted(model: FileModel, using: str, now: Any) -> list[MonthlySum]:
    deliveries: Any = (
        Count(DELIVERY, distinct=True)
        if has_column(model, DELIVERY)
        else models.Value(0, output_field=models.BigIntegerField())
    )
    # The site's, whatever that of somebody is who has this counted.
    zone = timezone.get_default_timezone() if settings.USE_TZ else None
    rows = (
        model._base_manager.using(using)
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
    """The sums of a month, of all models together; ``size`` is in bytes."""

    month: Any
    deliveries: int
    files: int
    size: int


def months(*, using: str = DEFAULT_DB_ALIAS, most: int = 24) -> list[Month]:
    """Return the last months that were counted, the oldest first."""
    rows = (
        MonthlySum.objects.using(using)
        .values_list("month")
        .annotate(Sum("deliveries"), Sum("files"), Sum("size"))
        .order_by("-month")[:most]
    )
    return [Month(*row) for row in reversed(rows)]


def waiting(*, using: str = DEFAULT_DB_ALIAS) -> list[Waiting]:
    """Return how many deliveries are unfinished and how many tombstones are due."""
    found = [
        Waiting("unfinished", _bounded(_unfinished(model, using)), model._meta.label_lower)
        for model in apps.get_models()
        if issubclass(model, AbstractDelivery) and not model._meta.proxy
    ]
    due = Tombstone.objects.using(using).past_due().not_done()
    return [*found, Waiting("due", _bounded(due))]


def _unfinished(model: type[AbstractDelivery], using: str) -> models.QuerySet[Any]:
    unfinished: models.QuerySet[Any] = model._base_manager.using(using).filter(successful=False)
    return unfinished


def _bounded(rows: models.QuerySet[Any]) -> int:
    return int(rows.order_by()[: BOUND + 1].count())
