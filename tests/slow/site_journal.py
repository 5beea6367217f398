"""Journals of the workers of a site: attempted calls, their acknowledgements and their ends.

Each worker has its own file. Each line is appended by a single ``write()``, so the journal stays
complete if the worker is killed.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Given = tuple[int, str, str]
"""Acknowledged content of a row: the row's id, the content's name and its SHA-256."""


class Journal:
    """The journal that a worker writes."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._attempts = 0

    def write(self, kind: str, *what: Any) -> None:
        line = json.dumps([time.time(), kind, *what])
        os.write(self._file, f"{line}\n".encode())

    def attempt(self, operation: str, files: Sequence[int], delivery: int | None) -> int:
        """Record an operation before it is called, and its rows; return the attempt's number."""
        self._attempts += 1
        self.write("attempt", self._attempts, operation, list(files), delivery)
        return self._attempts

    def name(self, name: str) -> None:
        """Record a name before the current attempt creates it in the store."""
        self.write("name", self._attempts, name)


@dataclass
class Attempt:
    """One call of a worker.

    It is acknowledged if it returned and the caller's transaction, if any, was committed.
    """

    operation: str
    files: list[int]
    delivery: int | None
    in_transaction: bool
    names: dict[str, float] = field(default_factory=dict)
    given: list[Given] = field(default_factory=list)
    returned: bool = False
    ended: bool = False
    committed: bool = False

    @property
    def acknowledged(self) -> bool:
        return self.returned and (self.committed or not self.in_transaction)


@dataclass
class Journals:
    """The journals of all workers of a run."""

    attempts: list[Attempt] = field(default_factory=list)
    removed: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)
    in_flight: int = 0
    """The number of workers that ended within a call or a transaction of the caller."""

    def read(self, path: Path) -> None:
        """Add the journal of a worker that has ended."""
        reader = _Reader()
        for time_, kind, *what in _lines(path):
            if kind == "removed":
                self.removed.add(what[0])
            elif kind == "fault":
                self.faults.append(f"worker {path.name}: {what[0]}")
            else:
                getattr(reader, kind)(time_, *what)
        self.in_flight += reader.is_within_a_call()
        self.attempts += reader.attempts.values()


class _Reader:
    """Reads the attempts of one worker, with a method for each kind of line."""

    def __init__(self) -> None:
        self.attempts: dict[int, Attempt] = {}
        self.transaction: list[Attempt] | None = None

    def attempt(
        self, time_: float, number: int, operation: str, files: list[int], delivery: int | None
    ) -> None:
        within = self.transaction is not None
        attempt = self.attempts[number] = Attempt(operation, files, delivery, within)
        if self.transaction is not None:
            self.transaction.append(attempt)

    def name(self, time_: float, number: int, name: str) -> None:
        self.attempts[number].names[name] = time_

    def returned(self, time_: float, number: int, given: list[list[Any]]) -> None:
        attempt = self.attempts[number]
        attempt.given = [(pk, name, sha256) for pk, name, sha256 in given]
        attempt.returned = attempt.ended = True

    def raised(self, time_: float, number: int, error: str) -> None:
        self.attempts[number].ended = True

    def begin(self, time_: float) -> None:
        self.transaction = []

    def commit(self, time_: float) -> None:
        for attempt in self.transaction or ():
            attempt.committed = True
        self.transaction = None

    def rollback(self, time_: float) -> None:
        self.transaction = None

    def is_within_a_call(self) -> bool:
        """Return whether the journal ends within a call or a transaction of the caller."""
        unended = any(not attempt.ended for attempt in self.attempts.values())
        return unended or self.transaction is not None


def _lines(path: Path) -> Iterator[Any]:
    with path.open() as file:
        for line in file:
            yield json.loads(line)
