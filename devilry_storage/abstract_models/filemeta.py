"""A file of a delivery: its row, and the bytes that the store keeps for it."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar, cast

import django
from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.db import IntegrityError, models, router, transaction
from django.db.models import signals
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .._compat import add_note
from ..db.rows import loaded_columns, lock_row, read_row, restored_on_error
from ..db.transactions import has_transaction, reads_a_snapshot
from ..deletion.burying import (
    buried_names,
    bury,
    named_by_tombstone,
    refuse_named_by_row,
    reserve,
    unused,
)
from ..exceptions import DeliveryFileNotFound, DeliveryFinished, InvalidFilename
from ..fields import DeliveryFieldFile, DeliveryFileField, StoredName
from ..identity import check_writing
from ..names import FILENAME_MAX_LENGTH, validate_filename, validate_storage_name
from ..resolving import store_for
from ..schema import declaring_model, delivery_field
from ..signals import file_stored, send_after_commit
from ..storages.chunks import read_chunks
from ..storages.content import opened, refuse_second_reading
from .delivery import AbstractDelivery
from .querysets import VisibleQuerySet
from .step import RowTaken, StoreStep

#: The columns that belong to the store step: nothing else writes them.
CONTENT_FIELDS = frozenset({"content", "size", "sha256"})


class FileMetaQuerySet(VisibleQuerySet):
    """Files of deliveries."""

    delivery_path = "delivery"

    def bulk_create(self, objs: Iterable[Any], *args: Any, **kwargs: Any) -> list[Any]:
        """Insert rows as Django does; FileExistsError where a tombstone has the name of a file."""
        objs = list(objs)
        if names := [row.content.name for row in objs if row.content.name]:
            using = self._db or router.db_for_write(self.model)  # type: ignore[attr-defined]
            if buried := buried_names(self.model, names, using):
                raise named_by_tombstone(buried.pop())
        created: list[Any] = super().bulk_create(objs, *args, **kwargs)
        return created

    def adopt(self, name: str, *, sha256: str | None = None, **fields: Any) -> Any:
        """Record bytes that lie in the store already, under any valid name; return the row.

        ``sha256`` (hexadecimal) is computed by reading the file unless it is given; ``fields``
        are those of the row. Raises FileNotFoundError where there is no such file,
        FileExistsError where a row or tombstone names it, InvalidName.
        """
        fields.setdefault("filename", posixpath.basename(name))
        instance = self.model(**fields)
        instance._adopt(name, sha256, self._db or router.db_for_write(self.model))  # type: ignore[attr-defined]
        return instance


class AbstractFileMeta(models.Model):
    """A file whose bytes lie in the delivery store, under a key made of ids.

    A subclass declares ``delivery``, a foreign key to whatever a file belongs to, or overrides
    :meth:`key_ids`. ``save()`` inserts the row, stores the bytes and records them, in this order,
    and holds no transaction open while bytes move, unless the caller does.
    """

    #: A store or an alias of ``STORAGES``, before all that is configured; meant for tests.
    deliverystore: ClassVar[Any] = None

    filename = models.CharField(
        _("filename"),
        max_length=FILENAME_MAX_LENGTH,
        blank=True,
        help_text=_("Taken from the uploaded file if left empty."),
    )
    content = DeliveryFileField(_("content"))
    size = models.BigIntegerField(_("size in bytes"), null=True, editable=False)
    sha256 = models.CharField(_("SHA-256"), max_length=64, blank=True, editable=False)
    created = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    verified_at = models.DateTimeField(_("verified at"), null=True, editable=False)

    objects = FileMetaQuerySet.as_manager()

    # Whether add_file() has taken the row over, so that content is added and never replaced.
    _is_taken_over = False

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.filename

    def key_ids(self) -> tuple[Any, Any]:
        """Return the two integers of the file's key: delivery id and own id."""
        return self.delivery_id, self.pk  # type: ignore[attr-defined]  # the subclass's

    # -- Validation --

    def clean_fields(self, exclude: Collection[str] | None = None) -> None:
        self._name_after_upload()
        super().clean_fields(exclude)
        if "filename" not in self._unjudged(exclude):
            try:
                self.filename = validate_filename(self.filename)
            except InvalidFilename as exception:
                # A form that does not show the filename has no place for its errors.
                shown = not exclude or "filename" not in exclude
                raise ValidationError(
                    {"filename": str(exception)} if shown else str(exception)
                ) from exception

    def clean(self) -> None:
        super().clean()
        if self._pending() is not None:
            try:
                self._refuse_in_vain(self._state.db or router.db_for_write(type(self)))
            except (DeliveryFinished, ObjectDoesNotExist) as exception:
                raise ValidationError(str(exception)) from exception

    def validate_unique(self, exclude: Collection[str] | None = None) -> None:
        # The name of a pending file is the upload's, which is nobody's stored name.
        super().validate_unique({*self._unjudged(exclude), "content"})

    def validate_constraints(self, exclude: Collection[str] | None = None) -> None:
        super().validate_constraints(self._unjudged(exclude))

    def _unjudged(self, exclude: Collection[str] | None) -> set[str]:
        """Return the fields that are not to be validated; a filename that was uploaded is.

        Where a form does not show the filename, or an inline's formset sets the delivery, Django
        would leave out the constraint on both.
        """
        unjudged = set(exclude or ())
        pending = self._pending()
        if pending is not None and self.filename == pending.name:
            unjudged -= {"filename", "delivery"}
        return unjudged

    def _name_after_upload(self) -> None:
        pending = self._pending()
        if not self.filename and pending is not None:
            self.filename = pending.name or ""

    def _pending(self) -> DeliveryFieldFile | None:
        """Return the file that waits to be stored, if there is one."""
        content: DeliveryFieldFile | None = self.__dict__.get("content")
        return content if content is not None and content.is_pending_file else None

    # -- Saving --

    def save(
        self,
        force_insert: Any = False,
        force_update: bool = False,
        using: str | None = None,
        update_fields: Iterable[str] | None = None,
    ) -> None:
        """Save the row, and carry out what is pending for its content.

        If storing fails, a row that this very call inserted is deleted again, and the instance is
        as before, so that it can be saved again; a row that was there before stays as it was.
        Content that was not assigned since it was loaded is never written; ``created`` and
        ``verified_at`` of a stored row are written only if ``update_fields`` names them.
        """
        using = using or router.db_for_write(type(self), instance=self)
        update_fields = None if update_fields is None else frozenset(update_fields)
        updating = force_update or update_fields is not None
        if force_insert and updating:
            raise ValueError(
                f"{self!r} cannot be inserted and updated in one save(): drop force_insert, or "
                "force_update and update_fields."
            )
        # The descriptor's, not __dict__'s: a copy.copy() shares that with the original.
        content: Any = self.content if "content" in self.__dict__ else None
        pending = None if content is None or content._committed else content
        with restored_on_error(self):
            if force_insert or ((self._state.adding or self.pk is None) and not updating):
                self._save_new(using)
            else:
                self._save_stored(using, update_fields)
        if pending is not None and pending is not self.content:
            # Whoever holds the FieldFile sees what became of it.
            pending.settle(self.content.name)
            self.__dict__["content"] = pending

    save.alters_data = True  # type: ignore[attr-defined]

    def _save_new(self, using: str) -> None:
        pending = self._pending_for_new_row()
        self._name_after_upload()
        self.filename = validate_filename(self.filename)
        self._state.adding = True
        if pending is not None:
            self._refuse_in_vain(using)
        self._set_content(None, None, "")
        is_computed = hasattr(self.created, "resolve_expression")
        # The key of an earlier row with this id may have been buried since the snapshot.
        may_be_used = self.pk is not None and reads_a_snapshot(using)
        try:
            self._insert(using)
            if pending is not None:
                key = store_for(self).layout.key(*self.key_ids())
                only = self._unchanged()
                if is_computed:  # SQLite may have it in another form than it has datetimes
                    del only["created"]
                fresh = may_be_used or self.is_buried(key, using)
                self._store(pending, using, fresh=fresh, only=only)
        except BaseException as exception:
            if not self._state.adding:
                self._delete_again(using, exception)
            raise

    def _pending_for_new_row(self) -> DeliveryFieldFile | None:
        content = cast(DeliveryFieldFile, self.content)
        if not content:
            return None
        # A stored file's row that is saved as a new one (pk=None): its bytes are copied.
        if content.is_pending_file:
            return content
        field = cast(DeliveryFileField, content.field)
        return field.copy_of(content, self)

    def _insert(self, using: str) -> None:
        """Insert the row, never update: an id that is taken belongs to somebody else's bytes."""
        if django.VERSION >= (5, 0):
            super().save(force_insert=(models.Model,), using=using)
            return
        # Django 4.2 updates the row of a multi-table parent, whatever it is told.
        meta = cast(Any, self)._meta.concrete_model._meta
        for parent in meta.get_parent_list():
            pk = getattr(self, meta.get_ancestor_link(parent).attname)
            if pk is None:
                pk = getattr(self, parent._meta.pk.attname)
            if pk is not None and parent._base_manager.using(using).filter(pk=pk).exists():
                raise IntegrityError(f"{parent._meta.label} '{pk}' exists already.")
        super().save(force_insert=True, using=using)

    def _delete_again(self, using: str, exception: BaseException) -> None:
        if transaction.get_connection(using).needs_rollback:
            return
        try:
            # Not if it has content after all: the reply to its COMMIT may have been lost.
            rows = type(self)._base_manager.using(using)
            # Nor if somebody has taken it over, after the grace time.
            rows.filter(pk=self.pk, created=self.created, content__isnull=True).delete()
        except Exception as failure:  # noqa: BLE001  # the first exception matters
            add_note(
                exception,
                f"The row {self.pk!r} of {self._meta.label}, inserted for this file, could not be "
                f"deleted again ({failure}): it may be there without content.",
            )

    def _save_stored(self, using: str, update_fields: frozenset[str] | None) -> None:
        if self._state.db not in {None, using}:
            raise ValueError(
                f"{self!r} is stored in database {self._state.db!r} and cannot be saved to "
                f"{using!r}: its bytes belong to one row. Create a row there and copy the file."
            )
        columns = self._columns(update_fields)
        if "filename" in columns:
            self.filename = validate_filename(self.filename)

        save_columns = partial(self._save_columns, using, columns)
        content = self.__dict__.get("content")
        if content is None or content._committed or not _names(update_fields, "content"):
            save_columns()
        elif content.is_pending_file:
            only = self._unchanged() if self._is_taken_over else {}
            self._refuse_in_vain(using)
            self._store(content, using, fresh=True, only=only, also=save_columns)
        else:
            self._remove(using, also=save_columns)

    def _save_columns(self, using: str, columns: frozenset[str]) -> None:
        if not columns:
            return
        if "delivery" not in columns or not self._is_moved(using):
            super().save(using=using, update_fields=columns)
            return
        with transaction.atomic(using=using):
            delivery = self._delivery(using, lock_row)
            if isinstance(delivery, AbstractDelivery):
                delivery.refuse_finished()
            super().save(using=using, update_fields=columns)

    def _is_moved(self, using: str) -> bool:
        """Tell whether the row belongs to another delivery as yet."""
        row: Any = read_row(_declaring(self), self.pk, using)
        return row is not None and row.delivery_id != self.delivery_id  # type: ignore[attr-defined]

    def _columns(self, update_fields: frozenset[str] | None) -> frozenset[str]:
        """Return the names of the fields that a save writes besides the content."""
        if update_fields is not None:
            return update_fields - CONTENT_FIELDS
        # "created" identifies the writer that has taken over the row.
        return loaded_columns(self) - {*CONTENT_FIELDS, "created", "verified_at"}

    # -- The store step --

    def _refuse_in_vain(self, using: str) -> None:
        """Raise, before any byte is stored, what the store step would raise after it."""
        deliveries = [_cached_delivery(self) or self._delivery(using, read_row)]
        if not self._state.adding and self.pk is not None:
            deliveries.append(self._row_and_delivery(using, read_row)[1])
        for delivery in deliveries:
            if isinstance(delivery, AbstractDelivery):
                delivery.refuse_finished()

    def _store(
        self,
        pending: DeliveryFieldFile,
        using: str,
        *,
        fresh: bool,
        only: Mapping[str, Any],
        also: Callable[[], None] | None = None,
    ) -> None:
        """Store the pending file, then record it in one short transaction, with ``also`` in it.

        Raises FileExistsError unless the row then meets the conditions ``only``.
        """
        check_writing(type(self), using)
        record = partial(self._record, using, also, only)
        step = StoreStep(self, fresh=fresh, record=record)
        try:
            with opened(pending._file) as source, store_for(self).write_open(step) as writer:
                refuse_second_reading(source)
                for chunk in read_chunks(source):
                    writer.write(chunk)
        except RowTaken as exception:
            raise FileExistsError(
                f"{self.filename!r} was stored by another upload, or is being stored by one that "
                "has taken over this one after the grace time: take another filename."
            ) from exception

    def before_storing(self) -> None:
        """Raise StoreNotRecognised where the model's store is not that of its rows."""
        check_writing(type(self), self._state.db or router.db_for_write(type(self)))

    def is_buried(self, name: str, using: str | None = None) -> bool:
        """Return whether a tombstone names the object, which may be removed at any time.

        A store asks before it creates the object, so that nothing is stored under a name that
        :meth:`record_stored` does not accept.
        """
        using = using or self._state.db or router.db_for_write(type(self))
        return bool(buried_names(type(self), [name], using))

    def record_stored(self, name: str, size: int, sha256: str) -> None:
        """Record that bytes were stored; what the row named before gets a tombstone.

        Raises DeliveryFinished, DoesNotExist (the row was deleted), and FileExistsError where a
        tombstone names the object.
        """
        using = self._state.db or router.db_for_write(type(self))
        self._record(using, None, {}, name, size, sha256)

    def _record(
        self,
        using: str,
        also: Callable[[], None] | None,
        only: Mapping[str, Any],
        name: str,
        size: int,
        sha256: str,
    ) -> None:
        with restored_on_error(self), transaction.atomic(using=using):
            row, delivery = self._lock(using)
            if isinstance(delivery, AbstractDelivery):
                delivery.refuse_finished()
            if also is not None:
                also()
            columns = {"content": StoredName(name), "size": size, "sha256": sha256}
            if not self._update_content(row, using, only=only, **columns):
                if self.is_buried(name, using):
                    raise named_by_tombstone(name)
                raise RowTaken(f"{self._meta.label} '{self.pk}' is not as this call made it.")
            if row.content:
                bury(row, delivery, using)
            # Before the COMMIT, after which the receivers see the instance.
            self._set_content(name, size, sha256)
            send_after_commit(file_stored, self, using, name=name, size=size)

    def record_removed(self) -> None:
        """Take the content from the row and write its tombstone."""
        self._remove(self._state.db or router.db_for_write(type(self)))

    # A template must not remove a file.
    record_removed.alters_data = True  # type: ignore[attr-defined]

    def _remove(self, using: str, also: Callable[[], None] | None = None) -> None:
        with restored_on_error(self), transaction.atomic(using=using):
            row, delivery = self._lock(using)
            if also is not None:
                also()
            if row.content:
                self._update_content(row, using, content=None, size=None, sha256="")
                bury(row, delivery, using)
            self._set_content(None, None, "")

    def _unchanged(self) -> dict[str, Any]:
        """Return the conditions under which the row is as this call has made it."""
        return {"content__isnull": True, "created": self.created}

    def _update_content(
        self,
        row: AbstractFileMeta,
        using: str,
        *,
        only: Mapping[str, Any] | None = None,
        **columns: Any,
    ) -> bool:
        """Write the columns and return whether that was allowed.

        It is not where a condition of ``only`` does not hold, or a tombstone has the name.
        """
        rows = type(row)._base_manager.using(using).filter(pk=row.pk, **(only or {}))
        if (name := columns["content"]) is not None:
            rows = rows.filter(unused(type(row), [name], using))
        return bool(rows.update(verified_at=None, **columns))

    def _set_content(self, name: str | None, size: int | None, sha256: str) -> None:
        field = self._meta.get_field("content")
        self.__dict__["content"] = DeliveryFieldFile(self, field, name)
        self.size, self.sha256, self.verified_at = size, sha256, None
        self.__dict__.pop("_is_taken_over", None)

    def _lock(self, using: str) -> tuple[AbstractFileMeta, models.Model | None]:
        """Lock the delivery, then the row, and return both as they are in the database.

        Whoever stores, removes or finishes locks in this order; so no file slips into a delivery
        that is being finished, and nobody acts on a name that was replaced meanwhile.
        """
        return self._row_and_delivery(using, lock_row)

    def _row_and_delivery(
        self, using: str, get: Callable[..., Any]
    ) -> tuple[AbstractFileMeta, models.Model | None]:
        declaring = _declaring(self)
        delivery = self._delivery(using, get)
        row = get(declaring, self.pk, using)
        if row is None:
            raise type(self).DoesNotExist(
                f"{self._meta.label} '{self.pk}' was deleted meanwhile: its file is not recorded."
            )
        if delivery is None or row.delivery_id != self.delivery_id:  # type: ignore[attr-defined]
            delivery = row._delivery(using, get)  # it was moved, or is not known here
        return row, delivery

    def _delivery(self, using: str, get: Callable[..., Any]) -> models.Model | None:
        to_delivery = delivery_field(_declaring(self))
        if to_delivery is None or self.delivery_id is None:  # type: ignore[attr-defined]
            return None
        pk: Any = self.delivery_id  # type: ignore[attr-defined]
        model, target = to_delivery.related_model, to_delivery.target_field
        if not target.primary_key:  # to_field
            rows = model._base_manager.using(using).filter(**{target.attname: pk})
            pk = rows.values_list("pk", flat=True).first()
        delivery: models.Model | None = get(model, pk, using)
        return delivery

    # -- Adopting --

    def _adopt(self, name: str, sha256: str | None, using: str) -> None:
        name = validate_storage_name(name)
        store = store_for(self)
        declaring = _declaring(self)
        refuse_named_by_row(declaring, name, using)
        if buried_names(declaring, [name], using):
            raise named_by_tombstone(name)
        try:
            size = store.size(name)
            if sha256 is None:
                digest = hashlib.sha256()
                for chunk in store.stream(name):
                    digest.update(chunk)
                sha256 = digest.hexdigest()
        except FileNotFoundError as exception:
            raise DeliveryFileNotFound(name, self) from exception
        with transaction.atomic(using=using):
            delivery = self._delivery(using, lock_row)
            if isinstance(delivery, AbstractDelivery):
                delivery.refuse_finished()
            self.filename = validate_filename(self.filename)
            self._set_content(name, size, sha256)
            reserve(declaring, name, using)
            self._insert(using)
            send_after_commit(file_stored, self, using, name=name, size=size)


def _declaring(instance: AbstractFileMeta) -> type[AbstractFileMeta]:
    """Return the model in whose table the content lies (not a proxy or multi-table child)."""
    return cast(type[AbstractFileMeta], declaring_model(type(instance)))


def _cached_delivery(instance: AbstractFileMeta) -> models.Model | None:
    field = delivery_field(type(instance))
    if field is None or not field.is_cached(instance):
        return None
    delivery: models.Model | None = field.get_cached_value(instance)
    return delivery


def _names(update_fields: frozenset[str] | None, field: str) -> bool:
    return update_fields is None or field in update_fields


# -- Deleting, and saving raw rows --


def _bury_deleted(*, instance: AbstractFileMeta, using: str, **kwargs: Any) -> None:
    """Write the tombstone of a row that is being deleted, in the transaction that deletes it."""
    try:
        row, delivery = instance._lock(using)
    except ObjectDoesNotExist:
        return
    if row.content:
        bury(row, delivery, using)


def _before_raw_save(*, instance: AbstractFileMeta, raw: bool, using: str, **kwargs: Any) -> None:
    """Bury what a row that is saved raw (loaddata) had, and make sure that its file is its alone.

    By signal, because deserialized objects are saved by ``Model.save_base``, whatever methods
    their class has.
    """
    if not raw:
        return
    if not has_transaction(using):
        raise transaction.TransactionManagementError(
            f"{instance._meta.label} '{instance.pk}' cannot be saved raw outside of a "
            f"transaction: its file {instance.content.name!r} could be deleted meanwhile. Use "
            "transaction.atomic()."
        )
    name = instance.content.name
    rows = _declaring(instance)._base_manager.using(using).filter(pk=instance.pk)
    stored = rows.values_list("content", flat=True).first()
    # Nothing is locked for a row that is new: it is inserted first, as by everything else.
    if stored not in {None, name}:
        with suppress(ObjectDoesNotExist):
            row, delivery = instance._lock(using)
            if row.content and row.content.name != name:
                bury(row, delivery, using)
    if name:
        reserve(_declaring(instance), name, using, pk=instance.pk)


def _connect(*, sender: type[models.Model], **kwargs: Any) -> None:
    # Per class, proxies included: a receiver for every sender would slow down the whole site. Of
    # a multi-table child the parent's row, which has the content, is deleted and saved, too.
    if (
        issubclass(sender, AbstractFileMeta)
        and not sender._meta.abstract
        and declaring_model(sender) is sender._meta.concrete_model
    ):
        signals.pre_delete.connect(_bury_deleted, sender=sender)
        signals.pre_save.connect(_before_raw_save, sender=sender)


signals.class_prepared.connect(_connect)
