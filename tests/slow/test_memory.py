"""Little memory: no store operation holds a file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.machine import PROC, need
from tests.proofs import count, report

from . import memory_child, stores

pytestmark = pytest.mark.slow

MEBIBYTE = 1 << 20
LIMIT_KIB = 32 * 1024


def peak(factory: str, root: Path, act: str, size: int) -> int:
    """Return the peak memory in KiB of a fresh process that does ``act`` with a file."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    done = subprocess.run(
        [sys.executable, memory_child.__file__, factory, str(root), act, str(size)],
        check=False,
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def peaks_over_limit(factory: str, folder: Path, size: int) -> list[str]:
    """Return a line for each act whose peak is over that with a one-byte file by the limit."""
    over = []
    for act in ("save", "stream", "read"):
        baseline = peak(factory, folder / "one-byte", act, 1)
        extra = peak(factory, folder / "big", act, size) - baseline
        if extra >= LIMIT_KIB:
            over.append(f"{act} took {extra} KiB more than the {baseline} KiB of one byte")
    return over


def test_a_file_of_512_mib_goes_through_save_stream_and_read_in_little_memory(
    tmp_path: Path,
) -> None:
    """A 512 MiB file takes less than 32 MiB over a one-byte file: saved, streamed, read."""
    need(PROC)
    over = peaks_over_limit(stores.hier.__name__, tmp_path, count(512, 128) * MEBIBYTE)
    report("memory-512mib", tried=3, hit=3, bad=len(over))
    assert over == []


def test_the_measurement_finds_a_store_that_holds_whole_files(tmp_path: Path) -> None:
    """The same harness is red on a store that reads everything at once, in all three acts."""
    need(PROC)
    over = peaks_over_limit(stores.hoarder.__name__, tmp_path, 64 * MEBIBYTE)
    assert len(over) == 3
