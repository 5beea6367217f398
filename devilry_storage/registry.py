"""The models that have files, and the stores that they use."""

from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db import models

from .fields import DeliveryFileField
from .resolving import resolve
from .schema import declaring_model
from .storages.aliases import alias_of, unwrapped
from .storages.base import DeliveryStoreMixin

FileModel = type[models.Model]


def file_models() -> list[FileModel]:
    """Return the models that declare a file field, without proxies and children."""
    return [
        model
        for model in apps.get_models()
        if not model._meta.proxy
        and any(
            isinstance(field, DeliveryFileField) and field.name == "content"
            for field in model._meta.local_fields
        )
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


class OrdinaryField(NamedTuple):
    """A FileField, but not a DeliveryFileField, that uses a delivery store.

    ``alias`` is that of the store in ``STORAGES``, ``""`` for none.
    """

    field: models.FileField
    store: DeliveryStoreMixin
    alias: str

    @property
    def label(self) -> str:
        """The label of the model that declares the field, and the name of the field."""
        return f"{self.field.model._meta.label}.{self.field.name}"


def ordinary_fields() -> list[OrdinaryField]:
    """Return the ordinary fields of all models, each once: not those of proxies and children."""
    found = []
    for model in apps.get_models():
        for field in () if model._meta.proxy else model._meta.local_fields:
            if not isinstance(field, models.FileField) or isinstance(field, DeliveryFileField):
                continue
            with suppress(Exception):  # a default storage that cannot be created
                if isinstance(store := unwrapped(field.storage), DeliveryStoreMixin):
                    found.append(OrdinaryField(field, store, alias_of(store) or ""))
    return found


def ordinary_fields_in(store: DeliveryStoreMixin) -> list[OrdinaryField]:
    """Return the ordinary fields that use the store, or another one with the same location."""
    location = store.location_text()
    return [found for found in ordinary_fields() if found.store.location_text() == location]


class ConfiguredStore(NamedTuple):
    """A store, its alias in ``STORAGES`` (``""`` for none), and the models that use it."""

    store: DeliveryStoreMixin
    alias: str
    models: list[FileModel]


def configured_stores() -> list[ConfiguredStore]:
    """Return the stores of all file models, without duplicates."""
    found: dict[int, ConfiguredStore] = {}
    for model in file_models():
        with suppress(ImproperlyConfigured):
            store, alias = resolve(model)
            found.setdefault(id(store), ConfiguredStore(store, alias, [])).models.append(model)
    return [*found.values()]


def model_stores() -> list[tuple[FileModel, DeliveryStoreMixin]]:
    """Return the file models that have a store, each with it."""
    return [(model, store) for store, _alias, models in configured_stores() for model in models]


def ordinary_stores() -> list[ConfiguredStore]:
    """Return the stores that only ordinary fields use, without duplicates."""
    used = {id(configured.store) for configured in configured_stores()}
    found = {
        id(ordinary.store): ConfiguredStore(ordinary.store, ordinary.alias, [])
        for ordinary in ordinary_fields()
        if id(ordinary.store) not in used
    }
    return [*found.values()]


def unconfigured() -> Iterator[tuple[FileModel, ImproperlyConfigured]]:
    """Yield the file models without a store, and why they have none."""
    for model in file_models():
        try:
            resolve(model)
        except ImproperlyConfigured as exception:
            yield model, exception
