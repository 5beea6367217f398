"""Large archives: valid for every program, of the announced length, in little memory."""

from __future__ import annotations

import gc
import hashlib
import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from typing import Any

import pytest

from devilry_storage.archive import of_folder
from devilry_storage.storages import FsHierDeliveryStore
from tests.harness.machine import PROC, UNPACKING, need
from tests.harness.proofs import count, report

from . import archive_child

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
LIMIT_KIB = 64 * 1024
GIBIBYTE = 1 << 30
ENVIRONMENT = {"LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"]}


def child(folder: Path, *arguments: object) -> list[int]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    # Python's development mode adds debug bytes to each object.
    for name in ("DJANGO_SETTINGS_MODULE", "PYTHONDEVMODE"):
        environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, archive_child.__file__, str(folder), *map(str, arguments)],
        capture_output=True,
        check=False,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return [int(figure) for figure in done.stdout.split()]


def faults_found_by(*command: str, folder: Path) -> list[str]:
    """Return the output of a program that rejects an archive."""
    done = subprocess.run(
        command, cwd=folder, env=ENVIRONMENT, capture_output=True, check=False, text=True
    )
    return [f"{command[0]}: {done.stdout[-500:]}{done.stderr[-500:]}"] if done.returncode else []


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_archive_of_70000_members_is_valid_and_takes_little_memory(tmp_path: Path) -> None:
    """More than the 65,535 members of the original format; every checksum matches."""
    need(PROC, UNPACKING)
    deliveries = 70
    child(tmp_path, "prepare", deliveries, 1000)
    _, _, baseline = child(tmp_path, "one")
    announced, size, peak = child(tmp_path, "all")
    faults = faults_found_by("unzip", "-tqq", "all.zip", folder=tmp_path)
    faults += faults_found_by("7z", "t", "all.zip", folder=tmp_path)
    if announced != size:
        faults.append(f"{size} bytes were sent, {announced} were announced")
    if peak - baseline >= LIMIT_KIB:
        faults.append(f"took {peak - baseline} KiB more than the {baseline} KiB for one member")
    with zipfile.ZipFile(tmp_path / "all.zip") as zipped:
        sums = zipped.read("SHA256SUMS").decode().splitlines()
        wrong = [line for line in sums if line[:64] != _sha256(zipped.read(line[66:]))]
        faults += [f"wrong: {line}" for line in wrong]
        members = len(sums)
    report("archive-70000-members", tried=members, hit=members, bad=faults)
    assert members == deliveries * 1000


def test_archive_with_a_member_over_4_gib_is_valid(tmp_path: Path) -> None:
    """The member and the one after it need the Zip64 extensions; its checksum is computed."""
    need(UNPACKING)
    size = count(4, ci=2) * GIBIBYTE + 12345
    store = FsHierDeliveryStore(location=str(tmp_path / "store"))
    (tmp_path / "store" / "0").mkdir(parents=True)
    with (tmp_path / "store" / "0" / "big").open("wb") as file:
        file.truncate(size)  # sparse
        file.write(b"beginning")
    (tmp_path / "store" / "0" / "small").write_bytes(b"after it")
    archive = of_folder(store, "0")
    sent = 0
    with (tmp_path / "a.zip").open("wb") as file:
        for chunk in archive:
            sent += len(chunk)
            if chunk.count(0) == len(chunk):
                file.seek(len(chunk), os.SEEK_CUR)  # sparse again
            else:
                file.write(chunk)
        file.truncate(sent)
    faults = []
    if sent != archive.length:
        faults.append(f"{sent} bytes were sent, {archive.length} were announced")
    faults += faults_found_by("unzip", "-tqq", "a.zip", folder=tmp_path)
    faults += faults_found_by("7z", "t", "a.zip", folder=tmp_path)
    with zipfile.ZipFile(tmp_path / "a.zip") as zipped:
        digest, total = hashlib.sha256(), 0
        with zipped.open("big") as member:
            while piece := member.read(1 << 20):
                digest.update(piece)
                total += len(piece)
        if f"{digest.hexdigest()}  big\n" not in zipped.read("SHA256SUMS").decode():
            faults.append("SHA256SUMS has another checksum")
        if zipped.read("small") != b"after it":
            faults.append("the member after it differs")
    report("archive-4-gib", tried=total // GIBIBYTE, hit=total // GIBIBYTE, bad=faults)
    assert total == size


def _left() -> tuple[int, int]:
    """Return the number of descriptors and threads of this process."""
    gc.collect()
    return len(os.listdir("/proc/self/fd")), threading.active_count()


def test_aborted_archive_leaves_no_descriptor_and_no_thread(tmp_path: Path) -> None:
    """The client may close the connection anywhere in the archive."""
    need(PROC)
    store: Any = FsHierDeliveryStore(location=str(tmp_path))
    (tmp_path / "0").mkdir()
    for number in range(20):
        (tmp_path / "0" / str(number)).write_bytes(b"x" * 200_000)
    before = _left()
    stops = range(1, 100, 5)
    for stop in stops:
        chunks = iter(of_folder(store, "0"))
        for _ in range(stop):
            next(chunks, None)
        chunks.close()  # type: ignore[attr-defined]  # a generator, which the server closes
    after = _left()
    report(
        "archive-client-gone",
        tried=len(stops),
        hit=len(stops),
        bad=[f"{before} before, {after} after"] if after != before else [],
    )
