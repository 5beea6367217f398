"""Remove the bytes of deleted files when their retention is over."""

from .orphans import bury_orphan
from .purging import purge, remove_now
from .results import Event, Result

__all__ = ["Event", "Result", "bury_orphan", "purge", "remove_now"]
