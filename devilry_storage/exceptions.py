"""The package's exceptions. Each is a subclass of the matching builtin or Django exception."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import Any

from django.core.exceptions import ImproperlyConfigured, SuspiciousFileOperation

from ._compat import add_note


class InvalidName(SuspiciousFileOperation, ValueError):
    """A storage name is not a valid relative name. No store accepts it."""


class InvalidNameType(InvalidName, TypeError):
    """A storage name is neither text nor a path. Django's storages raise TypeError."""


class InvalidFilename(ValueError):
    """A filename would be dangerous or unusable as the name of a download."""


class NoURL(ValueError, AttributeError):
    """A file has no URL. Forms and templates show no link then, and APIs give null."""

    #: Django's templates show nothing for it.
    silent_variable_failure = True


class UnsafeEntry(SuspiciousFileOperation, OSError):
    """The path of a stored file is a symlink, FIFO, device, folder or foreign file."""


class DeliveryFileNotFound(FileNotFoundError):
    """The store has no file with this name. ``filemeta`` is the row of the file, if known."""

    def __init__(self, name: str, filemeta: Any = None) -> None:
        self.filemeta = filemeta
        # Not its repr(): a model's __str__() may query the database or fail.
        owner = f"{type(filemeta).__name__} {getattr(filemeta, 'pk', '')}".rstrip()
        of_row = "" if filemeta is None else f" (the file of {owner})"
        super().__init__(errno.ENOENT, f"The store has no file{of_row} under", name)

    def __reduce__(self) -> tuple[Any, ...]:
        # OSError would pass errno and message to __init__().
        return type(self), (self.filename, self.filemeta)


class StoreUnavailable(ConnectionError):
    """The server of a store did not respond in time. The same call may succeed later."""


class StoreDenied(PermissionError):
    """The server of a store rejects the credentials, or they lack a permission."""


class StoreFailure(OSError):
    """The server of a store returned an error or an incomplete response.

    ``code`` is the server's code of the error.
    """

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class StoreNotRecognised(OSError):
    """The store does not seem to be the one that contains the files of the rows.

    The mark is missing or belongs to another store, and the files are missing. Nothing was stored.
    """


class StoreInUse(ValueError):
    """A store is not accepted, because another site has removed files from it recently."""


class ChecksumMismatch(OSError):
    """The bytes that were read differ from the bytes that were stored."""


class WrongSize(OSError):
    """A stored file does not have the recorded size, so it was not removed."""

    @classmethod
    def of(cls, name: str, size: int, recorded: int) -> WrongSize:
        """Return the error for a file of ``size`` bytes."""
        return cls(f"{name!r} has {size} bytes in the store, but {recorded} were recorded")


class ConditionalWritesIgnored(ImproperlyConfigured, OSError):
    """The server of a store ignores the condition that prevents overwriting a file.

    Nothing was stored. It is also an OSError, because saving or copying a file raises it.
    """


class ArchiveTooLarge(ValueError):
    """An archive would have more files or bytes than the settings allow."""


class NotCommitted(ValueError):
    """The operation needs a stored file, but the file has not been saved yet."""


class HistoricalModel(NotCommitted):
    """The model that a migration provides cannot store, remove or delete files."""


class NotRestorable(ValueError):
    """A deleted file cannot be restored: its bytes are missing, or its name or id is in use."""


class NotAnOrphan(ValueError):
    """A stored file is not removed as an orphan: it may be in use, or unknown to this database."""


class DeliveryStateError(ValueError):
    """The operation is not allowed in the current state of the delivery."""


class DeliveryFinished(DeliveryStateError):
    """A finished delivery does not accept new files or new content."""


class DeliveryIncomplete(DeliveryStateError):
    """A delivery cannot be finished: it is empty, or files are missing or incomplete.

    ``filenames`` lists the filenames of these files.
    """

    def __init__(self, message: str, filenames: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.filenames = list(filenames)


def note_file(exception: BaseException, filename: str) -> None:
    """Add the name of the file that was being stored: as a note, and as ``being_stored``."""
    exception.being_stored = filename  # type: ignore[attr-defined]
    add_note(exception, f"While the file {filename!r} was being stored.")
