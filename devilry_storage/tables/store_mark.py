"""The marks of delivery stores that the database remembers."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class StoreMark(models.Model):
    """The UUID of a store's mark, as this database has last seen or accepted it.

    ``alias`` is the store's alias in ``STORAGES``, or the label of a model if it has none.
    ``location`` is the value of ``store.location_text()``. ``accepted`` is when this site was
    accepted with ``deliverystore_identity --accept``.
    """

    alias = models.CharField(_("store"), max_length=200)
    location = models.TextField(_("location"))
    uuid = models.UUIDField(_("UUID"))
    remembered = models.DateTimeField(_("remembered"), default=timezone.now)
    accepted = models.DateTimeField(_("accepted"), null=True)

    objects: ClassVar[models.Manager[StoreMark]] = models.Manager()

    class Meta:
        verbose_name = _("store identity")
        verbose_name_plural = _("store identities")
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["alias", "location"], name="devilry_storage_mark_unique"
            )
        ]

    def __str__(self) -> str:
        return f"{self.alias}: {self.uuid}"
