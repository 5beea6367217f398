"""The models that have files, and the stores that they use."""

from __future__ import annotations

from typing import NamedTuple

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db import models

from .fields import DeliveryFileField
from .resolving import resolve
from .schema import declaring_model
from .storages.base import DeliveryStoreMixin

FileModel = type[models.Model]


def file_models() -> list[FileModel]:
    """Return the models that declare a file field, without proxies and children."""
    return [
        model
        for model in apps.get_models()
        if not model._meta.proxy
        and any(isinstance(field, DeliveryFileField) for field in model._meta.local_fields)
    ]


def label(model: FileModel) -> str:
    """Return the label of the model that declares the file field, as stored in tombstones."""
    return declaring_model(model)._meta.label_lower


def store_label(model: FileModel) -> str:
    """Return the alias of the model's store, or the model's label, as stored in tombstones."""
    return resolve(model).alias or label(model)


def labelled(name: str) -> FileModel | None:
    """Return the file model with this label, or None."""
    return next((model for model in file_models() if label(model) == name), None)


def sharing(
    model: FileModel, store: DeliveryStoreMixin, *, strict: bool = True
) -> list[FileModel]:
    """Return the model and all others that use the same store.

    Raises ImproperlyConfigured if another model has no store; unless ``strict``, that model is
    left out. A ``store`` that is created at each use is not shared.
    """
    found = [model]
    for other in file_models():
        try:
            if other is not model and resolve(other).store is store:
                found.append(other)
        except ImproperlyConfigured:
            if strict:
                raise
    return found


class ConfiguredStore(NamedTuple):
    """A store, its alias in ``STORAGES`` (``""`` for none), and the models that use it."""

    store: DeliveryStoreMixin
    alias: str
    models: list[FileModel]


def configured_stores() -> list[ConfiguredStore]:
    """Return the stores of all file models, without duplicates."""
    found: list[ConfiguredStore] = []
    for model in file_models():
        try:
            store, alias = resolve(model)
        except ImproperlyConfigured:
            continue
        for configured in found:
            if configured.store is store:
                configured.models.append(model)
                break
        else:
            found.append(ConfiguredStore(store, alias, [model]))
    return found


def unconfigured() -> list[tuple[FileModel, str]]:
    """Return the file models without a store, and why they have none."""
    found = []
    for model in file_models():
        try:
            resolve(model)
        except ImproperlyConfigured as exception:
            found.append((model, str(exception)))
    return found
