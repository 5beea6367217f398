"""Give a model another store for the length of a test."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db.models import Model
from django.test.utils import TestContextDecorator

from ..schema import declaring_model
from ..storages import DeliveryStoreMixin, MemoryDeliveryStore

_ABSENT = object()


class override_deliverystore(TestContextDecorator):  # noqa: N801  # named as override_settings is
    """Set ``deliverystore`` of a model and take it back: context manager, decorator of a test
    function, or of a ``SimpleTestCase`` class::

        with override_deliverystore() as store:
            ...

    ``store``: a store or an alias of ``STORAGES``; by default a fresh ``MemoryDeliveryStore`` each
    time. ``model``: the file model, by default the ``FileMeta`` of
    ``devilry_storage.deliveries``; ImproperlyConfigured if that is not installed. ``kwarg_name``
    and ``attr_name`` hand the store to the decorated function or class.
    """

    def __init__(
        self,
        store: DeliveryStoreMixin | str | None = None,
        *,
        model: type[Model] | None = None,
        attr_name: str | None = None,
        kwarg_name: str | None = None,
    ) -> None:
        self._store = store
        self._model = model
        # A stack: one decorator may be entered again while it is in force.
        self._replaced: list[tuple[type[Model], Any]] = []
        super().__init__(attr_name=attr_name, kwarg_name=kwarg_name)

    def enable(self) -> Any:
        # The attribute is looked up on the model that declares the field.
        model: Any = declaring_model(self._model or _default_model())
        store = MemoryDeliveryStore() if self._store is None else self._store
        self._replaced.append((model, vars(model).get("deliverystore", _ABSENT)))
        model.deliverystore = store
        return store

    # Of the type of what enable() returns; the stubs know of one subclass only.
    def __enter__(self) -> Any:
        return self.enable()

    def disable(self) -> None:
        model: Any
        model, replaced = self._replaced.pop()
        if replaced is _ABSENT:
            del model.deliverystore
        else:
            model.deliverystore = replaced


def _default_model() -> type[Model]:
    if not apps.is_installed("devilry_storage.deliveries"):
        raise ImproperlyConfigured(
            "override_deliverystore() without 'model' needs 'devilry_storage.deliveries' in "
            "INSTALLED_APPS: name your own model, override_deliverystore(model=Handin)."
        )
    return apps.get_model("devilry_deliveries", "FileMeta")
