"""Layouts: pure functions that convert (delivery id, filemeta id) to a key and back.

The formula is that of Devilry's ``FsHierDeliveryStore``, with the integer division that it used
before its port to Python 3. A key is computed once, when the file is stored. After that, only the
database column determines the name of the file.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

DEFAULT_INTERVAL = 1000

# The maximum number of digits that Python converts between int and str
# (sys.int_info.default_max_str_digits). A folder with a longer name is foreign, not an error.
_INTEGER = "(0|[1-9][0-9]{0,4299})"
# Django's Storage.get_alternative_name() adds an underscore and seven of these.
_LEAF = f"{_INTEGER}(?:_[A-Za-z0-9]{{7}})?"
_BRANCH = re.compile(f"{_INTEGER}(?:/{_INTEGER})?(?:/{_INTEGER})?")


class Branch(NamedTuple):
    """A folder of a layout and the ids of the deliveries whose files are stored below it."""

    name: str
    ids: range


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
    # Subclasses of int, such as IntEnum, may have another string representation.
    return int(value)


class Layout:
    """The interface of a layout, and what all layouts have in common."""

    _key: ClassVar[re.Pattern[str]]

    def folder(self, delivery_id: int) -> str:
        """Return the folder that contains all files of the delivery."""
        raise NotImplementedError

    def _ids(self, name: str) -> range | None:
        """Return the ids of the deliveries below a folder, None if the layout has no such one."""
        raise NotImplementedError

    def key(self, delivery_id: int, filemeta_id: int) -> str:
        """Return the key of a file.

        Raises TypeError if an id is not an integer, ValueError if it is negative.
        """
        return f"{self.folder(delivery_id)}/{_check_id('FileMeta id', filemeta_id)}"

    def parse(self, key: str | None) -> tuple[int, int]:
        """Return (delivery id, filemeta id) of a key or an alternative name.

        Raises ValueError for every other name or value.
        """
        if not isinstance(key, str) or (match := self._key.fullmatch(key)) is None:
            raise ValueError(
                f"{key!r} is not a delivery key: keys look like {self.key(1005, 17)!r}."
            )
        *_, delivery_id, filemeta_id = map(int, match.groups())
        folder = self.folder(delivery_id)
        if not key.startswith(f"{folder}/"):
            raise ValueError(
                f"{key!r} is not a delivery key: delivery {delivery_id} belongs in {folder!r}."
            )
        return delivery_id, filemeta_id

    def branches(self, names: Iterable[str]) -> list[Branch]:
        """Return the folders that belong to the layout, in numeric order, with their ids."""
        found = ((name, self._ids(name)) for name in names)
        branches = [Branch(name, ids) for name, ids in found if ids is not None]
        return sorted(branches, key=lambda branch: (branch.ids.start, branch.ids.stop))


@dataclass(frozen=True)
class HierLayout(Layout):
    """The layout ``<d // i²>/<d % i² // i>/<d>/<f>`` for delivery d, filemeta f and interval i.

    A folder contains at most ``interval`` folders; only the top folder may contain more. Raises
    TypeError if ``interval`` is not an integer, ValueError if it is below 2.
    """

    interval: int = DEFAULT_INTERVAL
    _key = re.compile(f"{_INTEGER}/{_INTEGER}/{_INTEGER}/{_LEAF}")

    def __post_init__(self) -> None:
        value: object = self.interval
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"Layout interval {value!r} is not an integer: use one of at least 2.")
        if value < 2:
            raise ValueError(f"Layout interval '{value}' is too small: use at least 2.")

    def folder(self, delivery_id: int) -> str:
        delivery_id = _check_id("Delivery id", delivery_id)
        square = self.interval**2
        return f"{delivery_id // square}/{delivery_id % square // self.interval}/{delivery_id}"

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
        if self.folder(delivery) != name:
            return None
        return range(delivery, delivery + 1)


@dataclass(frozen=True)
class FlatLayout(Layout):
    """The layout ``<d>/<f>`` for delivery d and filemeta f: Devilry's older layout."""

    _key = re.compile(f"{_INTEGER}/{_LEAF}")

    def folder(self, delivery_id: int) -> str:
        return str(_check_id("Delivery id", delivery_id))

    def _ids(self, name: str) -> range | None:
        if not re.fullmatch(_INTEGER, name):
            return None
        return range(int(name), int(name) + 1)
