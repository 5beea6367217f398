"""Deleted files come back: rows, those of their deliveries, with all ids, and so the bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.core import serializers
from django.core.exceptions import ValidationError
from django.db import IntegrityError, models, transaction

from .exceptions import NotRestorable
from .fields import StoredName
from .models.locking import lock_row
from .models.tombstone import Tombstone
from .signals import file_stored, send_after_commit
from .store import resolve


def restore(tombstone: Tombstone) -> Any:
    """Bring back what a tombstone keeps, and return the row of the file; the tombstone goes.

    A row that is gone is inserted with its id, and so is its delivery; references to what is gone
    too become NULL, where they may. A row that is there without content gets it back. Its bytes
    stay where they are. ``file_stored`` is sent.

    Raises NotRestorable, which says why, and then nothing has changed: the bytes are gone or of
    another size, the row has other content by now, or something else has taken its place.
    """
    using = tombstone._state.db
    assert using is not None
    subject = f"The deleted file {tombstone.name!r}"
    model = _model_of(tombstone, subject)
    try:
        with transaction.atomic(using=using):
            row = _locked(model, tombstone, using)
            # Waits for a purge that is at work on it; what that has carried out is gone.
            kept = lock_row(Tombstone, tombstone.pk, using)
            if kept is None:
                raise NotRestorable(
                    f"{subject} was restored or removed for good meanwhile: look again."
                )
            _refuse_without_bytes(kept, model, subject)
            if row is None:
                row = _inserted(kept, model, subject, using)
            else:
                _given_back(row, kept, subject, using)
            kept.delete(using=using)
            send_after_commit(file_stored, row, using, name=kept.name, size=row.size)
    except IntegrityError as exception:
        raise NotRestorable(
            f"{subject} cannot be restored: another row has taken its place ({exception})."
        ) from exception
    return row


def _model_of(tombstone: Tombstone, subject: str) -> type[models.Model]:
    if not tombstone.rows:
        raise NotRestorable(
            f"{subject} had no row that could be restored: record it with "
            f"objects.adopt({tombstone.name!r}, ...) once its tombstone is deleted."
        )
    try:
        model: type[models.Model] = apps.get_model(tombstone.model)
    except LookupError as exception:
        raise NotRestorable(
            f"{subject} was of {tombstone.model!r}, and there is no such model any more."
        ) from exception
    return model


def _locked(model: type[models.Model], tombstone: Tombstone, using: str) -> Any:
    """Return the living row of the file, locked as whoever stores locks it; None if it is gone."""
    row: Any = model._base_manager.using(using).filter(pk=_kept_pk(model, tombstone)).first()
    return None if row is None else row._lock(using)[0]


def _kept_pk(model: type[models.Model], tombstone: Tombstone) -> Any:
    for kept in reversed(tombstone.rows):
        if kept["model"] == model._meta.label_lower:
            return kept["pk"]
    raise NotRestorable(
        f"The tombstone of {tombstone.name!r} has no row of {model._meta.label!r}."
    )


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


def _given_back(row: Any, kept: Tombstone, subject: str, using: str) -> None:
    if row.content:
        raise NotRestorable(
            f"{subject} was replaced: {row._meta.label} '{row.pk}' has other content now. Delete "
            "that first, or copy the old bytes into a file of another name."
        )
    row._update_content(
        row, using, content=StoredName(kept.name), size=kept.size, sha256=kept.sha256
    )
    row._set_content(kept.name, kept.size, kept.sha256)


def _inserted(kept: Tombstone, model: type[models.Model], subject: str, using: str) -> Any:
    """Insert what is not there of the rows that the tombstone keeps; return the file's."""
    found = None
    for restored in _deserialized(kept, using):
        row: Any = restored.object
        if type(row) is model:
            found = row
        if type(row)._base_manager.using(using).filter(pk=row.pk).exists():
            continue
        _let_go_of_what_is_gone(row, subject, using)
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
    if found is None:
        raise NotRestorable(f"The tombstone of {kept.name!r} has no row of a model of files.")
    return found


def _deserialized(kept: Tombstone, using: str) -> Iterator[Any]:
    # Of columns that the models have lost since then, nothing is left to restore.
    return iter(serializers.deserialize("python", kept.rows, using=using, ignorenonexistent=True))


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
