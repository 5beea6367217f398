"""Compare deletes, additions and copies of many rows with plain Django.

    PYTHONPATH=. python benchmarks/rows.py

It needs the extra ``tests-full``. The rows are in PostgreSQL, in a temporary server, if Debian's
package ``postgresql`` is installed, otherwise in SQLite. The files are on disk.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count
from typing import Any

import django
from comparing import Comparison, cpu_time, parser, run, wall_time
from django.db import connection, models, transaction
from django.db.models.signals import pre_delete
from django.test.utils import setup_databases, teardown_databases

FILES = 2000
COPIED = 300

_numbers = count()


def main() -> None:
    """Create a database, and run the comparisons in it."""
    from tests.harness import postgres

    options = parser(__doc__.splitlines()[0]).parse_args()
    server = None
    if not postgres.missing():
        server = postgres.Server()
        os.environ.update(server.start(), DEVILRY_STORAGE_TEST_DATABASE="postgres")
    try:
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
        django.setup()
        databases = setup_databases(verbosity=0, interactive=False)
        try:
            run("rows", comparisons(), options, [connection.vendor])
        finally:
            teardown_databases(databases, verbosity=0)
    finally:
        connection.close()
        if server is not None:
            server.stop()


def comparisons() -> Iterator[Comparison]:
    """Yield the comparisons."""
    from devilry_storage.abstract_models.bulk import _record_all
    from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta

    group = AssignmentGroup.objects.create(name="benchmark")

    # First, because a store is not used whose files the database does not record.
    delivery = Delivery.begin(group)
    delivery.add_files({f"{n}.txt": b"0" * 1024 for n in range(COPIED)})
    delivery.finish()

    def add() -> None:
        other = Delivery.begin(group)
        for n in range(COPIED):
            other.add_file(f"{n}.txt", b"0" * 1024)

    yield Comparison(
        f"copy() of a delivery of {COPIED} files / a loop of add_file()",
        ours=lambda: delivery.copy(group),
        peer=add,
        at_most=0.3,
    )

    class Plain(models.Model):
        """A model without files."""

        filename = models.CharField(max_length=255)

        class Meta:
            app_label = "benchmark"

        def __str__(self) -> str:
            return self.filename

    with connection.schema_editor() as editor:
        editor.create_model(Plain)

    def receive(**kwargs: Any) -> None:
        """Make Django load the rows, as the package does."""

    pre_delete.connect(receive, sender=Plain)

    def stored(number: int) -> list[tuple[Any, str, int, str]]:
        """Insert rows, and return the values to record in them."""
        delivery = Delivery.begin(group)
        rows = [FileMeta(delivery=delivery, filename=f"{n}.txt") for n in range(number)]
        return [
            (row, f"x/{row.pk}-{next(_numbers)}", 5, "0" * 64)
            for row in FileMeta.objects.bulk_create(rows)
        ]

    def record(found: list[tuple[Any, str, int, str]]) -> None:
        with transaction.atomic():
            _record_all(found, "default")

    def fill() -> None:
        FileMeta.objects.all().delete()
        record(stored(FILES))
        Plain.objects.bulk_create(Plain(filename=f"{n}.txt") for n in range(FILES))

    yield Comparison(
        f"CPU time of a delete of {FILES} files / of rows without files",
        ours=lambda: FileMeta.objects.all().delete(),
        peer=lambda: Plain.objects.all().delete(),
        at_most=10,
        measure=cpu_time,
        prepare=fill,
    )
    few, many = [], []

    def insert() -> None:
        few[:], many[:] = stored(FILES // 4), stored(FILES)

    yield Comparison(
        f"add_files() records {FILES} files / {FILES // 4} files (4 is linear)",
        ours=lambda: record(many),
        peer=lambda: record(few),
        at_most=5,
        measure=wall_time,
        prepare=insert,
    )


if __name__ == "__main__":
    main()
