"""A full disk, a failing disk, a spent quota, at every step of a save."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile

from tests.harness.machine import PTRACE, need
from tests.harness.proofs import report

from . import stores
from .faults import DATA, NAME, UNLINKS, Point, complaints, points_of, save_under_fault
from .locations import DiskLocation
from .tracing import Fault

pytestmark = pytest.mark.slow


def inject_everywhere(tmp_path: Path, make: Any) -> tuple[int, int, list[str]]:
    """Fail each point with each error, each in an empty root; return (tried, hit, complaints)."""
    calls, _ = save_under_fault(DiskLocation(tmp_path / "plain", make), tmp_path / "trace")
    points, tried, hit, bad = points_of(calls), 0, 0, []
    for point in points:
        for fault in point.faults():
            tried += 1
            location = DiskLocation(tmp_path / f"root{tried}", make)
            traced, attempt = save_under_fault(location, tmp_path / "trace", fault)
            hit += _landed(traced, point, fault)
            where = f"{fault.error} at {point.call.text}"
            bad += [f"{where}: {complaint}" for complaint in complaints(point, fault, attempt)]
    return tried, hit, bad


def _landed(calls: list[Any], point: Point, fault: Fault) -> bool:
    return [(call.name, call.nth) for call in calls if call.injected] == [(fault.name, fault.nth)]


def test_a_save_that_meets_an_error_tells_and_can_be_tried_again(tmp_path: Path) -> None:
    """ENOSPC, EIO, EDQUOT at every write, fsync, link, mkdir, close, open and chmod of a save.

    Up to and including the link nothing is visible; after it the whole file may be. The error
    reaches the caller either way, and a second attempt succeeds: under the same name if nothing
    was visible, else under an alternative one.
    """
    need(PTRACE)
    tried, hit, bad = inject_everywhere(tmp_path, stores.hier)
    report("inject-faults", tried=tried, hit=hit, bad=bad)
    assert hit == tried


def test_every_kind_of_step_is_injected(tmp_path: Path) -> None:
    """The points of a save are those of the design: each kind of call is there to fail."""
    need(PTRACE)
    calls, attempt = save_under_fault(
        DiskLocation(tmp_path / "root", stores.hier), tmp_path / "trace"
    )
    assert attempt.saved_as == NAME
    kinds = {point.call.name.removesuffix("at") for point in points_of(calls)}
    assert kinds >= {"write", "fsync", "link", "mkdir", "close"}
    after = {point.call.name for point in points_of(calls) if point.published}
    assert "fsync" in after


def test_the_faults_find_torn_files_of_djangos_storage(tmp_path: Path) -> None:
    """The same harness fails on FileSystemStorage, which leaves what it had written."""
    need(PTRACE)
    tried, hit, bad = inject_everywhere(tmp_path, stores.django)
    assert hit == tried
    assert any("visible" in complaint for complaint in bad)


def test_a_temp_file_that_cannot_be_unlinked_is_logged_and_not_raised(tmp_path: Path) -> None:
    """Once the file is stored, a temp file that stays is no error of the caller's."""
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


def test_a_link_that_succeeds_and_says_exists_is_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lost reply and a repeated call (NFS does so): our own inode there means stored, once."""
    location = DiskLocation(tmp_path / "root", stores.hier)
    store, link = location.store(), os.link

    def link_and_say_exists(*args: Any, **kwargs: Any) -> None:
        link(*args, **kwargs)
        raise FileExistsError(17, "File exists")

    monkeypatch.setattr(os, "link", link_and_say_exists)
    assert store.save(NAME, ContentFile(DATA)) == NAME
    assert dict(location.visible()) == {NAME: DATA}
    assert location.unfinished() == 0
