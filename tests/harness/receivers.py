"""Receivers of signals that a test connects: another test would call them, too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import ReferenceType

from django.db.models import signals

from devilry_storage.signals import delivery_finished, file_removed, file_served, file_stored

SIGNALS: list[Any] = [
    signals.pre_save,
    signals.post_save,
    signals.pre_delete,
    signals.post_delete,
    signals.post_init,
    file_stored,
    file_removed,
    file_served,
    delivery_finished,
]


def connected() -> set[str]:
    """Return the names of connected receivers that are neither the package's nor Django's."""
    receivers = (_function(entry[1]) for signal in SIGNALS for entry in signal.receivers)
    names = {
        f"{function.__module__}.{function.__qualname__}" for function in receivers if function
    }
    return {name for name in names if not name.startswith(("devilry_storage.", "django."))}


def _function(receiver: Any) -> Any:
    return receiver() if isinstance(receiver, ReferenceType) else receiver


@contextmanager
def disconnected_afterwards() -> Iterator[None]:
    """Disconnect the receivers that are connected in the block."""
    before = [(signal, [*signal.receivers]) for signal in SIGNALS]
    try:
        yield
    finally:
        for signal, receivers in before:
            with signal.lock:
                signal.receivers[:] = receivers
                signal.sender_receivers_cache.clear()
