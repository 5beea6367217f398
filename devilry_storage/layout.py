"""Where a file lies: pure functions between (delivery id, filemeta id) and key.

The formula is that of Devilry's ``FsHierDeliveryStore``, with the integer division that it had
until its port to Python 3. A key is computed once, when bytes are stored; from then on the
database column says where they lie.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

DEFAULT_INTERVAL = 1000

# No longer than Python converts between int and str (sys.int_info.default_max_str_digits): key()
# makes nothing longer, and a folder named by 5,000 digits is somebody else's, not an error.
_INTEGER = "(0|[1-9][0-9]{0,4299})"
# Django's Storage.get_alternative_name() adds an underscore and seven of these.
_LEAF = f"{_INTEGER}(?:_[A-Za-z0-9]{{7}})?"
_HIER_KEY = re.compile(f"{_INTEGER}/{_INTEGER}/{_INTEGER}/{_LEAF}")
_FLAT_KEY = re.compile(f"{_INTEGER}/{_LEAF}")
_BRANCH = re.compile(f"{_INTEGER}(?:/{_INTEGER})?(?:/{_INTEGER})?")


class Branch(NamedTuple):
    """A folder of a layout and the delivery ids whose files lie below it."""

    name: str
    ids: range


class Layout(Protocol):
    """What a store asks of a layout."""

    def key(self, delivery_id: int, filemeta_id: int) -> str:
        """Return the key under which the file's bytes lie.

        Raises TypeError for an id that is no integer, ValueError for a negative one.
        """

    def parse(self, key: str) -> tuple[int, int]:
        """Return (delivery id, filemeta id) of a key, alternative names included.

        Raises ValueError for everything that :meth:`key` does not make.
        """

    def folder(self, delivery_id: int) -> str:
        """Return the folder in which all files of the delivery lie."""

    def branches(self, names: Iterable[str]) -> list[Branch]:
        """Return those of the folders that are the layout's, in numeric order, with their ids."""


def _check_id(what: str, value: object) -> int:
    if value is None:
        raise TypeError(
            f"{what} 'None' is not an id: save the object first, keys are made of ids."
        )
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(
            f"{what} {str(value)!r} is a {type(value).__name__}: keys are made of integers, "
            "so the models need integer primary keys (or a key_ids() that returns integers)."
        )
    if value < 0:
        raise ValueError(f"{what} '{value}' is negative: ids in keys start at 0.")
    # A subclass (an IntEnum, say) may write itself otherwise than in digits.
    return int(value)


def _check_interval(value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"Layout interval {value!r} is not an integer: use one of at least 2.")
    if value < 2:
        raise ValueError(f"Layout interval '{value}' is too small: use at least 2.")


def _match(pattern: re.Pattern[str], key: object) -> re.Match[str] | None:
    return pattern.fullmatch(key) if isinstance(key, str) else None


def _sorted(branches: Iterable[Branch]) -> list[Branch]:
    return sorted(branches, key=lambda branch: (branch.ids.start, branch.ids.stop))


@dataclass(frozen=True)
class HierLayout:
    """``<d // i²>/<d % i² // i>/<d>/<f>``: at most ``interval`` folders in one folder below the
    top, for delivery d, filemeta f and interval i.

    ``interval`` is an integer of at least 2; else ValueError (TypeError if it is no integer).
    """

    interval: int = DEFAULT_INTERVAL

    def __post_init__(self) -> None:
        _check_interval(self.interval)

    def _branch_of(self, delivery_id: int) -> str:
        square = self.interval**2
        return f"{delivery_id // square}/{delivery_id % square // self.interval}"

    def folder(self, delivery_id: int) -> str:
        delivery_id = _check_id("Delivery id", delivery_id)
        return f"{self._branch_of(delivery_id)}/{delivery_id}"

    def key(self, delivery_id: int, filemeta_id: int) -> str:
        return f"{self.folder(delivery_id)}/{_check_id('FileMeta id', filemeta_id)}"

    def parse(self, key: str) -> tuple[int, int]:
        match = _match(_HIER_KEY, key)
        if match is None:
            raise ValueError(
                f"{key!r} is not a delivery key: keys look like {self.key(1005, 17)!r}."
            )
        delivery_id, filemeta_id = int(match[3]), int(match[4])
        expected = self._branch_of(delivery_id)
        if f"{match[1]}/{match[2]}" != expected:
            raise ValueError(
                f"{key!r} is not a delivery key: delivery {delivery_id} belongs under "
                f"'{expected}/'."
            )
        return delivery_id, filemeta_id

    def branches(self, names: Iterable[str]) -> list[Branch]:
        found = ((name, self._ids(name)) for name in names)
        return _sorted(Branch(name, ids) for name, ids in found if ids is not None)

    def _ids(self, name: str) -> range | None:
        match = _BRANCH.fullmatch(name)
        if match is None:
            return None
        top = int(match[1])
        sub, delivery = (None if part is None else int(part) for part in match.groups()[1:])
        start = top * self.interval**2
        if sub is None:
            return range(start, start + self.interval**2)
        if sub >= self.interval:
            return None
        if delivery is None:
            start += sub * self.interval
            return range(start, start + self.interval)
        if self._branch_of(delivery) != f"{top}/{sub}":
            return None
        return range(delivery, delivery + 1)


@dataclass(frozen=True)
class FlatLayout:
    """``<d>/<f>``: one folder a delivery, the original's older layout."""

    def folder(self, delivery_id: int) -> str:
        return str(_check_id("Delivery id", delivery_id))

    def key(self, delivery_id: int, filemeta_id: int) -> str:
        return f"{self.folder(delivery_id)}/{_check_id('FileMeta id', filemeta_id)}"

    def parse(self, key: str) -> tuple[int, int]:
        match = _match(_FLAT_KEY, key)
        if match is None:
            raise ValueError(
                f"{key!r} is not a delivery key: keys look like {self.key(1005, 17)!r}."
            )
        return int(match[1]), int(match[2])

    def branches(self, names: Iterable[str]) -> list[Branch]:
        numbers = (int(name) for name in names if re.fullmatch(_INTEGER, name))
        return _sorted(Branch(str(number), range(number, number + 1)) for number in numbers)
