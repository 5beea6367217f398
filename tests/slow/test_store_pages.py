"""A page of a folder on disk asks for as much however many files lie in the store."""

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

#: The top and each folder on the way to delivery 1, which both stores have.
FOLDERS = ["", "0", "0/0", "0/0/1"]

#: What a page may cost: descriptors, listings, statuses. The rest is Python's own.
CALLS = "openat,open,getdents64,newfstatat,fstat,lstat,statx,readlink"


class Lister(FsHierDeliveryStore):
    """Asks for the status of all that lies below a folder, to see the count red."""

    def _page(self, folder: str, after: str, limit: int) -> Any:
        list(self.scan(folder))
        return super()._page(folder, after, limit)


def calls_of_a_page(root: Path, store_class: type[Any], folder: str) -> Counter[str]:
    """Return how often the page of a folder makes each system call."""

    def prepare() -> tuple[Work, Work]:
        store = store_class(str(root))
        store.page(folder)  # whatever happens only once
        return lambda: store.page(folder), lambda: None

    calls, _ = traced(prepare, root.parent / "trace", calls=CALLS)
    return Counter(call.name for call in calls if call.name != "chdir")


def grown(path: Path, store_class: type[Any], few: int, many: int) -> dict[str, Counter[str]]:
    """Return, by folder, the calls that its page makes more often in the fuller store."""
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


def test_a_page_makes_the_same_system_calls_in_a_store_of_100_000_files(tmp_path: Path) -> None:
    """As in one of 1,000; a wider folder is only read in more pieces."""
    need(PTRACE)
    found = grown(tmp_path, FsHierDeliveryStore, 1_000, count(100_000, 10_000))
    bad = [folder for folder, more in found.items() if more.keys() - {"getdents64"}]
    report("system-calls-of-a-page", tried=len(FOLDERS), hit=len(FOLDERS), bad=bad)
    # 200 folders of deliveries are some 6 KiB, and a piece is 32.
    assert all(more["getdents64"] <= 2 for more in found.values()), found


def test_the_count_finds_a_store_that_looks_at_every_file(tmp_path: Path) -> None:
    """The same harness fails on a store that scans what lies below."""
    need(PTRACE)
    found = grown(tmp_path, Lister, 1_000, 3_000)
    assert any(more.keys() - {"getdents64"} for more in found.values())
