"""Look up fields of a site's models, which need not have all that the package can use."""

from typing import Any

from django.core.exceptions import FieldDoesNotExist
from django.db import models

#: Names of the foreign keys from a file to its delivery, and from a delivery to its group.
DELIVERY = "delivery"
GROUP = "assignment_group"

Model = type[models.Model]


def declaring_model(model: Model) -> Model:
    """Return the model whose table has the content: not a proxy or a multi-table child."""
    return model._meta.get_field("content").model


def is_historical(model: Model) -> bool:
    """Return whether Django made the model of the operations of migrations."""
    return model.__module__ == "__fake__"


def field_named(model: Model, name: str) -> Any:
    """Return the field or reverse relation with this name, or None."""
    try:
        return model._meta.get_field(name)
    except FieldDoesNotExist:
        return None


def has_column(model: Model, name: str) -> bool:
    """Return whether a column of the model belongs to a field with this name."""
    return any(field.name == name for field in model._meta.concrete_fields)


def foreign_key(model: Model, name: str) -> Any:
    """Return the foreign key (or one-to-one field) with this name, or None."""
    field = field_named(model, name)
    return field if field is not None and field.is_relation and field.concrete else None


def target_name(model: Model, name: str) -> str:
    """Return the name of the field to which the foreign key with this name refers.

    This is the primary key of the related model unless the foreign key has ``to_field``.
    """
    return str(foreign_key(model, name).target_field.name)


def belongs_to(row: models.Model, delivery: models.Model) -> bool:
    """Return whether a file's row belongs to the delivery."""
    field = foreign_key(type(row), DELIVERY)
    if field is None or not isinstance(delivery, field.related_model._meta.concrete_model):
        return False
    return bool(getattr(row, field.attname) == getattr(delivery, field.target_field.attname))


def related_model(model: Model, name: str) -> Model | None:
    """Return the model that the foreign key with this name refers to, or None."""
    field = foreign_key(model, name)
    related = None if field is None else field.related_model
    return related if isinstance(related, type) else None
