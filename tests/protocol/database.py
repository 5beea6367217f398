"""A model of PostgreSQL's transactions, as far as the protocol depends on them.

Each generator method is one statement. It yields before it begins, and again whenever it must wait
for a lock, so that other processes can run in between. The yielded value is True if it waits.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Iterable
from typing import NamedTuple, TypeAlias, TypeVar

T = TypeVar("T")
Steps: TypeAlias = Generator[bool, None, T]


class Row(NamedTuple):
    """A delivered file: the name of its object, and its recorded content."""

    born: int
    name: str | None = None
    content: int | None = None


class Tombstone(NamedTuple):
    """A deleted file. ``row`` is the pk and the content of the row, for a restore."""

    born: int
    name: str
    due: int
    row: tuple[int, int] | None = None
    kept_until: int = 0
    """The end of an orphan's grace time."""
    claimed: bool = False
    done: int | None = None


Record: TypeAlias = "Row | Tombstone"
State: TypeAlias = "dict[int | str, Record]"
"""All records: rows by pk (int) and tombstones by name (str)."""
Where: TypeAlias = Callable[[Record, State], bool]
Change: TypeAlias = "Callable[[Record], Record | None]"
"""Returns the new version of a record, or None to delete it."""


def named(state: State) -> dict[str, int]:
    """Return the pks of rows by the names that they refer to."""
    rows = ((pk, row) for pk, row in state.items() if isinstance(row, Row))
    return {row.name: pk for pk, row in rows if row.name is not None and isinstance(pk, int)}


def tombstones(state: State) -> dict[str, Tombstone]:
    """Return the tombstones by name."""
    return {str(key): record for key, record in state.items() if isinstance(record, Tombstone)}


class Aborted(Exception):
    """The transaction was rolled back, or its session has ended."""


class Refused(Exception):
    """The operation must stop; its transaction is rolled back."""


class Database:
    """The committed states. A crash can lose all states in ``history`` but the first."""

    def __init__(self, state: State) -> None:
        self.locks: dict[Hashable, Session] = {}
        self.load(state)

    @property
    def state(self) -> State:
        return self.history[-1]

    def load(self, state: State) -> None:
        """Start with this state: a dump, or the state after a crash."""
        for session in set(self.locks.values()):
            session.kill()
        self.history = [state]

    def flush(self) -> None:
        """Make all commits durable."""
        self.history = [self.state]


class Session:
    """A transaction. Leaving the block without `commit` rolls it back."""

    def __init__(self, database: Database, clock: int, *, repeatable: bool, durable: bool) -> None:
        self.database, self.began = database, clock
        self.repeatable, self.durable = repeatable, durable
        self.writes: dict[int | str, Record | None] = {}
        self.alive = True
        self._killed = False
        self._first: State | None = None
        self._waits_for: Session | None = None

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exc: object) -> None:
        self._end()

    def kill(self) -> None:
        """End the session and discard its changes and locks. Its process notices later."""
        self._killed = True
        self._end()

    def _end(self) -> None:
        self.alive, self._waits_for = False, None
        locks = self.database.locks
        for key in [key for key, owner in locks.items() if owner is self]:
            del locks[key]

    # -- Statements --

    def read(self) -> Steps[State]:
        """Return all records that the transaction sees."""
        return (yield from self._begin())

    def insert(self, key: int | str, record: Record) -> Steps[None]:
        """Insert a record; raise Refused if its key or name is in use."""
        yield from self._begin()
        yield from self._lock(key)
        if self._newest(key) is not None:
            raise Refused(f"duplicate key {key!r}")
        yield from self._write(key, None, record)

    def upsert(self, key: int | str, record: Record, change: Change) -> Steps[None]:
        """Insert a record, or change the existing one."""
        seen = yield from self._begin()
        yield from self._lock(key)
        newest = self._newest(key)
        if newest is not None and newest is not seen.get(key):
            self._demand_read_committed()
        yield from self._write(key, newest, record if newest is None else change(newest))

    def update(self, keys: Iterable[int | str], where: Where, change: Change) -> Steps[State]:
        """Change the records that match ``where``, and return their previous versions.

        After waiting for a lock, ``where`` is evaluated again on the newest version of the record.
        Other records are seen as of the start of the statement.
        """
        seen = yield from self._begin()
        before: State = {}
        for key in keys:
            found = seen.get(key)
            if found is None or not where(found, seen):
                continue
            yield from self._lock(key)
            newest = self._newest(key)
            if newest is not found:
                self._demand_read_committed()
                if newest is None or newest.born != found.born or not where(newest, seen):
                    continue
            yield from self._write(key, newest, change(newest))
            before[key] = newest
        return before

    def commit(self) -> Steps[None]:
        """Commit; raise Aborted if the session or the reply is lost."""
        yield from self._pause()
        written = {**self.database.state, **self.writes}
        state = {key: record for key, record in written.items() if record is not None}
        self.database.history.append(state)
        if self.durable:
            self.database.flush()
        self._end()
        yield False
        if self._killed:
            raise Aborted("the reply to COMMIT is lost")

    # -- Helpers --

    def _pause(self, *, waits: bool = False) -> Steps[None]:
        yield waits
        if not self.alive:
            raise Aborted("the session has ended")

    def _begin(self) -> Steps[State]:
        """Return the records that a statement sees."""
        yield from self._pause()
        snapshot = self.database.state
        if self.repeatable:
            self._first = snapshot = snapshot if self._first is None else self._first
        if not self.writes:
            return snapshot
        written = {**snapshot, **self.writes}
        return {key: record for key, record in written.items() if record is not None}

    def _newest(self, key: int | str) -> Record | None:
        return self.writes[key] if key in self.writes else self.database.state.get(key)

    def _write(self, key: int | str, old: Record | None, new: Record | None) -> Steps[None]:
        """Write a version of a record. The names of rows are unique."""
        before = old.name if isinstance(old, Row) else None
        after = new.name if isinstance(new, Row) else None
        if before != after:
            for name in filter(None, (before, after)):
                yield from self._lock(("name", name))
            newest = {**self.database.state, **self.writes}.values()
            names = [row.name for row in newest if isinstance(row, Row)]
            if after is not None and after in names:
                raise Refused(f"duplicate name {after!r}")
        self.writes[key] = new

    def _lock(self, key: Hashable) -> Steps[None]:
        locks = self.database.locks
        while (owner := locks.get(key)) is not None and owner is not self:
            self._waits_for = owner
            if self._is_deadlocked():
                self._end()
                raise Aborted("deadlock")
            yield from self._pause(waits=True)
        self._waits_for = None
        locks[key] = self

    def _is_deadlocked(self) -> bool:
        met, other = {self}, self._waits_for
        while other is not None and other not in met:
            met.add(other)
            other = other._waits_for
        return other is self

    def _demand_read_committed(self) -> None:
        if self.repeatable:
            self._end()
            raise Aborted("serialization failure")
