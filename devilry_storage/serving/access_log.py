"""What was served to whom: a line in a log, and a signal."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any
from urllib.parse import quote

from django.http import HttpRequest

from ..signals import file_served

logger = logging.getLogger("devilry_storage.access")

#: How a request ended: all bytes were passed on; the client left before; they could not be read;
#: the client has the file already (304); what it asked for cannot be (412, 416); the bytes come
#: from elsewhere (the web server, S3).
COMPLETE, ABORTED, FAILED = "complete", "aborted", "failed"
UNMODIFIED, REFUSED, HANDED_OVER = "unmodified", "refused", "handed-over"


def record_access(
    request: HttpRequest, what: str, way: str, size: int, outcome: str, instance: Any = None
) -> None:
    """Log an access, and send :data:`~devilry_storage.signals.file_served` for a GET of a row.

    ``what`` names it without a word of a user's (``devilry_deliveries.filemeta:17``), ``way`` is
    ``stream``, ``sendfile``, ``redirect``, ``preview`` or ``archive``, ``size`` is how many bytes
    were passed on here, ``outcome`` one word.
    """
    user = getattr(request, "user", None)
    logger.info(
        "user=%s file=%s method=%s way=%s bytes=%d outcome=%s",
        # A site's models may have keys of text, with anything in it.
        quote(str(getattr(user, "pk", None))),
        quote(what, safe=":/"),
        request.method,
        way,
        size,
        outcome,
    )
    if instance is not None and request.method == "GET":
        file_served.send_robust(
            sender=type(instance),
            instance=instance,
            user=user,
            way=way,
            size=size,
            outcome=outcome,
        )


def recorder(request: HttpRequest, filemeta: Any, way: str) -> partial[None]:
    """Return what records an access to the file of a row, given size and outcome."""
    what = f"{filemeta._meta.label_lower}:{filemeta.pk}"
    return partial(record_access, request, what, way, instance=filemeta)
