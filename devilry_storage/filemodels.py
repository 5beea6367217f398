"""The models that declare a file."""

from __future__ import annotations

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db import models

from .fields import DeliveryFileField
from .storages.base import DeliveryStoreMixin
from .store import resolve

FileModel = type[models.Model]


def file_models() -> list[FileModel]:
    """Return the models that declare a file, each once, without proxies and children."""
    return [
        model
        for model in apps.get_models()
        if not model._meta.proxy
        and any(isinstance(field, DeliveryFileField) for field in model._meta.local_fields)
    ]


def models_with(model: FileModel, store: DeliveryStoreMixin) -> list[FileModel]:
    """Return the model and all others whose files are in its store, without those that have none.

    ``store`` may be made at each use, and is then known to this model alone.
    """
    found = [model]
    for other in file_models():
        try:
            if other is not model and resolve(other).store is store:
                found.append(other)
        except ImproperlyConfigured:
            continue  # a system check reports it
    return found
