"""What stores and their records know of each other."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

from ..conf import conf
from ..layout import HierLayout

#: What a store says of itself; see :class:`DeliveryStoreMixin`.
FLAGS = (
    "atomic_create",
    "whole_or_absent",
    "durable",
    "confined",
    "bounded_memory",
    "atomic_copy",
)


class Entry(NamedTuple):
    """What a listing tells of one stored file: size in bytes, time as ``get_modified_time``."""

    name: str
    size: int
    modified: datetime


class Page(NamedTuple):
    """A part of a folder: names of the folders and files in it, whole ones, in the store's order.

    ``next_token`` is what the next page is asked for by, ``""`` at the end.
    """

    folders: list[str]
    files: list[Entry]
    next_token: str


class Finding(NamedTuple):
    """What a store found out about the place of its bytes: a sentence, and whether it is so.

    ``remedy`` says what to do about it, empty where nothing depends on it.
    """

    sentence: str
    holds: bool
    remedy: str = ""


#: Stands for the value of an option that is nobody's business.
REDACTED = "set"


#: Bytes of an object of a store's own that are read at most.
LONGEST_OWN = 4096


class OwnObjects(Protocol):
    """Small objects of a store's own, below a name that no stored file can have.

    ``path`` is relative to that name: ``store.json``, say. What the store cannot do is an OSError.
    """

    @property
    def location(self) -> Hashable:
        """Identifies the location among all of this process."""

    def read(self, path: str) -> bytes | None:
        """Return the bytes of an object, or None if it is missing.

        Of one longer than ``LONGEST_OWN`` one byte more than that is returned.
        """

    def create(self, path: str, data: bytes) -> bool:
        """Store an object whole; return False if there is one already."""

    def replace(self, path: str, data: bytes) -> None:
        """Store an object whole, in place of the one that is there."""

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder, at most 1,000."""

    def volume(self) -> Hashable:
        """Return a value that changes if another disk is mounted, None if none can be seen."""

    def expect(self, *, known: bool) -> None:
        """Set whether the mark was seen: no save then makes the store's folders itself."""


#: Records the name of a stored file, its size in bytes and its SHA-256 in hexadecimal.
Record = Callable[[str, int, str], object]


class FileMetaLike(Protocol):
    """All that a store asks of the record whose bytes it keeps.

    It may also have ``before_storing()``, which is called before any byte is stored and raises an
    OSError if the store is not the right one; ``is_buried(name)``, which says that a free name
    must not be used, because a tombstone has it: the first content of the record then gets an
    alternative name; ``filename``, by which a store that serves files knows their type; and
    ``size`` (bytes) and ``sha256`` (hexadecimal) of its content, with which that is copied without
    being read.
    """

    @property
    def content(self) -> Any:
        """The stored name, or an object with a ``name``; false where there is none."""

    def key_ids(self) -> tuple[Any, Any]:
        """Return (delivery id, filemeta id)."""

    def record_stored(self, name: str, size: int, sha256: str) -> None:
        """Record that bytes lie under the name: size in bytes, SHA-256 in hexadecimal.

        Raises FileExistsError where the name is spoken for; the store then takes another.
        """

    def record_removed(self) -> None:
        """Record that there is no content any more."""


@lru_cache
def _hier_layout(interval: int) -> HierLayout:
    return HierLayout(interval)


def hier_layout(interval: int | None) -> HierLayout:
    """Return the layout of a hierarchical store with this option ``interval``."""
    return _hier_layout(conf.fshierdeliverystore_interval if interval is None else interval)


def stored_name(filemeta: FileMetaLike) -> str | None:
    """Return the name under which the record says that its bytes lie."""
    content = filemeta.content
    if not content or not getattr(content, "_committed", True):
        return None
    return str(getattr(content, "name", content))


def is_used(filemeta: FileMetaLike, key: str) -> bool:
    """Return whether new content of the record needs another name than ``key``."""
    is_buried = getattr(filemeta, "is_buried", None)
    return stored_name(filemeta) is not None or (is_buried is not None and is_buried(key))


def prepare(filemeta: FileMetaLike) -> None:
    """Let the record look at the store before its bytes are stored there."""
    before_storing = getattr(filemeta, "before_storing", None)
    if before_storing is not None:
        before_storing()


def checked_ids(filemeta: FileMetaLike) -> tuple[Any, Any]:
    """Return the record's ids; ValueError where it has none yet."""
    ids = filemeta.key_ids()
    if None in ids:
        raise ValueError(
            f"{filemeta!r} has no ids yet {ids!r}: save it (and its delivery) before its bytes."
        )
    return ids
