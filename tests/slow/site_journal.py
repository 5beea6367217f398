"""What the workers of a site write down: attempts, what they were acknowledged, and how it ended.

Each worker has a file of its own, to which each line is appended by one ``write()``: what was
written stays when the worker is killed.
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
"""What a call gave a row: its id, the name of its content, and the SHA-256 of that."""


class Journal:
    """The journal of one worker, written by it alone."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._attempts = 0

    def write(self, kind: str, *what: Any) -> None:
        line = json.dumps([time.time(), kind, *what])
        os.write(self._file, f"{line}\n".encode())

    def attempt(self, operation: str, files: Sequence[int], delivery: int | None) -> int:
        """Write down what is about to be called, and on which rows; return its number."""
        self._attempts += 1
        self.write("attempt", self._attempts, operation, list(files), delivery)
        return self._attempts

    def name(self, name: str) -> None:
        """Write down a name that the current attempt is about to create in the store."""
        self.write("name", self._attempts, name)


@dataclass
class Attempt:
    """One call of a worker.

    It counts as acknowledged if it returned, and the transaction of the caller was committed if
    there was one.
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
    """What all workers of a run have written down."""

    attempts: list[Attempt] = field(default_factory=list)
    removed: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)
    in_flight: int = 0
    """How many workers ended within a call, or a transaction of the caller."""

    def read(self, path: Path) -> None:
        """Add what a worker has written down, which has ended."""
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
    """The attempts of one worker; a method for each kind of line."""

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
        """Return whether the journal ends within a call, or a transaction of the caller."""
        unended = any(not attempt.ended for attempt in self.attempts.values())
        return unended or self.transaction is not None


def _lines(path: Path) -> Iterator[Any]:
    with path.open() as file:
        for line in file:
            yield json.loads(line)
