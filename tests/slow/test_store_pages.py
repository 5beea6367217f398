"""System calls of a folder's page on disk: they do not depend on the number of stored files."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from devilry_storage.storages import FsHierDeliveryStore
from tests.harness.machine import PTRACE, need
from tests.harness.proofs import count, report

from .test_system_calls import fill
from .tracing import Work, traced

pytestmark = pytest.mark.slow

#: The root, and each folder on the path to delivery 1, which exists in both stores.
FOLDERS = ["", "0", "0/0", "0/0/1"]

#: The system calls that a page needs: open, list, stat. Python makes the others.
CALLS = "openat,open,getdents64,newfstatat,fstat,lstat,statx,readlink"


class ScansForPages(FsHierDeliveryStore):
    """A store that scans all files below a folder for each page."""

    def _page(self, folder: str, after: str, limit: int) -> Any:
        list(self.scan(folder))
        return super()._page(folder, after, limit)


def calls_of_a_page(root: Path, store_class: type[Any], folder: str) -> Counter[str]:
    """Return the number of times that a page makes each system call."""

    def prepare() -> tuple[Work, Work]:
        store = store_class(str(root))
        store.page(folder)  # one-time initialisation
        return lambda: store.page(folder), lambda: None

    calls, _ = traced(prepare, root.parent / "trace", calls=CALLS)
    return Counter(call.name for call in calls if call.name != "chdir")


def grown(path: Path, store_class: type[Any], few: int, many: int) -> dict[str, Counter[str]]:
    """Return, by folder, the system calls that its page makes more often in the larger store."""
    roots = path / "few" / "root", path / "many" / "root"
    for root, files in zip(roots, (few, many), strict=True):
        fill(root, files)
    found = {}
    for folder in FOLDERS:
        small, large = (calls_of_a_page(root, store_class, folder) for root in roots)
        assert small["getdents64"] > 0
        if more := large - small:
            found[folder] = more
    return found


def test_page_makes_the_same_system_calls_with_100_000_files(tmp_path: Path) -> None:
    """They are the same as with 1,000 files, except that a larger folder needs more reads."""
    need(PTRACE)
    found = grown(tmp_path, FsHierDeliveryStore, 1_000, count(100_000, 10_000))
    bad = [folder for folder, more in found.items() if more.keys() - {"getdents64"}]
    report("system-calls-of-a-page", tried=len(FOLDERS), hit=len(FOLDERS), bad=bad)
    # 200 folders of deliveries are about 6 KiB, and one getdents64 returns up to 32 KiB.
    assert all(more["getdents64"] <= 2 for more in found.values()), found


def test_harness_detects_a_store_that_scans_for_each_page(tmp_path: Path) -> None:
    """The same harness fails on a store that scans the files below the folder."""
    need(PTRACE)
    found = grown(tmp_path, ScansForPages, 1_000, 3_000)
    assert any(more.keys() - {"getdents64"} for more in found.values())
