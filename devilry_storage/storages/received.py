"""Uploads that are received into a store."""

from __future__ import annotations

import hashlib
import io
from typing import Any

from django.core.files.uploadedfile import UploadedFile


class Received(UploadedFile):  # type: ignore[type-arg]  # generic in the stubs alone
    """An upload whose bytes are in a sink of a store, which can publish them without a copy.

    :meth:`write` adds bytes until :meth:`complete` is called. From then on this is a file that can
    only be read. It stays readable after it was stored. ``close()`` removes what was not.
    """

    _sink: Any = None  # if __init__() fails

    def __init__(self, sink: Any, name: str | None, *details: Any) -> None:
        self._sink = sink
        self._received = 0
        self._hash = hashlib.sha256()
        self._reader: Any = None
        super().__init__(None, name, *details)

    def write(self, data: Any) -> int:
        """Add bytes; raises io.UnsupportedOperation when the upload is complete."""
        if self._reader is not None or self._sink is None:
            raise io.UnsupportedOperation(f"The upload {self.name!r} can only be read.")
        self._sink.write(data)
        self._hash.update(data)
        self._received += len(data)
        return len(data)

    def complete(self) -> None:
        """Open the file for reading, after its last byte was written."""
        self.file = self._reader = self._sink.reader()
        self.seek(0)
        self.size = self._received

    def move_to(self, sink: Any) -> tuple[hashlib._Hash, int] | None:
        """Move the bytes to a new sink; return their hash and number, None if they must be copied.

        They must be copied if they were moved before, if the sink cannot take them, or if other
        code may have changed what ``chunks()`` yields.
        """
        is_intact = (
            self.file is self._reader
            and not {"chunks", "read"} & vars(self).keys()
            and type(self) is Received
        )
        source, self._sink = self._sink, None
        if source is None:
            return None
        try:
            is_moved = is_intact and sink.take(source)
        finally:
            source.discard()
        return (self._hash, self._received) if is_moved else None

    def close(self) -> None:
        """Close the file, and remove its bytes unless they were moved."""
        for file in {self.file, self._reader} - {None}:
            file.close()
        source, self._sink = self._sink, None
        if source is not None:
            source.discard()

    def __del__(self) -> None:
        self.close()
