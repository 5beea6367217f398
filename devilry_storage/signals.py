"""Signals of the package.

Signals of a change are sent after COMMIT. An exception in a receiver is only logged.
"""

from __future__ import annotations

from typing import Any

from django.db import models, transaction
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


def send_after_commit(signal: Signal, instance: models.Model, using: str, **kwargs: Any) -> None:
    """Send the signal when the open transaction of the database is committed."""

    def send() -> None:  # no partial: Django logs a failing one by its __qualname__
        signal.send_robust(sender=type(instance), instance=instance, **kwargs)

    transaction.on_commit(send, using=using, robust=True)
