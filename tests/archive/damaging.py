"""Stored files that are damaged in different ways, and the archives that contain them."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from devilry_storage.archive import Archive, Member
from devilry_storage.archive.entries import LimitCounter, find_members
from devilry_storage.archive.readahead import SMALL
from devilry_storage.storages import FsHierDeliveryStore

DATE = (2026, 5, 17, 20, 0, 0)
LARGE = SMALL + 70_000


def flip(path: Path) -> None:
    with path.open("r+b") as file:
        size = path.stat().st_size
        file.seek(size // 2)
        byte = file.read(1)
        file.seek(size // 2)
        file.write(bytes([byte[0] ^ 1]))


def shorten(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def grow(path: Path) -> None:
    path.write_bytes(b"more" + path.read_bytes())


def link(path: Path) -> None:
    """Replace the file by a symlink, which the store refuses to read."""
    path.unlink()
    path.symlink_to("elsewhere")


FAULTS: dict[str, Callable[[Path], None]] = {
    "flipped": flip,
    "short": shorten,
    "grown": grow,
    "vanished": Path.unlink,
    "symlink": link,
}


class Site:
    """A store with files, and the members of an archive of them."""

    def __init__(self, folder: Path, sizes: dict[str, int], *, parallel_reads: int = 1) -> None:
        self.store: Any = FsHierDeliveryStore(str(folder))
        self.store.parallel_reads = parallel_reads
        self.contents: dict[str, bytes] = {}
        self.members: list[Member] = []
        (folder / "0").mkdir(parents=True)
        for path, size in sizes.items():
            name = f"0/{len(self.members)}"
            data = (path.encode() * (size // len(path) + 1))[:size]
            (folder / name).write_bytes(data)
            sha256 = hashlib.sha256(data).hexdigest()
            self.contents[path] = data
            self.members.append(Member(path, name, size, sha256, DATE))

    def name_of(self, path: str) -> str:
        return next(member.name for member in self.members if member.path == path)

    def damage(self, path: str, fault: str) -> None:
        FAULTS[fault](Path(self.store.path("")) / self.name_of(path))

    def archive(self) -> Archive:
        return Archive(self.store, find_members(self.store, self.members, LimitCounter()))


def failing(store: Any, failures: dict[str, tuple[int, Exception]]) -> None:
    """Let reading a file fail after a number of bytes."""
    stream = store.stream

    def fail(name: str, **options: Any) -> Iterator[bytes]:
        if name not in failures:
            yield from stream(name, **options)
            return
        after, exception = failures[name]
        yield b"".join(stream(name))[:after]
        raise exception

    store.stream = fail


BAD_SECTOR = OSError(errno.EIO, "Input/output error")


def differences(site: Site, bad: set[str], folder: Path) -> list[str]:
    """Compare an unpacked archive with the stored files, of which some were damaged.

    Return the paths of intact files that are missing or differ, and of other files that should not
    be there. Python stops in the middle of the first large file that is damaged.
    """
    found = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    wrong = [
        path
        for path, data in site.contents.items()
        if path not in bad and found.pop(path, None) != data
    ]
    for path in bad:
        found.pop(path if len(site.contents[path]) > SMALL else f"{path}.DAMAGED", None)
    return wrong + sorted(found.keys() - {"REPORT.txt", "SHA256SUMS"})
