"""Tombstones: rows which say that bytes are to be removed, and keep what a restore needs."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .indexes import PrefixIndex


class Tombstone(models.Model):
    """Bytes that no row names any more, and the time from which they may be removed.

    ``rows`` holds the rows that named them as Django serialises them (format "json", the delivery
    first), so that they can be restored with their ids until then; it is empty for bytes that no
    row has named. Ids that are no integers are only there.
    """

    model = models.CharField(_("model"), max_length=200, help_text=_("Label of the file's model."))
    alias = models.CharField(
        _("store"), max_length=200, blank=True, help_text=_("Alias of the store in STORAGES.")
    )
    name = models.CharField(_("name"), max_length=255)
    size = models.BigIntegerField(_("size in bytes"), null=True)
    sha256 = models.CharField(_("SHA-256"), max_length=64, blank=True)
    rows = models.JSONField(_("rows"), default=list)
    # What is searched for, out of the rows.
    filename = models.CharField(_("filename"), max_length=255, blank=True)
    file_id = models.BigIntegerField(_("id of the file"), null=True, db_index=True)
    delivery_id = models.BigIntegerField(_("id of the delivery"), null=True, db_index=True)
    created = models.DateTimeField(_("created"), default=timezone.now)
    due = models.DateTimeField(_("due"))
    attempts = models.PositiveIntegerField(_("failed attempts"), default=0)
    last_error = models.TextField(_("last error"), blank=True)

    objects: ClassVar[models.Manager[Tombstone]] = models.Manager()

    class Meta:
        verbose_name = _("tombstone")
        verbose_name_plural = _("tombstones")
        permissions = [
            ("browse_store", "Can browse the delivery stores"),
            ("bury_orphan", "Can have bytes without a row removed"),
            ("restore_tombstone", "Can restore deleted files"),
            ("carry_out_tombstone", "Can remove deleted files before their time"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["model", "alias", "name"], name="devilry_storage_tombstone_unique"
            )
        ]
        indexes = [
            models.Index(fields=["due", "id"], name="devilry_storage_due"),
            models.Index(fields=["model", "due", "id"], name="devilry_storage_model_due"),
            PrefixIndex(fields=["name"], name="devilry_storage_name"),
            PrefixIndex(fields=["filename"], name="devilry_storage_filename"),
        ]

    def __str__(self) -> str:
        return f"{self.model}: {self.name}"
