"""Deleted files come back: rows, those of their deliveries, with all ids, and so the bytes."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import Any

from django.apps import apps
from django.core import serializers
from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.core.serializers.base import DeserializationError
from django.db import IntegrityError, models, transaction
from django.utils.dateparse import parse_datetime

from .exceptions import NotRestorable
from .fields import StoredName
from .models.delivery import AbstractDelivery, next_number
from .models.locking import lock_row, take_write_lock
from .models.tombstone import Tombstone
from .signals import file_stored, send_after_commit
from .store import resolve


def restore(tombstone: Tombstone) -> Any:
    """Bring back what a tombstone keeps, and return the row of the file; the tombstone goes.

    A row that is gone is inserted with its id, and so is its delivery, in its last state; where
    its number was given to another one meanwhile, it gets the group's next. References to what is
    gone too become NULL, where they may. A row that is there without content gets it back.
    ``file_stored`` is sent. Of bytes that no row has named nothing but the tombstone goes, so that
    they can be adopted; then None is returned.

    Raises NotRestorable, which says why, and then nothing has changed: the bytes are gone or of
    another size, the row has other content by now, something else has taken its place, or the
    delivery was finished without the file.
    """
    using = tombstone._state.db
    assert using is not None
    subject = f"The deleted file {tombstone.name!r}"
    model = _model_of(tombstone, subject)
    try:
        with transaction.atomic(using=using):
            take_write_lock(Tombstone.objects.using(using).filter(pk=tombstone.pk), using)
            # In the order of those who delete: delivery, row, tombstone.
            row, delivery = _locked(model, tombstone, using)
            # Waits for a purge that is at work on it; what that has carried out is gone.
            kept = lock_row(Tombstone, tombstone.pk, using)
            if kept is None:
                raise NotRestorable(
                    f"{subject} was restored or removed for good meanwhile: look again."
                )
            _refuse_without_bytes(kept, model, subject)
            if kept.rows:
                if row is None:
                    row = _reinserted(kept, model, subject, using)
                elif row.content.name != kept.name:
                    _refuse_finished_without(delivery, kept, subject)
                    _give_back(row, kept, subject, using)
                send_after_commit(file_stored, row, using, name=kept.name, size=row.size)
            kept.delete(using=using)
    except IntegrityError as exception:
        raise NotRestorable(
            f"{subject} cannot be restored: another row has taken its place ({exception})."
        ) from exception
    return row


def _model_of(tombstone: Tombstone, subject: str) -> type[models.Model]:
    try:
        model: type[models.Model] = apps.get_model(tombstone.model)
    except LookupError as exception:
        raise NotRestorable(
            f"{subject} was of {tombstone.model!r}, and there is no such model any more."
        ) from exception
    return model


def _locked(model: type[models.Model], tombstone: Tombstone, using: str) -> tuple[Any, Any]:
    """Return the living row of the file and its delivery, locked; None where it is gone."""
    if tombstone.rows:
        pk = _record(model, tombstone)["pk"]
        row: Any = model._base_manager.using(using).filter(pk=pk).first()
        if row is not None:
            with suppress(ObjectDoesNotExist):  # deleted at this very moment
                locked: tuple[Any, Any] = row._lock(using)
                return locked
    return None, None


def _delivery_field(model: type[models.Model]) -> Any:
    fields = model._meta.concrete_fields
    return next((each for each in fields if each.name == "delivery" and each.is_relation), None)


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
    return same.order_by("-created", "-pk").first() or kept


# -- What stands in the way --


def _refuse_without_bytes(kept: Tombstone, model: type[models.Model], subject: str) -> None:
    store, alias = resolve(model)
    if alias != kept.alias:
        raise NotRestorable(
            f"{subject} lies in the store {kept.alias!r}, but {model._meta.label} now uses "
            f"{alias!r}: configure that store for it."
        )
    try:
        size = store.size(kept.name)
    except FileNotFoundError as exception:
        raise NotRestorable(f"{subject} is gone from the store: nothing is left.") from exception
    if kept.size not in {None, size}:
        raise NotRestorable(
            f"{subject} has '{size}' bytes in the store, but had '{kept.size}' when it was "
            "deleted: is it the right store?"
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


def _reinserted(kept: Tombstone, model: type[models.Model], subject: str, using: str) -> Any:
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
        elif _is_there(restored.object, using):  # of a parent that was kept
            continue
        _insert(restored, subject, using)
    to_delivery = _delivery_field(model)
    if to_delivery is not None and row.delivery_id is not None:
        # Only now: whoever stores under the id in a transaction of theirs locks in this order.
        delivery = lock_row(to_delivery.related_model, row.delivery_id, using)
        _refuse_finished_without(delivery, kept, subject)
    return row


def _give_back(row: Any, kept: Tombstone, subject: str, using: str) -> None:
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
    row._update_content(
        row, using, content=StoredName(kept.name), size=kept.size, sha256=kept.sha256
    )
    row._set_content(kept.name, kept.size, kept.sha256)


def _milliseconds(time: datetime) -> datetime:
    # Older tombstones keep no more of it.
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


def _insert(restored: Any, subject: str, using: str) -> None:
    """Insert a row as it was, as far as the others allow it."""
    row = restored.object
    _let_go_of_what_is_gone(row, subject, using)
    _number_anew(row, using)
    try:
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
