"""Races of two processes on the same rows, each with its own database connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from django.core.files.storage import Storage
from django.db import connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from devilry_storage.abstract_models.delivery import _fault
from devilry_storage.deliveries.models import FileMeta
from devilry_storage.resolving import store_for
from devilry_storage.storages import FsHierDeliveryStore
from devilry_storage.testing import override_deliverystore

from .locations import DiskLocation
from .racing import Act, Run, race

Side = Callable[[int], Act]
"""Prepares a race, given its number, and returns the function to call in the race."""

Runs = list[tuple[Run, Run]]

SPREAD = 0.004
"""Seconds. About the time of a save, so that the sides overlap in every phase."""


class _SharedRows(DiskLocation):
    """The store of the rows; both sides and the test see the same database."""

    def store(self) -> Storage:
        return store_for(FileMeta)


def race_on_rows(left: Side, right: Side, races: int, *, spread: float = SPREAD) -> Runs:
    """Let two processes act on the database at the same time, ``races`` times.

    They start without a connection, so the rows that they need must be committed.
    """
    store: Any = store_for(FileMeta)
    location = _SharedRows(Path(store.location), lambda root: store)
    # Two processes cannot share an inherited connection.
    connections.close_all()
    return race(
        location,
        lambda store, number: left(number),
        lambda store, number: right(number),
        races,
        spread=spread,
    )


def met(runs: Runs) -> int:
    """Return the number of races in which the sides overlapped in time."""
    return sum(left.overlaps(right) for left, right in runs)


def error(run: Run) -> str:
    """Return the class name of the run's error, or ``""``."""
    return (run.error or "").partition("(")[0]


def unexpected(runs: Runs, *expected: str) -> list[str]:
    """Return the errors whose class names are not expected."""
    both = (run for pair in runs for run in pair)
    return [str(run.error) for run in both if run.error and error(run) not in expected]


def finish(delivery: Any) -> list[str | None]:
    """Finish the delivery and return the names of the contents that were checked."""
    seen: list[str | None] = []

    def note(row: Any, *args: Any) -> str:
        seen.append(row.content.name)
        return _fault(row, *args)

    with patch("devilry_storage.abstract_models.delivery._fault", note):
        delivery.finish()
    return seen


@contextmanager
def isolation_level(level: str) -> Iterator[None]:
    """Set the isolation level of new connections, such as "repeatable read"."""
    from psycopg import IsolationLevel

    options = connections["default"].settings_dict["OPTIONS"]
    connections.close_all()
    try:
        with patch.dict(options, isolation_level=IsolationLevel[level.upper().replace(" ", "_")]):
            yield
    finally:
        connections.close_all()


@contextmanager
def connected(**address: Any) -> Iterator[None]:
    """Connect Django to another address in the block."""
    before = dict(connection.settings_dict)
    connection.close()
    connection.settings_dict.update(address)
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict.clear()
        connection.settings_dict.update(before)


@contextmanager
def without_fsync() -> Iterator[None]:
    """Disable fsync in the store and in SQLite; races are about order, not durability."""

    def configure(connection: BaseDatabaseWrapper, **kwargs: object) -> None:
        if connection.vendor == "sqlite":
            with connection.cursor() as cursor:
                cursor.execute("PRAGMA synchronous = OFF")

    store: Any = store_for(FileMeta)
    quick = FsHierDeliveryStore(location=store.location, durable=False)
    connections.close_all()
    connection_created.connect(configure)
    try:
        with override_deliverystore(quick):
            yield
    finally:
        connection_created.disconnect(configure)
        connections.close_all()
