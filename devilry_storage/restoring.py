"""Restore deleted files: their rows and those of their deliveries with all ids, and the bytes."""

from contextlib import suppress
from datetime import datetime
from typing import Any, cast

from django.apps import apps
from django.core import serializers
from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.core.serializers.base import DeserializationError
from django.db import IntegrityError, router, transaction
from django.utils.dateparse import parse_datetime

from .abstract_models.delivery import AbstractDelivery, next_number
from .conf import conf
from .db.clock import DatabaseNow
from .db.routing import database_of
from .db.rows import lock_row, other_files, plain_instances, stored_rows, take_write_lock
from .deletion.burying import named_by_tombstone
from .exceptions import NotRestorable
from .fields import StoredName
from .identity import check_writing
from .registry import FileModel, labelled, store_label
from .resolving import store_for
from .schema import DELIVERY, related_model
from .signals import file_stored, send_after_commit
from .tables import Tombstone, TombstoneState


def restore(tombstone: Tombstone) -> Any:
    """Restore the deleted file of a tombstone, and return its row.

    - The bytes get another name, an alternative name of the row's key. The tombstone stays,
      without the rows, until the bytes under their old name are removed.
    - A deleted row is inserted with its id. So is its delivery, in its last state; if its number
      was given to another delivery meanwhile, it gets the group's next number.
    - References to rows that do not exist any more become NULL if the field allows it.
    - An existing row without content gets its content back.
    - ``file_stored`` is sent.

    Raises NotRestorable, and changes no row, if the bytes are removed or have another size, the
    row has other content, another row has its id or filename, the delivery was finished without
    the file, or the tombstone has rows of other models. Errors of the store propagate.
    """
    tombstone, model, using, subject = _read(tombstone)
    if tombstone.state is TombstoneState.RESTORED:
        raise NotRestorable(f"{subject} was already restored under another name.")
    if not tombstone.rows:
        raise NotRestorable(f"{subject} has no rows to restore. Use take_back() and adopt().")
    for source in (tombstone, _last_of_delivery(tombstone, using)):
        _check_models(model, source)
    row, delivery = _row_and_delivery(model, tombstone, using, lock=False)
    _check_row(row, delivery, tombstone, subject)
    name = _duplicate(tombstone, model, row, subject, using)
    committed: list[bool] = []
    try:
        with transaction.atomic(using=using):
            transaction.on_commit(lambda: committed.append(True), using=using)
            take_write_lock(Tombstone.objects.using(using).filter(pk=tombstone.pk), using)
            # In the same order as deletes: delivery, row, tombstone.
            row, delivery = _row_and_delivery(model, tombstone, using, lock=True)
            tombstone = _unclaimed(lock_row(Tombstone, tombstone.pk, using), subject)
            _check_row(row, delivery, tombstone, subject)
            if row is None:
                row = _reinsert(tombstone, name, model, subject, using)
            else:
                _set_content(row, tombstone, name, using)
            send_after_commit(file_stored, row, using, name=name, size=row.size)
            # Keep the old name for another retention: an older database dump may still have it.
            Tombstone.objects.using(using).filter(pk=tombstone.pk).update(
                rows=[], created=DatabaseNow(), due=DatabaseNow() + conf.retention
            )
    except (IntegrityError, FileExistsError) as exception:
        if committed:  # a hook after COMMIT has failed
            raise
        raise NotRestorable(
            f"{subject} cannot be restored: another row has its id or filename, or its new name "
            f"was used meanwhile ({exception})."
        ) from exception
    return row


def take_back(tombstone: Tombstone) -> str:
    """Store the bytes of a tombstone under another name, too, and return that name.

    No row names it, so ``adopt()`` can use it. This is for orphans, which have no rows. The
    tombstone stays until the bytes under their old name are removed. Raises NotRestorable as
    :func:`restore` does.
    """
    tombstone, model, using, subject = _read(tombstone)
    return _duplicate(tombstone, model, None, subject, using)


def _read(tombstone: Tombstone) -> tuple[Tombstone, FileModel, str, str]:
    """Return the tombstone as it is now, its model and database, and the subject of messages."""
    using = database_of(tombstone)
    subject = f"The deleted file {tombstone.name!r}"
    model = labelled(tombstone.model)
    if model is None:
        raise NotRestorable(
            f"{subject} belongs to {tombstone.model!r}, and there is no such model of files any "
            "more."
        )
    now = Tombstone.objects.using(using).filter(pk=tombstone.pk).first()
    return _unclaimed(now, subject), model, using, subject


def _unclaimed(tombstone: Tombstone | None, subject: str) -> Tombstone:
    """Return the tombstone; raise NotRestorable if its bytes may be removed already."""
    if tombstone is None:
        raise NotRestorable(f"{subject} was permanently removed meanwhile.")
    if tombstone.claimed is not None:
        state = "was permanently removed" if tombstone.done else "is being permanently removed"
        raise NotRestorable(f"{subject} {state}.")
    return tombstone


def _row_and_delivery(
    model: FileModel, tombstone: Tombstone, using: str, *, lock: bool
) -> tuple[Any, Any]:
    """Return the row of the file and its delivery, None if they are deleted."""
    pk = _record(model, tombstone)["pk"]
    for row in plain_instances(stored_rows(model, using).filter(pk=pk)):
        with suppress(ObjectDoesNotExist):  # it was deleted just now
            found: tuple[Any, Any] = cast(Any, row)._row_and_delivery(using, lock=lock)
            return found
    return None, None


# -- The rows in a tombstone --


def _record(model: FileModel, tombstone: Tombstone) -> Any:
    """Return the serialised row of the file."""
    for record in tombstone.rows:
        if record["model"] == model._meta.label_lower:
            return record
    raise NotRestorable(
        f"The tombstone of {tombstone.name!r} has no row of {model._meta.label!r}."
    )


def _check_models(model: FileModel, tombstone: Tombstone) -> None:
    """Raise NotRestorable if a row is not of the models of the file and its delivery.

    Rows of models that were removed from the site are accepted: they are never inserted.
    """
    models_of_it = filter(None, [model, related_model(model, DELIVERY)])
    bases: list[Any] = [base._meta.concrete_model for base in models_of_it]
    for record in tombstone.rows:
        if not _is_row_of(record, bases):
            raise NotRestorable(
                f"The tombstone of {tombstone.name!r} has a row that does not belong to the file: "
                f"{ascii(record)[:200]}. Remove it from the field 'rows' if you know its origin."
            )


def _is_row_of(record: Any, bases: list[Any]) -> bool:
    """Return whether this is a serialised row of one of the models, or of a parent or child."""
    if not isinstance(record, dict) or not {"model", "pk", "fields"} <= record.keys():
        return False
    try:
        model = apps.get_model(record["model"])
    except LookupError:
        return True
    except (AttributeError, TypeError, ValueError):  # not a label
        return False
    return any(issubclass(model, base) or issubclass(base, model) for base in bases)


def _families(model: FileModel, tombstone: Tombstone) -> tuple[list[Any], list[Any]]:
    """Return the rows of the delivery and those of the file, including multi-table parents."""
    _check_models(model, tombstone)
    rows, row = tombstone.rows, _record(model, tombstone)
    start = rows.index(row)
    parents = {parent._meta.label_lower for parent in model._meta.get_parent_list()}
    # The primary key of a child need not be its link to the parent.
    links = [row["fields"].get(link.name) for link in model._meta.parents.values() if link]
    pks = {row["pk"], *links}
    while start and rows[start - 1]["model"] in parents and rows[start - 1]["pk"] in pks:
        start -= 1
    return rows[:start], rows[start:]


def _last_of_delivery(tombstone: Tombstone, using: str) -> Tombstone:
    """Return the tombstone that has the delivery in its last state.

    Tombstones of files that were deleted before the delivery was finished have it unfinished.
    """
    if tombstone.delivery_id is None:
        return tombstone
    same = Tombstone.objects.using(using).filter(
        model=tombstone.model, delivery_id=tombstone.delivery_id
    )
    return same.exclude(rows=[]).order_by("-created", "-pk").first() or tombstone


# -- Validation --


def _check_row(row: Any, delivery: Any, tombstone: Tombstone, subject: str) -> None:
    """Raise NotRestorable if the existing row cannot get the content back."""
    if row is None or row.content.name == tombstone.name:
        return
    _check_delivery(delivery, tombstone, subject)
    if row.content:
        raise NotRestorable(
            f"{subject} was replaced: {row._meta.label} '{row.pk}' has other content now. Delete "
            "that content first, or copy the old bytes into a file of another name."
        )
    created = parse_datetime(_record(type(row), tombstone)["fields"]["created"])
    if created is None or _milliseconds(created) != _milliseconds(row.created):
        raise NotRestorable(
            f"{subject} cannot be restored: {row._meta.label} '{row.pk}' belongs to another file "
            f"({row.filename!r}), which is being stored. Try again later, or delete that row."
        )


def _check_delivery(delivery: Any, tombstone: Tombstone, subject: str) -> None:
    """Raise NotRestorable if the delivery was finished without the file."""
    if not isinstance(delivery, AbstractDelivery) or not delivery.successful:
        return
    finished = [record for record in tombstone.rows if record["fields"].get("successful")]
    if all(str(record["pk"]) != str(delivery.pk) for record in finished):
        raise NotRestorable(
            f"{subject} was deleted before {delivery._meta.label} '{delivery.pk}' was finished, "
            "and a finished delivery cannot get files back. Copy the bytes into another delivery."
        )


def _milliseconds(time: datetime) -> datetime:
    # Fixtures have no microseconds, so a row that was loaded from one has lost them.
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


# -- Restoring --


def _duplicate(tombstone: Tombstone, model: FileModel, row: Any, subject: str, using: str) -> str:
    """Store the bytes under another name, too, outside a transaction, and return the name."""
    check_writing(model, using)
    store = store_for(model)
    if (current := store_label(model)) != tombstone.alias:
        raise NotRestorable(
            f"{subject} is in the store {tombstone.alias!r}, but {model._meta.label} now uses "
            f"{current!r}. Configure that store for the model."
        )
    try:
        size = store.size(tombstone.name)
        if tombstone.size not in {None, size}:
            raise NotRestorable(
                f"{subject} has '{size}' bytes in the store, but had '{tombstone.size}' when it "
                "was deleted. Check that it is the right store."
            )
        if row is None and tombstone.rows:
            _, family = _families(model, tombstone)
            rows = [restored.object for restored in _deserialized(family, subject, using)]
            row = next(member for member in rows if type(member) is model)
        ids = (None, None) if row is None else row.key_ids()
        if None in ids and store.is_key(tombstone.name):
            ids = store.layout.parse(tombstone.name)
        key = tombstone.name if None in ids else store.layout.key(*ids)
        return store.duplicate(
            tombstone.name, key, filename=tombstone.filename, size=size, sha256=tombstone.sha256
        )
    except FileNotFoundError as exception:
        raise NotRestorable(f"{subject} is missing in the store.") from exception


def _reinsert(tombstone: Tombstone, name: str, model: FileModel, subject: str, using: str) -> Any:
    """Insert the row of the file, and before it the delivery if it was deleted, too."""
    above, _ = _families(model, _last_of_delivery(tombstone, using))
    for restored in _deserialized(above, subject, using):
        if not _exists(restored.object, using):
            _insert(restored, subject, using)
    row: Any = None
    _, family = _families(model, tombstone)
    for restored in _deserialized(family, subject, using):
        if type(restored.object) is model:
            row = restored.object
            row._set_content(name, tombstone.size, tombstone.sha256)
        elif _exists(restored.object, using):  # a parent that was not deleted
            continue
        _insert(restored, subject, using)
    # Only now: a save under the same id locks in this order, the row before the delivery.
    delivery = row._delivery(using, lock_row)
    _check_delivery(delivery, tombstone, subject)
    return row


def _set_content(row: Any, tombstone: Tombstone, name: str, using: str) -> None:
    columns = {"content": StoredName(name), "size": tombstone.size, "sha256": tombstone.sha256}
    if not row._update_content(row, using, **columns):
        raise named_by_tombstone(name)
    row._set_content(name, tombstone.size, tombstone.sha256)


def _insert(restored: Any, subject: str, using: str) -> None:
    """Insert a deserialised row, with the changes that other rows require."""
    row = restored.object
    _clear_missing_references(row, subject, using)
    _renumber(row, using)
    try:
        # Both query the database that the router reads from.
        if router.db_for_read(type(row), instance=row) == using:
            row.validate_unique()
            row.validate_constraints()
    except ValidationError as exception:
        raise NotRestorable(
            f"{subject} cannot be restored: {' '.join(exception.messages)}"
        ) from exception
    # A raw save neither stores content nor checks the state of a delivery.
    row.save_base(raw=True, force_insert=True, using=using)
    for name, keys in (restored.m2m_data or {}).items():
        pks = [getattr(key, "pk", key) for key in keys]
        existing = stored_rows(row._meta.get_field(name).related_model, using).filter(pk__in=pks)
        getattr(row, name).set(list(plain_instances(existing, ())))


def _exists(row: Any, using: str) -> bool:
    return bool(stored_rows(type(row), using).filter(pk=row.pk).exists())


def _deserialized(records: list[Any], subject: str, using: str) -> list[Any]:
    rows = []
    try:
        for record in records:
            # The names of other files are set afterwards, so that none is opened.
            names = _other_files(record)
            fields = {name: value for name, value in record["fields"].items() if name not in names}
            # Columns that a migration has removed are ignored.
            for restored in serializers.deserialize(
                "python", [{**record, "fields": fields}], using=using, ignorenonexistent=True
            ):
                restored.object.__dict__.update(names)
                rows.append(restored)
    except DeserializationError as exception:
        raise NotRestorable(
            f"{subject} cannot be restored: its models have changed ({exception})."
        ) from exception
    return rows


def _other_files(record: Any) -> dict[str, Any]:
    """Return the fields of a serialised row that name other files."""
    with suppress(LookupError):  # it is not of a model any more
        names = other_files(apps.get_model(record["model"]))
        return {name: value for name, value in record["fields"].items() if name in names}
    return {}


def _renumber(row: Any, using: str) -> None:
    """Give a finished delivery the next number if its own was given to another one meanwhile."""
    own = {field.name for field in row._meta.local_concrete_fields}
    if not isinstance(row, AbstractDelivery) or row.number is None or "number" not in own:
        return
    number = next_number(row, using)
    if number is None:
        return
    group: Any = row.assignment_group_id  # type: ignore[attr-defined]  # the subclass's
    others: Any = stored_rows(cast(Any, type(row)), using).filter(assignment_group_id=group)
    if others.filter(number=row.number).exists():
        row.number = number


def _clear_missing_references(row: Any, subject: str, using: str) -> None:
    for field in row._meta.local_concrete_fields:
        value = getattr(row, field.attname)
        if not field.is_relation or value is None:
            continue
        target = field.target_field
        others = stored_rows(field.related_model, using)
        if others.filter(**{target.attname: value}).exists():
            continue
        if not field.null:
            raise NotRestorable(
                f"{subject} cannot be restored: its {field.verbose_name} '{value}' does not exist "
                "any more. Restore that first."
            )
        setattr(row, field.attname, None)
