"""Perform one act in a separate process: ``memory_child.py FACTORY LOCATION ACT BYTES``.

It prints its peak resident memory in KiB. ``FACTORY`` is the dotted path of a function that
returns the store for ``LOCATION``, a folder or a bucket.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.core.files import File
from django.utils.module_loading import import_string

NAME = "0/1/1005/17"
PIECE = 64 * 1024


class Generated:
    """A source of ``size`` bytes that are generated as they are read."""

    name = "generated.bin"

    def __init__(self, size: int) -> None:
        self.size = size

    def chunks(self) -> Iterator[bytes]:
        for position in range(0, self.size, PIECE):
            yield bytes(min(PIECE, self.size - position))


def save(store: Any, size: int) -> int:
    return int(store.size(store.save(NAME, Generated(size))))


def _stored(store: Any) -> str:
    """Return the name of the file that `save` has stored, which is an alternative one on S3."""
    folder, _, leaf = NAME.rpartition("/")
    _folders, names = store.listdir(folder)
    return next(f"{folder}/{name}" for name in names if name.startswith(leaf))


def save_from_disk(store: Any, size: int) -> int:
    with tempfile.TemporaryFile() as file:
        file.truncate(size)
        name = store.save("0/1/1005/18", File(file, "from-disk.bin"))
    return int(store.size(name))


def write(store: Any, size: int) -> int:
    from devilry_storage.testing import PlainFileMeta

    filemeta = PlainFileMeta(store, 1005, 19)
    with store.write_open(filemeta) as writer:
        for chunk in Generated(size).chunks():
            writer.write(chunk)
    return int(store.size(filemeta.content))


def stream(store: Any, size: int) -> int:
    """Stream the file that `save` has stored."""
    return sum(len(chunk) for chunk in store.stream(_stored(store)))


def read(store: Any, size: int) -> int:
    """Read the file that `save` has stored."""
    total = 0
    with store.open(_stored(store)) as file:
        while piece := file.read(PIECE):
            total += len(piece)
    return total


Act = Callable[[Any, int], int]
"""Takes a store and a size in bytes, and returns the number of bytes transferred."""

ACTS: dict[str, Act] = {act.__name__: act for act in (save, save_from_disk, write, stream, read)}


def peak_kib() -> int:
    """Return the peak resident memory of this process, in KiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    raise AssertionError("/proc/self/status has no VmHWM")


def main(factory: str, location: str, act: str, size: str) -> None:
    settings.configure()
    django.setup()
    done = ACTS[act](import_string(factory)(location), int(size))
    assert done == int(size), f"{act} transferred {done} of {size} bytes"
    sys.stdout.write(str(peak_kib()))


if __name__ == "__main__":
    main(*sys.argv[1:])
