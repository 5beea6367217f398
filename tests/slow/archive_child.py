"""Build archives in a separate process: ``archive_child.py FOLDER prepare|one|all [COUNT COUNT]``.

``prepare`` creates a database and a store in the folder, with a number of deliveries and a number
of files for each. ``one`` and ``all`` write the archive of one file or of all files to
``FOLDER/<act>.zip``. They print the announced length, the number of bytes written and the peak
resident memory in KiB.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import django
from django.conf import settings


def configure(folder: Path) -> None:
    settings.configure(
        USE_TZ=True,
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "devilry_storage",
            "devilry_storage.deliveries",
        ],
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": folder / "db"}},
        STORAGES={
            "deliveries": {
                "BACKEND": "devilry_storage.storages.FsHierDeliveryStore",
                "OPTIONS": {"location": str(folder / "store")},
            }
        },
    )
    django.setup()


def prepare(folder: Path, deliveries: int, files: int) -> None:
    """Create rows and files without the store, which would take much longer."""
    from django.core.management import call_command

    from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
    from devilry_storage.fields import StoredName
    from devilry_storage.resolving import store_for

    call_command("migrate", verbosity=0)
    store: Any = store_for(FileMeta)
    pk = 0
    for number in range(1, deliveries + 1):
        group = AssignmentGroup.objects.create(name=f"Group {number}")
        delivery = Delivery.objects.create(assignment_group=group, number=1, successful=True)
        rows = []
        data = f"file of delivery {number}".encode()
        first = folder / "store" / store.layout.key(delivery.pk, pk + 1)
        first.parent.mkdir(parents=True)
        first.write_bytes(data)
        for _ in range(files):
            pk += 1
            name = store.layout.key(delivery.pk, pk)
            path = folder / "store" / name
            if path != first:
                path.hardlink_to(first)  # faster to create and remove than a file
            rows.append(
                FileMeta(
                    pk=pk,
                    delivery=delivery,
                    filename=f"answer {pk}.txt",
                    content=StoredName(name),
                    size=len(data),
                    sha256=hashlib.sha256(data).hexdigest(),
                )
            )
        FileMeta.objects.bulk_create(rows)


def write(folder: Path, act: str) -> None:
    from devilry_storage.archive import of_files
    from devilry_storage.deliveries.models import FileMeta
    from tests.slow.memory_child import peak_kib

    rows = FileMeta.objects.all()
    archive = of_files(rows.filter(pk=1) if act == "one" else rows)
    with (folder / f"{act}.zip").open("wb") as file:
        for chunk in archive:
            file.write(chunk)
        size = file.tell()
    sys.stdout.write(f"{archive.length} {size} {peak_kib()}")


def main(location: str, act: str, *counts: str) -> None:
    folder = Path(location)
    configure(folder)
    if act == "prepare":
        prepare(folder, *map(int, counts))
    else:
        write(folder, act)


if __name__ == "__main__":
    main(*sys.argv[1:])
