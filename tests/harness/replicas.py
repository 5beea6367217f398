"""A read replica of the test database, and the router of Django's manual for it.

Test modules load the fixtures with ``pytest_plugins = ["tests.harness.replicas"]``. Their tests
need the markers ``usefixtures("replica_alias")`` and ``django_db(transaction=True,
databases=["default", "replica"])``.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from django.test import override_settings

REPLICA = "replica"


class PrimaryReplicaRouter:
    """Read from the replica and write to the default database."""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return REPLICA

    def db_for_write(self, model: Any, **hints: Any) -> str:
        return "default"

    def allow_relation(self, first: Any, second: Any, **hints: Any) -> bool:
        return True


class Replica:
    """A database that rejects writes.

    On SQLite it lags behind: it has only what was committed before the last ``catch_up()``. On
    PostgreSQL it always has the current rows.
    """

    def __init__(self, folder: Path) -> None:
        self._primary, self._copy = connections["default"], folder / "replica.sqlite3"
        connections.databases[REPLICA].update(
            {"NAME": f"file:{self._copy}?mode=ro"}
            if self._primary.vendor == "sqlite"
            else {
                "NAME": self._primary.settings_dict["NAME"],
                "OPTIONS": {"options": "-c default_transaction_read_only=on"},
            }
        )
        self.catch_up()

    def catch_up(self) -> None:
        """Copy what was committed."""
        connections[REPLICA].close()
        if self._primary.vendor == "sqlite":
            shutil.copy(self._primary.settings_dict["NAME"], self._copy)

    def reread(self, row: Any) -> Any:
        """Catch up, and return the row as it is read from the replica."""
        self.catch_up()
        again = type(row).objects.get(pk=row.pk)
        assert again._state.db == REPLICA
        return again


@pytest.fixture(scope="module")
def replica_alias() -> Iterator[None]:
    """Add the alias, before Django's test case asks whether it exists."""
    mirror = {"TEST": {**connections.databases["default"]["TEST"], "MIRROR": "default"}}
    connections.databases[REPLICA] = {**connections.databases["default"], **mirror}
    yield
    connections[REPLICA].close()
    del connections[REPLICA], connections.databases[REPLICA]


@pytest.fixture
def replica(tmp_path: Path) -> Iterator[Replica]:
    """Return the replica of a site that reads from it."""
    router = f"{__name__}.{PrimaryReplicaRouter.__name__}"
    with override_settings(DATABASE_ROUTERS=[router]):
        yield Replica(tmp_path)
        # For the end of the test case, which empties the tables.
        connections[REPLICA].close()
