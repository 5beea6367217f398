"""The peak memory of a fresh process that does one thing with a store."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from typing import Any

from . import memory_child

MEBIBYTE = 1 << 20

Make = Callable[[Any], object]
"""A function of a module that makes a store over a place."""


def peak(make: Make, place: str, act: str, size: int) -> int:
    """Return the peak memory in KiB of a fresh process that does ``act`` with a file."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    factory = f"{make.__module__}.{make.__qualname__}"
    done = subprocess.run(
        [sys.executable, memory_child.__file__, factory, place, act, str(size)],
        check=False,
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def peaks_over_limit(
    make: Make, places: tuple[str, str], acts: Iterable[str], size: int, limit: int
) -> list[str]:
    """Return a line for each act whose peak is over that with a one-byte file by ``limit`` KiB.

    ``places`` are those of the one-byte file and of the one of ``size`` bytes.
    """
    over = []
    for act in acts:
        baseline = peak(make, places[0], act, 1)
        extra = peak(make, places[1], act, size) - baseline
        if extra >= limit:
            over.append(f"{act} took {extra} KiB more than the {baseline} KiB of one byte")
    return over
