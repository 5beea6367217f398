"""Disturb a working site: kill, stop and interrupt its workers, and restart its servers."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core import serializers
from django.db import connection, connections
from django.test import override_settings

from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.resolving import store_for
from tests.harness.waiting import eventually

from .processes import PATIENCE, start
from .site_accounting import Account, Books
from .site_journal import Journals
from .site_plants import nothing
from .site_worker import RunFolder, work

WORKERS = 8

PACE = 0.1
"""Seconds between two disturbances, on average."""

LONGEST_STOP = 0.5
"""Seconds."""


@dataclass
class Site:
    """Workers that share a database and a store, and the process that disturbs them.

    The run ends after ``kills`` workers were killed. The functions in ``restarts`` are called at
    regular intervals in between.
    """

    folder: Path
    seed: str
    kills: int
    restarts: list[Callable[[], object]]
    plant: Callable[[], None] = nothing
    acts: Counter[str] = field(default_factory=Counter)
    hit: int = 0
    _workers: list[tuple[int, BaseProcess]] = field(default_factory=list)
    _stopped: dict[int, float] = field(default_factory=dict)
    _started: int = 0

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.run_folder = RunFolder(self.folder)
        self.run_folder.fixtures.mkdir(parents=True)
        self.run_folder.journals.mkdir()

    def run(self) -> Account:
        """Let the workers work until all disturbances are over, and return the account."""
        _clear()
        _warm_up()
        # Processes cannot share an inherited connection.
        connections.close_all()
        self._workers = [self._start() for _ in range(WORKERS)]
        try:
            self._disturb()
        finally:
            self._end()
        _wait_for_sessions()
        journals = self._journals()
        self.hit = journals.in_flight
        books = Books(journals)
        account = books.account()
        account.broken += books.purge()
        account.states["calls"] = len(journals.attempts)
        return account

    # -- Disturbances --

    def _disturb(self) -> None:
        pending = list(self.restarts)
        acts = {
            "kills": self._kill,
            "stops": self._stop,
            "interruptions": self._interrupt,
            "terminated sessions": self._terminate_session,
        }
        while self.acts["kills"] < self.kills or pending:
            time.sleep(self.chance.uniform(0, 2 * PACE))
            self._continue()
            done = 1 - len(pending) / (len(self.restarts) + 1)
            if pending and self.acts["kills"] >= self.kills * done:
                pending.pop(0)()
                self.acts["restarts"] += 1
                continue
            (act,) = self.chance.choices(list(acts), [3, 1, 5, 1])
            acts[act]()
            self.acts[act] += 1

    def _start(self) -> tuple[int, BaseProcess]:
        number = self._started
        self._started += 1
        seed = f"{self.seed}, worker {number}"
        # The worker inherits this until it has set a handler.
        before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        try:
            return number, start(work, self.run_folder, number, seed, self.plant)
        finally:
            signal.signal(signal.SIGUSR1, before)

    def _kill(self) -> None:
        chosen = self.chance.choice(self._workers)
        _signal(chosen[1], signal.SIGKILL)
        chosen[1].join()
        self._stopped.pop(chosen[0], None)
        self._workers.remove(chosen)
        self._workers.append(self._start())

    def _stop(self) -> None:
        number, worker = self.chance.choice(self._workers)
        _signal(worker, signal.SIGSTOP)
        self._stopped[number] = time.monotonic() + self.chance.uniform(0, LONGEST_STOP)

    def _continue(self) -> None:
        """Continue the workers whose stop is over."""
        for number, worker in self._workers:
            if self._stopped.get(number, float("inf")) < time.monotonic():
                del self._stopped[number]
                _signal(worker, signal.SIGCONT)

    def _interrupt(self) -> None:
        _signal(self.chance.choice(self._workers)[1], signal.SIGUSR1)

    def _terminate_session(self) -> None:
        with _session() as session:
            pids = [pid for (pid,) in session.execute(OTHERS)]
            if pids:
                session.execute("SELECT pg_terminate_backend(%s)", [self.chance.choice(pids)])

    # -- The end --

    def _end(self) -> None:
        """Ask all workers to end, and kill those that do not."""
        for _, worker in self._workers:
            _signal(worker, signal.SIGCONT)
            _signal(worker, signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE
        for _, worker in self._workers:
            worker.join(max(0.0, deadline - time.monotonic()))
            if worker.exitcode is None:
                _signal(worker, signal.SIGKILL)
                worker.join()

    def _journals(self) -> Journals:
        journals = Journals()
        for path in sorted(self.run_folder.journals.iterdir()):
            journals.read(path)
        for number, worker in self._workers:
            if worker.exitcode not in {0, -signal.SIGTERM}:  # SIGTERM before it set its handler
                journals.faults.append(f"worker {number} ended with {worker.exitcode}")
        return journals


OTHERS = (
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
    " AND pid <> pg_backend_pid()"
)


@contextmanager
def _session() -> Iterator[Any]:
    """Yield a separate session, outside of Django's connections."""
    import psycopg

    address = connection.settings_dict
    with psycopg.connect(
        host=address["HOST"],
        port=address["PORT"],
        password=address["PASSWORD"],
        dbname=address["NAME"],
        autocommit=True,
    ) as session:
        yield session


def _wait_for_sessions() -> None:
    """Wait until the sessions of killed workers have ended."""
    with _session() as session:
        assert eventually(lambda: not session.execute(OTHERS).fetchall())


def _clear() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit = on")
        cursor.execute(
            "TRUNCATE devilry_storage_tombstone, devilry_deliveries_assignmentgroup CASCADE"
        )
    for number in range(3):
        group = AssignmentGroup.objects.create(name=f"group {number}")
        for _ in range(5):
            Delivery.begin(group)


def _warm_up() -> None:
    """Import modules once that each worker would otherwise import."""
    serializers.get_serializer_formats()
    store_for(FileMeta).exists("0/0/0/0")


def _signal(worker: BaseProcess, number: int) -> None:
    assert worker.pid is not None
    os.kill(worker.pid, number)


@contextmanager
def site_settings(backend: str, options: dict[str, Any], days: float) -> Iterator[None]:
    """Use a separate store in this process and in the workers that it starts."""
    deliveries = {"BACKEND": f"devilry_storage.storages.{backend}", "OPTIONS": options}
    with override_settings(
        STORAGES={**settings.STORAGES, "deliveries": deliveries},
        DELIVERY_STORE_RETENTION_DAYS=days,
    ):
        yield
