"""Override the store of a model during a test."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db.models import Model
from django.test.utils import TestContextDecorator

from ..schema import declaring_model
from ..storages import DeliveryStoreMixin
from .memory import MemoryDeliveryStore

_MISSING = object()


class override_deliverystore(TestContextDecorator):  # noqa: N801  # named like override_settings
    """Override the ``deliverystore`` of a model inside a block, a function or a test class::

        with override_deliverystore() as store:
            ...

    It is a context manager and a decorator of functions and of ``SimpleTestCase`` classes.

    - ``store`` is a store or an alias of ``STORAGES``. The default is a new
      ``MemoryDeliveryStore`` for each use.
    - ``model`` is the file model. The default is the ``FileMeta`` of
      ``devilry_storage.deliveries``. ImproperlyConfigured is raised if that app is not installed.
    - ``kwarg_name`` and ``attr_name`` name the argument of the decorated function or the attribute
      of the decorated class that gets the store.
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
        # A stack, because a decorator may be entered again before it is left.
        self._replaced: list[tuple[type[Model], Any]] = []
        super().__init__(attr_name=attr_name, kwarg_name=kwarg_name)

    def enable(self) -> Any:
        # The store is looked up on the model that declares the field, not on its proxies.
        model: Any = declaring_model(self._model or _default_model())
        store = MemoryDeliveryStore() if self._store is None else self._store
        self._replaced.append((model, vars(model).get("deliverystore", _MISSING)))
        model.deliverystore = store
        return store

    # Returns the result of enable(); the stubs of Django know only override_settings.
    def __enter__(self) -> Any:
        return self.enable()

    def disable(self) -> None:
        model: Any
        model, replaced = self._replaced.pop()
        if replaced is _MISSING:
            del model.deliverystore
        else:
            model.deliverystore = replaced


def _default_model() -> type[Model]:
    if not apps.is_installed("devilry_storage.deliveries"):
        raise ImproperlyConfigured(
            "override_deliverystore() without 'model' needs 'devilry_storage.deliveries' in "
            "INSTALLED_APPS: pass your own model, as in override_deliverystore(model=Handin)."
        )
    return apps.get_model("devilry_deliveries", "FileMeta")
