"""One act of a store in a process of its own: ``memory_child.py FACTORY ROOT ACT BYTES``.

Prints the peak of its resident memory, in KiB. ``FACTORY`` is a function of ``stores``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import django
from django.conf import settings

NAME = "0/1/1005/17"
PIECE = 64 * 1024


class Generated:
    """A source of so many bytes, which are made as they are read."""

    name = "generated.bin"

    def __init__(self, size: int) -> None:
        self.size = size

    def chunks(self) -> Iterator[bytes]:
        for position in range(0, self.size, PIECE):
            yield bytes(min(PIECE, self.size - position))


def save(store: Any, size: int) -> int:
    store.save(NAME, Generated(size))
    return int(store.size(NAME))


def stream(store: Any) -> int:
    return sum(len(chunk) for chunk in store.stream(NAME))


def read(store: Any) -> int:
    total = 0
    with store.open(NAME) as file:
        while piece := file.read(PIECE):
            total += len(piece)
    return total


def peak_kib() -> int:
    """Return the most memory that this process ever had resident, in KiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    raise AssertionError("/proc/self/status has no VmHWM")


def main(factory: str, root: str, act: str, size: str) -> None:
    settings.configure()
    django.setup()
    from tests.slow import stores

    store = getattr(stores, factory)(Path(root))
    done = (
        save(store, int(size)) if act == "save" else {"stream": stream, "read": read}[act](store)
    )
    assert done == int(size), f"{act} moved {done} of {size} bytes"
    sys.stdout.write(str(peak_kib()))


if __name__ == "__main__":
    main(*sys.argv[1:])
