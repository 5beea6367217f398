"""Numbers of system calls of stores on disk."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from django.core.files.base import ContentFile

from devilry_storage.storages import FsHierDeliveryStore

from ...harness.disk import DATA, KEY, OTHER, plant, store_at

# Each of these functions makes one system call; scandir() makes the same ones for each folder.
CALLS = (
    *("open", "close", "dup", "stat", "lstat", "fstat", "utime", "mkdir", "rmdir", "link"),
    *("unlink", "rename", "write", "fchmod", "fchown", "fsync", "lseek", "scandir"),
)


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Count the calls of functions of ``os`` in the block."""
    calls: Counter[str] = Counter()

    def counting(name: str) -> Callable[..., Any]:
        original = getattr(os, name)

        def call(*args: Any, **options: Any) -> Any:
            calls[name] += 1
            return original(*args, **options)

        return call

    counters: dict[str, Any] = {name: counting(name) for name in CALLS}
    with patch.multiple(os, **counters):
        yield calls


NEW, OLD = "0/2/2005/17", "0/1/1005/19"


@pytest.mark.parametrize(
    ("act", "most"),
    [
        # strace counts one more in a save: getrandom().
        (lambda store: store.save(NEW, ContentFile(DATA)), 30),
        (lambda store: store.save(OLD, ContentFile(DATA)), 25),
        (lambda store: store.delete(KEY), 12),
        (lambda store: store.delete_many([KEY, OTHER]), 14),
    ],
    ids=["save into a new delivery", "save into an old one", "delete", "delete two"],
)
def test_durable_write_makes_few_system_calls(
    root: Path, act: Callable[[FsHierDeliveryStore], object], most: int
) -> None:
    """Each folder of the path is opened once."""
    store = store_at(root, durable=True)
    for name in (KEY, OTHER, "0/2/2006/1"):
        store.save(name, ContentFile(DATA))
    with counted() as calls:
        act(store)
    assert calls.total() <= most, dict(calls)
    assert calls["open"] + calls["dup"] == calls["close"] + (calls["mkdir"] > 0)


def test_scan_opens_each_folder_once(root: Path) -> None:
    """It looks only at entries of open folders, and walks to none of them from the root."""
    for delivery in range(40):
        for number in range(3):
            plant(root, f"0/{delivery % 4}/{delivery}/{number}").write_bytes(DATA)
    folders = 1 + 1 + 4 + 40
    with counted() as calls:
        assert len(list(store_at(root).scan())) == 120
    assert calls == {"open": folders, "scandir": folders, "close": folders}
