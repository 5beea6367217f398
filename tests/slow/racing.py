"""Two processes that act on one store at the same moment."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection

from django.core.files.storage import Storage

from .places import Place
from .processes import FORK, PATIENCE, finish, start

Act = Callable[[], object]
Prepare = Callable[[Storage, int], Act]
"""Gets a store and the race's number, makes ready, returns what is then done in the race."""


# Seconds in which the second of two processes wakes up after the first.
_AWAKE = 0.0005


@dataclass(frozen=True)
class Run:
    """One side of one race: when it ran (monotonic seconds) and what came of it."""

    begun: float
    ended: float
    value: object
    error: str | None

    def overlaps(self, other: Run) -> bool:
        return self.begun < other.ended and other.begun < self.ended


class Gate:
    """A barrier of two processes that lets both go within microseconds.

    A barrier alone wakes them one after the other, by more than what they race in.
    """

    def __init__(self) -> None:
        self._barrier = FORK.Barrier(2)
        self._start = FORK.Value("d")

    def pass_together(self, delay: float) -> None:
        """Wait for the other, then until ``delay`` seconds after the common start."""
        with self._start:
            self._start.value = time.monotonic() + _AWAKE
        self._barrier.wait(PATIENCE)
        start = self._start.value + delay
        # Not sleep(), which oversleeps by more than the race takes.
        while time.monotonic() < start:
            pass


def race(
    place: Place, left: Prepare, right: Prepare, races: int, *, spread: float = 0.0
) -> list[tuple[Run, Run]]:
    """Let two processes meet at a barrier and act at once, ``races`` times.

    ``spread``: each side waits a random time of up to so many seconds after the barrier, so that
    the sides meet in all of their phases.
    """
    gate, sides = Gate(), []
    for seed, prepare in enumerate((left, right)):
        reader, writer = FORK.Pipe(duplex=False)
        child = start(_side, place, prepare, gate, races, random.Random(seed), spread, writer)
        writer.close()
        sides.append((child, reader))
    left_end, right_end = (reader for _, reader in sides)
    # In turn, lest a side waits for room in its pipe while the other waits at the barrier.
    runs = [(_receive(left_end, number), _receive(right_end, number)) for number in range(races)]
    for child, reader in sides:
        reader.close()
        finish(child)
    return runs


def _receive(reader: Connection, number: int) -> Run:
    assert reader.poll(PATIENCE), f"a side hangs in race {number}"
    run = reader.recv()
    assert isinstance(run, Run)
    return run


def _side(
    place: Place,
    prepare: Prepare,
    gate: Gate,
    races: int,
    chance: random.Random,
    spread: float,
    results: Connection,
) -> None:
    store = place.store()
    for number in range(races):
        act = prepare(store, number)
        gate.pass_together(chance.uniform(0, spread))
        begun = time.monotonic()
        value, error = None, None
        try:
            value = act()
        # Every error is a finding; the parent judges it.
        except Exception as problem:  # noqa: BLE001
            error = repr(problem)
        results.send(Run(begun, time.monotonic(), value, error))


@dataclass(frozen=True)
class Saved:
    """A save that was acknowledged: the name that the writer was told and what it had given."""

    name: str
    sha256: str


def broken(place: Place, runs: list[Run]) -> list[str]:
    """Return a line for each run that failed and each acknowledged save that cannot be read."""
    store, complaints = place.store(), []
    for run in runs:
        if run.error is not None:
            complaints.append(run.error)
        if isinstance(run.value, Saved):
            complaints += _unreadable(store, run.value)
    return complaints


def _unreadable(store: Storage, saved: Saved) -> list[str]:
    try:
        with store.open(saved.name) as file:
            digest = hashlib.sha256(file.read()).hexdigest()
    except OSError as problem:
        return [f"{saved.name}: {problem!r}"]
    return [] if digest == saved.sha256 else [f"{saved.name} holds other bytes"]
