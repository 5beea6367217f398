"""Signals, those of a change sent after COMMIT; a receiver that raises is logged, no more."""

from __future__ import annotations

from typing import Any

from django.db import models, transaction
from django.dispatch import Signal

#: Bytes were stored for a file: ``instance``, ``name``, ``size`` (bytes).
file_stored = Signal()

#: A file lost its bytes, which are removed when the retention is over: ``instance``, ``name``,
#: ``size`` (bytes, or None where it was never recorded).
file_removed = Signal()

#: A delivery was finished: ``instance``.
delivery_finished = Signal()

#: A file was served: ``instance``, ``user``, ``way`` (``stream``, ``sendfile``, ``redirect`` or
#: ``preview``), ``size`` (bytes that were passed on), ``outcome`` in words. Sent when the transfer
#: has ended.
file_served = Signal()


def send_after_commit(signal: Signal, instance: models.Model, using: str, **kwargs: Any) -> None:
    """Send the signal once the transaction that is open on ``using`` is committed."""

    def send() -> None:  # no partial: Django logs a failing one by its __qualname__
        signal.send_robust(sender=type(instance), instance=instance, **kwargs)

    transaction.on_commit(send, using=using, robust=True)
