"""Types shared by stores and the records of their files."""

from collections.abc import Callable, Hashable
from datetime import datetime
from typing import Any, NamedTuple, Protocol

#: Names of the guarantees that a store declares; see :class:`DeliveryStoreMixin`.
FLAGS = (
    "atomic_create",
    "whole_or_absent",
    "durable",
    "confined",
    "bounded_memory",
    "atomic_copy",
)


class Entry(NamedTuple):
    """One file of a listing: size in bytes, time as from ``get_modified_time``."""

    name: str
    size: int
    modified: datetime


class Page(NamedTuple):
    """One page of a folder: full names of folders and files, in the store's order.

    ``next_token`` requests the next page; it is ``""`` on the last one.
    """

    folders: list[str]
    files: list[Entry]
    next_token: str


class Finding(NamedTuple):
    """One result of ``probe()``: a statement, and whether it holds.

    ``remedy`` says what to do if it does not, ``""`` if nothing has to be done.
    """

    sentence: str
    holds: bool
    remedy: str = ""


#: Placeholder for option values that may be secret.
REDACTED = "set"


#: Maximum number of bytes that are read of a store's own object.
LONGEST_OWN = 4096


class OwnObjects(Protocol):
    """A store's own small objects, below a name that no stored file can have.

    ``path`` is relative to that name, such as ``store.json``. Failures of the store are OSErrors.
    """

    @property
    def location(self) -> Hashable:
        """A value that is equal for equal locations in this process."""

    def read(self, path: str) -> bytes | None:
        """Return the bytes of an object, None if it is missing.

        Of an object longer than ``LONGEST_OWN`` bytes, ``LONGEST_OWN + 1`` bytes are returned.
        """

    def create(self, path: str, data: bytes) -> bool:
        """Store an object atomically; return False if it exists already."""

    def replace(self, path: str, data: bytes) -> None:
        """Store an object atomically, replacing an existing one."""

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder, at most 1,000."""

    def volume(self) -> Hashable:
        """Return a value that changes if another disk is mounted, None if that cannot be seen."""

    def expect(self, *, known: bool) -> None:
        """Set whether the mark was seen. If so, saves no longer make the store's folder."""


#: Records the name of a stored file, its size in bytes and its SHA-256 in hexadecimal.
Record = Callable[[str, int, str], object]


class FileMetaLike(Protocol):
    """The record of a file, as a store sees it.

    It may also have:

    - ``before_storing()``, which is called before a byte is stored, and raises an OSError if the
      store is not the right one;
    - ``is_buried(name)``, which returns whether a tombstone has the name, so that the store takes
      an alternative name even if this one is free;
    - ``filename``, from which a store that serves files guesses the media type;
    - ``size`` (bytes) and ``sha256`` (hexadecimal) of its content, with which a store can copy
      the content without reading it.
    """

    @property
    def content(self) -> Any:
        """The stored name, or an object with a ``name``; false if there is no content."""

    def key_ids(self) -> tuple[Any, Any]:
        """Return (delivery id, filemeta id)."""

    def record_stored(self, name: str, size: int, sha256: str) -> None:
        """Record a stored file: its name, size in bytes and SHA-256 in hexadecimal.

        Raises FileExistsError if the name must not be used; the store then takes another one.
        """

    def record_removed(self) -> None:
        """Record that the content is removed."""


def stored_name(filemeta: FileMetaLike) -> str | None:
    """Return the stored name of the record's content, None if it has no content."""
    content = filemeta.content
    if not content or not getattr(content, "_committed", True):
        return None
    return str(getattr(content, "name", content))


def is_used(filemeta: FileMetaLike, key: str) -> bool:
    """Return whether new content of the record needs another name than ``key``."""
    is_buried = getattr(filemeta, "is_buried", None)
    return stored_name(filemeta) is not None or (is_buried is not None and is_buried(key))


def checked_ids(filemeta: Any) -> tuple[Any, Any]:
    """Return the record's ids; ValueError if one of them is None, because it is not saved."""
    ids: tuple[Any, Any] = filemeta.key_ids()
    if None in ids:
        raise ValueError(
            f"{filemeta!r} has no ids yet {ids!r}: save it and its delivery before its content."
        )
    return ids
