"""Every error of our own; each is also the builtin (or Django) error a caller would expect."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import Any

from django.core.exceptions import ImproperlyConfigured, SuspiciousFileOperation

from ._compat import add_note


class InvalidName(SuspiciousFileOperation, ValueError):
    """A storage name that is not a plain relative name, so that no store touches it."""


class InvalidFilename(ValueError):
    """A ``filename`` that would be dangerous or useless as the name of a download."""


class UnsafeEntry(SuspiciousFileOperation, OSError):
    """A symlink, FIFO, device, folder or foreign file is where a file of the store should be."""


class DeliveryFileNotFound(FileNotFoundError):
    """The store holds no bytes under this name; ``filemeta`` is whose they should be, if known."""

    def __init__(self, name: str, filemeta: Any = None) -> None:
        self.filemeta = filemeta
        # Not its repr(): a model's __str__ may query the database, or fail, in the middle of this.
        owner = f"{type(filemeta).__name__} {getattr(filemeta, 'pk', '')}".rstrip()
        whose = "" if filemeta is None else f" (the file of {owner})"
        super().__init__(errno.ENOENT, f"The store holds no file{whose} under", name)

    def __reduce__(self) -> tuple[Any, ...]:
        # OSError would rebuild us from errno and text, which are not our arguments.
        return type(self), (self.filename, self.filemeta)


class StoreUnavailable(ConnectionError):
    """The server of a store did not answer, or not in time; the same call may succeed later."""


class StoreDenied(PermissionError):
    """The server of a store refuses the credentials, or they lack a permission."""


class StoreFailure(OSError):
    """The server of a store answered with an error, or its response is not complete.

    ``code`` is the server's name for the error.
    """

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class StoreNotRecognised(OSError):
    """The store is not the one in which the rows' files are stored, as far as can be seen.

    Its mark is missing or another store's, and so are the files. Nothing was stored.
    """


class StoreInUse(ValueError):
    """A store is not accepted, because another site has removed files from it lately."""


class ChecksumMismatch(OSError):
    """The bytes that were read are not those that were stored."""


class WrongSize(OSError):
    """A stored file does not have the size that was recorded, so it was not removed."""

    @classmethod
    def of(cls, name: str, size: int, recorded: int) -> WrongSize:
        """Return the error for a file of ``size`` bytes."""
        return cls(f"{name!r} has {size} bytes in the store, but {recorded} were recorded")


class ConditionalWritesIgnored(ImproperlyConfigured, OSError):
    """The server of a store ignores the condition that keeps writers from overwriting a file.

    Nothing was stored. It is an OSError too, because it is a save or a copy that raises it.
    """


class ArchiveTooLarge(ValueError):
    """An archive was asked for of more files or bytes than the settings allow."""


class NotCommitted(ValueError):
    """A file that is not in the store yet was used where only a stored one makes sense."""


class NotRestorable(ValueError):
    """A deleted file cannot come back: its bytes are gone, or its place is taken."""


class NotAnOrphan(ValueError):
    """Bytes are not removed as an orphan: they may be somebody's, or not of this database."""


class DeliveryStateError(ValueError):
    """A delivery is not in the state that the call needs."""


class DeliveryFinished(DeliveryStateError):
    """A finished delivery takes no new file and no new content."""


class DeliveryIncomplete(DeliveryStateError):
    """A delivery cannot be finished: it is empty, or files are not whole in the store.

    ``filenames`` are those of these files.
    """

    def __init__(self, message: str, filenames: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.filenames = list(filenames)


def note_file(exception: BaseException, filename: str) -> None:
    """Note which file of many was being stored: for people, and as ``being_stored`` for code."""
    exception.being_stored = filename  # type: ignore[attr-defined]
    add_note(exception, f"While the file {filename!r} was being stored.")
