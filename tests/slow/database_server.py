"""PostgreSQL from outside: its sessions, its address, and a server of our own that crashes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management import call_command
from django.db import connection

from tests.harness import postgres

from .database_racing import connected


@contextmanager
def own_server() -> Iterator[postgres.Server]:
    """Start a server, and let Django's connection go to it."""
    server = postgres.Server()
    try:
        where = server.start()
        address = {"HOST": where["PGHOST"], "PORT": where["PGPORT"]}
        with connected(**address, PASSWORD=server.password, NAME="postgres"):
            with connection.cursor() as cursor:
                # What was committed is to survive; the suite's servers need not.
                cursor.execute("ALTER ROLE CURRENT_USER SET synchronous_commit = on")
            connection.close()
            call_command("migrate", verbosity=0)
            yield server
    finally:
        server.stop()


class Sessions:
    """The other sessions of the database, seen through a connection of its own."""

    def __init__(self) -> None:
        self._connection: Any = connection.copy()

    def close(self) -> None:
        self._connection.close()

    def one_waits(self) -> bool:
        """Return whether one waits for a lock; on SQLite that is unknown."""
        return connection.vendor == "postgresql" and self._any("wait_event_type = 'Lock'")

    def exist(self, name: str) -> bool:
        """Return whether there is one of that application_name."""
        return self._any("application_name = %s", name)

    def terminate(self, name: str) -> None:
        """End those of that application_name."""
        with self._connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = %s",
                [name],
            )

    def _any(self, condition: str, *params: str) -> bool:
        with self._connection.cursor() as cursor:
            cursor.execute(
                "SELECT EXISTS (SELECT FROM pg_stat_activity"
                f" WHERE datname = current_database() AND {condition})",
                params,
            )
            (found,) = cursor.fetchone()
        return bool(found)
