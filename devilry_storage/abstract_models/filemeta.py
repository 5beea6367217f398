"""The row of a file, whose content is kept in a delivery store."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, ClassVar, cast

import django
from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.db import IntegrityError, models, transaction
from django.db.models import signals
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from ..db.routing import database_of
from ..db.rows import (
    loaded_columns,
    lock_row,
    other_files,
    read_row,
    restored_on_error,
    row_and_related,
    stored_rows,
    undone_on_error,
)
from ..db.transactions import has_transaction, reads_a_snapshot
from ..deletion.burying import (
    buried_names,
    bury,
    named_by_tombstone,
    refuse_named_by_row,
    reserve,
    unused,
)
from ..deletion.deleting import bury_before_delete
from ..exceptions import DeliveryFileNotFound, DeliveryFinished, InvalidFilename, NotCommitted
from ..fields import SAVED_CONTENT, DeliveryFieldFile, DeliveryFileField, StoredName
from ..identity import check_writing
from ..names import FILENAME_MAX_LENGTH, validate_filename, validate_storage_name
from ..resolving import store_for
from ..schema import DELIVERY, declaring_model, foreign_key
from ..signals import file_stored, has_receivers, send_after_commit
from ..storages.content import last_chunks, opened, shown
from ..storages.free_names import not_about_names
from ..storages.protocols import checked_ids
from .delivery import AbstractDelivery
from .querysets import VisibleQuerySet
from .recording import record_at_once

#: Fields that are written only when content is stored or removed.
CONTENT_FIELDS = frozenset({"content", "size", "sha256"})
# New content is not verified yet.
_WITH_CONTENT = CONTENT_FIELDS | {"verified_at"}

# Fields of a file and its delivery that decide whether the delivery accepts content.
_STATE = frozenset({"delivery", "successful"})


class _NameIsBuried(Exception):
    """A tombstone has the name, so that the content needs another one."""


class FileMetaQuerySet(VisibleQuerySet):
    """Files of deliveries."""

    def bulk_create(self, objs: Iterable[Any], *args: Any, **kwargs: Any) -> list[Any]:
        """Insert rows as Django does; FileExistsError if a tombstone has the name of a file."""
        objs = list(objs)
        if names := [row.content.name for row in objs if row.content.name]:
            self._for_write = True  # as Django does
            if buried := buried_names(self.model, names, self.db):
                raise named_by_tombstone(buried.pop())
        if "content" in (kwargs.get("update_fields") or ()):
            raise NotCommitted(
                f"Cannot update the content of {self.model._meta.label} in bulk: leave it out of "
                "update_fields, and save each row with a new file."
            )
        return super().bulk_create(objs, *args, **kwargs)

    def bulk_update(
        self, objs: Iterable[Any], fields: Iterable[str], *args: Any, **kwargs: Any
    ) -> int:
        """Update rows as Django does, without their content, size and SHA-256.

        Raises NotCommitted for an instance that has another file than its row.
        """
        objs, names = list(objs), set(fields)
        if "content" in names:
            self._for_write = True  # as Django does
            rows = stored_rows(self.model, self.db).filter(pk__in=[row.pk for row in objs])
            stored = dict(rows.values_list("pk", "content"))
            for row in objs:
                if not row.content._committed or row.content.name != stored.get(row.pk):
                    raise NotCommitted(
                        f"Cannot record the file of {row!r} with bulk_update(), because its row "
                        f"has {stored.get(row.pk)!r}: save the instance, or load it again."
                    )
        if not (others := sorted(names - CONTENT_FIELDS)):
            return len(objs)
        return super().bulk_update(objs, others, *args, **kwargs)

    def update(self, **kwargs: Any) -> int:
        """Update rows as Django does; NotCommitted for ``content`` that is not an expression."""
        content = kwargs.get("content")
        if "content" in kwargs and not hasattr(content, "resolve_expression"):
            raise NotCommitted(
                f"Cannot record the file {str(content)!r} with update(): assign it to an instance "
                "and save that; use content.delete() to remove a file, and adopt() for a file "
                "that is in the store already."
            )
        return super().update(**kwargs)

    def adopt(self, name: str, *, sha256: str | None = None, **fields: Any) -> Any:
        """Record a file that is in the store already, under any valid name, and return the row.

        ``sha256`` (hexadecimal) is computed by reading the file unless it is given; ``fields``
        are the other fields of the row. Raises FileNotFoundError if the file is missing,
        FileExistsError if a row or tombstone has the name, and InvalidName.
        """
        fields.setdefault("filename", posixpath.basename(name))
        instance = self.model(**fields)
        instance._adopt(name, sha256, self._db or database_of(instance))  # type: ignore[attr-defined]
        return instance


class AbstractFileMeta(models.Model):
    """A file whose content is in a delivery store, under a key made of ids.

    A subclass declares ``delivery``, a foreign key to the model that files belong to, or
    overrides :meth:`key_ids`. ``save()`` inserts the row, stores the content and records it. While
    it stores the content, no transaction is open unless the caller has opened one.
    """

    #: A store or an alias of ``STORAGES`` that overrides the configured one; for tests.
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

    # Whether add_file() has taken over the row, so that content is added but never replaced.
    _is_taken_over = False

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.filename

    @classmethod
    def from_db(cls, db: Any, field_names: Any, values: Any, **kwargs: Any) -> Any:
        """Create the instance even if an image beside the content is missing."""
        try:
            return super().from_db(db, field_names, values, **kwargs)
        except Exception:
            columns = dict(zip(field_names, values, strict=True))
            names = {name: columns[name] for name in other_files(cls) & columns.keys()}
            if not any(names.values()):
                raise
            columns.update(dict.fromkeys(names))
            row = super().from_db(db, field_names, [*columns.values()], **kwargs)
            row.__dict__.update(names)
            return row

    def key_ids(self) -> tuple[Any, Any]:
        """Return the two integers of which the key is made: the delivery's id and the own id.

        The first is the value of the column of ``delivery``. It is not the delivery's primary key
        if the foreign key has ``to_field``.
        """
        return self.delivery_id, self.pk  # type: ignore[attr-defined]  # the subclass's

    # -- Validation --

    def clean_fields(self, exclude: Collection[str] | None = None) -> None:
        self._name_after_upload()
        super().clean_fields(exclude)
        if "filename" not in self._validation_exclude(exclude):
            try:
                self.filename = validate_filename(self.filename)
            except InvalidFilename as exception:
                # A form without the filename field cannot show an error of that field.
                shown = not exclude or "filename" not in exclude
                raise ValidationError(
                    {"filename": str(exception)} if shown else str(exception)
                ) from exception

    def clean(self) -> None:
        super().clean()
        if self._pending() is not None:
            try:
                self._check_accepts_content(database_of(self))
            except (DeliveryFinished, ObjectDoesNotExist) as exception:
                raise ValidationError(str(exception)) from exception

    def validate_unique(self, exclude: Collection[str] | None = None) -> None:
        # Until it is stored, a pending file has the name of the upload.
        super().validate_unique({*self._validation_exclude(exclude), "content"})

    def validate_constraints(self, exclude: Collection[str] | None = None) -> None:
        super().validate_constraints(self._validation_exclude(exclude))

    def _validation_exclude(self, exclude: Collection[str] | None) -> set[str]:
        """Return the fields to exclude from validation.

        A filename that was taken from the upload is validated even if the form omits it, or if an
        inline formset sets the delivery: Django would skip the constraint on both.
        """
        exclusions = set(exclude or ())
        pending = self._pending()
        if pending is not None and self.filename == pending.name:
            exclusions -= {"filename", "delivery"}
        return exclusions

    def _name_after_upload(self) -> None:
        pending = self._pending()
        if not self.filename and pending is not None:
            self.filename = pending.name or ""

    def _pending(self) -> DeliveryFieldFile | None:
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
        """Save the row, and store or remove its content if that was assigned.

        If storing fails, a row that this call has inserted is deleted again, an existing row stays
        unchanged, and the instance can be saved again. Content that was not assigned since it was
        loaded is never written. ``created`` and ``verified_at`` of an existing row are written
        only if ``update_fields`` names them.
        """
        using = using or database_of(self)
        if update_fields is not None:
            # Django accepts the names of columns, too.
            names = {field.attname: field.name for field in self._meta.concrete_fields}
            update_fields = frozenset(names.get(name, name) for name in update_fields)
        updating = force_update or update_fields is not None
        if force_insert and updating:
            raise ValueError(
                f"Cannot insert and update {self!r} in one save(): drop force_insert, or "
                "force_update and update_fields."
            )
        # Not from __dict__, which copy.copy() shares with the original.
        content: Any = self.content if "content" in self.__dict__ else None
        pending = None if content is None or content._committed else content
        is_new = (self._state.adding or self.pk is None) and not updating
        with restored_on_error(self):
            if force_insert or (is_new and not self._is_copy_of_row(using)):
                self._save_new(using)
            else:
                self._save_stored(using, update_fields)
        self._state.db = using
        if pending is not None and pending is not self.content:
            # Other references to this FieldFile see the stored file.
            pending.settle(self.content.name)
            self.__dict__["content"] = pending

    save.alters_data = True  # type: ignore[attr-defined]

    def refresh_from_db(self, *args: Any, **kwargs: Any) -> None:
        """Reload as Django does, but in a receiver of signals not what save() is storing."""
        kept = {}
        if SAVED_CONTENT in self.__dict__:
            kept = {name: self.__dict__[name] for name in _WITH_CONTENT & self.__dict__.keys()}
        super().refresh_from_db(*args, **kwargs)
        self.__dict__.update(kept)

    def _is_copy_of_row(self, using: str) -> bool:
        """Return whether this instance has the id and the file of a stored row.

        Raises ValueError if the row has another file.
        """
        content = self.__dict__.get("content")
        if self.pk is None or not content or content.is_pending_file:
            return False
        row = read_row(_declaring(self), self.pk, using)
        if row is None:
            return False
        if row.content.name != content.name:
            raise ValueError(
                f"Cannot save {self._meta.label} '{self.pk}' with the file {content.name!r}, "
                f"because the stored row has {row.content.name!r}: restore a deleted file from "
                "its tombstone, or assign a new one."
            )
        return True

    def _save_new(self, using: str) -> None:
        pending = self._pending_for_new_row()
        self._name_after_upload()
        self.filename = validate_filename(self.filename)
        self._state.adding = True
        if pending is not None:
            self._check_accepts_content(using)
        self._set_content(None, None, "")
        is_computed = hasattr(self.created, "resolve_expression")
        is_given = self.pk is not None
        # A tombstone of the key may have been written after the snapshot.
        may_be_used = is_given and reads_a_snapshot(using)

        def is_used(key: str) -> bool:
            # If the database chooses a new id, a tombstone of its key is very unlikely: the
            # record finds it, too.
            return may_be_used or (is_given and self.is_buried(key, using))

        def unchanged() -> dict[str, Any]:
            conditions = self._unchanged()
            if is_computed:  # SQLite may store it in another format than datetimes
                del conditions["created"]
            return conditions

        def delete_again() -> None:
            if not self._state.adding:
                # Not if it has content, because the reply to a COMMIT may have been lost, nor if
                # another upload has taken it over after the grace time.
                stored_rows(type(self), using).filter(pk=self.pk, **unchanged()).delete()

        left = f"A row of {self._meta.label} for {self.filename!r}, without content,"
        with undone_on_error(delete_again, using, left), self._shown_to_receivers(pending):
            self._insert(using)
            if (pending := self._pending()) is not None:
                self._store(pending, using, is_used=is_used, only=unchanged())
            else:
                self._set_content(None, None, "")

    @contextmanager
    def _shown_to_receivers(self, pending: DeliveryFieldFile | None) -> Iterator[None]:
        """Let receivers of ``pre_save`` and ``post_save`` see the file before it is stored.

        They see it at its beginning, and may read it or assign another one. Their calls of save()
        do not store it.
        """
        self.__dict__[SAVED_CONTENT] = None
        try:
            if pending is None:
                yield
                return
            original = pending._file
            with opened(original) as source, shown(source) as file:
                self.__dict__["content"], pending._file = pending, file
                try:
                    yield
                finally:
                    if pending.is_pending_file:
                        pending._file = original
        finally:
            self.__dict__.pop(SAVED_CONTENT, None)

    def _pending_for_new_row(self) -> DeliveryFieldFile | None:
        content = cast(DeliveryFieldFile, self.content)
        if not content:
            return None
        if content.is_pending_file:
            return content
        # A row with a stored file is saved as a new one (pk=None): copy the file.
        if content._is_unproven:
            self._require_own_name(str(content))
        return cast(DeliveryFileField, content.field).copy_of(content, self)

    def _require_own_name(self, name: str) -> None:
        """Raise ValueError for the name of a file that cannot have belonged to this row."""
        ids = None
        with suppress(ValueError):
            ids = store_for(self).layout.parse(name)
        if ids != self.key_ids():
            raise ValueError(
                f"Cannot copy the file {name!r} to {self._meta.label} '{self.pk}', because it is "
                "not a key of this row: assign the file of the other row, or use "
                f"{type(self).__name__}.objects.adopt({name!r}, ...)."
            )

    def _insert(self, using: str) -> None:
        """Insert the row, never update: a row that has the id already belongs to other content."""
        if django.VERSION >= (5, 0):
            super().save(force_insert=(models.Model,), using=using)
            return
        # Django 4.2 updates the row of a multi-table parent in spite of force_insert.
        meta = cast(Any, self)._meta.concrete_model._meta
        for parent in meta.get_parent_list():
            pk = getattr(self, meta.get_ancestor_link(parent).attname)
            if pk is None:
                pk = getattr(self, parent._meta.pk.attname)
            if pk is not None and stored_rows(parent, using).filter(pk=pk).exists():
                raise IntegrityError(f"{parent._meta.label} '{pk}' exists already.")
        super().save(force_insert=True, using=using)

    def _save_stored(self, using: str, update_fields: frozenset[str] | None) -> None:
        if using not in {self._state.db or using, database_of(self)}:
            raise ValueError(
                f"{self!r} is stored in database {self._state.db!r} and cannot be saved to "
                f"{using!r}: its bytes belong to one row. Create a row there and copy the file."
            )
        columns = self._columns(update_fields)
        if "filename" in columns:
            self.filename = validate_filename(self.filename)

        if not self._is_changed(update_fields):
            self._save_columns(using, columns)
            columns = frozenset()
            if not self._is_changed(update_fields):
                return
        # From here on, the content was assigned, by the caller or a receiver of pre_save.
        pending = self._pending()
        if pending is not None:
            self._check_accepts_content(using)
        with self._shown_to_receivers(pending):
            self._send(signals.pre_save, using)
            if self.__dict__["content"]._committed:  # a receiver has put the stored file back
                self._save_columns(using, columns)
            elif (pending := self._pending()) is None:
                self._remove(using, columns)
            elif self._is_taken_over:
                self._store(pending, using, only=self._unchanged())
            else:
                self._store(pending, using, only={}, columns=columns)

    def _is_changed(self, update_fields: frozenset[str] | None) -> bool:
        """Return whether a save has to store or remove content."""
        content = self.__dict__.get("content")
        return (
            content is not None
            and not content._committed
            and (update_fields is None or "content" in update_fields)
            and SAVED_CONTENT not in self.__dict__
        )

    def _send(self, signal: signals.ModelSignal, using: str, **kwargs: Any) -> None:
        signal.send(
            sender=type(self),
            instance=self,
            raw=False,
            using=using,
            update_fields=CONTENT_FIELDS,
            **kwargs,
        )

    def _save_columns(self, using: str, columns: frozenset[str], row: Any = None) -> None:
        """Save the columns; ``row`` is the stored row if it is known."""
        if not columns:
            return
        if "delivery" not in columns:
            row = None
        elif row is None:
            row = read_row(_declaring(self), self.pk, using, _STATE)
        if row is None or row.delivery_id == self.delivery_id:  # type: ignore[attr-defined]
            super().save(using=using, update_fields=columns)
            return
        with transaction.atomic(using=using):
            delivery = self._delivery(using, partial(lock_row, columns=_STATE))
            if isinstance(delivery, AbstractDelivery):
                delivery.refuse_finished()
            super().save(using=using, update_fields=columns)

    def _columns(self, update_fields: frozenset[str] | None) -> frozenset[str]:
        """Return the names of the fields that a save writes besides the content."""
        if update_fields is not None:
            return update_fields - CONTENT_FIELDS
        # "created" identifies the upload to which the row belongs.
        return loaded_columns(self) - {*CONTENT_FIELDS, "created", "verified_at"}

    # -- Storing and removing content --

    def _check_accepts_content(self, using: str) -> None:
        """Raise DeliveryFinished or DoesNotExist before the upload instead of after it."""
        new = self._state.fields_cache.get(DELIVERY)
        if self._state.adding or self.pk is None:
            deliveries = [new or self._delivery(using, partial(read_row, columns=_STATE))]
        else:
            row, delivery = self._row_and_delivery(using, lock=False)
            deliveries = [new, delivery]
            to_delivery = foreign_key(_declaring(self), DELIVERY)
            if to_delivery and new is None and row.delivery_id != self.delivery_id:  # type: ignore[attr-defined]
                deliveries.append(self._delivery(using, partial(read_row, columns=_STATE)))
        for delivery in deliveries:
            if isinstance(delivery, AbstractDelivery):
                delivery.refuse_finished()

    def _store(
        self,
        pending: DeliveryFieldFile,
        using: str,
        *,
        only: Mapping[str, Any],
        columns: frozenset[str] | None = None,
        is_used: Callable[[str], bool] = lambda key: True,
    ) -> None:
        """Store the pending file, then record it and save ``columns`` in one short transaction.

        The file's name is the key, or an alternative if that is used or if a tombstone has it.
        Raises FileExistsError unless the row meets the conditions ``only``.
        """
        check_writing(type(self), using)
        store = store_for(self)
        key = store.layout.key(*checked_ids(self))
        open_writer = partial(
            store.writer,
            key,
            record=partial(self._record, using, columns, only),
            filename=self.filename,
            is_used=partial(is_used, key),
        )
        with opened(pending._file) as source, open_writer() as writer:
            writer.write_all(source, last_chunks(source))

    def before_storing(self) -> None:
        """Raise StoreNotRecognised if the model's store is not the store of its rows."""
        check_writing(type(self), database_of(self))

    def is_buried(self, name: str, using: str | None = None) -> bool:
        """Return whether a tombstone has the name, so that its file may be removed at any time.

        Stores ask before they create a file, because :meth:`record_stored` rejects such names.
        """
        using = using or database_of(self)
        return bool(buried_names(type(self), [name], using))

    def record_stored(self, name: str, size: int, sha256: str) -> None:
        """Record stored content, and write a tombstone for the content that it replaces.

        Raises DeliveryFinished, DoesNotExist if the row was deleted, and FileExistsError if a
        tombstone has the name.
        """
        self._record(database_of(self), None, {}, name, size, sha256)

    def _record(self, *arguments: Any) -> None:
        """Call ``_record_once()``, so that only a buried name makes the store try another one."""
        try:
            # The block runs code of the site: receivers, and hooks after COMMIT.
            with not_about_names():
                self._record_once(*arguments)
        except _NameIsBuried as exception:
            raise named_by_tombstone(str(exception)) from None

    def _record_once(
        self,
        using: str,
        columns: frozenset[str] | None,
        only: Mapping[str, Any],
        name: str,
        size: int,
        sha256: str,
    ) -> None:
        is_new = columns is None and (not self.content or self._pending() is not None)
        if is_new and record_at_once(self, only, using, name, size, sha256):
            return
        with restored_on_error(self), transaction.atomic(using=using):
            row, delivery = self._row_and_delivery(using)
            if isinstance(delivery, AbstractDelivery):
                delivery.refuse_finished()
            # Before COMMIT, because receivers see the instance after it.
            self._set_content(name, size, sha256)
            self.__dict__[SAVED_CONTENT] = self.__dict__["content"]
            if columns is None:
                self._send(signals.pre_save, using)
                self.__dict__["content"] = self.__dict__.pop(SAVED_CONTENT)
            else:
                self._save_columns(using, columns | _WITH_CONTENT, row)
            # A receiver may have saved other content.
            if self.content.name == name:
                values = {"content": StoredName(name), "size": size, "sha256": sha256}
                if not self._update_content(row, using, only=only, **values):
                    if self.is_buried(name, using):
                        raise _NameIsBuried(name)
                    raise FileExistsError(
                        f"Another upload has stored {self.filename!r}, or has taken over its row "
                        "after the grace time: use another filename."
                    )
            if row.content:
                bury(row, delivery, using)
            if columns is None:
                self._send(signals.post_save, using, created=False)
            send_after_commit(file_stored, self, using, name=name, size=size)

    def record_removed(self) -> None:
        """Remove the content from the row and write its tombstone."""
        self._remove(database_of(self))

    # A template must not remove a file.
    record_removed.alters_data = True  # type: ignore[attr-defined]

    def _remove(self, using: str, columns: frozenset[str] = frozenset()) -> None:
        with restored_on_error(self), transaction.atomic(using=using):
            row, delivery = self._row_and_delivery(using)
            self._set_content(None, None, "")
            self.__dict__[SAVED_CONTENT] = self.__dict__["content"]
            self._save_columns(using, columns | _WITH_CONTENT, row)
            # A receiver may have saved other content.
            if not self.content and has_receivers(type(self)):
                self._update_content(row, using, content=None, size=None, sha256="")
            if row.content:
                bury(row, delivery, using)

    def _unchanged(self) -> dict[str, Any]:
        """Return the conditions that hold until another upload changes the row."""
        return {"content__isnull": True, "created": self.created}

    def _update_content(
        self,
        row: AbstractFileMeta,
        using: str,
        *,
        only: Mapping[str, Any] | None = None,
        **columns: Any,
    ) -> bool:
        """Write the columns, and return False if a condition forbids it.

        These are the conditions ``only``, and that no tombstone has the name.
        """
        rows = stored_rows(type(row), using).filter(pk=row.pk, **(only or {}))
        if (name := columns["content"]) is not None:
            rows = rows.filter(unused(type(row), [name], using))
        return bool(rows.update(verified_at=None, **columns))

    def _set_content(self, name: str | None, size: int | None, sha256: str) -> None:
        self.__dict__["content"] = DeliveryFieldFile(self, self._meta.get_field("content"), name)
        self.size, self.sha256, self.verified_at = size, sha256, None
        self.__dict__.pop("_is_taken_over", None)

    def _row_and_delivery(
        self, using: str, *, lock: bool = True
    ) -> tuple[AbstractFileMeta, models.Model | None]:
        """Return both as they are in the database; if ``lock``, lock the delivery, then the row.

        Storing, removing and finishing lock in this order. So no file is recorded in a delivery
        that is being finished, and no name is used that was replaced meanwhile.
        """
        declaring = _declaring(self)
        to_delivery = foreign_key(declaring, DELIVERY)
        if to_delivery and (both := row_and_related(to_delivery, self.pk, using, lock=lock)):
            return both
        get = lock_row if lock else read_row
        delivery = self._delivery(using, get)
        row = get(declaring, self.pk, using)
        if row is None:
            raise type(self).DoesNotExist(
                f"Cannot record the file of {self._meta.label} '{self.pk}': the row was deleted."
            )
        if delivery is None or row.delivery_id != self.delivery_id:  # type: ignore[attr-defined]
            delivery = row._delivery(using, get)  # moved, or unknown to this instance
        return row, delivery

    def _delivery(self, using: str, get: Callable[..., Any]) -> models.Model | None:
        to_delivery = foreign_key(_declaring(self), DELIVERY)
        if to_delivery is None or self.delivery_id is None:  # type: ignore[attr-defined]
            return None
        key, target = self.delivery_id, to_delivery.target_field.attname  # type: ignore[attr-defined]
        return cast(models.Model | None, get(to_delivery.related_model, key, using, by=target))

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
            delivery = self._delivery(using, partial(lock_row, columns=_STATE))
            if isinstance(delivery, AbstractDelivery):
                delivery.refuse_finished()
            self.filename = validate_filename(self.filename)
            self._set_content(name, size, sha256)
            reserve(declaring, name, using)
            self._insert(using)
            send_after_commit(file_stored, self, using, name=name, size=size)


def _declaring(instance: AbstractFileMeta) -> type[AbstractFileMeta]:
    """Return the model that declares the content, not a proxy or multi-table child."""
    return cast(type[AbstractFileMeta], declaring_model(type(instance)))


# -- Deleting, and saving raw rows --


def _bury_deleted(*, instance: AbstractFileMeta, using: str, **kwargs: Any) -> None:
    bury_before_delete(instance, using)


def _before_raw_save(*, instance: AbstractFileMeta, raw: bool, using: str, **kwargs: Any) -> None:
    """Reserve the name of a row that is saved raw (loaddata), and bury the content it replaces.

    A signal receiver, because deserialized objects are saved by ``Model.save_base()`` and not by
    methods of their class.
    """
    if not raw:
        return
    if not has_transaction(using):
        raise transaction.TransactionManagementError(
            f"Cannot save {instance._meta.label} '{instance.pk}' raw outside of a transaction, "
            f"because its file {instance.content.name!r} could be deleted meanwhile: use "
            "transaction.atomic()."
        )
    name = instance.content.name
    rows = stored_rows(_declaring(instance), using).filter(pk=instance.pk)
    stored = rows.values_list("content", flat=True).first()
    # A new row has nothing to lock: it is inserted first, as in save().
    if stored not in {None, name}:
        with suppress(ObjectDoesNotExist):
            row, delivery = instance._row_and_delivery(using)
            if row.content and row.content.name != name:
                bury(row, delivery, using)
    if name:
        reserve(_declaring(instance), name, using, pk=instance.pk)


def _connect(*, sender: type[models.Model], **kwargs: Any) -> None:
    # For each class, proxies included: a receiver for every sender would slow down the site. For
    # a multi-table child, the signals of the parent, which has the content, are sent as well.
    if (
        issubclass(sender, AbstractFileMeta)
        and not sender._meta.abstract
        and declaring_model(sender) is sender._meta.concrete_model
    ):
        signals.pre_delete.connect(_bury_deleted, sender=sender)
        signals.pre_save.connect(_before_raw_save, sender=sender)


signals.class_prepared.connect(_connect)
