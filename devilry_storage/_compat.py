"""Backports: itertools.batched (Python 3.12) and BaseException.add_note (3.11)."""

import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield the items in lists of ``size``. The last list may be shorter."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def add_note(exception: BaseException, note: str) -> None:
    """Add a note to an exception. Does nothing before Python 3.11."""
    if sys.version_info >= (3, 11):
        exception.add_note(note)
