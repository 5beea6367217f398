"""What stands for the delivery stores where Django wants a model."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.utils.translation import gettext_lazy as _


class _NoRows(models.Manager[Any]):
    """Gives none: there is no table that dumpdata, say, could read."""

    def get_queryset(self) -> models.QuerySet[Any]:
        none: models.QuerySet[Any] = super().get_queryset().none()
        return none


class StoreBrowser(models.Model):  # noqa: DJ008  # there is none to be shown
    """The stores as the admin lists them; which there are is configured, not recorded."""

    objects = _NoRows()

    class Meta:
        managed = False
        base_manager_name = "objects"
        default_permissions = ()
        verbose_name = _("delivery store")
        verbose_name_plural = _("delivery stores")
