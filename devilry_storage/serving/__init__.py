"""Files on their way to whoever may read them."""

from .access import COMPLETE, FAILED, record_access, recorder
from .answers import serve, serve_name
from .protecting import protect
from .streaming import Body, release_connections, streamed
from .types import sent_type

__all__ = [
    "COMPLETE",
    "FAILED",
    "Body",
    "protect",
    "record_access",
    "recorder",
    "release_connections",
    "sent_type",
    "serve",
    "serve_name",
    "streamed",
]
