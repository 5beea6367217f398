"""Memory of operations on disk: no operation loads a whole file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.machine import PROC, need
from tests.harness.proofs import count, report

from . import stores
from .measuring import MEBIBYTE, Make, peaks_over_limit

pytestmark = pytest.mark.slow

ACTS = ("save", "stream", "read")
LIMIT_KIB = 32 * 1024


def over_on_disk(make: Make, folder: Path, size: int) -> list[str]:
    locations = str(folder / "one-byte"), str(folder / "big")
    return peaks_over_limit(make, locations, ACTS, size, LIMIT_KIB)


def test_save_stream_and_read_of_512_mib_take_little_memory(tmp_path: Path) -> None:
    """Each takes less than 32 MiB more than with a one-byte file."""
    need(PROC)
    over = over_on_disk(stores.hier, tmp_path, count(512, 128) * MEBIBYTE)
    report("memory-512mib", tried=3, hit=3, bad=over)


def test_harness_detects_a_store_that_loads_whole_files(tmp_path: Path) -> None:
    """The same harness fails in all three acts on a store that reads the whole file at once."""
    need(PROC)
    over = over_on_disk(stores.loads_whole_files, tmp_path, 64 * MEBIBYTE)
    assert len(over) == 3
