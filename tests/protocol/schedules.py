"""Random schedules of operations and crashes, and the checks of the promise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import NamedTuple, TypeAlias, cast

from . import operations
from .database import Aborted, Refused, Row, Session, State, Steps, Tombstone, named, tombstones
from .operations import GRACE, LATE, LOST, RETENTION, TRANSACTION, Object, Rule, World

Operation: TypeAlias = Callable[[World], Steps[None]]
Event: TypeAlias = "Callable[[Schedule], None]"
Entry: TypeAlias = "Operation | Event"

OPERATIONS: list[Operation] = [
    *(operations.save, operations.save, operations.replace, operations.heal),
    *(operations.delete, operations.delete, operations.restore, operations.restore),
    *(operations.purge, operations.purge, operations.purge_now, operations.remove),
    *(operations.adopt, operations.save_raw, operations.bury_orphan, operations.bury_orphan),
    *(operations.drop_done, operations.call, operations.call),
]
AT_ONCE = 3
IN_ALL = (6, 9, 14)


class Loss(NamedTuple):
    """A schedule that breaks the promise."""

    seed: int
    what: str


class Process:
    """A process that runs one operation."""

    def __init__(
        self, world: World, number: int, operation: Callable[[World], Steps[None]]
    ) -> None:
        self.label = f"{operation.__name__} #{number}"
        self.steps = operation(world)
        self.is_slow = world.random.random() < 0.3
        self.session: Session | None = None

    def run(self, world: World, steps: int) -> bool:
        """Run at most this number of steps; return whether there are more."""
        world.session = self.session
        try:
            for _ in range(steps):
                if next(self.steps):
                    break
        except StopIteration:
            return False
        except (Aborted, Refused) as exception:
            world.say(f"ends: {exception}")
            return False
        finally:
            self.session = world.session
        return True


class Schedule:
    """A random run, which is determined by its seed."""

    def __init__(self, seed: int, left_out: frozenset[Rule], lines: list[str] | None) -> None:
        self.random = Random(seed)
        self.lines, self.label = lines, ""
        self.world = World(
            self.random,
            left_out,
            retention=self.random.choice((0, RETENTION, RETENTION)),
            synchronous=self.random.random() < 0.3,
            trace=None if lines is None else self.say,
        )
        self.processes: list[Process] = []

    def say(self, line: str) -> None:
        assert self.lines is not None
        self.lines.append(f"{self.world.clock:3}  {self.label:14} {line}")

    def run(self) -> str:
        """Run to the end, and return a description of the broken promise, or ``""``."""
        self._begin()
        # Few kinds of operations and events, so that losing combinations are frequent.
        kinds = self.random.sample(OPERATIONS, self.random.choice((2, 3, 3, 4, 5)))
        events = [Schedule._kill, Schedule._late_removal, Schedule._crash_database]
        events = [*events, Schedule._dump_or_load]
        events = [Schedule._jump, *self.random.sample(events, self.random.choice((1, 2, 3)))]
        start, event = self.random.choice((0.1, 0.2, 0.6)), self.random.choice((0.15, 0.3))
        entries: list[Entry] = list(self.random.choices(kinds, k=self.random.choice(IN_ALL)))
        if self.random.random() < 0.5:
            entries, event = list(self.random.choice(PLOTS)), 0.02
        while entries or self.processes:
            if entries and len(self.processes) < AT_ONCE and self.random.random() < start:
                self._enter(entries.pop(0))
            elif self.random.random() < event:
                self._enter(self.random.choice(events))
            elif self.processes:
                self._step()
            if broken := self._broken():
                return broken
        self.label = "-"
        while self.world.requests:
            self._late_removal()
        return self._broken() or self._forgotten()

    def _begin(self) -> None:
        """Create rows, tombstones and orphans that are past their grace time."""
        world = self.world
        state: State = {}
        for pk in (1, 2)[: self.random.choice((1, 2))]:
            name, content = str(pk), world.number()
            world.objects[name] = Object(content, -GRACE)
            match self.random.choice("rrtto"):
                case "r":
                    state[pk] = Row(world.number(), name, content)
                case "t":
                    due = self.random.randint(0, world.retention)
                    state[name] = Tombstone(world.number(), name, due, row=(pk, content))
        world.database.load(state)
        self.label = "-"
        world.say(f"retention is {world.retention}; {state}")

    def _enter(self, entry: Entry) -> None:
        if entry in OPERATIONS:
            self.processes.append(Process(self.world, self.world.number(), entry))
        else:
            self.label = "-"
            cast("Event", entry)(self)

    def _step(self) -> None:
        process = self.random.choice(self.processes)
        self.label = process.label
        if process.is_slow:
            steps = self.random.choice((0, 0, 0, 0, 1))
        else:
            steps = self.random.choice((1, 1, 2, 3, 5, 9))
        if not process.run(self.world, steps):
            self.processes.remove(process)

    # -- Events --

    def _jump(self) -> None:
        """Let time pass, within the upper limit for the duration of transactions."""
        ticks = self.random.choice((1, 1, GRACE, LATE + 1, RETENTION))
        world = self.world
        for process in self.processes:
            if process.session and process.session.alive:
                ticks = min(ticks, process.session.began + TRANSACTION - 1 - world.clock)
        if ticks > 0:
            world.clock += ticks
            world.database.flush()
            world.requests = [
                request for request in world.requests if request.until >= world.clock
            ]

    def _kill(self) -> None:
        """Kill a process, or only its session."""
        if not self.processes:
            return
        process = self.random.choice(self.processes)
        if self.random.random() < 0.3:
            self.processes.remove(process)
            process.steps.close()
            self.world.say(f"kills {process.label}")
        elif process.session:
            process.session.kill()
            self.world.say(f"ends the session of {process.label}")

    def _late_removal(self) -> None:
        requests = self.world.requests
        if requests:
            request = self.random.choice(requests)
            if self.random.random() < 0.5:
                requests.remove(request)
            self.world.say("carries out a late request:")
            self.world.remove(request.name)

    def _crash_database(self) -> None:
        self._load(self.random.choice(self.world.database.history), "after a crash")

    def _dump_or_load(self) -> None:
        world = self.world
        if world.dump and world.clock - world.dump[0] < LOST and self.random.random() < 0.5:
            self._load(world.dump[1], "from a dump")
        elif world.retention:
            world.dump = world.clock, world.database.state
            world.say("dumps the database")

    def _load(self, state: State, reason: str) -> None:
        for process in self.processes:
            if process.session:
                process.session.kill()
        self.world.database.load(state)
        self.world.acknowledged &= {*named(state), *tombstones(state)}
        self.world.say(f"restarts the database {reason}: {state}")

    # -- The promise --

    def _broken(self) -> str:
        """Return a description of a row without its content, or ``""``."""
        objects, names = self.world.objects, set()
        for row in self.world.database.state.values():
            if isinstance(row, Row) and row.name is not None:
                found = objects.get(row.name)
                if found is None or found.content != row.content:
                    return f"{row} has {found}"
                if row.name in names:
                    return f"two rows have {row.name}"
                names.add(row.name)
        return ""

    def _forgotten(self) -> str:
        """Return the acknowledged names without a row and a tombstone, or ``""``.

        Other objects without a row and a tombstone are orphans: their COMMIT was not acknowledged,
        or the database lost it.
        """
        state = self.world.database.state
        forgotten = self.world.acknowledged - {*named(state), *tombstones(state)}
        return f"forgotten: {sorted(forgotten)}" if forgotten else ""


PLOTS: list[list[Entry]] = [
    [
        *(Schedule._dump_or_load, Schedule._jump, operations.purge, Schedule._dump_or_load),
        *(operations.restore, Schedule._late_removal),
    ],
    [
        *(operations.save, Schedule._jump, operations.bury_orphan, Schedule._jump),
        *(Schedule._jump, operations.purge),
    ],
    [operations.save, operations.bury_orphan, operations.purge, operations.purge],
    [operations.call, operations.bury_orphan, operations.purge, operations.purge],
    [operations.delete, operations.save_raw, operations.purge_now],
]
"""Sequences in which a protocol that lacks one of its rules can lose a file."""


def losses(seeds: range, left_out: frozenset[Rule] = frozenset()) -> Iterator[Loss]:
    """Yield the losses in the schedules of these seeds."""
    for seed in seeds:
        if what := Schedule(seed, left_out, None).run():
            yield Loss(seed, what)


def removals(seeds: range) -> int:
    """Return the number of schedules of these seeds in which an object is removed."""
    schedules = [Schedule(seed, frozenset(), None) for seed in seeds]
    for schedule in schedules:
        schedule.run()
    return sum(schedule.world.removed > 0 for schedule in schedules)


def trace(seed: int, left_out: frozenset[Rule] = frozenset()) -> str:
    """Return the events of a schedule: a line with clock, process and event for each."""
    lines: list[str] = []
    what = Schedule(seed, left_out, lines).run()
    return "\n".join([*lines, what or "nothing is lost"])
