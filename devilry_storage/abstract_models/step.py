"""What a store sees of a row while it stores the row's bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class RowTaken(Exception):
    """Another writer has stored content in the row of an add, or has taken the row over.

    Not a FileExistsError, after which a store would try another name.
    """


class StoreStep:
    """A FileMeta for one ``write_open``, on behalf of a row whose own content is pending.

    ``fresh`` demands a name that the row never had; ``record`` is told name, size (bytes) and
    SHA-256 of what was stored.
    """

    def __init__(self, row: Any, *, fresh: bool, record: Callable[[str, int, str], None]) -> None:
        self.row = row
        self.content = fresh
        self.record_stored = record

    def __repr__(self) -> str:
        return repr(self.row)

    @property
    def filename(self) -> str:
        name: str = self.row.filename
        return name

    def key_ids(self) -> tuple[Any, Any]:
        ids: tuple[Any, Any] = self.row.key_ids()
        return ids

    def record_removed(self) -> None:
        raise NotImplementedError("Bytes are stored for this row, not removed.")
