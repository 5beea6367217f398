"""Measure the speed of archives relative to peers in the same run.

    PYTHONPATH=. python benchmarks/archives.py [--rounds 7] [--only disk]

It needs the extra ``tests`` and the program ``zip``. On disk, the peer is ``zip -0`` with the same
files. On SeaweedFS, the peer is boto3's ``get_object`` in eight threads, without an archive. Peer
and archive alternate. A ratio of 2 means twice as fast as the peer. Quote the median ratio.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import django
from django.conf import settings

MIB = 1 << 20
DATE = (2026, 5, 17, 20, 0, 0)


class Comparison(NamedTuple):
    """The same files archived by the package, and read or archived by a peer."""

    name: str
    ours: Callable[[], object]
    peer: Callable[[], object]


def main() -> None:
    """Parse the arguments, and measure and report each comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default="", help="comparisons whose name contains this")
    options = parser.parse_args()
    settings.configure(USE_TZ=True, INSTALLED_APPS=["devilry_storage"])
    django.setup()
    folder = Path(tempfile.mkdtemp(prefix="devilry-storage-benchmark-"))
    try:
        for comparison in comparisons(folder):
            if options.only in comparison.name:
                report(comparison, options.rounds)
    finally:
        shutil.rmtree(folder)


def report(comparison: Comparison, rounds: int) -> None:
    """Measure a comparison, and print the median of the ratios."""
    ratios = []
    for act in (comparison.peer, comparison.ours):
        act()  # opens connections and fills the page cache
    for _ in range(rounds):
        theirs, mine = timed(comparison.peer), timed(comparison.ours)
        ratios.append(theirs / mine)
    print(
        f"{comparison.name:58}{statistics.median(ratios):7.2f}"
        f"{min(ratios):8.2f}-{max(ratios):.2f}   aim: at least 0.8",
        flush=True,
    )


def timed(act: Callable[[], object]) -> float:
    """Return the duration of the act in seconds."""
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def comparisons(folder: Path) -> Iterator[Comparison]:
    """Create the files of each comparison, and yield it."""
    yield on_disk(folder, 20, 16 * MIB)
    yield on_disk(folder, 400, 100 * 1024)
    yield on_disk(folder, 2000, 10 * 1024)
    yield on_s3(2000, 10 * 1024)


def members(names: Iterable[str], data: bytes) -> list[Any]:
    """Return archive members for files with this content, like those of rows."""
    from devilry_storage.archive import Member

    sha256 = hashlib.sha256(data).hexdigest()
    return [Member(name, name, len(data), sha256, DATE) for name in names]


def on_disk(folder: Path, files: int, size: int) -> Comparison:
    """Compare with ``zip -0``, both writing to a file."""
    from devilry_storage.archive import Archive
    from devilry_storage.storages import FsHierDeliveryStore

    root = folder / f"{files}"
    (root / "0").mkdir(parents=True)
    data = os.urandom(size)
    names = [f"0/{number}" for number in range(files)]
    for name in names:
        (root / name).write_bytes(data)
    store, stored = FsHierDeliveryStore(location=str(root)), members(names, data)

    def ours() -> None:
        with (folder / "ours.zip").open("wb") as file:
            for chunk in Archive(store, stored):
                file.write(chunk)

    def peer() -> None:
        (folder / "peer.zip").unlink(missing_ok=True)
        subprocess.run(["zip", "-0", "-q", "-r", folder / "peer.zip", "0"], cwd=root, check=True)

    return Comparison(f"disk, {files} files of {size // 1024} KiB / zip -0", ours, peer)


def on_s3(files: int, size: int) -> Comparison:
    """Compare with eight threads that fetch the same objects."""
    from django.core.files.base import ContentFile

    from devilry_storage.archive import Archive
    from devilry_storage.storages import S3DeliveryStore
    from tests.harness import s3servers

    server = s3servers.get("seaweedfs")
    bucket = server.bucket()
    store = S3DeliveryStore(**server.options(bucket))
    data = os.urandom(size)
    names = [f"0/{number}" for number in range(files)]
    stored = members(names, data)
    client = server.client()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: store.save(name, ContentFile(data)), names))

    def fetch(name: str) -> None:
        client.get_object(Bucket=bucket, Key=name)["Body"].read()

    def peer() -> None:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(fetch, names))

    def ours() -> None:
        for _chunk in Archive(store, stored):
            pass

    return Comparison(f"SeaweedFS, {files} files of {size // 1024} KiB / get_object", ours, peer)


if __name__ == "__main__":
    main()
