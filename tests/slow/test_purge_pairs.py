"""Pairs of concurrent transactions: one makes a row refer to an object, the other removes it.

The first keeps its transaction open until the second waits for it or has ended. In all cases every
row keeps its bytes, and no name has both a row and a tombstone.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from django.conf import settings
from django.core import serializers
from django.core.management import call_command
from django.db import DEFAULT_DB_ALIAS, transaction

from devilry_storage.deletion import bury_orphan, purge, remove_now
from devilry_storage.deliveries.models import FileMeta
from devilry_storage.models import Tombstone
from devilry_storage.resolving import store_for
from devilry_storage.restoring import restore
from tests.harness.proofs import count, report
from tests.harness.purging import past_due

from . import database_state as state
from .database_operations import clear
from .database_racing import isolation_level
from .database_server import Sessions
from .purge_steps import IN_CLAIM, at_step
from .stopping import Child, Ended, Stop, Work

pytestmark = [
    pytest.mark.slow,
    pytest.mark.postgres,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("without_fsync"),
]

REFUSALS = ("FileExistsError", "NotRestorable", "NotAnOrphan", "Undone")
LEVELS = ("read committed", "repeatable read")


class Undone(Exception):
    """Rolls back a transaction."""


class File(NamedTuple):
    """A stored file without a row, in a delivery with another file."""

    pk: int
    name: str
    delivery: Any

    @classmethod
    def stored(cls, *, deleted: bool) -> File:
        """Store a file, and delete its row with or without a tombstone."""
        delivery = state.deliveries(1, files=2)[0]
        row = delivery.files.order_by("pk")[0]
        os.utime(store_for(FileMeta).path(row.content.name), (0, state.LONG_AGO.timestamp()))
        if deleted:
            FileMeta.objects.filter(pk=row.pk).delete()
        else:
            FileMeta.objects.filter(pk=row.pk)._raw_delete(DEFAULT_DB_ALIAS)
        return cls(row.pk, row.content.name, delivery)

    def serialized(self) -> str:
        """Return the row as in an older dump."""
        fields = {
            "delivery": self.delivery.pk,
            "filename": "dumped.txt",
            "content": self.name,
            "size": len(state.CONTENT),
            "sha256": hashlib.sha256(state.CONTENT).hexdigest(),
            "created": state.LONG_AGO.isoformat(),
        }
        record = {"model": FileMeta._meta.label_lower, "pk": self.pk, "fields": fields}
        return json.dumps([record])


# -- Making a row refer to a file --


def adopt(file: File) -> None:
    FileMeta.objects.adopt(file.name, delivery=file.delivery, filename="adopted.txt")


def save_raw(file: File) -> None:
    for deserialized in serializers.deserialize("json", file.serialized()):
        deserialized.save()


def load(file: File) -> None:
    fixture = Path(settings.DIRECTORY) / "dump.json"
    fixture.write_text(file.serialized())
    call_command("loaddata", fixture, verbosity=0)


def restore_deleted(file: File) -> None:
    restore(Tombstone.objects.get(name=file.name))


def naming(act: Callable[[File], None], file: File, *, undo: bool) -> Work:
    """Return work that makes a row refer to the file, in a transaction that stays open.

    The transaction has read before.
    """

    def work(stop: Stop) -> None:
        with transaction.atomic():
            FileMeta.objects.count()
            stop()
            act(file)
            stop()
            if undo:
                raise Undone

    return work


# -- Removing --


def bury(name: str) -> None:
    bury_orphan(FileMeta, name, using=DEFAULT_DB_ALIAS)


def claim(name: str) -> None:
    list(purge())


def remove(name: str) -> None:
    list(remove_now(Tombstone.objects.filter(name=name)))


Remove = Callable[[str], None]


def removing(act: Remove, name: str, *, holds: bool, undo: bool) -> Work:
    """Return work that removes a name; with ``holds``, it keeps its transaction open."""

    def work(stop: Stop) -> None:
        def end() -> None:
            stop()
            if undo:
                raise Undone

        if not holds:
            act(name)
        elif act is bury:
            with transaction.atomic():
                bury(name)
                end()
        else:
            with at_step(IN_CLAIM, end):
                act(name)

    return work


# -- Pairs --


class Pair(NamedTuple):
    """An act that refers to a file and an act that removes it, their order and their end."""

    name: Callable[[File], None]
    remove: Remove
    naming_first: bool
    undo: bool
    level: str

    def __str__(self) -> str:
        acts = [self.name.__name__, self.remove.__name__]
        first, second = acts if self.naming_first else reversed(acts)
        return f"{first} before {second}, undo={self.undo}, {self.level}"


def run_pair(pair: Pair, sessions: Sessions) -> tuple[bool, list[str]]:
    """Run one act while the other keeps its transaction open.

    Return whether the transaction was kept open, and the faults.
    """
    is_deleted = pair.name is restore_deleted
    file = File.stored(deleted=is_deleted)
    if is_deleted and pair.remove is claim:
        past_due()
    one = Child(naming(pair.name, file, undo=pair.naming_first and pair.undo))
    assert one.stops()
    if not is_deleted and pair.remove is not bury:
        _bury_long_ago(file.name, due=pair.remove is claim)
    act = _name_first if pair.naming_first else _remove_first
    held, other = act(pair, file, one, sessions)
    ends = [one.end(), other.end()]
    return held, [*_unexpected(ends, pair.level), *_claimed_early(pair, ends[0]), *_wrong()]


def _bury_long_ago(name: str, *, due: bool) -> None:
    bury(name)
    Tombstone.objects.update(created=state.LONG_AGO)
    if due:
        past_due()


def _name_first(pair: Pair, file: File, one: Child, sessions: Sessions) -> tuple[bool, Child]:
    before = state.names()
    one.go_on()
    held = one.stops()
    # The duplicate that a restore creates looks like an orphan.
    (name,) = (state.names() - before) or {file.name}
    other = Child(removing(pair.remove, name, holds=False, undo=False))
    other.wait(sessions.one_waits)
    if held:
        one.go_on()
    return held, other


def _remove_first(pair: Pair, file: File, one: Child, sessions: Sessions) -> tuple[bool, Child]:
    other = Child(removing(pair.remove, file.name, holds=True, undo=pair.undo))
    held = other.stops()
    one.go_on()
    one.wait(sessions.one_waits)
    if held:
        other.go_on()
    if one.stops():
        one.go_on()
    return held, other


def _unexpected(ends: list[Ended], level: str) -> Iterator[str]:
    for _, error in ends:
        is_serialization = level == "repeatable read" and "could not serialize" in error
        if error and not is_serialization and error.partition("(")[0] not in REFUSALS:
            yield error


def _claimed_early(pair: Pair, end: Ended) -> Iterator[str]:
    """Yield a line for each name that was claimed although it had just been restored."""
    if pair.name is restore_deleted and pair.naming_first and not end.error:
        for tombstone in Tombstone.objects.filter(claimed__isnull=False):
            yield f"{tombstone} was claimed after the restore"


def _wrong() -> list[str]:
    """Return the current faults, and those after a purge of all tombstones."""
    faults = state.faults()
    Tombstone.objects.update(created=state.LONG_AGO)
    past_due()
    faults += [f"the next purge: {event}" for event in purge() if event.result != "removed"]
    return faults + state.faults()


NAMING = (adopt, save_raw, load, restore_deleted)
REMOVING = (bury, claim, remove)


def pairs(times: int) -> Iterator[Pair]:
    """Yield each pair ``times`` times, in varying order, with varying ends and levels."""
    ways = list(product((True, False), (False, True), LEVELS))
    for index, (name, act) in enumerate(product(NAMING, REMOVING)):
        for number in range(times):
            naming_first, undo, level = ways[(index + number * 3) % len(ways)]
            # The duplicate of a restore cannot be buried before it exists.
            naming_first |= name is restore_deleted and act is bury
            pair = Pair(name, act, naming_first, undo, level)
            yield pair


def test_name_never_has_both_a_row_and_a_tombstone() -> None:
    """adopt(), raw saves and restore() run beside a burial, a purge and an immediate removal.

    A hit is a pair whose first act was not refused and kept its transaction open.
    """
    tried = hit = 0
    bad = []
    sessions = Sessions()
    for pair in pairs(count(40, ci=3)):
        with isolation_level(pair.level):
            held, wrong = run_pair(pair, sessions)
        tried += 1
        hit += held
        bad += [f"{pair}: {line}" for line in wrong]
        clear()
    sessions.close()
    report("db-purge-pairs", tried=tried, hit=hit, bad=bad)
