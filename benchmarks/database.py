"""Compare writes of rows with plain Django, and few rows and tombstones with many.

::

    python benchmarks/database.py [--rounds 7] [--files 40] [--full] [--write]

It starts a PostgreSQL server, as the tests do. Stores and peers write to disk without fsync. The
peer of a comparison of growth is the same work in a database with 10,000 rows and tombstones.
``--full`` adds a database with 1,000,000 of both, which takes some minutes to fill.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import django
from comparing import Comparison, parser, run
from django.conf import settings

sys.path.insert(0, str(Path(__file__).parents[1]))
PARENT = Path(tempfile.mkdtemp(prefix="devilry-storage-benchmark-"))
SIZES = {"few": 10_000, "many": 100_000, "millions": 1_000_000}
CONTENT = os.urandom(10 * 1024)
NUMBERS = count()


class Router:
    """Send all queries to the database of the current measurement."""

    alias = "default"

    def db_for_read(self, model: object, **hints: object) -> str:
        return Router.alias

    db_for_write = db_for_read


def main() -> None:
    """Parse the arguments, fill the databases, measure and report each comparison."""
    from tests.harness import postgres

    arguments = parser(__doc__.splitlines()[0])
    arguments.add_argument("--files", type=int, default=40)
    arguments.add_argument(
        "--full", action="store_true", help="1,000,000 rows and tombstones, too"
    )
    options = arguments.parse_args()
    server = postgres.Server()
    try:
        os.environ.update(server.start())
        sizes = {name: SIZES[name] for name in SIZES if options.full or name != "millions"}
        configure(sizes)
        run("database", comparisons(sizes, options), options, [server_version()])
    finally:
        close_all()
        server.stop()
        shutil.rmtree(PARENT)


def configure(sizes: dict[str, int]) -> None:
    """Configure Django with a database of each size, and make the tables."""
    postgres = {"ENGINE": "django.db.backends.postgresql", "USER": os.environ["PGUSER"]}
    sqlite = {"ENGINE": "django.db.backends.sqlite3", "NAME": PARENT / "db.sqlite3"}
    store = "devilry_storage.storages.FsHierDeliveryStore"
    settings.configure(
        USE_TZ=True,
        INSTALLED_APPS=[
            *(f"django.contrib.{app}" for app in ("admin", "auth", "contenttypes", "messages")),
            "devilry_storage",
            "devilry_storage.deliveries",
        ],
        DATABASES={
            "default": sqlite,
            **{name: {**postgres, "NAME": f"benchmark_{name}"} for name in sizes},
        },
        DATABASE_ROUTERS=[Router()],
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        STORAGES={
            "default": {
                "BACKEND": "django.core.files.storage.FileSystemStorage",
                "OPTIONS": {"location": PARENT / "media"},
            },
            "deliveries": {
                "BACKEND": store,
                "OPTIONS": {"location": PARENT / "store", "durable": False},
            },
        },
    )
    django.setup()
    import psycopg
    from django.core.management import call_command
    from django.db import connections

    for number, alias in enumerate(("default", *sizes)):
        if alias in sizes:
            with psycopg.connect(dbname="postgres", autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE benchmark_{alias}")
        Router.alias = alias
        call_command("migrate", database=alias, verbosity=0)
        with connections[alias].schema_editor() as editor:
            editor.create_model(plain_model())
        add(1)  # while the database has no other files, so that it accepts the store
        if alias in sizes:
            fill(alias, sizes[alias], first=number * 10**9)


PLAIN: list[Any] = []


def plain_model() -> Any:
    """Return a model with a plain FileField."""
    from django.db import models

    from devilry_storage.deliveries.models import Delivery

    if not PLAIN:
        fields = {
            "__module__": __name__,
            "Meta": type("Meta", (), {"app_label": "devilry_deliveries"}),
            "delivery": models.ForeignKey(Delivery, models.CASCADE, related_name="+"),
            "filename": models.CharField(max_length=255),
            "content": models.FileField(max_length=255),
            "size": models.BigIntegerField(null=True),
            "created": models.DateTimeField(auto_now_add=True),
        }
        PLAIN.append(type("Plain", (models.Model,), fields))
    return PLAIN[0]


def fill(alias: str, size: int, first: int) -> None:
    """Insert deliveries, files and tombstones; their ids begin with ``first``."""
    from django.db import connections

    tables = ("assignmentgroup", "delivery", "filemeta")
    values = {"first": first, "last": first + size - 1, "group": first + 1}
    with connections[alias].cursor() as cursor:
        for table in tables:
            cursor.execute(
                f"ALTER SEQUENCE devilry_deliveries_{table}_id_seq RESTART WITH {first + size}"
            )
        for statement in (
            """
            INSERT INTO devilry_deliveries_assignmentgroup (id, name) VALUES (%(group)s, 'group')
            """,
            """
            INSERT INTO devilry_deliveries_delivery
            (id, assignment_group_id, number, time_of_delivery, successful)
            SELECT n, %(group)s, n - %(first)s + 1, now() - n * interval '1 second', true
            FROM generate_series(%(first)s::bigint, %(last)s) n
            """,
            """
            INSERT INTO devilry_deliveries_filemeta
            (id, delivery_id, filename, content, size, sha256, created)
            SELECT n, n, 'file ' || n || '.txt', 'x/' || n, 3, '',
            now() - n * interval '1 second' FROM generate_series(%(first)s::bigint, %(last)s) n
            """,
            """
            INSERT INTO devilry_storage_tombstone (model, alias, name, size, sha256, rows,
            filename, file_id, delivery_id, created, due, attempts, last_error)
            SELECT 'devilry_deliveries.filemeta', 'deliveries', 'y/' || n, 3, '', '[]', '',
            -n, -n, now(), now() + interval '30 days', 0, ''
            FROM generate_series(%(first)s::bigint, %(last)s) n
            """,
        ):
            cursor.execute(statement, values)
        cursor.execute("VACUUM ANALYZE")


def comparisons(sizes: dict[str, int], options: argparse.Namespace) -> Iterator[Comparison]:
    """Yield the comparisons."""
    for alias, name, aim in (("default", "SQLite", 1.5), ("few", "PostgreSQL", 1.3)):
        yield Comparison(
            f"add_file / FileField and one UPDATE, {name}",
            partial(at, alias, add, options.files),
            partial(at, alias, add_plain, options.files),
            at_most=aim,
        )
    for larger in [name for name in sizes if name != "few"]:
        for name, act, prepare in (
            ("add_file", add, None),
            ("replace", replace, rows),
            ("delete", delete, rows),
            ("finish", finish, deliveries),
            ("download, look-up of the row", look_up, rows),
            ("search of files in the admin", search, None),
        ):
            yield growth(
                f"{name}, {sizes[larger]:,} / 10,000", act, prepare, larger, options.files
            )


def growth(
    name: str, act: Callable[..., object], prepare: Any, larger: str, files: int
) -> Comparison:
    """Compare the same work in a larger database and in the smallest one."""
    prepared: dict[str, Any] = {}

    def prepare_both() -> None:
        for alias in ("few", larger):
            prepared[alias] = at(alias, prepare, files) if prepare else files

    def work(alias: str) -> None:
        at(alias, act, prepared[alias])

    ours, peer = partial(work, larger), partial(work, "few")
    return Comparison(name, ours, peer, at_most=1.2, prepare=prepare_both)


def at(alias: str, act: Callable[..., Any], *arguments: Any) -> Any:
    """Call the function with the queries sent to a database."""
    Router.alias = alias
    return act(*arguments)


def new_delivery() -> Any:
    """Begin a delivery of a new group."""
    from devilry_storage.deliveries.models import AssignmentGroup, Delivery

    group = AssignmentGroup.objects.create(name=f"group {next(NUMBERS)}")
    return Delivery.begin(group)


def add(files: int, content: bytes = CONTENT) -> Any:
    """Add files to a new delivery, and return it."""
    delivery = new_delivery()
    for number in range(files):
        delivery.add_file(f"{number}.txt", content)
    return delivery


def add_plain(files: int) -> None:
    """Save files as a plain FileField does, and record name and size by an UPDATE."""
    from django.core.files.base import ContentFile

    delivery, model = new_delivery(), plain_model()
    for number in range(files):
        row = model.objects.create(delivery=delivery, filename=f"{number}.txt")
        row.content.save(f"{delivery.pk}/{row.pk}", ContentFile(CONTENT), save=False)
        model.objects.filter(pk=row.pk).update(content=row.content.name, size=len(CONTENT))


def rows(files: int) -> list[Any]:
    """Return the rows of new files."""
    return list(add(files).files)


def replace(stored: list[Any]) -> None:
    """Replace the content of each row."""
    from django.core.files.base import ContentFile

    for row in stored:
        row.content = ContentFile(CONTENT, "new.txt")
        row.save()


def delete(stored: list[Any]) -> None:
    """Delete the rows one by one."""
    for row in stored:
        row.delete()


def deliveries(files: int) -> list[Any]:
    """Return deliveries with two files and two tombstones each."""
    begun = [add(4, b"") for _ in range(files // 4)]
    for delivery in begun:
        for row in delivery.files.filter(filename__in=["0.txt", "1.txt"]):
            row.delete()
    return begun


def finish(begun: list[Any]) -> None:
    """Finish the deliveries."""
    for delivery in begun:
        delivery.finish()


def user() -> Any:
    """Return a user who may see all files."""
    from django.contrib.auth import get_user_model

    return get_user_model().objects.get_or_create(
        username="admin", defaults={"is_superuser": True, "is_staff": True}
    )[0]


def look_up(stored: list[Any]) -> None:
    """Look the rows up as a download does."""
    from devilry_storage.deliveries.models import FileMeta

    viewer = user()
    for row in stored:
        FileMeta.objects.visible_to(viewer).get(pk=row.pk)


def search(times: int) -> None:
    """Search files by the beginning of their names, as the changelist does."""
    from django.contrib import admin
    from django.test import RequestFactory

    from devilry_storage.deliveries.models import FileMeta

    for _ in range(times):
        request = RequestFactory().get("/", {"q": "file 1"})
        request.user = user()
        list(admin.site._registry[FileMeta].get_changelist_instance(request).result_list)


def server_version() -> str:
    """Return the name and version of the server."""
    from django.db import connections

    with connections["few"].cursor() as cursor:
        cursor.execute("SHOW server_version")
        return f"PostgreSQL {cursor.fetchone()[0].split()[0]}"


def close_all() -> None:
    """Close all connections, so that the server can stop."""
    if settings.configured:
        from django.db import connections

        connections.close_all()


if __name__ == "__main__":
    main()
