"""The models that declare a file."""

from __future__ import annotations

from django.apps import apps
from django.db import models

from .fields import DeliveryFileField

FileModel = type[models.Model]


def file_models() -> list[FileModel]:
    """Return the models that declare a file, each once, without proxies and children."""
    return [
        model
        for model in apps.get_models()
        if not model._meta.proxy
        and any(isinstance(field, DeliveryFileField) for field in model._meta.local_fields)
    ]
