"""Errors of the file system at every step of a save: full disk, failing disk, exceeded quota."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile

from tests.harness.machine import PTRACE, need
from tests.harness.proofs import report

from . import stores
from .faults import (
    DATA,
    ERRORS,
    NAME,
    UNLINKS,
    Attempt,
    Point,
    complaints,
    points_of,
    save_under_fault,
)
from .locations import DiskLocation
from .tracing import Fault

pytestmark = pytest.mark.slow


def inject_everywhere(
    tmp_path: Path, make: Any, is_harmless: Callable[[Attempt], bool] = lambda _attempt: False
) -> tuple[int, int, list[str]]:
    """Inject each error at each point, in an empty root; return (tried, hit, complaints)."""
    calls, _ = save_under_fault(DiskLocation(tmp_path / "plain", make), tmp_path / "trace")
    points, tried, hit, bad = points_of(calls), 0, 0, []
    for point in points:
        for fault in point.faults():
            tried += 1
            location = DiskLocation(tmp_path / f"root{tried}", make)
            traced, attempt = save_under_fault(location, tmp_path / "trace", fault)
            hit += _landed(traced, point, fault)
            what = f"{fault.error} at {point.call.text}"
            if not is_harmless(attempt):
                bad += [f"{what}: {complaint}" for complaint in complaints(point, fault, attempt)]
    return tried, hit, bad


def _landed(calls: list[Any], point: Point, fault: Fault) -> bool:
    return [(call.name, call.nth) for call in calls if call.injected] == [(fault.name, fault.nth)]


def _is_logged(logged: list[str], attempt: Attempt) -> bool:
    """Add what was logged to the list; return whether the file is stored and an error logged."""
    logged += attempt.logged
    return bool(attempt.logged) and attempt.visible == {NAME: DATA}


@pytest.mark.parametrize(
    ("make", "proof", "closed"),
    [
        # The descriptors of the file, of its folder and of the root.
        (stores.hier, "inject-faults", 3),
        # A received upload, whose temp file takes the place of an empty one: those of this file,
        # too, and its removal.
        (stores.receiving, "inject-faults-upload", 6),
    ],
)
def test_failed_save_raises_the_error_and_can_be_retried(
    tmp_path: Path, make: Any, proof: str, closed: int
) -> None:
    """ENOSPC, EIO and EDQUOT at every write, fsync, link, mkdir, close, open and chmod of a save.

    Up to and including the link nothing is visible; after it the complete file may be. The caller
    gets the error in both cases, and a second attempt succeeds: under the same name if nothing was
    visible, otherwise under an alternative name. A failure to close the descriptors of the stored
    file is only logged: its bytes are synced.
    """
    need(PTRACE)
    logged: list[str] = []
    tried, hit, bad = inject_everywhere(tmp_path, make, partial(_is_logged, logged))
    report(proof, tried=tried, hit=hit, bad=bad)
    assert hit == tried
    assert len(logged) == closed * len(ERRORS)


def test_faults_are_injected_into_every_kind_of_call(tmp_path: Path) -> None:
    """The points of a save include every kind of system call of the design."""
    need(PTRACE)
    calls, attempt = save_under_fault(
        DiskLocation(tmp_path / "root", stores.hier), tmp_path / "trace"
    )
    assert attempt.saved_as == NAME
    kinds = {point.call.name.removesuffix("at") for point in points_of(calls)}
    assert kinds >= {"write", "fsync", "link", "mkdir", "close"}
    after = {point.call.name for point in points_of(calls) if point.published}
    assert "fsync" in after


def test_harness_detects_torn_files_of_django_storage(tmp_path: Path) -> None:
    """The same harness fails on FileSystemStorage, which leaves incomplete files."""
    need(PTRACE)
    tried, hit, bad = inject_everywhere(tmp_path, stores.django)
    assert hit == tried
    assert any("visible" in complaint for complaint in bad)


def test_failed_unlink_of_the_temporary_file_is_logged(tmp_path: Path) -> None:
    """Once the file is stored, a leftover temporary file does not concern the caller."""
    need(PTRACE)
    calls, _ = save_under_fault(DiskLocation(tmp_path / "plain", stores.hier), tmp_path / "trace")
    last = [call for call in calls if call.name in UNLINKS][-1]
    location = DiskLocation(tmp_path / "root", stores.hier)
    fault = Fault(last.name, last.nth, "EIO")
    calls, attempt = save_under_fault(location, tmp_path / "trace", fault)
    assert any(call.injected for call in calls)
    assert attempt.error is None
    assert attempt.saved_as == NAME
    assert attempt.visible == {NAME: DATA}
    assert attempt.unfinished == 1
    assert len(attempt.logged) == 1


def test_save_succeeds_if_a_successful_link_reports_file_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS repeats calls whose reply was lost: if the name has our inode, the file is stored."""
    location = DiskLocation(tmp_path / "root", stores.hier)
    store, link = location.store(), os.link

    def link_and_report_exists(*args: Any, **kwargs: Any) -> None:
        link(*args, **kwargs)
        raise FileExistsError(17, "File exists")

    monkeypatch.setattr(os, "link", link_and_report_exists)
    assert store.save(NAME, ContentFile(DATA)) == NAME
    assert dict(location.visible()) == {NAME: DATA}
    assert location.unfinished() == 0
