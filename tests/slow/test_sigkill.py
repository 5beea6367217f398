"""Killed writers on disk: files are complete or absent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.harness.proofs import count, report

from . import stores
from .killing import kill_during_saves
from .locations import DiskLocation

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("proof", "make"), [("sigkill", stores.hier), ("sigkill-upload", stores.receiving)]
)
def test_killed_saves_tear_no_file_and_lose_no_acknowledged_file(
    tmp_path: Path, proof: str, make: Any
) -> None:
    """1,000 SIGKILLs, at least 300 of them while a temporary file exists.

    The page cache survives a kill, so fsync does not matter. It stays enabled because a save can
    be killed during an fsync, too.
    """
    tried = count(1000, ci=200)
    location = DiskLocation(tmp_path / "root", make)
    killed = kill_during_saves(location, tried)
    report(proof, tried=tried, hit=killed.within_a_save, bad=[*killed.torn, *killed.lost])
    assert killed.within_a_save >= 0.3 * tried
    assert killed.acknowledged > 0


def test_harness_detects_torn_files_of_django_storage(tmp_path: Path) -> None:
    """The same harness fails on FileSystemStorage, which writes under the final name."""
    killed = kill_during_saves(DiskLocation(tmp_path / "root", stores.django), 20)
    assert killed.torn != []
