"""Remember for a while, in this process, what checks of stores have found."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, NamedTuple

from ..storages.protocols import OwnObjects
from .marks import Site

#: How long, in seconds, saves do not check a store again after it failed to respond, and how long
#: a delete without retention relies on a permission to remove files.
PAUSE = 300


class Checked(NamedTuple):
    """The last check before a save.

    ``until`` is the time of the monotonic clock until which it counts, 0 for no limit. A check
    that ``is_settled`` counts as long as the same ``volume`` is there.
    """

    own: OwnObjects
    volume: Hashable
    until: float
    is_settled: bool


class Permitted(NamedTuple):
    """A permission to remove files.

    It counts until a time of the monotonic clock, as long as the same volume is there. ``site``
    is this site's object in the store.
    """

    until: float
    volume: Hashable
    site: Site


#: The last checks and permissions, by `MarkedStore.key`.
checked: dict[Hashable, Checked] = {}
permitted: dict[Hashable, Permitted] = {}


def forget(*, using: str, **kwargs: Any) -> None:
    """Clear the caches. Connected to ``post_migrate``, which follows a flush, too."""
    permitted.clear()
    for key, check in list(checked.items()):
        check.own.expect(known=False)
        checked.pop(key, None)
