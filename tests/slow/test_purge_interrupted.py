"""Purges that lose their session, are stopped or are killed, while other processes act.

Every row keeps its bytes, and one more purge completes the work.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import pytest
from django.db import connection

from devilry_storage.deletion import purge
from tests.harness import postgres
from tests.harness.proofs import count, report
from tests.harness.tcp_proxy import Proxy
from tests.harness.waiting import eventually

from .database_operations import clear
from .database_server import Sessions, own_server
from .purge_rivals import (
    Act,
    Done,
    Scene,
    act_on_each,
    adopt_file,
    fail_to_purge,
    faults_after,
    purge_again,
    restore_file,
    store_again,
)
from .purge_steps import IN_CLAIM, STEPS, at_step
from .stopping import Child, Ended, Stop

pytestmark = [
    pytest.mark.slow,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("without_fsync"),
]

PURGE = "purge"
"""The application_name of the session that the purge loses."""


class Case(NamedTuple):
    """The step of an interrupted purge, the kind of loss, a rival's acts and the kind of files."""

    step: str
    loss: str
    acts: tuple[Act, ...]
    cleared: bool

    def __str__(self) -> str:
        acts = " and ".join(act.__name__ for act in self.acts)
        return f"{self.loss} {self.step}, {acts or 'nothing'}, cleared={self.cleared}"


def cases(
    tried: int, losses: Sequence[str], rivals: Sequence[tuple[Act, ...]], steps: Sequence[str]
) -> Iterator[Case]:
    """Yield ``tried`` cases, spread evenly over all kinds."""
    kinds = [
        Case(step, loss, acts, cleared)
        for cleared in (False, True)
        for acts in rivals
        for loss in losses
        for step in steps
    ]
    for number in range(tried):
        yield kinds[number * 11 % len(kinds)]


def stopping_purge(case: Case, **database: Any) -> Child:
    """Start a purge that stops itself at the step of the case."""

    def work(stop: Stop) -> list[str]:
        connection.settings_dict.update(database)

        def act() -> None:
            if case.loss == "idle":
                with connection.cursor() as cursor:
                    cursor.execute("SET idle_in_transaction_session_timeout = '10ms'")
            stop()

        with at_step(case.step, act):
            return [event.result for event in purge()]

    return Child(work)


def rival(acts: tuple[Act, ...], scene: Scene) -> Child:
    """Start a process that acts on the files of the scene."""
    return Child(lambda stop: act_on_each(acts, scene))


def database_errors(ended: Ended) -> list[str]:
    """Return the error of a purge that lost its session, unless it is a database error."""
    # PostgreSQL reports the timeout of idle transactions as an internal error.
    allowed = ended.error.startswith(("OperationalError", "InterfaceError", "InternalError"))
    return [f"the purge fails: {ended.error}"] if ended.error and not allowed else []


# -- The session is lost --


class Losses:
    """Ways to make a purge lose its database session."""

    KINDS = ("terminated", "idle", "restarted", "cut", "reply")

    def __init__(self, server: postgres.Server, proxy: Proxy) -> None:
        self._server = server
        self._proxy = proxy
        self.sessions = Sessions()

    def settings(self, loss: str) -> dict[str, Any]:
        """Return the database settings of a purge that loses its session in this way."""
        # A claim must be durable even so.
        options = "-c synchronous_commit=off"
        settings: dict[str, Any] = {"OPTIONS": {"application_name": PURGE, "options": options}}
        if loss in {"cut", "reply"}:
            settings |= {"HOST": self._proxy.host, "PORT": str(self._proxy.port)}
        return settings

    def lose(self, case: Case) -> bool:
        """End the session while the purge is stopped, and return whether it ended."""
        if case.loss == "terminated":
            self.sessions.terminate(PURGE)
        elif case.loss == "restarted":
            self.sessions.close()
            self._server.crash()
        elif case.loss == "cut":
            self._proxy.cut()
        elif case.loss == "reply":
            self._proxy.swallow_reply(b"")  # to the next statement
            return False  # not yet
        elif case.step != IN_CLAIM:
            return False  # only the claim has an open transaction that can be idle
        return eventually(lambda: not self.sessions.exist(PURGE))

    def has_swallowed(self) -> bool:
        """Return whether a reply was lost since the last call."""
        fired, self._proxy.fired = self._proxy.fired, 0
        self._proxy.forget_rules()
        return fired > 0


@contextmanager
def all_losses() -> Iterator[Losses]:
    """Start a server and a proxy in front of it."""
    with ExitStack() as stack:
        server = stack.enter_context(own_server())
        host, port = connection.settings_dict["HOST"], int(connection.settings_dict["PORT"])
        losses = Losses(server, stack.enter_context(Proxy(host, port)))
        stack.callback(losses.sessions.close)
        yield losses


def lose_session(losses: Losses, case: Case) -> tuple[bool, list[str]]:
    """Let a purge lose its session; return whether the session was lost, and the faults."""
    scene = Scene.prepared(cleared=case.cleared)
    purging = stopping_purge(case, **losses.settings(case.loss))
    if not purging.stops():
        return False, [f"the purge ends before it stops: {purging.end()}"]
    lost = losses.lose(case)
    other = rival(case.acts, scene)
    # It waits if the purge's session, whose next reply will be lost, still has a lock.
    other.wait(losses.sessions.one_waits)
    purging.go_on()
    done: Done = other.end().value
    wrong = database_errors(purging.end())
    lost |= losses.has_swallowed()
    return lost, wrong + faults_after(done)


@pytest.mark.postgres
def test_purge_that_loses_its_session_loses_no_file() -> None:
    """The purge loses its session at each step, from before the claim to after settling.

    The session is terminated or times out, the server crashes, the connection is cut, or a reply
    is lost. A hit is a lost session.
    """
    rivals = [(restore_file,), (adopt_file,), (store_again,), (purge_again,)]
    tried, hit, bad = count(300, ci=20), 0, []
    with all_losses() as losses:
        for case in cases(tried, Losses.KINDS, rivals, STEPS):
            lost, wrong = lose_session(losses, case)
            hit += lost
            bad += [f"{case}: {line}" for line in wrong]
            clear()
    report("db-purge-session-lost", tried=tried, hit=hit, bad=bad)


# -- The purge is stopped or killed --


def stop_purge(sessions: Sessions, case: Case) -> tuple[bool, list[str]]:
    """Let rivals act while a purge is stopped; return whether it stopped, and the faults."""
    scene = Scene.prepared(cleared=case.cleared)
    purging = stopping_purge(case)
    stopped = purging.stops()
    other = rival(case.acts, scene)
    other.wait(sessions.one_waits)
    purging.go_on()
    done: Done = other.end().value
    error = purging.end().error
    return stopped, [f"the purge fails: {error}"] * bool(error) + faults_after(done)


def test_purge_that_was_stopped_removes_no_file_in_use() -> None:
    """It continues after a second purge, a failed removal, a restore or a new file.

    A hit is a purge that was stopped. It is not stopped within SQLite's claim, where rivals could
    only wait.
    """
    rivals = [
        (purge_again,), (fail_to_purge,), (restore_file,), (purge_again, store_again),
        (fail_to_purge, store_again), (restore_file, purge_again),
    ]  # fmt: skip
    steps = [step for step in STEPS if connection.vendor == "postgresql" or step != IN_CLAIM]
    tried, hit, bad = count(100, ci=10), 0, []
    sessions = Sessions()
    for case in cases(tried, ("stopped",), rivals, steps):
        stopped, wrong = stop_purge(sessions, case)
        hit += stopped
        bad += [f"{case}: {line}" for line in wrong]
        clear()
    sessions.close()
    report("db-purge-stopped", tried=tried, hit=hit, bad=bad)


def kill_purge(case: Case) -> tuple[bool, list[str]]:
    """Kill a purge at its step, then let rivals act; return whether it stopped, and the faults."""
    scene = Scene.prepared(cleared=case.cleared)
    purging = stopping_purge(case)
    stopped = purging.stops()
    purging.kill()
    done: Done = rival(case.acts, scene).end().value
    return stopped, faults_after(done)


def test_next_purge_completes_the_work_of_a_killed_purge() -> None:
    """The purge is killed at each step. A restore, a new file or nothing follows, then a purge.

    A hit is a purge that was killed at its step.
    """
    rivals = [(), (restore_file,), (adopt_file,), (store_again,), (purge_again, store_again)]
    tried, hit, bad = count(300, ci=20), 0, []
    for case in cases(tried, ("killed",), rivals, STEPS):
        killed, wrong = kill_purge(case)
        hit += killed
        bad += [f"{case}: {line}" for line in wrong]
        clear()
    report("db-purge-killed", tried=tried, hit=hit, bad=bad)
