"""The results of purges and removals."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from ..tables import Tombstone


class Result(str, Enum):
    """The result of one step of a purge. Members are equal to their values."""

    #: The bytes of a tombstone were removed.
    REMOVED = "removed"
    #: A dry run has found a tombstone that is due.
    DUE = "due"
    #: A stale unpublished upload was removed, or was found by a dry run.
    UPLOAD = "upload"
    #: The bytes of a tombstone may not be removed.
    KEPT = "kept"
    #: The store could not remove the bytes; the next purge tries again.
    FAILED = "failed"
    #: A tombstone was left for lack of a store or model, or a name was not found.
    SKIPPED = "skipped"
    #: Nothing was removed from a store.
    REFUSED = "refused"

    __str__ = str.__str__


class Event(NamedTuple):
    """One step of a purge.

    ``subject`` is a name, or the label of a model. ``size`` is in bytes, None if unknown.
    ``tombstone`` is the one that was removed or kept, or whose removal failed; None for other
    results.
    """

    result: Result
    subject: str
    reason: str = ""
    size: int | None = None
    tombstone: Tombstone | None = None

    @classmethod
    def of(cls, tombstone: Tombstone, result: Result, reason: str = "") -> Event:
        """Return the event of a tombstone."""
        return cls(result, tombstone.name, reason, tombstone.size, tombstone)
