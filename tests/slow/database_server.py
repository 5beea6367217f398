"""PostgreSQL seen from outside: its sessions, and a separate server that can crash."""

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
    """Start a separate server and connect Django to it."""
    server = postgres.Server()
    try:
        where = server.start()
        address = {"HOST": where["PGHOST"], "PORT": where["PGPORT"]}
        with connected(**address, PASSWORD=server.password, NAME="postgres"):
            with connection.cursor() as cursor:
                # Commits must survive a crash, unlike those of the suite's usual server.
                cursor.execute("ALTER ROLE CURRENT_USER SET synchronous_commit = on")
            connection.close()
            call_command("migrate", verbosity=0)
            yield server
    finally:
        server.stop()


class Sessions:
    """The other sessions of the database, queried through a separate connection."""

    def __init__(self) -> None:
        self._connection: Any = connection.copy()

    def close(self) -> None:
        self._connection.close()

    def one_waits(self) -> bool:
        """Return whether a session waits for a lock; always False on SQLite."""
        return connection.vendor == "postgresql" and self._any("wait_event_type = 'Lock'")

    def exist(self, name: str) -> bool:
        """Return whether a session with this application_name exists."""
        return self._any("application_name = %s", name)

    def terminate(self, name: str) -> None:
        """Terminate the sessions with this application_name."""
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
