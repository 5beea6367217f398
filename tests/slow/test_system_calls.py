"""System calls of a save: they do not depend on the number of stored files."""

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
    """Create this number of empty stored files, without the store."""
    for delivery in range(-(-files // FILES_A_DELIVERY)):
        folder = root / HierLayout().folder(delivery)
        folder.mkdir(parents=True)
        for number in range(min(FILES_A_DELIVERY, files - delivery * FILES_A_DELIVERY)):
            os.mknod(folder / str(number))


def calls_of_a_save(root: Path, make: Callable[[Path], Storage], name: str) -> Counter[str]:
    """Return the number of times that a save makes each system call, without the allocator's."""

    def prepare() -> tuple[Work, Work]:
        store, content = make(root), ContentFile(b"content")
        store.save(HierLayout().key(999_999, 1), ContentFile(b"one-time initialisation"))
        return lambda: store.save(name, content), lambda: None

    calls, _ = traced(prepare, root.parent / "trace")
    return Counter(call.name for call in calls if call.name not in ALLOCATOR)


def differences(
    folder: Path, make: Callable[[Path], Storage], few: int, many: int
) -> dict[str, Counter[str]]:
    """Return, by kind of save, the differences between the system calls in the two stores."""
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


def test_save_makes_the_same_system_calls_with_100_000_files(tmp_path: Path) -> None:
    """They are the same, and as frequent, as with 10 files."""
    need(PTRACE)
    found = differences(tmp_path, stores.hier, 10, count(100_000, 5_000))
    bad = [f"{kind}: {dict(calls)}" for kind, calls in found.items() if calls]
    report("system-calls-of-a-save", tried=len(found), hit=len(found), bad=bad)


def test_harness_detects_a_store_that_scans_before_it_saves(tmp_path: Path) -> None:
    """The same harness fails on a store that scans the folder first."""
    need(PTRACE)
    found = differences(tmp_path, stores.scans_before_saving, 10, 5_000)
    assert found["into an old delivery"]
