"""What was served to whom: a line in a log, and a signal."""

from __future__ import annotations

import logging
from typing import Any

from django.http import HttpRequest

from ..signals import file_served

logger = logging.getLogger("devilry_storage.access")


def record_access(
    request: HttpRequest, what: str, way: str, size: int, outcome: str, instance: Any = None
) -> None:
    """Log an access, and send :data:`~devilry_storage.signals.file_served` for a row's file.

    ``what`` names it without a word of a user's (``devilry_deliveries.filemeta:17``), ``way`` is
    ``stream``, ``sendfile``, ``redirect`` or ``archive``, ``size`` is the bytes that were passed
    on.
    """
    user = getattr(request, "user", None)
    pk = getattr(user, "pk", None)
    logger.info(
        "user=%s file=%s method=%s way=%s bytes=%d outcome=%s",
        pk,
        what,
        request.method,
        way,
        size,
        outcome.replace(" ", "-"),
    )
    if instance is not None:
        file_served.send_robust(
            sender=type(instance),
            instance=instance,
            user=user,
            way=way,
            size=size,
            outcome=outcome,
        )
