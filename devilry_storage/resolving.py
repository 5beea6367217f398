"""Look up the delivery store of a model, at each use and never at import."""

from functools import lru_cache
from typing import Any, NamedTuple

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.core.files.storage import storages
from django.core.signals import setting_changed
from django.db import models
from django.utils.module_loading import import_string
from django.views.decorators.debug import sensitive_variables

from .conf import conf
from .schema import field_named, is_historical
from .storages.aliases import unwrapped
from .storages.base import DeliveryStoreMixin

ALIAS = "deliveries"

REMEDY = """\
Add this to your settings:

    STORAGES = {
        ...,
        "deliveries": {
            "BACKEND": "devilry_storage.storages.FsHierDeliveryStore",
            "OPTIONS": {
                "location": "/path/outside/of/MEDIA_ROOT",
                "file_permissions_mode": 0o640,
                "directory_permissions_mode": 0o750,
            },
        },
    }
"""


class Resolved(NamedTuple):
    """A store and its alias in ``STORAGES``, ``""`` for none."""

    store: DeliveryStoreMixin
    alias: str


class WrongStore(ImproperlyConfigured):
    """The configured store of a model is not a delivery store."""


class NoStore(ImproperlyConfigured):
    """No store is configured for a model."""


def store_for(model: type[models.Model] | models.Model) -> DeliveryStoreMixin:
    """Return the store of a file model. Raises ImproperlyConfigured if it has none."""
    return resolve(model).store


def resolve(model: type[models.Model] | models.Model) -> Resolved:
    """Return the store of a file model, and its alias.

    The first of these counts:

    - the class attribute ``deliverystore`` of the model that declares the field;
    - the field's ``storage=``;
    - ``STORAGES["deliveries"]``;
    - ``DELIVERY_STORE_BACKEND``;
    - the default storage, if it is a delivery store.

    The historical model of a migration has the store of the model that the migration belongs to.
    Raises NoStore or WrongStore, which are ImproperlyConfigured.
    """
    field: Any = model._meta.get_field("content")
    if is_historical(field.model):
        field = _current(field)
    owner = f"{field.model._meta.label}.content"
    for given in (getattr(field.model, "deliverystore", None), field.given_storage):
        if given is not None:
            return _given(given, owner)
    if ALIAS in storages.backends:
        return _aliased(ALIAS, f'STORAGES["{ALIAS}"]')
    if backend := conf.delivery_store_backend:
        return Resolved(_checked(_backend(backend), f"DELIVERY_STORE_BACKEND {backend!r}"), "")
    if isinstance(store := storages["default"], DeliveryStoreMixin):
        return Resolved(store, "default")
    raise NoStore(f"No delivery store is configured for {owner}. {REMEDY}")


def _current(field: Any) -> Any:
    """Return the field of today's model for that of a historical one.

    Raises NoStore unless both have the same alias or none. Otherwise the model may have been
    renamed, and its name may belong to another model, whose files have the same keys.
    """
    label = field.model._meta.label
    try:
        current = field_named(apps.get_model(label), "content")
    except LookupError:
        current = None
    if hasattr(current, "given_storage") and current.given_storage == field.given_storage:
        return current
    storage = getattr(current, "given_storage", "that of no such model")
    raise NoStore(
        f"The store of the historical model {label} is not certain: its storage is "
        f"{field.given_storage!r} in the migration, but today {storage!r}. Open the file in the "
        "right store: storages[alias].open(row.content.name)."
    )


def _given(given: Any, owner: str) -> Resolved:
    if isinstance(given, str):
        return _aliased(given, f"The store {given!r} of {owner}")
    if callable(given):
        given = given()
    return Resolved(_checked(given, f"The store of {owner}"), "")


@sensitive_variables()  # Django's frames contain the options
def _aliased(alias: str, subject: str) -> Resolved:
    return Resolved(_checked(storages[alias], subject), alias)


def _checked(storage: object, subject: str) -> DeliveryStoreMixin:
    store = unwrapped(storage)
    if isinstance(store, DeliveryStoreMixin):
        return store
    raise WrongStore(
        f"{subject} is '{type(store).__module__}.{type(store).__qualname__}', which is not a "
        "delivery store. Add devilry_storage.storages.DeliveryStoreMixin to the bases of the "
        "class, before the Storage class."
    )


@lru_cache
def _backend(path: str) -> object:
    # Cached like the stores of STORAGES: a store in memory contains its files itself.
    try:
        backend = import_string(path)
    except ImportError as exception:
        raise WrongStore(
            f"DELIVERY_STORE_BACKEND {path!r} cannot be imported: {exception}. Set it to "
            "'devilry_storage.storages.FsHierDeliveryStore', or to a class of your own."
        ) from exception
    return backend()


def _forget_backends(*, setting: str, **kwargs: Any) -> None:
    if setting == "DELIVERY_STORE_BACKEND":
        _backend.cache_clear()


setting_changed.connect(_forget_backends)
