"""An open stored file."""

from __future__ import annotations

import io
from typing import IO, Any

from django.core.files.storage import Storage

from .chunks import AnyFile

READ_MODES = frozenset({"rb", "r", "rt"})


class Reader(AnyFile):
    """An open stored file, as bytes or as UTF-8 text. ``name`` is its storage name.

    ``open()`` opens it again if it is closed, or if the mode is of the other kind.
    """

    def __init__(self, store: Storage, name: str, raw: IO[bytes], mode: str = "rb") -> None:
        super().__init__(raw if mode == "rb" else io.TextIOWrapper(raw, encoding="utf-8"), name)
        self.mode = mode
        self._store = store
        self._stored_name = name

    def open(self, mode: str | None = None, *args: Any, **kwargs: Any) -> Reader:
        mode = mode or self.mode
        if mode not in READ_MODES:
            raise ValueError(
                f"Cannot open {self._stored_name!r} with mode {mode!r}, because it was opened for "
                "reading: use the store's open()."
            )
        if self.closed or (mode == "rb") != (self.mode == "rb"):
            file = self._store.open(self._stored_name, mode).file
            self.close()
            self.file, self.mode = file, mode
        else:
            self.seek(0)
        return self
