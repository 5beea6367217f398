"""Temporary files that start in memory."""

from __future__ import annotations

import io
import tempfile
from typing import TYPE_CHECKING, Any

from django.core.files import File

from .chunks import CHUNK_SIZE
from .processes import Owner

if TYPE_CHECKING:
    _BytesFile = File[bytes]
    _AnyFile = File[Any]
else:
    _BytesFile = _AnyFile = File  # generic for the type checker alone


#: So many bytes of a writer wait in memory before they go to a temporary file.
MEMORY = 1 << 20


class Spool(_BytesFile):
    """A temporary file: in memory up to ``memory`` bytes, then one of the system's.

    ``name`` is the filename under which a user knows the bytes, empty if it is not known.
    """

    def __init__(self, memory: int, name: str = "") -> None:
        self._memory = memory
        self._waiting: io.BytesIO | None = io.BytesIO()
        super().__init__(self._waiting, name)
        self._owner = Owner()

    def add(self, data: bytes) -> None:
        """Write all of the data; OSError where the system's temporary files have no room.

        RuntimeError in a forked child, which shares the position in the file with its parent.
        """
        self._owner.require(self.name)
        # SpooledTemporaryFile moves to the disk by a single write(), which may take less.
        if self._waiting is not None and self._waiting.tell() + len(data) > self._memory:
            self._move_to_disk(self._waiting)
            self._waiting = None
        _write_all(self.file, data)

    def _move_to_disk(self, waiting: io.BytesIO) -> None:
        # Without a buffer: a forked child that ends would write its copy of one a second time.
        on_disk = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  # ours
        try:
            waiting.seek(0)
            while chunk := waiting.read(CHUNK_SIZE):
                _write_all(on_disk, chunk)
        except BaseException:
            on_disk.close()
            raise
        waiting.close()
        self.file = on_disk


def _write_all(file: Any, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
