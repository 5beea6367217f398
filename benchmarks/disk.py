"""Measure the cost of the disk store's guarantees relative to peers in the same run.

    python benchmarks/disk.py [--files 200] [--size 10240] [--full]

Every file that is stored goes into a new delivery. Five times as many files are purged, and a
hundred times as many are scanned (--full: a thousand times).
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import django
from comparing import Comparison, cpu_time, parser, run
from django.conf import settings

PARENT = Path(tempfile.mkdtemp(prefix="devilry-storage-benchmark-"))
FOLDER = PARENT / "store"


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


def main() -> None:
    """Parse the arguments, configure Django, and measure and report each comparison."""
    arguments = parser(__doc__.splitlines()[0])
    arguments.add_argument("--files", type=int, default=200)
    arguments.add_argument("--size", type=int, default=10 * 1024, help="bytes of one file")
    arguments.add_argument("--full", action="store_true", help="scan ten times as many files")
    options = arguments.parse_args()
    _configure()
    try:
        run("disk", _comparisons(options), options)
    finally:
        shutil.rmtree(PARENT)


def _empty() -> None:
    """Empty the folder, and do not measure the writeback of earlier rounds."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    os.sync()


def _filled(names: list[str], data: bytes) -> Callable[[], None]:
    """Return a function that makes the folder contain these files."""

    def fill() -> None:
        _empty()
        for name in names:
            (FOLDER / name).parent.mkdir(parents=True, exist_ok=True)
            (FOLDER / name).write_bytes(data)
        os.sync()

    return fill


def _comparisons(options: argparse.Namespace) -> Iterator[Comparison]:
    from django.core.files.base import ContentFile
    from django.core.files.storage import FileSystemStorage

    from devilry_storage.storages import FsHierDeliveryStore

    files, data = options.files, os.urandom(options.size)

    def save_all(store: Any) -> None:
        for number in range(files):
            store.save(f"0/0/{number}/{number}", ContentFile(data))

    yield Comparison(
        "save, durable=False / FileSystemStorage.save",
        lambda: save_all(FsHierDeliveryStore(FOLDER, durable=False)),
        lambda: save_all(FileSystemStorage(FOLDER)),
        at_most=1.0,
        prepare=_empty,
    )
    yield Comparison(
        "save, durable / bare loop with the same fsyncs",
        lambda: save_all(FsHierDeliveryStore(FOLDER)),
        lambda: _bare_loop(FOLDER, files, data),
        at_most=1.3,
        prepare=_empty,
    )
    yield from _purges(files, data)
    yield _scan(files * (1000 if options.full else 100))
    yield _add_file(files, data)


def _purges(files: int, data: bytes) -> Iterator[Comparison]:
    from devilry_storage.layout import HierLayout
    from devilry_storage.storages import FsHierDeliveryStore

    def purge(names: list[str]) -> None:
        assert FsHierDeliveryStore(FOLDER).delete_many(names) == {}

    def unlink_and_sync(names: list[str]) -> None:
        for name in names:
            path = FOLDER / name
            path.unlink()
            fd = os.open(path.parent, os.O_RDONLY)
            os.fsync(fd)
            os.close(fd)

    key = HierLayout().key
    for what, removed, kept in (
        ("whole deliveries", [key(n // 5, n) for n in range(files * 5)], []),
        (
            "one file of each delivery",
            [key(n, 0) for n in range(files * 5)],
            [key(n, 1) for n in range(files * 5)],
        ),
    ):
        yield Comparison(
            f"purge of {what}, durable / unlink and fsync one by one",
            lambda removed=removed: purge(removed),  # type: ignore[misc]
            lambda removed=removed: unlink_and_sync(removed),  # type: ignore[misc]
            at_most=0.3,
            prepare=_filled([*removed, *kept], data),
        )


def _scan(files: int) -> Comparison:
    from devilry_storage.layout import HierLayout
    from devilry_storage.storages import FsHierDeliveryStore

    fill = _filled([HierLayout().key(number // 4, number) for number in range(files)], b"x")
    filled: list[bool] = []

    def prepare() -> None:
        if not filled:
            fill()
            filled.append(True)

    def scan() -> None:
        assert sum(1 for _ in FsHierDeliveryStore(FOLDER).scan()) == files

    def walk() -> None:
        left, found = [str(FOLDER)], 0
        while left:
            with os.scandir(left.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        left.append(entry.path)
                    else:
                        entry.stat(follow_symlinks=False)
                        found += 1
        assert found == files

    # CPU time, because only caches are read.
    return Comparison(
        f"scan of {files:,} files / scandir and stat",
        scan,
        walk,
        1.2,
        measure=cpu_time,
        prepare=prepare,
    )


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

    def prepare() -> None:
        _empty()
        deliveries[:] = begun()

    def ours() -> None:
        FileMeta.deliverystore = FsHierDeliveryStore(FOLDER, durable=False)
        for delivery in deliveries:
            delivery.add_file("a.txt", data)

    def peer() -> None:
        field: Any = Plain._meta.get_field("content")
        field.storage = FileSystemStorage(FOLDER)
        for delivery in deliveries:
            name = f"0/0/{delivery.pk}/a.txt"
            row = Plain(delivery=delivery, filename="a.txt")
            row.content.save(name, ContentFile(data))
            Plain.objects.filter(pk=row.pk).update(
                size=len(data), sha256=hashlib.sha256(data).hexdigest()
            )

    return Comparison(
        "Delivery.add_file / FileField and one UPDATE", ours, peer, at_most=1.4, prepare=prepare
    )


if __name__ == "__main__":
    main()
