"""An open stored file."""

from __future__ import annotations

import io
from typing import IO, TYPE_CHECKING, Any

from django.core.files import File
from django.core.files.storage import Storage

if TYPE_CHECKING:
    _BytesFile = File[bytes]
    _AnyFile = File[Any]
else:
    _BytesFile = _AnyFile = File  # generic for the type checker alone


class Reader(_BytesFile):
    """An open stored file. ``name`` is its storage name; ``open()`` opens it again if closed."""

    def __init__(self, store: Storage, name: str, raw: IO[bytes]) -> None:
        super().__init__(raw, name)
        self._store = store
        self._stored_name = name

    def open(self, mode: str | None = None, *args: Any, **kwargs: Any) -> Reader:
        if self.closed:
            self.file = self._store.open(self._stored_name, mode or "rb").file
        else:
            self.seek(0)
        return self


def open_reader(store: Storage, name: str, raw: IO[bytes], mode: str) -> File[Any]:
    """Return the raw stream as a file of the mode: bytes for ``rb``, otherwise UTF-8 text."""
    if mode == "rb":
        return Reader(store, name, raw)
    return File(io.TextIOWrapper(raw, encoding="utf-8"), name)
