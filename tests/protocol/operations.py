"""The operations of the package on files, rows and tombstones, step by step.

Each operation is a generator that yields wherever other processes may run, a crash may occur or
time may pass. ``caller`` is the transaction that an operation is called in. Without it, the
operation opens its own transaction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from random import Random
from typing import NamedTuple

from .database import (
    Database,
    Record,
    Refused,
    Row,
    Session,
    State,
    Steps,
    T,
    Tombstone,
    named,
    tombstones,
)

TRANSACTION = 2
"""The upper limit for the duration of a transaction."""
GRACE = 2 * TRANSACTION
"""How long an orphan is kept.

This is the time of a burial, plus the time of a later transaction that did not see its tombstone.
"""
RETENTION = 6
LOST = RETENTION - TRANSACTION
"""The upper limit for the age of a loaded dump. A delete may take a transaction to commit."""
LATE = 5
"""The time within which a remover's requests are carried out, or never."""
KEEP = LATE + 1
"""How long completed removals are kept."""


class Rule(Enum):
    """The rules of the protocol, each of which can be left out."""

    NAMES_ONCE = "the name of a tombstone is not recorded"
    FRESH_RESTORE = "a restore uses a new name"
    CLAIM_FIRST = "a tombstone is claimed before its object is removed"
    DURABLE_CLAIM = "the COMMIT of a claim is durable"
    CLAIM_ASKS_ROWS = "a claim skips names of rows"
    GUARD_TOMBSTONE = "adopt and raw saves insert and delete a tombstone"
    OWN_TRANSACTION = "a claim has its own transaction"
    KEEP_DONE = "a completed removal is kept until no request for it can be pending"
    ORPHAN_GRACE = "an orphan is kept for the grace time"
    CLAIM_IS_FINAL = "the name of a claimed tombstone is not adopted"
    RESTORE_UNCLAIMED = "a claimed tombstone is not restored"


OLD = frozenset({Rule.CLAIM_FIRST, Rule.FRESH_RESTORE, Rule.GUARD_TOMBSTONE})
"""The rules that the first releases lacked: they relied on locks alone."""


class Object(NamedTuple):
    """Bytes in the store."""

    content: int
    written: int


class Request(NamedTuple):
    """A request to remove an object, which the store may carry out late, and more than once."""

    name: str
    until: int


@dataclass
class World:
    """The database, the store and the clock that all operations share."""

    random: Random
    left_out: frozenset[Rule]
    retention: int
    synchronous: bool
    """Whether every COMMIT is durable."""
    database: Database = field(default_factory=lambda: Database({}))
    objects: dict[str, Object] = field(default_factory=dict)
    removed: int = 0
    requests: list[Request] = field(default_factory=list)
    acknowledged: set[str] = field(default_factory=set)
    """Names whose COMMIT was acknowledged, and that were not purged or lost in a crash."""
    dump: tuple[int, State] | None = None
    clock: int = 0
    session: Session | None = None
    """The newest transaction."""
    serial: int = 0
    trace: Callable[[str], None] | None = None

    def has(self, rule: Rule) -> bool:
        return rule not in self.left_out

    def number(self) -> int:
        """Return a new unique number."""
        self.serial += 1
        return self.serial

    def say(self, line: str) -> None:
        if self.trace:
            self.trace(line)

    def begin(self, *, durable: bool = False) -> Session:
        self.session = Session(
            self.database,
            self.clock,
            repeatable=self.random.random() < 0.3,
            durable=durable or self.synchronous,
        )
        return self.session

    def create(self, name: str, content: int) -> bool:
        """Store an object; return whether the name was free."""
        if name in self.objects:
            return False
        self.objects[name] = Object(content, self.clock)
        self.say(f"stores {name}")
        return True

    def create_fresh(self, pk: int, content: int) -> str:
        """Store an object under an alternative name, which is random and thus unused."""
        name = f"{pk}_{self.number()}"
        self.create(name, content)
        return name

    def remove(self, name: str) -> None:
        removed = self.objects.pop(name, None)
        self.removed += removed is not None
        self.say(f"removes {name}" if removed else f"finds {name} removed")


def atomic(
    world: World,
    caller: Session | None,
    work: Callable[[Session], Steps[T]],
    durable: bool = False,
) -> Steps[T]:
    """Do the work in the caller's transaction, or in a separate one, and return its result."""
    if caller is not None:
        return (yield from work(caller))
    with world.begin(durable=durable) as session:
        result = yield from work(session)
        yield from commit(world, session)
    return result


def commit(world: World, session: Session) -> Steps[None]:
    """Commit, and record the acknowledged names."""
    yield from session.commit()
    written = {key: record for key, record in session.writes.items() if record is not None}
    world.acknowledged.update(set(named(written)) & set(named(world.database.state)))
    if world.trace:
        world.say(f"commits {session.writes}")


# -- Storing --


def save(world: World, caller: Session | None = None) -> Steps[None]:
    """Insert a row or take over one without content, store its bytes, and record their name."""
    pk, content = _some_pk(world), world.number()

    def insert(session: Session) -> Steps[bool]:
        if pk in (yield from session.read()):
            return False
        yield from session.insert(pk, Row(world.number()))
        return str(pk) not in (yield from session.read()) or not world.has(Rule.NAMES_ONCE)

    def record(session: Session) -> Steps[None]:
        def is_free(row: Record, seen: State) -> bool:
            used = name in seen and world.has(Rule.NAMES_ONCE)
            return isinstance(row, Row) and row.name is None and not used

        stored = Row(world.number(), name, content)
        changed = yield from session.update(
            [pk], is_free, lambda row: stored._replace(born=row.born)
        )
        if not changed:
            raise Refused(f"{name} is not recorded")

    takes_key = yield from atomic(world, caller, insert)
    yield False
    name = str(pk)
    if not takes_key or not world.create(name, content):
        name = world.create_fresh(pk, content)
    yield from atomic(world, caller, record)


def replace(world: World, caller: Session | None = None, *, heals: bool = False) -> Steps[None]:
    """Store new bytes (or the same) under a new name, record the name, and bury the old one."""
    pk, row = _some_row(world)
    content = row.content if heals and row.content is not None else world.number()
    yield False
    fresh = world.create_fresh(pk, content)

    def record(session: Session) -> Steps[None]:
        def is_replaced(found: Record, seen: State) -> bool:
            same = not heals or found == row
            return isinstance(found, Row) and found.name is not None and same and fresh not in seen

        before = yield from session.update(
            [pk], is_replaced, lambda row: Row(row.born, fresh, content)
        )
        yield from _bury(world, session, before)

    yield from atomic(world, caller, record)


def heal(world: World, caller: Session | None = None) -> Steps[None]:
    """Store the bytes of a row again, unless its name has changed."""
    yield from replace(world, caller, heals=True)


def adopt(world: World, caller: Session | None = None, *, raw: bool = False) -> Steps[None]:
    """Insert a row that refers to a stored object.

    A raw save does not look for other rows, but the names of rows are unique.
    """
    name = _some_name(world)
    pk = 3 if raw else world.number() + 100

    def record(session: Session) -> Steps[None]:
        seen = yield from session.read()
        tombstone = tombstones(seen).get(name)
        if tombstone and tombstone.claimed and not world.has(Rule.CLAIM_IS_FINAL):
            yield from session.update([name], lambda *_: True, lambda _: None)
        elif world.has(Rule.GUARD_TOMBSTONE):
            yield from session.insert(name, Tombstone(world.number(), name, world.clock))
            yield from session.update([name], lambda *_: True, lambda _: None)
        elif tombstone:
            raise Refused(f"{name} has a tombstone")
        if not raw and name in named((yield from session.read())):
            raise Refused(f"a row has {name}")
        if name not in world.objects:
            raise Refused(f"{name} is missing")
        row = Row(world.number(), name, world.objects[name].content)
        yield from session.insert(pk, row)

    yield from atomic(world, caller, record)


def save_raw(world: World, caller: Session | None = None) -> Steps[None]:
    """Load a row that refers to an object, such as a row of a fixture."""
    yield from adopt(world, caller, raw=True)


# -- Deleting and restoring --


def delete(world: World, caller: Session | None = None) -> Steps[None]:
    """Delete a row and bury its object in one transaction."""
    pk, _ = _some_row(world)

    def work(session: Session) -> Steps[None]:
        before = yield from session.update([pk], _has_content, lambda _: None)
        yield from _bury(world, session, before)

    yield from atomic(world, caller, work)
    if caller is None and not world.retention:
        yield from purge(world)


def _bury(world: World, session: Session, before: State) -> Steps[None]:
    """Write the tombstone of the content that a row had."""
    if not before:
        raise Refused("the row has changed")
    for pk, row in before.items():
        assert isinstance(row, Row)
        assert isinstance(pk, int)
        assert row.name
        assert row.content
        due = world.clock + world.retention
        tombstone = Tombstone(world.number(), row.name, due, row=(pk, row.content))
        yield from session.upsert(row.name, tombstone, partial(_buried_again, tombstone))


def _buried_again(new: Tombstone, old: Record) -> Record:
    assert isinstance(old, Tombstone)
    return old._replace(due=new.due, row=new.row)


def bury_orphan(world: World) -> Steps[None]:
    """Write the tombstone of an object without a row, and look for rows after that."""
    name, grace = _some_name(world), GRACE if world.has(Rule.ORPHAN_GRACE) else 0
    if world.objects[name].written + grace > world.clock:
        raise Refused(f"{name} is within its grace time")

    def work(session: Session) -> Steps[None]:
        due = world.clock + (max(grace, world.retention) if grace else 0)
        tombstone = Tombstone(world.number(), name, due, kept_until=world.clock + grace)
        yield from session.insert(name, tombstone)
        if name in named((yield from session.read())):
            raise Refused(f"a row has {name}")

    yield from atomic(world, None, work)


def restore(world: World) -> Steps[None]:  # noqa: C901 - one protocol, read from top to bottom
    """Copy a deleted object to a new name, and insert the row with that name.

    The old name keeps its tombstone, which no longer contains the row.
    """
    name, tombstone = _some_tombstone(world)
    if tombstone.row is None:
        raise Refused(f"{name} has no row")
    pk, content = tombstone.row
    fresh = name
    if world.has(Rule.FRESH_RESTORE):
        yield False
        source = world.objects.get(name)
        if source is None or source.content != content:
            raise Refused(f"{name} is missing")
        fresh = world.create_fresh(pk, content)

    def is_restorable(found: Record, _: State) -> bool:
        assert isinstance(found, Tombstone)
        if found.claimed:
            return not world.has(Rule.RESTORE_UNCLAIMED)
        return found.row == tombstone.row

    def changed(found: Record) -> Record | None:
        if not world.has(Rule.FRESH_RESTORE):
            return None
        assert isinstance(found, Tombstone)
        return found._replace(row=None, due=world.clock + world.retention)

    def work(session: Session) -> Steps[None]:
        if not (yield from session.update([name], is_restorable, changed)):
            raise Refused(f"{name} can no longer be restored")
        if fresh not in world.objects:
            raise Refused(f"{name} is missing")
        yield from session.insert(pk, Row(world.number(), fresh, content))

    yield from atomic(world, None, work)


# -- Removing --


def purge(world: World, caller: Session | None = None, *, now: bool = False) -> Steps[None]:
    """Claim due tombstones and remove their objects.

    With ``now``, claim all tombstones except those of orphans in their grace time.
    """
    if not world.has(Rule.CLAIM_FIRST):
        yield from _purge_under_locks(world, caller, now=now)
        return

    def claim(session: Session) -> Steps[None]:
        clock = world.clock

        def is_claimed(found: Record, seen: State) -> bool:
            assert isinstance(found, Tombstone)
            due = found.kept_until if now else found.due
            has_row = found.name in named(seen) and world.has(Rule.CLAIM_ASKS_ROWS)
            return due <= clock and not found.claimed and not has_row

        def claimed(found: Record) -> Record | None:
            if now:
                world.dump = None  # its rows may refer to objects that are removed now
            assert isinstance(found, Tombstone)
            return found._replace(claimed=True, row=None)

        names = list(tombstones((yield from session.read())))
        yield from session.update(names, is_claimed, claimed)

    yield from atomic(world, caller, claim, durable=world.has(Rule.DURABLE_CLAIM))
    yield from remove(world, caller)


def purge_now(world: World) -> Steps[None]:
    """Purge all tombstones except those of orphans in their grace time."""
    yield from purge(world, now=True)


def remove(world: World, caller: Session | None = None) -> Steps[None]:
    """Ask the store to remove claimed objects, and settle the removals that it confirms."""

    def look(session: Session) -> Steps[list[str]]:
        seen = tombstones((yield from session.read()))
        return [name for name, found in seen.items() if found.claimed and found.done is None]

    names = yield from atomic(world, caller, look)
    until = world.clock + LATE
    yield False
    if names and (yield from request(world, names, until)):
        yield from atomic(world, caller, lambda session: _settle(world, session, names))


def request(world: World, names: list[str], until: int) -> Steps[bool]:
    """Ask the store to remove objects; return whether it confirmed."""
    if world.clock > until:
        return False
    world.requests += [Request(name, until) for name in names]
    world.say(f"asks for the removal of {names}")
    if world.random.random() < 0.3:
        return False
    for name in names:
        yield False
        world.remove(name)
    return True


def _settle(world: World, session: Session, names: list[str]) -> Steps[None]:
    def is_removal(found: Record, _: State) -> bool:
        return isinstance(found, Tombstone) and found.claimed and found.done is None

    def changed(found: Record) -> Record | None:
        assert isinstance(found, Tombstone)
        return found._replace(done=world.clock) if world.has(Rule.KEEP_DONE) else None

    settled = yield from session.update(names, is_removal, changed)
    if not world.has(Rule.KEEP_DONE):
        world.acknowledged -= set(tombstones(settled))


def drop_done(world: World) -> Steps[None]:
    """Delete old completed removals."""

    def work(session: Session) -> Steps[None]:
        seen = yield from session.read()
        old = [
            name
            for name, found in tombstones(seen).items()
            if found.done is not None and found.done + KEEP <= world.clock
        ]
        dropped = yield from session.update(old, lambda *_: True, lambda _: None)
        world.acknowledged -= set(tombstones(dropped))

    yield from atomic(world, None, work)


def _purge_under_locks(world: World, caller: Session | None, *, now: bool) -> Steps[None]:
    """Remove the objects of due tombstones and then the tombstones, while these are locked."""

    def work(session: Session) -> Steps[None]:
        clock = world.clock

        def is_due(found: Record, _: State) -> bool:
            assert isinstance(found, Tombstone)
            return (found.kept_until if now else found.due) <= clock

        names = list(tombstones((yield from session.read())))
        locked = yield from session.update(names, is_due, lambda found: found)
        living = named((yield from session.read()))
        gone = [name for name in tombstones(locked) if name not in living]
        if now:
            world.dump = None
        if gone and (yield from request(world, gone, clock + LATE)):
            yield from session.update(gone, lambda *_: True, lambda _: None)
            world.acknowledged -= set(gone)

    yield from atomic(world, caller, work)


# -- Callers and choices --


def call(world: World) -> Steps[None]:
    """Run several operations in one transaction, as callers of the package may do."""
    operations = [save, replace, heal, delete, delete, adopt, save_raw]
    if not world.has(Rule.OWN_TRANSACTION):
        operations.append(purge)
    with world.begin() as session:
        for operation in world.random.choices(operations, k=world.random.choice((1, 1, 2, 3))):
            world.say(f"calls {operation.__name__}")
            yield from operation(world, session)
        yield from commit(world, session)
    if not world.retention and world.has(Rule.OWN_TRANSACTION):
        yield from purge(world)


def _has_content(row: Record, _: State) -> bool:
    return isinstance(row, Row) and row.name is not None


def _some_pk(world: World) -> int:
    """Return the pk of a new row or of a row without content."""
    state = world.database.state
    free = [pk for pk in (1, 2) if pk not in state or not _has_content(state[pk], state)]
    return world.random.choice([*free, *free, 1, world.number() + 100])


def _some_row(world: World) -> tuple[int, Row]:
    state = world.database.state
    rows = [(pk, row) for pk, row in state.items() if isinstance(row, Row) and row.name]
    if not rows:
        raise Refused("no row is left")
    pk, row = world.random.choice(rows)
    assert isinstance(pk, int)
    return pk, row


def _some_tombstone(world: World) -> tuple[str, Tombstone]:
    found = tombstones(world.database.state).items()
    with_row = [(name, tombstone) for name, tombstone in found if tombstone.row]
    if not with_row:
        raise Refused("no deleted file is left")
    return world.random.choice(with_row)


def _some_name(world: World) -> str:
    """Return the name of an object, preferably one without a row."""
    names = list(world.objects)
    living = named(world.database.state)
    if world.random.random() < 0.7:
        names = [name for name in names if name not in living] or names
    if not names:
        raise Refused("no object is left")
    return world.random.choice(names)
