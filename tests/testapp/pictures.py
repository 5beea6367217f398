"""Pictures of rows, stored bytes and instances, to compare before and after an operation."""

from __future__ import annotations

from typing import Any

from django.db import connection
from django.db.models import Model

from devilry_storage.models import Tombstone
from devilry_storage.registry import file_models
from devilry_storage.storages import DeliveryStoreMixin

Picture = dict[str, Any]


def picture(store: DeliveryStoreMixin) -> Picture:
    """Return all rows of file models and tombstones, and all stored bytes."""
    models: list[type[Model]] = [*all_file_models(), Tombstone]
    return {**{model._meta.label: rows(model) for model in models}, "store": stored(store)}


def all_file_models() -> list[type[Model]]:
    """Return the file models with their multi-table parents and children."""
    declaring = file_models()
    parents = [parent for model in declaring for parent in model._meta.parents]
    children = [
        relation.related_model
        for model in declaring
        for relation in model._meta.related_objects
        if relation.one_to_one and relation.field.remote_field.parent_link
    ]
    return [*declaring, *parents, *children]


def rows(model: type[Model]) -> list[dict[str, Any]]:
    """Return the columns of every row of the model's own table.

    It is called very often, so it uses plain SQL.
    """
    quote = connection.ops.quote_name
    key = model._meta.pk.column
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {quote(model._meta.db_table)} ORDER BY {quote(key)}")
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, values, strict=True)) for values in cursor.fetchall()]


def stored(store: DeliveryStoreMixin) -> dict[str, bytes]:
    """Return the bytes under every name."""
    return {entry.name: b"".join(store.stream(entry.name)) for entry in store.scan()}


def state(instance: Any) -> Picture:
    """Return the state of an instance: its fields, the pending file, and whether it is new."""
    known = {key: value for key, value in vars(instance).items() if not key.startswith("_")}
    if (content := known.pop("content", None)) is not None:
        known["content"] = (content.name, content._committed, getattr(content, "_file", None))
    return {**known, "adding": instance._state.adding, "db": instance._state.db}


def buried() -> list[str]:
    """Return the names of the tombstones."""
    return sorted(Tombstone.objects.values_list("name", flat=True))
