"""Helpers for tests of the disk stores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from devilry_storage.storages import FsHierDeliveryStore

KEY = "0/1/1005/17"
OTHER = "0/1/1005/18"
NAME = "avatars/me.png"
DATA = b"what a student delivered"


def store_at(root: Path, **options: Any) -> FsHierDeliveryStore:
    """Return a store without fsync, which has its own tests."""
    return FsHierDeliveryStore(location=str(root), **{"durable": False, **options})


def read(store: FsHierDeliveryStore, name: str) -> bytes:
    with store.open(name) as file:
        return bytes(file.read())


def visible(root: Path) -> list[str]:
    """Return the names of all files below the root, except the store's own files."""
    names = (path.relative_to(root).as_posix() for path in root.rglob("*") if not path.is_dir())
    return sorted(name for name in names if not name.startswith(".devilry-storage"))


def plant(root: Path, name: str) -> Path:
    """Make the folder of a name and return the name's path."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def folders_above(root: Path, name: str) -> list[Path]:
    return [root / folder for folder in Path(name).parents if folder != Path()]
