"""HTTP responses that contain stored files."""

from ..media_types import sent_type
from .access_log import COMPLETE, FAILED, record_access, recorder
from .responses import protect, serve, serve_name, serve_ordinary
from .streaming import Body, streamed

__all__ = [
    "COMPLETE",
    "FAILED",
    "Body",
    "protect",
    "record_access",
    "recorder",
    "sent_type",
    "serve",
    "serve_name",
    "serve_ordinary",
    "streamed",
]
