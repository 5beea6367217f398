"""Compare archives with peers: their speed, the time before the first byte, and their memory.

    PYTHONPATH=. python benchmarks/archives.py [--rounds 7] [--only disk] [--members 20000]

It needs the extra ``tests-full`` and the program ``zip``. On disk, the peer is ``zip -0`` with the
same files. On SeaweedFS, the peer is boto3's ``get_object`` in eight threads, without an archive.
The peer of the first byte reads the rows of the files and lists their folders.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from comparing import Comparison, cpu_time, parser, run

MIB = 1 << 20
DATE = (2026, 5, 17, 20, 0, 0)
FILES_A_DELIVERY = 20


def main() -> None:
    """Parse the arguments, and measure and report each comparison."""
    from tests.slow import archive_child

    arguments = parser(__doc__.splitlines()[0])
    arguments.add_argument("--members", type=int, default=20_000, help="files before a first byte")
    options = arguments.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="devilry-storage-benchmark-"))
    archive_child.configure(folder)
    zip_ = subprocess.run(["zip", "-v"], capture_output=True, check=True, text=True).stdout
    version = zip_.splitlines()[1].removeprefix("This is ").partition(" (")[0]
    try:
        run("archives", comparisons(folder, options.members), options, [version])
    finally:
        shutil.rmtree(folder)


def comparisons(folder: Path, count: int) -> Iterator[Comparison]:
    """Create the files of each comparison, and yield it."""
    yield on_disk(folder, 10, 16 * MIB, 0.8)
    yield on_disk(folder, 400, 100 * 1024, 0.8)
    yield on_disk(folder, 2000, 10 * 1024, 1.0)
    yield from before_the_first_byte(folder, count)
    yield on_s3(2000, 10 * 1024)


def members(names: Iterable[str], data: bytes) -> list[Any]:
    """Return archive members for files with this content, like those of rows."""
    from devilry_storage.archive import Member

    sha256 = hashlib.sha256(data).hexdigest()
    return [Member(name, name, len(data), sha256, DATE) for name in names]


def on_disk(folder: Path, files: int, size: int, at_least: float) -> Comparison:
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
        subprocess.run(["zip", "-0", "-q", "-r", folder / "peer.zip", "0"], cwd=root, check=True)

    def remove() -> None:
        for name in ("ours.zip", "peer.zip"):
            (folder / name).unlink(missing_ok=True)

    name = f"zip of {files} files of {size // 1024} KiB on disk / zip -0"
    return Comparison(name, ours, peer, at_least=at_least, prepare=remove)


def before_the_first_byte(folder: Path, count: int) -> Iterator[Comparison]:
    """Compare an archive of rows with reading the rows and listing the folders of the files."""
    from devilry_storage.archive import of_files
    from devilry_storage.deliveries.models import FileMeta
    from tests.slow import archive_child

    archive_child.prepare(folder, count // FILES_A_DELIVERY, FILES_A_DELIVERY)
    rows = FileMeta.objects.values_list("content", "filename", "size", "sha256", "delivery_id")

    def ours() -> None:
        next(iter(of_files(FileMeta.objects.all())))

    def peer() -> None:
        previous = ""
        for name, *_values in rows.order_by("delivery_id").iterator():
            above = name.rpartition("/")[0]
            if above != previous:
                previous = above
                with os.scandir(folder / "store" / above) as entries:
                    assert {entry.name: entry.stat().st_size for entry in entries}

    yield Comparison(
        f"first byte of {count} files / rows and os.scandir(), CPU",
        ours,
        peer,
        at_most=5,
        measure=cpu_time,
    )
    yield Comparison(
        f"memory at the first byte of {count} files / list of rows",
        ours,
        lambda: list(rows.all()),
        at_most=1,
        measure=peak_memory,
    )
    mib = peak_memory(ours) / MIB
    print(f"  {count} files: {cpu_time(ours):.2f} s of CPU, {mib:.1f} MiB")


def peak_memory(act: Callable[[], object]) -> float:
    """Return how many bytes of Python's memory the act takes at most."""
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


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

    name = f"zip of {files} files of {size // 1024} KiB on SeaweedFS / get_object()"
    return Comparison(name, ours, peer, at_least=0.8)


if __name__ == "__main__":
    main()
