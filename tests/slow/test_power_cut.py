"""Power cuts: acknowledged files are durable."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from devilry_storage.storages.tree import Removal, Tree
from tests.harness.machine import LOOP_MOUNTS, need
from tests.harness.proofs import count, report

from . import stores
from .cutting import cut_power
from .locations import DiskLocation

pytestmark = pytest.mark.slow


def disk_location(root: Path) -> DiskLocation:
    return DiskLocation(root, stores.hier)


@pytest.mark.parametrize(
    ("proof", "make"), [("power-cut", stores.hier), ("power-cut-upload", stores.receiving)]
)
def test_acknowledged_files_survive_power_cuts(tmp_path: Path, proof: str, make: Any) -> None:
    """30 power cuts, each right after a call returns: every acknowledged file is complete.

    Files that were removed do not come back.

    A hit is a cut of a file system in use, whose journal must be replayed.
    """
    need(LOOP_MOUNTS)
    tried = count(30, 5)
    cuts = cut_power(tmp_path, lambda root: DiskLocation(root, make), tried)
    report(proof, tried=tried, hit=cuts.recovered, bad=cuts.damaged)
    assert cuts.recovered == tried


def test_harness_detects_a_missing_fsync(tmp_path: Path) -> None:
    """The same harness fails if fsync does nothing."""
    need(LOOP_MOUNTS)
    with stores.fsync_that_does_nothing():
        cuts = cut_power(tmp_path, disk_location, 5)
    assert cuts.damaged != []


def test_harness_detects_durable_false(tmp_path: Path) -> None:
    """The same harness fails with ``durable=False``, as the option's documentation says."""
    need(LOOP_MOUNTS)
    cuts = cut_power(tmp_path, lambda root: DiskLocation(root, stores.hier_without_fsync), 5)
    assert cuts.damaged != []


def test_harness_detects_a_removal_without_fsync(tmp_path: Path) -> None:
    """The same harness fails if only removals sync nothing."""
    need(LOOP_MOUNTS)
    remove = Tree.remove

    def remove_without_fsync(self: Tree, removals: Iterable[Removal]) -> dict[str, Exception]:
        return remove(replace(self, durable=False), removals)

    with patch.object(Tree, "remove", remove_without_fsync):
        cuts = cut_power(tmp_path, disk_location, 5)
    assert [line.split(":")[0] for line in cuts.damaged] == ["round 4", "round 4"]
