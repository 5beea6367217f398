"""The models that declare a file."""

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
    """Return the models that declare a file, each once, without proxies and children."""
    return [
        model
        for model in apps.get_models()
        if not model._meta.proxy
        and any(isinstance(field, DeliveryFileField) for field in model._meta.local_fields)
    ]


def label(model: FileModel) -> str:
    """Return the label of the model that declares the file, as tombstones have it."""
    return declaring_model(model)._meta.label_lower


def store_label(model: FileModel) -> str:
    """Return what tombstones have as the store of a model: its alias, or the model's label."""
    return resolve(model).alias or label(model)


def labelled(name: str) -> FileModel | None:
    """Return the model of files with this label, None if there is none."""
    return next((model for model in file_models() if label(model) == name), None)


def sharing(
    model: FileModel, store: DeliveryStoreMixin, *, strict: bool = True
) -> list[FileModel]:
    """Return the model and all others whose files are in its store.

    Raises ImproperlyConfigured where another model has no store; unless ``strict`` that one is
    left out. ``store`` may be made at each use, and is then known to this model alone.
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
    """A store, its alias in ``STORAGES`` (``""`` if it has none), and the models that use it."""

    store: DeliveryStoreMixin
    alias: str
    models: list[FileModel]


def configured_stores() -> list[ConfiguredStore]:
    """Return the stores of all file models, each once."""
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
    """Return the file models without a store, each with the reason."""
    found = []
    for model in file_models():
        try:
            resolve(model)
        except ImproperlyConfigured as exception:
            found.append((model, str(exception)))
    return found
