"""Monthly sums of stored files, so that the dashboard need not count millions of rows."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _


class MonthlySum(models.Model):
    """The sums of the stored files of one model that were created in one month.

    ``model`` is the label of the file model. ``month`` is the first day of the month.
    ``refreshed`` is when the files were counted.
    """

    model = models.CharField(_("model"), max_length=200)
    month = models.DateField(_("month"))
    deliveries = models.BigIntegerField(_("deliveries"))
    files = models.BigIntegerField(_("files"))
    size = models.BigIntegerField(_("size in bytes"))
    refreshed = models.DateTimeField(_("counted"))

    objects: ClassVar[models.Manager[MonthlySum]] = models.Manager()

    class Meta:
        verbose_name = _("monthly sum")
        verbose_name_plural = _("dashboard of the delivery stores")
        default_permissions = ("view",)
        permissions = [("refresh_statistics", "Can update the statistics")]
        constraints = [
            models.UniqueConstraint(
                fields=["model", "month"], name="devilry_storage_monthly_unique"
            )
        ]

    def __str__(self) -> str:
        return f"{self.model}: {self.month:%Y-%m}"
