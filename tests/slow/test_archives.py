"""Large archives: valid for every program, of the announced length, in little memory."""

from __future__ import annotations

import gc
import hashlib
import os
import random
import shutil
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from typing import Any

import pytest

from devilry_storage.archive import of_folder
from devilry_storage.archive.paths import ArchivePaths
from devilry_storage.storages import FsHierDeliveryStore
from tests.archive import folding
from tests.archive.damaging import FAULTS, LARGE, Site, differences
from tests.archive.unpacking import UNPACKERS, failed_sums
from tests.harness.machine import JAVA, PROC, UNPACKING, need
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
            data = chunk.lstrip(b"\0")
            file.seek(sent - len(data))  # sparse again
            file.write(data.rstrip(b"\0"))
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


def damaged_archive(folder: Path, count_of_each: int) -> tuple[Site, set[str], list[str]]:
    """Write the archive of 2,000 files, of which some are damaged while it is made.

    Return the files, the paths of the damaged ones, and what is wrong with the archive.
    """
    sizes = {f"{n % 50}/{n}": LARGE if n % 79 == 0 else n % 3000 for n in range(2000)}
    site = Site(folder / "store", sizes)
    paths = iter(random.Random(count_of_each).sample([path for path in sizes if sizes[path]], 100))
    bad = [(next(paths), fault) for fault in FAULTS for _ in range(count_of_each)]
    for path, fault in bad[::2]:
        site.damage(path, fault)
    archive = site.archive()
    for path, fault in bad[1::2]:
        site.damage(path, fault)
    data = b"".join(archive)
    (folder / "a.zip").write_bytes(data)
    faults = []
    if len(data) != archive.length:
        faults.append(f"{len(data)} bytes were sent, {archive.length} were announced")
    with zipfile.ZipFile(folder / "a.zip") as zipped:
        report = zipped.read("REPORT.txt").decode()
    listed = {line[2:] for line in report.splitlines() if line.startswith("  ")}
    if listed != {*archive.missing, *archive.damaged} or len(listed) != len(bad):
        faults.append(f"the report has {listed}")
    return site, {path for path, _fault in bad}, faults


def wrongly_unpacked(site: Site, bad: set[str], folder: Path) -> list[str]:
    wrong = [f"{folder.name}: {path}" for path in differences(site, bad, folder)]
    if failed_sums(folder) != bad:
        wrong.append(f"{folder.name}: sha256sum reports other files than {bad}")
    if not (folder / "REPORT.txt").exists():
        wrong.append(f"{folder.name}: no report")
    shutil.rmtree(folder)
    return wrong


@pytest.mark.parametrize("number", [0, 1, 20])
def test_damaged_files_among_2000_are_reported(number: int, tmp_path: Path) -> None:
    """Each program unpacks all others. ``number`` of each kind: flipped bits, short, grown..."""
    need(UNPACKING)
    site, bad, faults = damaged_archive(tmp_path, number)
    for name, unpack in UNPACKERS.items():
        folder = tmp_path / name
        folder.mkdir()
        code = unpack(tmp_path / "a.zip", folder)
        if number == 0 and code != 0:
            faults.append(f"{name}: exit status {code}")
        faults += wrongly_unpacked(site, bad, folder)
    report("archive-damaged", tried=len(UNPACKERS), hit=len(UNPACKERS), bad=faults)


@pytest.mark.only_full  # the JDK is large
@pytest.mark.parametrize("number", [0, 1, 20])
def test_java_reads_an_archive_with_damaged_files(number: int, tmp_path: Path) -> None:
    """Both without seeking, with ``ZipInputStream``, and with ``ZipFile``."""
    need(JAVA)
    site, bad, faults = damaged_archive(tmp_path, number)
    folders = [tmp_path / "ZipInputStream", tmp_path / "ZipFile"]
    program = Path(__file__).with_name("Unpack.java")
    faults += faults_found_by(
        "java", str(program), "a.zip", *(folder.name for folder in folders), folder=tmp_path
    )
    for folder in folders:
        faults += wrongly_unpacked(site, bad, folder)
    report("archive-java", tried=2, hit=2, bad=faults)


def test_random_names_stay_in_their_folder_on_every_system() -> None:
    """After Unicode's normal forms and the best-fit tables of Windows' code pages."""
    chance = random.Random(13)
    alphabet = folding.HOSTILE + folding.LOOK_ALIKES
    names = count(36_000, ci=4_000)
    outside = []
    hostile = 0
    for _ in range(names):
        name = "".join(
            chance.choice(alphabet) if chance.random() < 0.7 else chr(chance.randrange(0x110000))
            for _ in range(chance.randrange(1, 20))
        )
        hostile += bool(folding.leaves(f"g/{name}/x"))
        path = ArchivePaths([]).add_file([(1, name)], name)
        outside += folding.leaves(path)
    report("archive-names", tried=names, hit=hostile, bad=outside)
