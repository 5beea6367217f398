"""Measure the cost of the disk store's guarantees relative to peers in the same run.

    python benchmarks/disk.py [--rounds 7] [--files 200] [--size 10240]

Peer and store alternate. Quote the median of the ratios; absolute times depend on the machine and
its load. Every file goes into a new delivery folder.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import django
from django.conf import settings

PARENT = Path(tempfile.mkdtemp(prefix="devilry-storage-benchmark-"))


def _configure() -> None:
    settings.configure(
        USE_TZ=True,
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "devilry_storage",
            "devilry_storage.deliveries",
        ],
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        DATABASES={
            "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": PARENT / "db.sqlite3"}
        },
    )
    django.setup()


class Comparison(NamedTuple):
    """Two ways of storing the same files. Each function takes an empty folder."""

    name: str
    ours: Callable[[Path], None]
    peer: Callable[[Path], None]
    aim: float


def main() -> None:
    """Parse the arguments, configure Django, and measure and report each comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--size", type=int, default=10 * 1024, help="bytes of one file")
    options = parser.parse_args()
    _configure()
    try:
        print(f"{options.files} files of {options.size} bytes, {options.rounds} rounds")
        print(f"{'':52}{'ours':>9}{'peer':>9}{'ratio':>8}{'  min-max':>14}{'aim':>7}")
        for comparison in _comparisons(options.files, os.urandom(options.size)):
            _report(comparison, options.rounds, options.files)
    finally:
        shutil.rmtree(PARENT)


def _report(comparison: Comparison, rounds: int, files: int) -> None:
    ours, peers, ratios = [], [], []
    for _ in range(rounds):
        peers.append(_timed(comparison.peer))
        ours.append(_timed(comparison.ours))
        ratios.append(ours[-1] / peers[-1])
    print(
        f"{comparison.name:52}"
        f"{statistics.median(ours) / files * 1e6:7.0f}µs"
        f"{statistics.median(peers) / files * 1e6:7.0f}µs"
        f"{statistics.median(ratios):8.2f}"
        f"{min(ratios):8.2f}-{max(ratios):.2f}"
        f"{f'≤ {comparison.aim}':>8}",
        flush=True,
    )


def _timed(way: Callable[[Path], None]) -> float:
    with _folder() as folder:
        # Do not measure the writeback of earlier rounds.
        os.sync()
        start = time.perf_counter()
        way(folder)
        return time.perf_counter() - start


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(dir=PARENT))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _comparisons(files: int, data: bytes) -> Iterator[Comparison]:
    from django.core.files.base import ContentFile
    from django.core.files.storage import FileSystemStorage

    from devilry_storage.storages import FsHierDeliveryStore

    def save_all(store: Any) -> None:
        for number in range(files):
            store.save(f"0/0/{number}/{number}", ContentFile(data))

    yield Comparison(
        "save, durable=False / FileSystemStorage.save",
        lambda folder: save_all(FsHierDeliveryStore(folder, durable=False)),
        lambda folder: save_all(FileSystemStorage(folder)),
        1.0,
    )
    yield Comparison(
        "save, durable / bare loop with the same fsyncs",
        lambda folder: save_all(FsHierDeliveryStore(folder)),
        lambda folder: _bare_loop(folder, files, data),
        1.3,
    )
    yield _add_file(files, data)


def _bare_loop(folder: Path, files: int, data: bytes) -> None:
    """Make the system calls of a durable save, without validation, candidates and hooks."""

    def sync(path: str) -> None:
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)

    branch, temps = f"{folder}/0/0", f"{folder}/tmp"
    os.makedirs(branch)
    os.mkdir(temps)
    for number in range(files):
        temp, target = f"{temps}/{number}", f"{branch}/{number}"
        fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(fd, data)
        os.fchmod(fd, 0o644)
        os.fsync(fd)
        os.close(fd)
        os.mkdir(target)
        sync(branch)
        os.link(temp, f"{target}/{number}")
        sync(target)
        os.unlink(temp)


def _add_file(files: int, data: bytes) -> Comparison:
    """Compare with a FileField, the same columns and indexes, and an UPDATE; without fsync."""
    from django.core.files.base import ContentFile
    from django.core.files.storage import FileSystemStorage
    from django.core.management import call_command
    from django.db import connection, models
    from django.utils import timezone

    from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
    from devilry_storage.storages import FsHierDeliveryStore

    call_command("migrate", verbosity=0)

    class Plain(models.Model):
        filename = models.CharField(max_length=255)
        content = models.FileField(max_length=255, null=True, unique=True)
        size = models.BigIntegerField(null=True)
        sha256 = models.CharField(max_length=64, blank=True)
        created = models.DateTimeField(default=timezone.now)
        verified_at = models.DateTimeField(null=True)
        delivery = models.ForeignKey(Delivery, models.CASCADE, related_name="+")

        class Meta:
            app_label = "devilry_deliveries"
            constraints = [
                models.UniqueConstraint(fields=["delivery", "filename"], name="plain_unique")
            ]

    with connection.schema_editor() as editor:
        editor.create_model(Plain)
    group = AssignmentGroup.objects.create(name="group")

    def begun() -> list[Delivery]:
        numbers = range(files)
        return Delivery.objects.bulk_create(Delivery(assignment_group=group) for _ in numbers)

    deliveries: list[Delivery] = []

    def ours(folder: Path) -> None:
        FileMeta.deliverystore = FsHierDeliveryStore(folder, durable=False)
        for delivery in deliveries:
            delivery.add_file("a.txt", data)

    def peer(folder: Path) -> None:
        deliveries[:] = begun()
        field: Any = Plain._meta.get_field("content")
        field.storage = FileSystemStorage(folder)
        for delivery in deliveries:
            name = f"0/0/{delivery.pk}/a.txt"
            row = Plain(delivery=delivery, filename="a.txt")
            row.content.save(name, ContentFile(data))
            Plain.objects.filter(pk=row.pk).update(
                size=len(data), sha256=hashlib.sha256(data).hexdigest()
            )

    return Comparison("Delivery.add_file / FileField and one UPDATE", ours, peer, 1.4)


if __name__ == "__main__":
    main()
