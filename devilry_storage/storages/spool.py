"""Temporary files that start in memory."""

import io
import os
import tempfile
from typing import IO, Any

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
        _write_all(self.file, data)
        return len(data)

    def take(self, other: object) -> bool:
        """Replace the bytes by those of another spool; return False for another object."""
        if not isinstance(other, Spool) or not other._owner.is_this_process():
            return False
        self.file, other.file = other.file, self.file
        self._waiting, other._waiting = other._waiting, self._waiting
        self.seek(0)
        return True

    def reader(self) -> IO[bytes]:
        """Return an open file of the bytes, which stays readable when the spool is closed.

        Except on Linux it shares the position of the spool, so only one of them may be read at a
        time.
        """
        if self._waiting is not None:
            self._move_to_disk(self._waiting)
        try:
            fd = os.open(f"/proc/self/fd/{self.fileno()}", os.O_RDONLY)
        except OSError:
            fd = os.dup(self.fileno())
        # Unbuffered: a buffer would not notice that the position has changed.
        return os.fdopen(fd, "rb", buffering=0)

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
        self._waiting, self.file = None, on_disk


def _write_all(file: Any, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
