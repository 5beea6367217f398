"""A save costs the same in an empty store and in a full one."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import Storage

from devilry_storage.layout import HierLayout
from tests.harness.machine import PTRACE, need
from tests.harness.proofs import count, report

from . import stores
from .tracing import Work, traced

pytestmark = pytest.mark.slow

FILES_A_DELIVERY = 500
ALLOCATOR = {"brk", "mmap", "munmap", "mremap", "madvise"}


def fill(root: Path, files: int) -> None:
    """Make so many stored files, empty ones, without the store."""
    for delivery in range(-(-files // FILES_A_DELIVERY)):
        folder = root / HierLayout().folder(delivery)
        folder.mkdir(parents=True)
        for number in range(min(FILES_A_DELIVERY, files - delivery * FILES_A_DELIVERY)):
            os.mknod(folder / str(number))


def calls_of_a_save(root: Path, make: Callable[[Path], Storage], name: str) -> Counter[str]:
    """Return how often one save makes each system call, those of the allocator left out."""

    def prepare() -> tuple[Work, Work]:
        store, content = make(root), ContentFile(b"content")
        store.save(HierLayout().key(999_999, 1), ContentFile(b"whatever happens only once"))
        return lambda: store.save(name, content), lambda: None

    calls, _ = traced(prepare, root.parent / "trace")
    return Counter(call.name for call in calls if call.name not in ALLOCATOR)


def differences(
    folder: Path, make: Callable[[Path], Storage], few: int, many: int
) -> dict[str, Counter[str]]:
    """Return, by kind of save, the calls that a save makes more often in the fuller store."""
    roots = folder / "few" / "root", folder / "many" / "root"
    for root, files in zip(roots, (few, many), strict=True):
        fill(root, files)
    names = {
        "into an old delivery": HierLayout().key(0, 1_000_000),
        "into a new delivery": HierLayout().key(900_000, 1),
    }
    found = {}
    for kind, name in names.items():
        small, big = (calls_of_a_save(root, make, name) for root in roots)
        assert small.total() > 0
        found[kind] = (big - small) + (small - big)
    return found


def test_a_save_makes_the_same_system_calls_in_a_store_of_100_000_keys(tmp_path: Path) -> None:
    """With 10 and with 100,000 keys in the store, the same calls, the same number of times."""
    need(PTRACE)
    found = differences(tmp_path, stores.hier, 10, count(100_000, 5_000))
    bad = [f"{kind}: {dict(calls)}" for kind, calls in found.items() if calls]
    report("system-calls-of-a-save", tried=len(found), hit=len(found), bad=bad)


def test_the_count_finds_a_store_that_lists_before_it_saves(tmp_path: Path) -> None:
    """The same harness fails on a store that looks through the folder first."""
    need(PTRACE)
    found = differences(tmp_path, stores.searcher, 10, 5_000)
    assert found["into an old delivery"]
