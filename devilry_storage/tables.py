"""The package's own models: tombstones, store marks, monthly sums, and the stores in the admin."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from enum import Enum
from typing import Any, ClassVar, TypeVar, cast

from django.core.exceptions import ImproperlyConfigured
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .db.clock import DatabaseNow
from .db.indexes import PrefixIndex
from .registry import FileModel, file_models, label
from .resolving import resolve

T = TypeVar("T", bound="TombstoneQuerySet")


class TombstoneState(Enum):
    """The states of a tombstone."""

    DELETED = "deleted"
    RESTORED = "restored"
    ORPHAN = "orphan"
    REMOVAL = "removal"
    REMOVED = "removed"


#: The condition that no row ever had the name. The ids of a file stay when its rows are erased.
IS_ORPHAN = models.Q(file_id=None, delivery_id=None, rows=[])


class TombstoneQuerySet(models.QuerySet["Tombstone"]):
    """Tombstones by their state (buried, then claimed, then done) and name."""

    def buried(self: T) -> T:
        """Return those that no purge has claimed: their files can be restored."""
        return cast(T, self.filter(claimed=None))

    def past_due(self: T) -> T:
        """Return those whose retention is over by the database's clock."""
        return cast(T, self.filter(due__lte=DatabaseNow()))

    def due(self: T) -> T:
        """Return those that a purge may claim."""
        return self.buried().past_due()

    def removals(self: T) -> T:
        """Return those that a purge has claimed and whose bytes may still be stored."""
        return cast(T, self.filter(claimed__isnull=False, done=None))

    def not_done(self: T) -> T:
        """Return those whose bytes may still be stored."""
        return cast(T, self.filter(done=None))

    def pending(self: T) -> T:
        """Return those whose bytes a purge removes: the ones that are due, and all removals."""
        pending: T = self.not_done().filter(
            models.Q(due__lte=DatabaseNow()) | models.Q(claimed__isnull=False)
        )
        return pending

    def naming(self: T, model: FileModel, names: Iterable[str]) -> T:
        """Return those with these names in the model's store, in any state.

        Only tombstones of other stores of this site are left out: the model of a deleted file may
        have been renamed or removed since, and the alias of its store, too.
        """
        store = resolve(model).store
        own, elsewhere = {label(model)}, set()
        for other in file_models():
            with suppress(ImproperlyConfigured):
                others = resolve(other)
                if others.store is store:
                    own.add(label(other))
                else:
                    elsewhere.add(others.alias or label(other))
        naming: T = self.filter(
            models.Q(model__in=own) | ~models.Q(alias__in=elsewhere), name__in=list(names)
        )
        return naming


class RowsWithout(models.Func):
    """The ``rows`` of a tombstone without those of models in ``labels`` whose key is ``pk``."""

    def __init__(self, labels: list[str], pk: int) -> None:
        super().__init__(models.F("rows"), output_field=models.JSONField())
        self.values = [str(pk), *labels]

    def as_sql(self, compiler: Any, connection: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        column, params = compiler.compile(self.source_expressions[0])
        select = "json_group_array(json(r.value)) FROM json_each({}) AS r"
        member = "CAST(json_extract(r.value, '$.{}') AS text)"
        if connection.vendor == "postgresql":
            select = "COALESCE(jsonb_agg(r.value), '[]') FROM jsonb_array_elements({}) r(value)"
            member = "r.value ->> '{}'"
        labels = ", ".join(["%s"] * (len(self.values) - 1))
        dropped = f"{member.format('pk')} = %s AND {member.format('model')} IN ({labels})"
        sql = f"(SELECT {select.format(column)} WHERE ({dropped}) IS NOT TRUE)"
        return sql, [*params, *self.values]


class Tombstone(models.Model):
    """The record of a deleted file, whose bytes may be removed from ``due`` on.

    ``rows`` are the rows that had the name, as Django serialises them (format "json", the delivery
    first), so that they can be restored with their ids. It is empty for an orphan, and after a
    restore, which stores the bytes under another name. ``file_id`` and ``delivery_id`` are copied
    from ``rows`` if they are integers.

    A purge first sets ``claimed``, which makes the tombstone a removal: its file cannot be
    restored any more, and its rows are erased. When the bytes are removed, ``done`` is set. The
    tombstone stays for a while, so that its name is not used again while a late request to remove
    it may still arrive.
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
    # Copied from the rows for searches.
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
            # Transactions that record or bury the same name wait for each other here.
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
        """The state of the tombstone."""
        if self.done is not None:
            return TombstoneState.REMOVED
        if self.claimed is not None:
            return TombstoneState.REMOVAL
        if self.rows:
            return TombstoneState.DELETED
        is_orphan = self.file_id is None and self.delivery_id is None  # as in IS_ORPHAN
        return TombstoneState.ORPHAN if is_orphan else TombstoneState.RESTORED

    @property
    def is_restorable(self) -> bool:
        """Whether the file can be restored."""
        return self.state in {TombstoneState.DELETED, TombstoneState.ORPHAN}


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


class _NoRows(models.Manager[Any]):
    """Return no rows. The model has no table, and dumpdata would try to read it."""

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
