"""Unmanaged model that gives the store browser an admin entry."""

from __future__ import annotations

from typing import Any, cast

from django.db import models
from django.utils.translation import gettext_lazy as _


class _NoRows(models.Manager[Any]):
    """Return no rows, because there is no table, which dumpdata would read."""

    def get_queryset(self) -> models.QuerySet[Any]:
        return cast(models.QuerySet[Any], super().get_queryset().none())


class StoreBrowser(models.Model):  # noqa: DJ008  # it has no instances
    """The stores in the admin. They are configured, not recorded."""

    objects = _NoRows()

    class Meta:
        managed = False
        base_manager_name = "objects"
        default_permissions = ()
        verbose_name = _("delivery store")
        verbose_name_plural = _("delivery stores")
