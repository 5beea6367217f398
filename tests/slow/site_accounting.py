"""Account for every name at the end of a run, by rows, tombstones, stored objects and journals."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from devilry_storage.deletion import purge
from devilry_storage.deliveries.models import FileMeta
from devilry_storage.models import Tombstone
from devilry_storage.resolving import store_for

from .database_state import LONG_AGO, bytes_under
from .site_journal import Attempt, Journals

ON_PURPOSE = {"leave", "take_back"}
"""Operations that create objects without a row."""

BURYING = {"replace", "clear", "delete", "delete_delivery", "restore"}


@dataclass
class Account:
    """The result of a run: descriptions of faults, and the number of names in each state.

    ``broken`` contains rows and unclaimed tombstones without their bytes, including those that
    workers have seen, and names with both a row and a tombstone. ``faults`` contains the others,
    which also occur if a database loses acknowledged commits.
    """

    broken: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    states: Counter[str] = field(default_factory=Counter)


class Books:
    """The rows, tombstones and objects of a run that has ended."""

    def __init__(self, journals: Journals) -> None:
        self.journals = journals
        self.rows: dict[str, Any] = {}
        self.several: set[str] = set()
        for row in FileMeta.objects.filter(content__isnull=False):
            if row.content.name in self.rows:
                self.several.add(row.content.name)
            self.rows[row.content.name] = row
        self.tombstones = {tombstone.name: tombstone for tombstone in Tombstone.objects.all()}
        self.objects = {entry.name: entry.size for entry in store_for(FileMeta).scan()}
        self.creators: dict[str, list[Attempt]] = defaultdict(list)
        for attempt in journals.attempts:
            for name in attempt.names:
                self.creators[name].append(attempt)

    def account(self) -> Account:
        account = Account(list(self.journals.faults))
        for check in (self.broken_rows, self.broken_tombstones, self.shared_names):
            account.broken += check()
        account.faults += self.buried_and_in_use()
        lost = list(self.lost())
        account.faults += lost
        account.states["lost"] = len(lost)
        account.states["in rows"] = len(self.rows)
        account.states["in tombstones"] = len(self.tombstones)
        account.states["acknowledged"] = sum(1 for _ in self.acknowledged())
        for name in self.objects.keys() - self.rows.keys():
            account.states[self.state(name)] += 1
            if self.state(name) == "untraceable":
                account.faults.append(f"the object {name!r} cannot be traced: {self.story(name)}")
        return account

    # -- Rows and tombstones --

    def broken_rows(self) -> Iterator[str]:
        """Yield a line for each row whose bytes are not exactly as recorded."""
        recorded = {name: (row.size, row.sha256) for name, row in self.rows.items()}
        for name, found in self.differing(recorded):
            yield f"row {self.rows[name].pk} refers to {name!r}: {found}; {self.story(name)}"

    def broken_tombstones(self) -> Iterator[str]:
        """Yield a line for each unclaimed tombstone whose bytes are not as recorded."""
        recorded = {
            name: (tombstone.size, tombstone.sha256)
            for name, tombstone in self.tombstones.items()
            if tombstone.claimed is None
        }
        for name, found in self.differing(recorded):
            yield f"the unclaimed tombstone of {name!r}: {found}; {self.story(name)}"

    def differing(self, recorded: dict[str, tuple[int | None, str]]) -> Iterator[tuple[str, str]]:
        """Yield the names whose bytes differ from the recorded size or SHA-256, if known."""
        with ThreadPoolExecutor(8) as pool:
            for name, data in zip(recorded, pool.map(bytes_under, recorded), strict=True):
                size, sha256 = recorded[name]
                if data is None:
                    yield name, "no bytes"
                elif size not in {None, len(data)}:
                    yield name, f"{len(data)} bytes, not {size}"
                elif sha256 and hashlib.sha256(data).hexdigest() != sha256:
                    yield name, "other bytes"

    def shared_names(self) -> Iterator[str]:
        for name in self.several:
            yield f"several rows refer to {name!r}"
        for name in self.rows.keys() & self.tombstones.keys():
            yield f"{name!r} has a row and a tombstone: {self.story(name)}"

    def buried_and_in_use(self) -> Iterator[str]:
        for name in self.rows.keys() & self.journals.removed:
            yield f"{name!r} was buried, and a row refers to it: {self.story(name)}"

    # -- Names that were acknowledged --

    def acknowledged(self) -> Iterator[tuple[str, str]]:
        """Yield the acknowledged names with their SHA-256."""
        for attempt in self.journals.attempts:
            if attempt.acknowledged:
                for _, name, sha256 in attempt.given:
                    yield name, sha256

    def lost(self) -> Iterator[str]:
        """Yield a line for each acknowledged name without a row or a requested tombstone."""
        touched = {pk for attempt in self._burying() for pk in attempt.files}
        emptied = {attempt.delivery for attempt in self._burying()} | self._copies_undone()
        for name, sha256 in self.acknowledged():
            recorded = self.rows.get(name) or self.tombstones.get(name)
            if recorded is None:
                yield f"{name!r} was acknowledged and is gone: {self.story(name)}"
            elif recorded.sha256 != sha256:
                yield f"{name!r} was acknowledged with other bytes: {self.story(name)}"
            elif name not in self.rows and not (
                recorded.file_id in touched or recorded.delivery_id in emptied
            ):
                yield f"{name!r} was buried by no call: {self.story(name)}"

    def _copies_undone(self) -> set[int | None]:
        """Return the deliveries of failed copies, to which other workers may have added files."""
        layout = store_for(FileMeta).layout
        failed = (
            attempt
            for attempt in self.journals.attempts
            if attempt.operation == "copy" and not attempt.acknowledged
        )
        return {layout.parse(name)[0] for attempt in failed for name in attempt.names}

    def _burying(self) -> Iterator[Attempt]:
        return (attempt for attempt in self.journals.attempts if attempt.operation in BURYING)

    # -- Objects without a row --

    def state(self, name: str) -> str:
        """Return the state of an object without a row."""
        tombstone = self.tombstones.get(name)
        creators = self.creators[name]
        if tombstone is not None and tombstone.done is None:
            return "buried"
        if tombstone is not None:
            late = any(self._is_late(creator, name, tombstone) for creator in creators)
            return "came back" if late else "untraceable"
        if any(creator.operation in ON_PURPOSE for creator in creators):
            return "orphan on purpose"
        if any(not creator.acknowledged for creator in creators):
            return "orphan of a failed call"
        return "untraceable"

    def _is_late(self, creator: Attempt, name: str, tombstone: Any) -> bool:
        """Return whether the name may have been created again after it was removed."""
        if not store_for(FileMeta).size_costs_request:  # on disk nothing arrives late
            claimed: float = tombstone.claimed.timestamp()
            return creator.names[name] > claimed
        return True

    def story(self, name: str) -> str:
        """Return what is known about a name."""
        tombstone = self.tombstones.get(name)
        parts = [
            f"{attempt.operation} {'acknowledged' if attempt.acknowledged else 'failed'}"
            for attempt in self.journals.attempts
            if name in attempt.names or any(given[1] == name for given in attempt.given)
        ]
        if tombstone is not None:
            parts.append(f"tombstone {tombstone.state.value} {vars(tombstone)}")
        return "; ".join(parts)

    # -- The last purge --

    def purge(self) -> Iterator[str]:
        """Purge all tombstones, and yield a line for each file that is left or missing."""
        buried = Tombstone.objects.buried()
        buried.update(due=LONG_AGO, created=LONG_AGO)
        for event in purge():
            if event.result != "removed":
                yield f"the last purge: {event}"
        if left := Tombstone.objects.filter(done=None).count():
            yield f"the last purge leaves {left} tombstones"
        objects = {entry.name for entry in store_for(FileMeta).scan()}
        if missing := self.rows.keys() - objects:
            yield f"the last purge has removed the bytes of rows: {sorted(missing)}"
        buried_names = {
            name for name, tombstone in self.tombstones.items() if tombstone.done is None
        }
        if left_names := objects & buried_names:
            yield f"the last purge has left {sorted(left_names)}"
