"""Failing, disconnected and killed databases: every row keeps its bytes."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from itertools import cycle, islice
from typing import Any

import pytest
from django.db import DatabaseError, OperationalError, connection

from tests.harness import postgres
from tests.harness.proofs import count, report
from tests.harness.tcp_proxy import Proxy

from . import database_racing
from .database_operations import OPERATIONS, Operation, clear
from .database_server import own_server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("without_fsync"),
]

STEPS = 200
"""More statements or packets than any operation has."""


class Failing:
    """Lets the ``n``-th statement fail, and with ``for_good`` all later ones. None is executed."""

    def __init__(self, n: int, *, for_good: bool) -> None:
        self.left = n
        self.for_good = for_good
        self.failed = False

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        self.left -= 1
        if self.left == 0 or (self.left < 0 and self.for_good):
            self.failed = True
            raise OperationalError("the database has failed")
        return execute(sql, params, many, context)


def test_rows_keep_their_bytes_if_a_statement_fails() -> None:
    """Each statement of each operation fails, alone or with all later ones; then a second try.

    With the small counts, only every third statement fails, with varying offsets.

    A hit is an operation that raised an error.
    """
    tried = hit = 0
    bad = []
    for number, operation in enumerate(OPERATIONS):
        for for_good in (False, True):
            step = count(1, ci=3)
            for n in range(1 + number % step, STEPS, step):
                delivery = operation.prepared()
                pk, fault = delivery.pk, Failing(n, for_good=for_good)
                with connection.execute_wrapper(fault):
                    error = operation.run(delivery)
                bad += operation.check(pk, error)
                clear()
                if not fault.failed:
                    break
                tried += 1
                hit += error is not None
            assert n > 3, operation
    report("db-failing-statement", tried=tried, hit=hit, bad=bad)
    assert hit > 0.7 * tried


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("name", "lost", "piece", "rounds", "step"),
    [
        ("reply-to-commit", "swallow_reply", b"COMMIT", count(2, ci=1), 1),
        ("commit", "swallow_request", b"COMMIT", count(2, ci=1), 1),
        ("reply", "swallow_reply", b"", 1, count(1, ci=3)),
    ],
)
def test_rows_keep_their_bytes_if_a_packet_is_lost(
    name: str, lost: str, piece: bytes, rounds: int, step: int
) -> None:
    """Each COMMIT of each operation is lost, or its reply, or any reply; then a second try.

    A lost reply to a COMMIT looks like a rollback, but the transaction is committed. A hit is an
    operation that raised an error.
    """
    tried = hit = 0
    bad = []
    with Proxy(*postgres.address()) as proxy:
        for number, operation in enumerate(OPERATIONS * rounds):
            for n in range(number % step, STEPS, step):
                delivery = operation.prepared()
                pk, fired = delivery.pk, proxy.fired
                with database_racing.connected(HOST=proxy.host, PORT=str(proxy.port)):
                    connection.ensure_connection()
                    getattr(proxy, lost)(piece, skip=n)
                    error = operation.run(delivery)
                    proxy.forget_rules()
                bad += operation.check(pk, error)
                clear()
                if proxy.fired == fired:
                    break
                tried += 1
                hit += error is not None
    report(f"db-lost-{name}", tried=tried, hit=hit, bad=bad)
    assert hit > 0.7 * tried


class Killer:
    """Strikes the database at a random time during an operation, in a thread."""

    def __init__(self, strike: Callable[[], object]) -> None:
        self._strike = strike
        self._chance = random.Random(0)

    def during(self, operation: Operation, delivery: Any, seconds: float) -> DatabaseError | None:
        """Run the operation and return its error.

        ``seconds`` is the time that it takes undisturbed.
        """
        begun = threading.Event()

        def strike() -> None:
            begun.wait()
            time.sleep(self._chance.uniform(0, seconds))
            self._strike()

        thread = threading.Thread(target=strike)
        thread.start()
        begun.set()
        try:
            return operation.run(delivery)
        finally:
            thread.join()


def strike_at_random(name: str, strike: Callable[[], object], strikes: int) -> None:
    """Strike the database in the middle of operations, and report the faults.

    A hit is an operation that raised an error.
    """
    killer, hit = Killer(strike), 0
    bad: list[str] = []
    seconds = {operation.name: typical_seconds(operation) for operation in OPERATIONS}
    for operation in islice(cycle(OPERATIONS), strikes):
        delivery = operation.prepared()
        pk = delivery.pk
        error = killer.during(operation, delivery, seconds[operation.name])
        hit += error is not None
        connection.close()
        bad += operation.check(pk, error)
        clear()
    report(name, tried=strikes, hit=hit, bad=bad)
    assert hit > 0.25 * strikes


def typical_seconds(operation: Operation) -> float:
    delivery = operation.prepared()
    begun = time.monotonic()
    assert operation.run(delivery) is None
    seconds = time.monotonic() - begun
    clear()
    return seconds


@pytest.mark.postgres
def test_rows_keep_their_bytes_if_a_backend_is_killed() -> None:
    """pg_terminate_backend() is called at a random time during an operation; then a second try."""
    import psycopg

    name = connection.settings_dict["NAME"]
    with psycopg.connect(dbname=name, autocommit=True) as session:

        def kill() -> None:
            session.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = %s AND pid <> pg_backend_pid()",
                [name],
            )

        strike_at_random("db-backend-killed", kill, count(84, 14))


@pytest.mark.postgres
def test_rows_keep_their_bytes_if_the_server_crashes() -> None:
    """The server is shut down at a random time during an operation; then a second try."""
    with own_server() as server:
        strike_at_random("db-server-restarted", server.crash, count(28, 7))
