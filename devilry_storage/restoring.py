"""Deleted files come back: rows, those of their deliveries, with all ids, and so the bytes."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import Any

from django.core import serializers
from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.core.serializers.base import DeserializationError
from django.db import IntegrityError, models, router, transaction
from django.utils.dateparse import parse_datetime

from .abstract_models.delivery import AbstractDelivery, next_number
from .conf import conf
from .db.clock import DatabaseNow
from .db.rows import lock_row, read_row, take_write_lock
from .deletion.burying import named_by_tombstone
from .exceptions import NotRestorable
from .fields import StoredName
from .identity import check_writing
from .registry import labelled, store_label
from .resolving import store_for
from .signals import file_stored, send_after_commit
from .storages.base import DeliveryStoreMixin
from .tables.tombstone import Tombstone, TombstoneState


def restore(tombstone: Tombstone) -> Any:
    """Bring back the rows that a tombstone keeps, and return that of the file.

    The bytes get another name, an alternative of the row's key. The tombstone stays, without the
    rows, until the bytes under their old name are removed. A row that is gone is inserted with its
    id, and so is its delivery, in its last state; where its number was given to another one
    meanwhile, it gets the group's next. References to what is gone too become NULL, where they
    may. A row that is there without content gets it back. ``file_stored`` is sent.

    Raises NotRestorable, which says why, and then no row has changed: the bytes are removed or of
    another size, the row has other content by now, another row has taken its place, or the
    delivery was finished without the file. Raises what the store raises.
    """
    using = tombstone._state.db
    assert using is not None
    subject = f"The deleted file {tombstone.name!r}"
    model = _model_of(tombstone, subject)
    kept = _unclaimed(Tombstone.objects.using(using).filter(pk=tombstone.pk).first(), subject)
    if kept.state is TombstoneState.RESTORED:
        raise NotRestorable(f"{subject} was restored already, under another name.")
    if not kept.rows:
        raise NotRestorable(
            f"{subject} has no rows to restore: take back the bytes alone and adopt them."
        )
    row, delivery = _found(model, kept, using, read_row)
    _refuse_in_the_way(row, delivery, kept, subject)
    name = _duplicated(kept, model, row, subject, using)
    try:
        with transaction.atomic(using=using):
            take_write_lock(Tombstone.objects.using(using).filter(pk=kept.pk), using)
            # In the order of those who delete: delivery, row, tombstone.
            row, delivery = _found(model, kept, using, lock_row)
            kept = _unclaimed(lock_row(Tombstone, kept.pk, using), subject)
            _refuse_in_the_way(row, delivery, kept, subject)
            if row is None:
                row = _reinserted(kept, name, model, subject, using)
            else:
                _give_back(row, kept, name, using)
            send_after_commit(file_stored, row, using, name=name, size=row.size)
            _bury_again(kept, using)
    except (IntegrityError, FileExistsError) as exception:
        raise NotRestorable(
            f"{subject} cannot be restored: another row has taken its place, or its new name was "
            f"used meanwhile ({exception})."
        ) from exception
    return row


def take_back(tombstone: Tombstone) -> str:
    """Store the bytes of a tombstone under another name too, and return it; no row names it.

    For orphans that were buried: they can be adopted by that name. The tombstone stays until the
    bytes under their old name are removed. Raises as :func:`restore` does.
    """
    using = tombstone._state.db
    assert using is not None
    subject = f"The deleted file {tombstone.name!r}"
    model = _model_of(tombstone, subject)
    kept = _unclaimed(Tombstone.objects.using(using).filter(pk=tombstone.pk).first(), subject)
    return _duplicated(kept, model, None, subject, using)


def _unclaimed(kept: Tombstone | None, subject: str) -> Tombstone:
    """Return the tombstone as it is now; NotRestorable if its bytes may be removed already."""
    if kept is None:
        raise NotRestorable(f"{subject} was removed for good meanwhile: look again.")
    if kept.claimed is not None:
        state = "was removed for good" if kept.done else "is being removed for good"
        raise NotRestorable(f"{subject} {state}.")
    return kept


def _bury_again(kept: Tombstone, using: str) -> None:
    """Keep the old name, without the rows, for the retention: an older dump may still name it."""
    Tombstone.objects.using(using).filter(pk=kept.pk).update(
        rows=[], created=DatabaseNow(), due=DatabaseNow() + conf.retention
    )


def _model_of(tombstone: Tombstone, subject: str) -> type[models.Model]:
    model = labelled(tombstone.model)
    if model is None:
        raise NotRestorable(
            f"{subject} was of {tombstone.model!r}, and no such model of files exists any more."
        )
    return model


def _found(model: type[models.Model], kept: Tombstone, using: str, get: Any) -> tuple[Any, Any]:
    """Return the row of the file and its delivery; None where they are gone.

    ``get`` is read_row, or lock_row to lock them.
    """
    pk = _record(model, kept)["pk"]
    row: Any = model._base_manager.using(using).filter(pk=pk).first()
    if row is not None:
        with suppress(ObjectDoesNotExist):  # deleted at this very moment
            found: tuple[Any, Any] = row._row_and_delivery(using, get)
            return found
    return None, None


# -- What a tombstone keeps --


def _record(model: type[models.Model], tombstone: Tombstone) -> Any:
    """Return the row of the file as it was."""
    return tombstone.rows[_place(model, tombstone)]


def _place(model: type[models.Model], tombstone: Tombstone) -> int:
    """Return where the row of the file is among the rows that are kept."""
    label = model._meta.label_lower
    for place, record in enumerate(tombstone.rows):
        if record["model"] == label:
            return place
    raise NotRestorable(
        f"The tombstone of {tombstone.name!r} has no row of {model._meta.label!r}."
    )


def _families(model: type[models.Model], tombstone: Tombstone) -> tuple[list[Any], list[Any]]:
    """Return the rows of the delivery and those of the file, each with its multi-table kin."""
    rows, place = tombstone.rows, _place(model, tombstone)
    parents = {each._meta.label_lower for each in model._meta.get_parent_list()}
    pk, start = rows[place]["pk"], place
    while start and rows[start - 1]["model"] in parents and rows[start - 1]["pk"] == pk:
        start -= 1
    return rows[:start], rows[start:]


def _last_of_delivery(kept: Tombstone, using: str) -> Tombstone:
    """Return the tombstone that keeps the delivery as it was at last.

    Those of files that were deleted before the delivery was finished keep it unfinished.
    """
    if kept.delivery_id is None:
        return kept
    same = Tombstone.objects.using(using).filter(model=kept.model, delivery_id=kept.delivery_id)
    return same.exclude(rows=[]).order_by("-created", "-pk").first() or kept


# -- What stands in the way --


def _refuse_in_the_way(row: Any, delivery: Any, kept: Tombstone, subject: str) -> None:
    """Raise NotRestorable if the row that is there cannot get the content back."""
    if row is None or row.content.name == kept.name:
        return
    _refuse_finished_without(delivery, kept, subject)
    if row.content:
        raise NotRestorable(
            f"{subject} was replaced: {row._meta.label} '{row.pk}' has other content now. Delete "
            "that first, or copy the old bytes into a file of another name."
        )
    created = parse_datetime(_record(type(row), kept)["fields"]["created"])
    if created is None or _milliseconds(created) != _milliseconds(row.created):
        raise NotRestorable(
            f"{subject} cannot be restored: {row._meta.label} '{row.pk}' is another file's by now "
            f"({row.filename!r}), which is being stored. Look again later, or delete that row."
        )


def _refuse_finished_without(delivery: Any, kept: Tombstone, subject: str) -> None:
    if not isinstance(delivery, AbstractDelivery) or not delivery.successful:
        return
    then = [each for each in kept.rows if each["fields"].get("successful")]
    if all(str(each["pk"]) != str(delivery.pk) for each in then):
        raise NotRestorable(
            f"{subject} was deleted before {delivery._meta.label} '{delivery.pk}' was finished, "
            "which gets no file any more: copy the bytes into another delivery."
        )


# -- Bringing back --


def _duplicated(
    kept: Tombstone, model: type[models.Model], row: Any, subject: str, using: str
) -> str:
    """Store the bytes under another name too, no transaction being open, and return the name."""
    check_writing(model, using)
    store = store_for(model)
    if (current := store_label(model)) != kept.alias:
        raise NotRestorable(
            f"{subject} is in the store {kept.alias!r}, but {model._meta.label} now uses "
            f"{current!r}: configure that store for it."
        )
    try:
        size = store.size(kept.name)
        if kept.size not in {None, size}:
            raise NotRestorable(
                f"{subject} has '{size}' bytes in the store, but had '{kept.size}' when it was "
                "deleted: is it the right store?"
            )
        if row is None and kept.rows:
            _, family = _families(model, kept)
            rows = [each.object for each in _deserialized(family, subject, using)]
            row = next(each for each in rows if type(each) is model)
        ids = (None, None) if row is None else row.key_ids()
        key = _base(store, kept.name) if None in ids else store.layout.key(*ids)
        return store.duplicate(
            kept.name, key, filename=kept.filename, size=size, sha256=kept.sha256
        )
    except FileNotFoundError as exception:
        raise NotRestorable(f"{subject} is gone from the store: nothing is left.") from exception


def _base(store: DeliveryStoreMixin, name: str) -> str:
    """Return the key that a name is an alternative of, or the name if it is not a key."""
    return store.layout.key(*store.layout.parse(name)) if store.is_key(name) else name


def _reinserted(
    kept: Tombstone, name: str, model: type[models.Model], subject: str, using: str
) -> Any:
    """Insert the row of the file, after its delivery if that is gone as well, and return it."""
    above, _ = _families(model, _last_of_delivery(kept, using))
    for restored in _deserialized(above, subject, using):
        if not _is_there(restored.object, using):
            _insert(restored, subject, using)
    row: Any = None
    _, family = _families(model, kept)
    for restored in _deserialized(family, subject, using):
        if type(restored.object) is model:
            row = restored.object
            row._set_content(name, kept.size, kept.sha256)
        elif _is_there(restored.object, using):  # of a parent that was kept
            continue
        _insert(restored, subject, using)
    # Only now, because a save under the same id locks in this order: the row, then the delivery.
    delivery = row._delivery(using, lock_row)
    _refuse_finished_without(delivery, kept, subject)
    return row


def _give_back(row: Any, kept: Tombstone, name: str, using: str) -> None:
    columns = {"content": StoredName(name), "size": kept.size, "sha256": kept.sha256}
    if not row._update_content(row, using, **columns):
        raise named_by_tombstone(name)
    row._set_content(name, kept.size, kept.sha256)


def _milliseconds(time: datetime) -> datetime:
    # Older tombstones keep no more of it.
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


def _insert(restored: Any, subject: str, using: str) -> None:
    """Insert a row as it was, as far as the others allow it."""
    row = restored.object
    _let_go_of_what_is_gone(row, subject, using)
    _number_anew(row, using)
    try:
        # They ask the database that the router reads from.
        if router.db_for_read(type(row), instance=row) == using:
            row.validate_unique()
            row.validate_constraints()
    except ValidationError as exception:
        raise NotRestorable(
            f"{subject} cannot be restored: {' '.join(exception.messages)}"
        ) from exception
    # Raw: neither is content stored, nor is a delivery's state judged.
    row.save_base(raw=True, force_insert=True, using=using)
    for name, keys in (restored.m2m_data or {}).items():
        getattr(row, name).set(_living(row._meta.get_field(name).related_model, keys, using))


def _is_there(row: Any, using: str) -> bool:
    there: bool = type(row)._base_manager.using(using).filter(pk=row.pk).exists()
    return there


def _deserialized(records: list[Any], subject: str, using: str) -> list[Any]:
    try:
        # Of columns that the models have lost since then, nothing is left to restore.
        return list(
            serializers.deserialize("python", records, using=using, ignorenonexistent=True)
        )
    except DeserializationError as exception:
        raise NotRestorable(
            f"{subject} cannot be restored: its models changed ({exception})."
        ) from exception


def _number_anew(row: Any, using: str) -> None:
    """Give a finished delivery another number if that was given to another one meanwhile."""
    own = {field.name for field in row._meta.local_concrete_fields}
    if not isinstance(row, AbstractDelivery) or row.number is None or "number" not in own:
        return
    number = next_number(row, using)
    if number is None:
        return
    group: Any = row.assignment_group_id  # type: ignore[attr-defined]  # the subclass's
    others = type(row)._base_manager.using(using).filter(assignment_group_id=group)
    if others.filter(number=row.number).exists():
        row.number = number


def _let_go_of_what_is_gone(row: Any, subject: str, using: str) -> None:
    for field in row._meta.local_concrete_fields:
        value = getattr(row, field.attname)
        if not field.is_relation or value is None:
            continue
        target = field.target_field
        others = field.related_model._base_manager.using(using)
        if others.filter(**{target.attname: value}).exists():
            continue
        if not field.null:
            raise NotRestorable(
                f"{subject} cannot be restored: its {field.verbose_name} '{value}' is gone. "
                "Restore that first."
            )
        setattr(row, field.attname, None)


def _living(model: type[models.Model], keys: Any, using: str) -> list[Any]:
    pks = [getattr(key, "pk", key) for key in keys]
    return list(model._base_manager.using(using).filter(pk__in=pks))
