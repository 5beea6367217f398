"""Which columns a plain ``save()`` of a stored row may write."""

from __future__ import annotations

from django.db import models


def loaded_columns(instance: models.Model) -> frozenset[str]:
    """Return the names of the fields that the instance knows, without keys and generated ones."""
    deferred = instance.get_deferred_fields()
    return frozenset(
        field.name
        for field in instance._meta.concrete_fields
        if not field.primary_key
        and field.attname not in deferred
        and not getattr(field, "generated", False)
    )
