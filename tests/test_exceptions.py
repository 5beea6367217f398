"""The package's exceptions: base classes, messages and attributes."""

from __future__ import annotations

import copy
import errno
import inspect
import pickle
from typing import Any

import pytest
from django.core.exceptions import SuspiciousFileOperation

from devilry_storage import exceptions
from devilry_storage.exceptions import DeliveryFileNotFound, UnsafeEntry

ERRORS: list[Any] = [
    error
    for _, error in inspect.getmembers(exceptions, inspect.isclass)
    if error.__module__ == exceptions.__name__
]


class UnprintableRow:
    """A row whose string representation raises, as without a database."""

    pk = 17

    def __repr__(self) -> str:
        raise RuntimeError("This would query the database.")

    __str__ = __repr__


def test_exceptions_are_builtin_exceptions() -> None:
    """Callers that handle ValueError or OSError also handle the package's exceptions."""
    assert [error for error in ERRORS if not issubclass(error, (ValueError, OSError))] == []
    assert [error for error in ERRORS if not error.__doc__] == []


def test_exceptions_can_be_pickled(subtests: pytest.Subtests) -> None:
    """They are passed between worker processes."""
    for error in ERRORS:
        with subtests.test(error=error):
            copied = pickle.loads(pickle.dumps(error("0/1/1005/17")))
            assert type(copied) is error
            assert str(copied) == str(error("0/1/1005/17"))


def test_missing_file_has_name_and_row() -> None:
    """The exception is that of open(), with name and row."""
    row = UnprintableRow()
    missing = DeliveryFileNotFound("0/1/1005/17", row)
    assert isinstance(missing, FileNotFoundError)
    assert missing.errno == errno.ENOENT
    assert missing.filename == "0/1/1005/17"
    assert missing.filemeta is row
    assert "(the file of UnprintableRow 17) under: '0/1/1005/17'" in str(missing)


def test_missing_file_without_row_has_name() -> None:
    """The message has only the name in the store."""
    missing = DeliveryFileNotFound("a/b")
    assert missing.filemeta is None
    assert str(missing).endswith("The store has no file under: 'a/b'")


def test_copied_missing_file_keeps_name_and_row() -> None:
    """OSError would pass errno and message to the copy."""
    missing = DeliveryFileNotFound("a/b", {"pk": 1})
    for copied in copy.copy(missing), pickle.loads(pickle.dumps(missing)):
        assert (copied.filename, copied.filemeta) == ("a/b", {"pk": 1})
        assert str(copied) == str(missing)


def test_unsafe_entry_has_errno_and_name() -> None:
    """It is an OSError and a SuspiciousOperation."""
    unsafe = UnsafeEntry(errno.ELOOP, "not followed", "a/link")
    assert isinstance(unsafe, SuspiciousFileOperation)
    assert (unsafe.errno, unsafe.filename) == (errno.ELOOP, "a/link")
