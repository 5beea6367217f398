"""Temporary files that start in memory."""

from __future__ import annotations

import io
import tempfile
from typing import Any

from .chunks import CHUNK_SIZE, AnyFile
from .processes import Owner

#: Number of bytes that a writer keeps in memory before it uses a temporary file.
MEMORY = 1 << 20


class Spool(AnyFile):
    """A temporary file: in memory up to ``memory`` bytes, then in the system's folder.

    ``name`` is the user's filename, ``""`` if it is not known.
    """

    def __init__(self, memory: int = MEMORY, name: str = "") -> None:
        self._memory = memory
        self._waiting: io.BytesIO | None = io.BytesIO()
        super().__init__(self._waiting, name)
        self._owner = Owner()

    def write(self, data: Any) -> int:
        """Write all of the bytes; OSError if the system's folder has no space.

        Raises RuntimeError in a forked child, which shares the file position with its parent.
        """
        self._owner.require(self.name)
        # SpooledTemporaryFile copies to the disk by one write(), which may write less.
        if self._waiting is not None and self._waiting.tell() + len(data) > self._memory:
            self._move_to_disk(self._waiting)
            self._waiting = None
        _write_all(self.file, data)
        return len(data)

    def _move_to_disk(self, waiting: io.BytesIO) -> None:
        position = waiting.tell()
        # Unbuffered: a forked child that exits would write its copy of the buffer again.
        on_disk = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  # closed by close()
        try:
            waiting.seek(0)
            while chunk := waiting.read(CHUNK_SIZE):
                _write_all(on_disk, chunk)
            on_disk.seek(position)
        except BaseException:
            on_disk.close()
            raise
        waiting.close()
        self.file = on_disk


def _write_all(file: Any, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
