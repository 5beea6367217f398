"""Downloads of a large file: in little memory, and without leaks if the client disconnects."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.harness import s3servers
from tests.harness.http_servers import KINDS
from tests.harness.machine import PROC, need
from tests.harness.proofs import count, report

from . import s3stores, site_child, stores
from .locations import bucket_location
from .measuring import MEBIBYTE, Make

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
LIMIT_KIB = 32 * 1024
PIECE = 256 * 1024
TIMES = 4
"""The number of disconnects at each position: after 1 byte, 1 MiB and an eighth of the file."""

Stored = tuple[Make, str]
"""A module-level function that returns a store, and the store's location."""


@dataclass(frozen=True)
class Child:
    """A site in a separate process, with a store and a database in a folder."""

    folder: Path
    stored: Stored

    def start(self, *act: object) -> subprocess.Popen[str]:
        make, location = self.stored
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "DEVILRY_STORAGE_TEST_DATABASE": "sqlite",
            "DEVILRY_STORAGE_TEST_DIR": str(self.folder),
        }
        # Python's development mode adds debug bytes to each object.
        environment.pop("PYTHONDEVMODE", None)
        factory = f"{make.__module__}.{make.__qualname__}"
        return subprocess.Popen(
            [sys.executable, site_child.__file__, factory, location, *map(str, act)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )

    def prepared(self, size: int) -> dict[str, str]:
        with self.start("prepare", size) as process:
            output, _ = process.communicate(timeout=300)
        prepared: dict[str, str] = json.loads(output)
        return prepared

    @contextmanager
    def serving(self, kind: str, prepared: dict[str, str]) -> Iterator[Running]:
        with self.start(kind) as process:
            try:
                yield Running(process, int(_line(process)), prepared)
            finally:
                process.communicate(timeout=60)  # closes standard input, which ends the process


@dataclass(frozen=True)
class Running:
    """A running site."""

    process: subprocess.Popen[str]
    port: int
    prepared: dict[str, str]

    def download(self, which: str, most: int | None = None) -> int:
        """Read a file, or disconnect after ``most`` bytes; return the number of bytes read."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        total = 0
        try:
            headers = {"Cookie": self.prepared["cookies"]}
            connection.request("GET", self.prepared[which], headers=headers)
            response = connection.getresponse()
            assert response.status == 200
            while (most is None or total < most) and (piece := response.read(PIECE)):
                total += len(piece)
        finally:
            connection.close()
        return total

    def state(self) -> dict[str, int]:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        state: dict[str, int] = json.loads(_line(self.process))
        return state

    def left(self, before: dict[str, int], patience: float) -> list[str]:
        """Return a line for each kind of resource that disconnected clients leave behind.

        A pool may have grown a little. A leak at one position is `TIMES` or more.
        """
        deadline = time.monotonic() + patience
        while found := self._more(before):
            if time.monotonic() > deadline:
                break
            time.sleep(0.1)
        return found

    def _more(self, before: dict[str, int]) -> list[str]:
        now = self.state()
        kinds = ("descriptors", "threads")
        more = {kind: now[kind] - before[kind] for kind in kinds}
        return [f"{by} more {kind}" for kind, by in more.items() if by >= TIMES]


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


@contextmanager
def on_disk(folder: Path, make: Make = stores.hier_without_fsync) -> Iterator[Stored]:
    yield make, str(folder / "store")


@contextmanager
def on_s3() -> Iterator[Stored]:
    with bucket_location(s3servers.need(s3stores.SERVER), s3stores.default) as location:
        yield s3stores.default, location.bucket


def errors_for(running: Running, size: int, patience: float) -> tuple[list[str], list[str]]:
    """Return the faults of complete downloads, and those of downloads that the client aborts."""
    assert running.download("small") == 1
    baseline = running.state()["peak"]
    assert running.download("large") == size
    extra = running.state()["peak"] - baseline
    whole = [f"took {extra} KiB more than {baseline} KiB"] if extra >= LIMIT_KIB else []
    before = running.state()
    for stop in (1, MEBIBYTE, size // 8) * TIMES:
        assert stop <= running.download("large", stop) < size
    return whole, running.left(before, patience)


def faults(
    stored: Stored, folder: Path, size: int, patience: float = 20
) -> tuple[list[str], list[str]]:
    """Return the faults that `errors_for` finds with each kind of server."""
    need(PROC)
    child = Child(folder, stored)
    prepared = child.prepared(size)
    wrong: list[str] = []
    gone: list[str] = []
    for kind in KINDS:
        with child.serving(kind, prepared) as running:
            whole, left = errors_for(running, size, patience)
        wrong += [f"{kind}: {fault}" for fault in whole]
        gone += [f"{kind}: {fault}" for fault in left]
    return wrong, gone


def prove(name: str, stored: Stored, folder: Path) -> None:
    size = count(1024, 64) * MEBIBYTE
    wrong, gone = faults(stored, folder, size)
    report(f"{name}-memory", tried=len(KINDS), hit=len(KINDS), bad=wrong)
    leaves = len(KINDS) * 3 * TIMES
    report(f"{name}-client-gone", tried=leaves, hit=leaves, bad=gone)


def test_download_of_1_gib_from_disk_takes_little_memory_and_leaks_nothing(tmp_path: Path) -> None:
    """It takes less than 32 MiB more than one byte, and leaves no descriptor and no thread."""
    with on_disk(tmp_path) as stored:
        prove("download-disk", stored, tmp_path)


def test_download_of_1_gib_from_s3_takes_little_memory_and_leaks_nothing(tmp_path: Path) -> None:
    """As from disk; each download is a request to the server."""
    with on_s3() as stored:
        prove("download-s3", stored, tmp_path)


def test_harness_detects_a_store_that_streams_from_memory(tmp_path: Path) -> None:
    """The same harness fails, with either server, on a store that reads the whole file first."""
    with on_disk(tmp_path, stores.streams_whole_files) as stored:
        wrong, gone = faults(stored, tmp_path, 64 * MEBIBYTE)
    assert (len(wrong), gone) == (len(KINDS), [])


def test_harness_detects_a_store_that_leaves_files_open(tmp_path: Path) -> None:
    """The same harness fails, with either server, on a store that does not close its files."""
    with on_disk(tmp_path, stores.leaks_descriptors) as stored:
        wrong, gone = faults(stored, tmp_path, 64 * MEBIBYTE, patience=2)
    assert (wrong, len(gone)) == ([], len(KINDS))
