"""Each error of ours is also one that a caller expects, and tells what it is about."""

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


class Silent:
    """A record that cannot be written out: its database is gone."""

    pk = 17

    def __repr__(self) -> str:
        raise RuntimeError("This would query the database.")

    __str__ = __repr__


def test_every_error_is_also_one_that_callers_know() -> None:
    """Who catches ValueError or OSError, as Python and Django raise them, catches ours."""
    assert [error for error in ERRORS if not issubclass(error, (ValueError, OSError))] == []
    assert [error for error in ERRORS if not error.__doc__] == []


def test_every_error_can_be_pickled(subtests: pytest.Subtests) -> None:
    """Errors come back whole from worker processes."""
    for error in ERRORS:
        with subtests.test(error=error):
            again = pickle.loads(pickle.dumps(error("0/1/1005/17")))
            assert type(again) is error
            assert str(again) == str(error("0/1/1005/17"))


def test_a_missing_file_tells_its_name_and_whose_it_is() -> None:
    """The error is what open() raises, with the name, and carries the record."""
    owner = Silent()
    missing = DeliveryFileNotFound("0/1/1005/17", owner)
    assert isinstance(missing, FileNotFoundError)
    assert missing.errno == errno.ENOENT
    assert missing.filename == "0/1/1005/17"
    assert missing.filemeta is owner
    assert "(the file of Silent 17) under: '0/1/1005/17'" in str(missing)


def test_a_missing_file_of_nobody_tells_its_name() -> None:
    """Without a record the message names the storage name alone."""
    missing = DeliveryFileNotFound("a/b")
    assert missing.filemeta is None
    assert str(missing).endswith("The store has no file under: 'a/b'")


def test_a_missing_file_keeps_name_and_owner_when_copied() -> None:
    """OSError would rebuild it of errno and text."""
    missing = DeliveryFileNotFound("a/b", {"pk": 1})
    for again in copy.copy(missing), pickle.loads(pickle.dumps(missing)):
        assert (again.filename, again.filemeta) == ("a/b", {"pk": 1})
        assert str(again) == str(missing)


def test_an_unsafe_entry_has_errno_and_name() -> None:
    """It is a system's error to Python, and a suspicious operation to Django."""
    unsafe = UnsafeEntry(errno.ELOOP, "not followed", "a/link")
    assert isinstance(unsafe, SuspiciousFileOperation)
    assert (unsafe.errno, unsafe.filename) == (errno.ELOOP, "a/link")
