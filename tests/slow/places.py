"""Where a harness puts a store, and how it looks at what the store left, past the store."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from django.core.files.storage import Storage

OWN_FOLDER = ".devilry-storage"


class Place(Protocol):
    """What a harness asks of a store's surroundings; a place is used across fork()."""

    def store(self) -> Storage:
        """Return a fresh store over this place."""

    def visible(self) -> Iterator[tuple[str, bytes]]:
        """Yield (name, bytes) of all that lies under a final name."""

    def unfinished(self) -> int:
        """Return how many saves have left their temporary form behind."""

    def clear(self) -> None:
        """Remove all that is visible or unfinished."""


@dataclass(frozen=True)
class DiskPlace:
    """A folder on disk, looked at without the store."""

    root: Path
    make: Callable[[Path], Storage]

    def store(self) -> Storage:
        return self.make(self.root)

    def visible(self) -> Iterator[tuple[str, bytes]]:
        for path in sorted(self.root.rglob("*")):
            name = path.relative_to(self.root)
            if name.parts[0] != OWN_FOLDER and not path.is_dir():
                yield name.as_posix(), path.read_bytes()

    def unfinished(self) -> int:
        return sum(1 for path in self._own().rglob("*") if path.is_file())

    def clear(self) -> None:
        for path in [*self.root.iterdir()] if self.root.is_dir() else []:
            if path != self._own():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        for path in self._own().rglob("*"):
            if path.is_file() and path.parent.name == "tmp":
                path.unlink()

    def _own(self) -> Path:
        return self.root / OWN_FOLDER
