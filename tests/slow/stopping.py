"""Processes that stop themselves (SIGSTOP) at a chosen point until they are continued."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any, NamedTuple

from django.db import connections

from tests.harness.waiting import eventually

from .processes import FORK, PATIENCE, finish, start

Stop = Callable[[], None]
Work = Callable[[Stop], object]
"""Takes a function that stops the process when it is called."""


class Ended(NamedTuple):
    """The value that a process returned, and the error that it ended with, or ``""``."""

    value: Any
    error: str


class Child:
    """A forked process with its own database connection."""

    def __init__(self, work: Work) -> None:
        # Two processes cannot share an inherited connection.
        connections.close_all()
        self._reader, writer = FORK.Pipe(duplex=False)
        self._child = start(_run, work, writer)
        writer.close()
        assert self._child.pid is not None
        self._pid = self._child.pid
        self._ended: Ended | None = None

    def stops(self) -> bool:
        """Wait until the process has stopped itself; return False if it has ended instead."""
        self._ended = self._receive()
        if self._ended is None:
            os.waitid(os.P_PID, self._pid, os.WSTOPPED | os.WNOWAIT)
        return self._ended is None

    def go_on(self) -> None:
        os.kill(self._pid, signal.SIGCONT)

    def kill(self) -> None:
        """Kill the process with SIGKILL."""
        os.kill(self._pid, signal.SIGKILL)
        self._child.join()
        self._child.close()
        self._reader.close()

    def wait(self, waits: Callable[[], bool]) -> None:
        """Wait until the process has stopped itself or ended, or until ``waits`` returns True."""
        assert eventually(lambda: self._ended is not None or self._reader.poll(0) or waits())

    def end(self) -> Ended:
        """Wait until the process has ended, and return its result."""
        ended = self._ended or self._receive()
        assert ended is not None, "the process has stopped instead"
        finish(self._child)
        self._reader.close()
        return ended

    def _receive(self) -> Ended | None:
        assert self._reader.poll(PATIENCE), f"Child {self._pid} hangs."
        received: Ended | None = self._reader.recv()
        return received


def _run(work: Work, results: Any) -> None:
    def stop() -> None:
        results.send(None)
        os.kill(os.getpid(), signal.SIGSTOP)

    value, error = None, ""
    try:
        value = work(stop)
    # Every error is a finding, which the parent reports.
    except Exception as problem:  # noqa: BLE001
        error = repr(problem)
    connections.close_all()
    results.send(Ended(value, error))
