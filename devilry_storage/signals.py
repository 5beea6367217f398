"""Signals of the package.

Signals of a change are sent after COMMIT. An exception in a receiver is only logged.
"""

from typing import Any

from django.db import models, transaction
from django.db.models import signals
from django.dispatch import Signal

#: The bytes of a file were stored. Arguments: ``instance``, ``name``, ``size`` (bytes).
file_stored = Signal()

#: A file was deleted; its bytes are removed when the retention is over. Arguments: ``instance``,
#: ``name``, ``size`` (bytes, None if it was never recorded).
file_removed = Signal()

#: A delivery was finished. Argument: ``instance``.
delivery_finished = Signal()

#: A file was served. Arguments: ``instance``, ``user``, ``way`` (``stream``, ``sendfile``,
#: ``redirect`` or ``preview``), ``size`` (bytes that were sent), ``outcome`` in words. Sent when
#: the transfer has ended.
file_served = Signal()

#: A stored file is missing or damaged, as an archive shows. Arguments: ``store``, ``name`` (in the
#: store), ``reason`` in words. The sender is the class of the store. Sent during the transfer.
file_damaged = Signal()


def has_receivers(model: type[models.Model]) -> bool:
    """Return whether the site has receivers of the model's ``pre_save`` or ``post_save``."""
    for signal in (signals.pre_save, signals.post_save):
        live: Any = signal._live_receivers(model)
        # Since Django 5.0 these are two lists: of synchronous and of asynchronous receivers.
        receivers = [*live[0], *live[1]] if isinstance(live, tuple) else live
        if any(not receiver.__module__.startswith("devilry_storage.") for receiver in receivers):
            return True  # not only the package's own
    return False


def send_after_commit(signal: Signal, instance: models.Model, using: str, **kwargs: Any) -> None:
    """Send the signal when the open transaction of the database is committed."""

    def send() -> None:  # no partial: Django logs a failing one by its __qualname__
        signal.send_robust(sender=type(instance), instance=instance, **kwargs)

    transaction.on_commit(send, using=using, robust=True)
