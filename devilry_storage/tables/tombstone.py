"""Tombstones: rows which say that bytes are to be removed, and keep what a restore needs."""

from __future__ import annotations

from enum import Enum

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from ..db.indexes import PrefixIndex


class TombstoneState(Enum):
    """What a tombstone stands for."""

    DELETED = "deleted"
    RESTORED = "restored"
    ORPHAN = "orphan"
    REMOVAL = "removal"
    REMOVED = "removed"


#: The condition that no row ever had the name: the ids of a file stay when its rows go.
IS_ORPHAN = models.Q(file_id=None, delivery_id=None, rows=[])


class TombstoneQuerySet(models.QuerySet["Tombstone"]):
    """Tombstones by their state: buried, then claimed, then done."""

    def buried(self) -> TombstoneQuerySet:
        """Return those that no purge has claimed: they can be restored or taken back."""
        buried: TombstoneQuerySet = self.filter(claimed=None)
        return buried

    def removals(self) -> TombstoneQuerySet:
        """Return those that a purge has claimed and whose bytes may still be stored."""
        removals: TombstoneQuerySet = self.filter(claimed__isnull=False, done=None)
        return removals


class Tombstone(models.Model):
    """A name in a store that no row has any more, and the time from which its bytes may go.

    ``rows`` holds the rows that had the name as Django serialises them (format "json", the
    delivery first), so that they can be restored with their ids until then. It is empty for bytes
    that no row has named, and where the rows were restored, with the bytes under another name.
    Ids that are not integers are only there.

    A purge first sets ``claimed``, which makes it a removal: it is never restored, and its rows
    are gone. When the bytes are removed, ``done`` is set. It stays for a while, so that its name
    is not used again while a late request to remove it may still arrive.
    """

    model = models.CharField(_("model"), max_length=200, help_text=_("Label of the file's model."))
    alias = models.CharField(
        _("store"),
        max_length=200,
        blank=True,
        help_text=_("Alias of the store in STORAGES, or the model's label if it has none."),
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
    claimed = models.DateTimeField(_("claimed"), null=True)
    done = models.DateTimeField(_("done"), null=True)
    attempts = models.PositiveIntegerField(_("failed attempts"), default=0)
    last_error = models.TextField(_("last error"), blank=True)

    objects = models.Manager.from_queryset(TombstoneQuerySet)()

    class Meta:
        verbose_name = _("deleted file")
        verbose_name_plural = _("deleted files")
        permissions = [
            ("browse_store", "Can browse the delivery stores"),
            ("bury_orphan", "Can delete unrecorded files"),
            ("restore_tombstone", "Can restore deleted files"),
            ("purge_tombstone", "Can remove deleted files permanently"),
        ]
        constraints = [
            # Whatever makes a row name an object, or buries one, waits here for the others.
            models.UniqueConstraint(
                fields=["name", "alias"], name="devilry_storage_tombstone_name"
            )
        ]
        indexes = [
            models.Index(fields=["due", "id"], name="devilry_storage_due"),
            models.Index(fields=["model", "due", "id"], name="devilry_storage_model_due"),
            models.Index(
                fields=["alias", "due", "id"],
                condition=models.Q(claimed=None),
                name="devilry_storage_buried",
            ),
            models.Index(
                fields=["alias", "id"],
                condition=models.Q(claimed__isnull=False, done=None),
                name="devilry_storage_removals",
            ),
            models.Index(fields=["done"], name="devilry_storage_done"),
            PrefixIndex(fields=["name"], name="devilry_storage_name"),
            PrefixIndex(fields=["filename"], name="devilry_storage_filename"),
        ]

    def __str__(self) -> str:
        return f"{self.model}: {self.name}"

    @property
    def state(self) -> TombstoneState:
        """What the tombstone stands for now."""
        if self.done is not None:
            return TombstoneState.REMOVED
        if self.claimed is not None:
            return TombstoneState.REMOVAL
        if self.rows:
            return TombstoneState.DELETED
        is_orphan = self.file_id is None and self.delivery_id is None  # as in IS_ORPHAN
        return TombstoneState.ORPHAN if is_orphan else TombstoneState.RESTORED
