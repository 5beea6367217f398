"""Races of two or more processes on one store."""

from __future__ import annotations

import hashlib
import os
import random
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import combinations
from multiprocessing.connection import Connection
from typing import Any

from django.core.files.storage import Storage

from devilry_storage.layout import HierLayout

from .locations import Location
from .processes import FORK, PATIENCE, finish, start

Act = Callable[[], object]
Prepare = Callable[[Storage, int], Act]
"""Prepares a race, given a store and its number, and returns the function to call in the race."""


# Seconds within which all processes wake up at the barrier.
_AWAKE = 0.0005


@dataclass(frozen=True)
class Run:
    """One side of a race: when it ran (monotonic seconds), and its value or error."""

    begun: float
    ended: float
    value: object
    error: str | None

    def overlaps(self, other: Run) -> bool:
        return self.begun < other.ended and other.begun < self.ended


class Gate:
    """A barrier that releases processes within microseconds of each other.

    A plain barrier wakes them one after the other, with longer pauses than a race takes.
    """

    def __init__(self, sides: int) -> None:
        self._barrier = FORK.Barrier(sides)
        self._start = FORK.Value("d")

    def pass_together(self, delay: float) -> None:
        """Wait for all processes, then until ``delay`` seconds after the common start."""
        with self._start:
            self._start.value = time.monotonic() + _AWAKE
        self._barrier.wait(PATIENCE)
        start = self._start.value + delay
        # sleep() may oversleep by more than the race takes.
        while time.monotonic() < start:
            pass


def race(
    location: Location, left: Prepare, right: Prepare, races: int, *, spread: float = 0.0
) -> list[tuple[Run, Run]]:
    """Let two processes wait for each other at a barrier and then act, ``races`` times.

    After the barrier, each side waits for a random time of up to ``spread`` seconds, so that the
    sides overlap in every phase.
    """
    return [(one, other) for one, other in race_of_many(location, [left, right], races, spread)]


def race_of_many(
    location: Location, prepares: Sequence[Prepare], races: int, spread: float = 0.0
) -> list[tuple[Run, ...]]:
    """Run `race` with one process for each side."""
    gate, children, ends = Gate(len(prepares)), [], []
    for seed, prepare in enumerate(prepares):
        reader, writer = FORK.Pipe(duplex=False)
        chance = random.Random(seed)
        children.append(start(_side, location, prepare, gate, races, chance, spread, writer))
        writer.close()
        ends.append(reader)
    # In turn, or a side could wait for its full pipe while the others wait at the barrier.
    runs = [tuple(_receive(end, number) for end in ends) for number in range(races)]
    for end in ends:
        end.close()
    for child in children:
        finish(child)
    return runs


def any_overlap(runs: Sequence[Run]) -> bool:
    """Return whether two sides of a race overlapped in time."""
    return any(one.overlaps(other) for one, other in combinations(runs, 2))


def _receive(reader: Connection, number: int) -> Run:
    assert reader.poll(PATIENCE), f"a side hangs in race {number}"
    run = reader.recv()
    assert isinstance(run, Run)
    return run


def _side(
    location: Location,
    prepare: Prepare,
    gate: Gate,
    races: int,
    chance: random.Random,
    spread: float,
    results: Connection,
) -> None:
    store = location.store()
    for number in range(races):
        act = prepare(store, number)
        gate.pass_together(chance.uniform(0, spread))
        begun = time.monotonic()
        value, error = None, None
        try:
            value = act()
        # Every error is a finding, which the parent checks.
        except Exception as problem:  # noqa: BLE001
            error = repr(problem)
        results.send(Run(begun, time.monotonic(), value, error))


@dataclass(frozen=True)
class Saved:
    """An acknowledged save: the name that it returned, and the SHA-256 of the saved bytes."""

    name: str
    sha256: str


_KEY = HierLayout().key
_PATTERN = 1000


def save_one_name(make: Callable[[bytes], Any], size: int) -> Prepare:
    """Return a side of a race that saves its own ``size`` bytes under a shared name."""

    def prepare(store: Storage, number: int) -> Act:
        data = (os.urandom(_PATTERN) * (size // _PATTERN + 1))[:size]
        upload = make(data)

        def act() -> Saved:
            name = store.save(_KEY(number, 1), upload)
            with suppress(FileNotFoundError):  # FileSystemStorage moves the temporary file.
                upload.close()
            return Saved(name, hashlib.sha256(data).hexdigest())

        return act

    return prepare


def acknowledged_names(runs: Sequence[Run]) -> set[str]:
    """Return the names of the acknowledged saves of a race."""
    return {run.value.name for run in runs if isinstance(run.value, Saved)}


def broken(location: Location, runs: Iterable[Run]) -> list[str]:
    """Return a line for each run that failed and each acknowledged save that cannot be read."""
    store, complaints = location.store(), []
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
    return [] if digest == saved.sha256 else [f"{saved.name} has other bytes"]
