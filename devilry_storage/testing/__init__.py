"""Helpers for tests of sites that use delivery stores, and for tests of third-party stores.

Names are imported at first use. So importing this package needs neither pytest nor settings.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .filemeta import PlainFileMeta as PlainFileMeta
    from .memory import MemoryDeliveryStore as MemoryDeliveryStore
    from .override import override_deliverystore as override_deliverystore
    from .suite import TestDeliveryStoreMixin as TestDeliveryStoreMixin

_MODULES = {
    "MemoryDeliveryStore": "memory",
    "PlainFileMeta": "filemeta",
    "TestDeliveryStoreMixin": "suite",
    "override_deliverystore": "override",
}

__all__ = [
    "MemoryDeliveryStore",
    "PlainFileMeta",
    "TestDeliveryStoreMixin",
    "override_deliverystore",
]


def __getattr__(name: str) -> Any:
    try:
        module = _MODULES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    return getattr(import_module(f"{__name__}.{module}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
