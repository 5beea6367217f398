"""Access log of served files, and the signal ``file_served``."""

import logging
from functools import partial
from typing import Any
from urllib.parse import quote

from django.http import HttpRequest

from ..signals import file_served

logger = logging.getLogger("devilry_storage.access")

#: Outcomes of a request:
#:
#: - COMPLETE: all bytes were sent.
#: - ABORTED: the client closed the connection before the end.
#: - FAILED: the file could not be read.
#: - UNMODIFIED: the client already has the file (304).
#: - REFUSED: a precondition failed, or the range cannot be satisfied (412, 416).
#: - HANDED_OVER: the web server or S3 sends the bytes.
COMPLETE, ABORTED, FAILED = "complete", "aborted", "failed"
UNMODIFIED, REFUSED, HANDED_OVER = "unmodified", "refused", "handed-over"


def record_access(
    request: HttpRequest, what: str, way: str, size: int, outcome: str, instance: Any = None
) -> None:
    """Log an access; send :data:`~devilry_storage.signals.file_served` for a GET of a row.

    - ``what`` identifies the file without user input (``devilry_deliveries.filemeta:17``).
    - ``way`` is ``stream``, ``sendfile``, ``redirect``, ``preview`` or ``archive``.
    - ``size`` is the number of bytes that Django sent itself.
    - ``outcome`` is one of the constants of this module.
    """
    user = getattr(request, "user", None)
    logger.info(
        "user=%s file=%s method=%s way=%s bytes=%d outcome=%s",
        # Primary keys of a site's models may be arbitrary text.
        quote(str(getattr(user, "pk", None))),
        quote(what, safe=":/,?&"),
        quote(str(request.method)),
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
    """Return a function of size and outcome that records an access to the file of a row."""
    what = f"{filemeta._meta.label_lower}:{filemeta.pk}"
    return partial(record_access, request, what, way, instance=filemeta)
