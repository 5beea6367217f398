"""Follow foreign keys, which may refer to another field than the primary key (``to_field``)."""

from __future__ import annotations

from typing import Any

from .rows import intend_to_write, stored_rows


def referred_pk(field: Any, value: Any, using: str) -> Any:
    """Return the primary key of the row to which a foreign key with this value refers, or None.

    The database is asked only if the key does not refer to the primary key.
    """
    model, target = field.related_model, field.target_field
    if target == model._meta.pk:
        return value
    rows = stored_rows(model, using).filter(**{target.attname: value})
    intend_to_write(rows, using)
    return rows.values_list("pk", flat=True).first()
