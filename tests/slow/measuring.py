"""Measure the peak memory of a new process that performs one act with a store."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from typing import Any

from . import memory_child

MEBIBYTE = 1 << 20

Make = Callable[[Any], object]
"""A module-level function that returns the store for a location."""


def peak(make: Make, location: str, act: str, size: int) -> int:
    """Return the peak memory in KiB of a new process that performs ``act`` on a file."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    factory = f"{make.__module__}.{make.__qualname__}"
    done = subprocess.run(
        [sys.executable, memory_child.__file__, factory, location, act, str(size)],
        check=False,
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def peaks_over_limit(
    make: Make, locations: tuple[str, str], acts: Iterable[str], size: int, limit: int
) -> list[str]:
    """Return a line for each act that takes ``limit`` KiB more for ``size`` bytes than for one.

    ``locations`` are the locations for the one-byte file and for the file of ``size`` bytes.
    """
    over = []
    for act in acts:
        baseline = peak(make, locations[0], act, 1)
        extra = peak(make, locations[1], act, size) - baseline
        if extra >= limit:
            over.append(f"{act} took {extra} KiB more than the {baseline} KiB for one byte")
    return over
