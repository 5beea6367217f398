"""Whole or absent, whatever kills the writer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.proofs import count, report

from . import stores
from .killing import kill_during_saves
from .locations import DiskLocation

pytestmark = pytest.mark.slow


def test_a_killed_save_leaves_nothing_torn_and_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """1,000 SIGKILLs, 300 or more while a temp file exists: no torn file, no lost file.

    A kill leaves the page cache alone, so fsync plays no part in it; it stays on because its
    moments are moments of a save too.
    """
    tried = count(1000, ci=200)
    location = DiskLocation(tmp_path / "root", stores.hier)
    killed = kill_during_saves(location, tried)
    report("sigkill", tried=tried, hit=killed.within_a_save, bad=[*killed.torn, *killed.lost])
    assert killed.within_a_save >= 0.3 * tried
    assert killed.acknowledged > 0


def test_the_kills_find_torn_files_of_djangos_storage(tmp_path: Path) -> None:
    """The same harness fails on FileSystemStorage, which writes under the final name."""
    killed = kill_during_saves(DiskLocation(tmp_path / "root", stores.django), 20)
    assert killed.torn != []
