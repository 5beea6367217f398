"""Order and tokens of the pages of a folder."""

import re
from collections.abc import Callable, Iterable
from heapq import nsmallest
from typing import NamedTuple, TypeVar
from urllib.parse import quote, unquote

T = TypeVar("T")

_NUMBER = re.compile("0|[1-9][0-9]*")


class Position(NamedTuple):
    """The position of an entry in a folder: numbers by their value, then names by code point.

    In an object store a name may be that of a folder and of a file.
    """

    is_name: bool
    digits: int
    leaf: str
    is_file: bool

    @property
    def token(self) -> str:
        """The token of the page that begins after this entry."""
        # Names on disk may not be Unicode, and the token is part of URLs.
        slash = "" if self.is_file else "/"
        return quote(self.leaf, errors="surrogateescape") + slash


def position(leaf: str, *, is_file: bool) -> Position:
    """Return the position of an entry; ``leaf`` is its name in the folder."""
    if _NUMBER.fullmatch(leaf):
        return Position(False, len(leaf), leaf, is_file)
    return Position(True, 0, leaf, is_file)


def page_of(
    found: Iterable[T], position_of: Callable[[T], Position], after: str, limit: int
) -> tuple[list[T], str]:
    """Return the first ``limit`` entries after a token, in order, and the next token.

    At most ``limit`` entries are in memory. Any text is accepted as a token.
    """
    if after:
        leaf = unquote(after.removesuffix("/"), errors="surrogateescape")
        last = position(leaf, is_file=not after.endswith("/"))
        found = (entry for entry in found if position_of(entry) > last)
    first = nsmallest(limit + 1, found, key=position_of)
    return first[:limit], position_of(first[limit - 1]).token if len(first) > limit else ""
