"""Wait for events in other threads and sessions."""

from __future__ import annotations

import time
from collections.abc import Callable

from django.db import connection


def eventually(holds: Callable[[], bool]) -> bool:
    """Wait at most 20 seconds until the condition holds, and return whether it does."""
    deadline = time.monotonic() + 20
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.01)
    return holds()


def waits_for_lock() -> bool:
    """Return whether another session of the PostgreSQL database waits for a lock."""
    with connection.cursor() as cursor:
        # In a transaction PostgreSQL would repeat its first snapshot.
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return bool(cursor.fetchone()[0])
