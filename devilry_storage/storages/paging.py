"""The order in which the pages of a folder come, and the tokens by which they go on."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from heapq import nsmallest
from typing import NamedTuple, TypeVar
from urllib.parse import quote, unquote

T = TypeVar("T")

_NUMBER = re.compile("0|[1-9][0-9]*")


class Place(NamedTuple):
    """Where something stands in a folder: numbers by their value, then names by code point.

    To a store of objects a name may be a folder and a file.
    """

    is_name: bool
    digits: int
    leaf: str
    is_file: bool

    @property
    def token(self) -> str:
        """What the page after this one is asked for by."""
        # Names on a disk need not be Unicode; the token travels in URLs.
        slash = "" if self.is_file else "/"
        return quote(self.leaf, errors="surrogateescape") + slash


def place(leaf: str, *, is_file: bool) -> Place:
    """Return the place of a name without its folder."""
    if _NUMBER.fullmatch(leaf):
        return Place(False, len(leaf), leaf, is_file)
    return Place(True, 0, leaf, is_file)


def page_of(
    found: Iterable[T], place_of: Callable[[T], Place], after: str, limit: int
) -> tuple[list[T], str]:
    """Return the first ``limit`` of what was found after a token, in order, and the next token.

    Holds no more than that at a time. Any text is a token.
    """
    if after:
        leaf = unquote(after.removesuffix("/"), errors="surrogateescape")
        last = place(leaf, is_file=not after.endswith("/"))
        found = (each for each in found if place_of(each) > last)
    first = nsmallest(limit + 1, found, key=place_of)
    return first[:limit], place_of(first[limit - 1]).token if len(first) > limit else ""
