"""A worker that runs random operations of a site until it is ended or killed.

It records each call before it is made and after it has returned. SIGUSR1 raises an exception at
the current instruction. SIGTERM ends the worker after the current call.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import posixpath
import random
import signal
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import django.db
import psycopg
from django.core import serializers
from django.core.exceptions import ObjectDoesNotExist
from django.core.files.base import ContentFile
from django.core.management import CommandError, call_command
from django.core.serializers.base import DeserializationError
from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.test import override_settings
from django.utils import timezone

from devilry_storage.deletion import orphans, purge, remove_now
from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.exceptions import (
    ChecksumMismatch,
    DeliveryStateError,
    NotAnOrphan,
    NotRestorable,
    UnsafeEntry,
    WrongSize,
)
from devilry_storage.models import Tombstone
from devilry_storage.resolving import store_for
from devilry_storage.restoring import restore, take_back
from devilry_storage.signals import file_removed

from .database_state import LONG_AGO, bytes_under
from .site_journal import Given, Journal

FILENAMES = [f"{number}.txt" for number in range(6)]

NEWEST = 30
"""Workers act on this number of newest rows only, so that they conflict."""

# Closing the cursor of an iterator() raises the driver's own exception if the session has ended.
_DATABASE_ERRORS = (django.db.Error, psycopg.Error)
_REFUSALS = (
    *_DATABASE_ERRORS,
    *(OSError, ObjectDoesNotExist),
    *(DeliveryStateError, NotRestorable, NotAnOrphan, CommandError, DeserializationError),
)
_NEVER = (ChecksumMismatch, UnsafeEntry, WrongSize)


class Disturbed(Exception):
    """Raised at a random instruction."""


class Interrupted(BaseException):
    """Raised at a random instruction. Like KeyboardInterrupt, it is not an Exception."""


class NothingToDo(Exception):
    """An operation found no row or file to act on."""


class RolledBack(Exception):
    """Rolls back the caller's transaction."""


@dataclass(frozen=True)
class RunFolder:
    """The folder that the workers of a run share."""

    folder: Path

    @property
    def fixtures(self) -> Path:
        return self.folder / "fixtures"

    @property
    def journals(self) -> Path:
        return self.folder / "journals"

    def add_orphan(self, name: str) -> None:
        """Record an orphan that can be adopted or buried because its transaction has ended."""
        with (self.folder / "orphans").open("ab", buffering=0) as file:
            file.write(f"{name}\n".encode())

    def orphans(self) -> list[str]:
        with suppress(FileNotFoundError):
            return (self.folder / "orphans").read_text().splitlines()
        return []


class Worker:
    """A worker. ``seed`` determines its operations and their order, but not their timing."""

    def __init__(self, run_folder: RunFolder, number: int, seed: str) -> None:
        self.run_folder = run_folder
        self.number = number
        self.chance = random.Random(seed)
        self.journal = Journal(run_folder.journals / f"{number}")
        self.made = 0
        self.armed = self.disturbed = self.ending = False

    def run(self) -> None:
        parent = os.getppid()
        while not self.ending and os.getppid() == parent:
            self.disturbed = False
            try:
                if self.chance.random() < 0.3:
                    self.within_a_transaction()
                else:
                    self.do_one_of({**IN_TRANSACTION, **ALONE})
            except BaseException as exception:  # noqa: BLE001  # a worker continues
                self.recover(exception)
            if self.disturbed:  # also if the exception was raised in a receiver and only logged
                reconnect()

    def do_one_of(self, operations: dict[Operation, int]) -> None:
        (chosen,) = self.chance.choices(list(operations), list(operations.values()))
        with suppress(NothingToDo):
            chosen(self)

    def do_within(self) -> None:
        """Run an operation in the open transaction; a refusal does not end the transaction."""
        if self.chance.random() < 0.5:
            self.do_one_of(IN_TRANSACTION)
            return
        try:
            with transaction.atomic():
                self.do_one_of(IN_TRANSACTION)
        except _REFUSALS as exception:
            if isinstance(exception, _NEVER) or transaction.get_connection().needs_rollback:
                raise

    def within_a_transaction(self) -> None:
        """Run some operations in a transaction, which may be rolled back."""
        self.journal.write("begin")
        created: list[str] = []
        try:
            with collected_names(created), transaction.atomic():
                for _ in range(self.chance.randint(1, 3)):
                    self.do_within()
                if self.chance.random() < 0.3:
                    raise RolledBack
                self.armed = True
            self.armed = False
        except RolledBack:
            self.journal.write("rollback")
            for name in created:
                if store_for(FileMeta).exists(name):
                    self.run_folder.add_orphan(name)
        except BaseException:
            self.armed = False
            # It may be committed nevertheless: perhaps only the reply was lost.
            self.journal.write("rollback")
            raise
        else:
            self.journal.write("commit")

    def recover(self, exception: BaseException) -> None:
        """Record an unexpected exception, and reconnect after a database error."""
        expected = isinstance(exception, _REFUSALS) and not isinstance(exception, _NEVER)
        # purge() refuses to run in a transaction of the caller.
        expected = expected or "cannot run in a transaction" in str(exception)
        if not expected and not self.disturbed:
            trace = "".join(traceback.format_exception(exception)[-6:])
            self.journal.write("fault", f"unexpected {exception!r}\n{trace}")
        if isinstance(exception, _DATABASE_ERRORS):
            reconnect()
            time.sleep(0.01)  # leaves CPU time to a server that restarts

    def disturb(self, *signal_: object) -> None:
        if self.armed:
            self.armed = False
            self.disturbed = True
            raise self.chance.choice((Disturbed, Interrupted))("here")

    @contextmanager
    def attempt(
        self, operation: str, *files: int, delivery: int | None = None
    ) -> Iterator[list[Given]]:
        """Record an attempt, run the block (a call of the package) and record its result."""
        given: list[Given] = []
        number = self.journal.attempt(operation, files, delivery)
        try:
            self.armed = True
            yield given
            self.armed = False
        except BaseException as exception:
            self.armed = False
            self.journal.write("raised", number, repr(exception)[:500])
            raise
        self.journal.write("returned", number, given)

    # -- Choosing content and rows --

    def content(self) -> bytes:
        return self.chance.randbytes(self.chance.randint(1, 3000))

    def one(self, rows: Any) -> Any:
        """Return one of the newest rows."""
        newest = list(rows.order_by("-pk")[:NEWEST])
        if not newest:
            raise NothingToDo
        return self.chance.choice(newest)

    def group(self) -> Any:
        return self.one(AssignmentGroup.objects.all())

    def delivery(self, **conditions: Any) -> Any:
        return self.one(Delivery.objects.filter(**conditions))

    def file(self, **conditions: Any) -> Any:
        return self.one(FileMeta.objects.filter(content__isnull=False, **conditions))

    def tombstone(self, **conditions: Any) -> Any:
        return self.one(Tombstone.objects.buried().filter(**conditions))

    def orphan(self) -> str:
        names = self.run_folder.orphans()
        if not names:
            raise NothingToDo
        return self.chance.choice(names[-NEWEST:])

    # -- Operations that may run in a transaction --

    def begin(self) -> None:
        group = self.group()
        with self.attempt("begin"):
            Delivery.begin(group)

    def add_file(self) -> None:
        delivery, content = self.delivery(successful=False), self.content()
        with self.attempt("add_file", delivery=delivery.pk) as given:
            row = delivery.add_file(self.chance.choice(FILENAMES), content)
            given.append((row.pk, row.content.name, digest(content)))

    def add_files(self) -> None:
        delivery = self.delivery(successful=False)
        names = self.chance.sample(FILENAMES, self.chance.randint(2, 3))
        files = {name: self.content() for name in names}
        with self.attempt("add_files", delivery=delivery.pk) as given:
            for row in delivery.add_files(files):
                given.append((row.pk, row.content.name, digest(files[row.filename])))

    def replace(self) -> None:
        row, content = self.file(delivery__successful=False), self.content()
        with self.attempt("replace", row.pk) as given:
            row.content = ContentFile(content, name=row.filename)
            row.save()
            given.append((row.pk, row.content.name, digest(content)))

    def clear(self) -> None:
        row = self.file()
        with self.attempt("clear", row.pk):
            row.content.delete()

    def delete(self) -> None:
        row = self.file()
        with self.attempt("delete", row.pk):
            row.delete()

    def delete_delivery(self) -> None:
        delivery = self.delivery()
        with self.attempt("delete_delivery", delivery=delivery.pk):
            delivery.delete()

    def finish(self) -> None:
        delivery = self.delivery(successful=False)
        with self.attempt("finish", delivery=delivery.pk):
            delivery.finish()

    def copy(self) -> None:
        delivery, group = self.delivery(successful=True), self.group()
        with self.attempt("copy") as given:
            copied = delivery.copy(group)
            # Another worker may have cleared a row meanwhile.
            stored = copied.files.filter(content__isnull=False)
            given += [acknowledged(row) for row in stored]

    def restore(self) -> None:
        tombstone = self.one(Tombstone.objects.buried().exclude(rows=[]))
        file, delivery = tombstone.file_id, tombstone.delivery_id
        try:
            with self.attempt("restore", file, delivery=delivery) as given:
                given.append(acknowledged(restore(tombstone)))
        except NotRestorable as exception:
            if isinstance(exception.__cause__, FileNotFoundError):
                self.expect_claimed(tombstone)
            raise

    def adopt(self) -> None:
        name, delivery = self.orphan(), self.delivery(successful=False)
        filename = f"{self.chance.random()}.txt"
        with self.attempt("adopt", delivery=delivery.pk) as given:
            row = FileMeta.objects.adopt(name, delivery=delivery, filename=filename)
            given.append(acknowledged(row))

    def load(self) -> None:
        """Load a fixture whose rows may have been deleted or replaced since."""
        fixtures = sorted(os.listdir(self.run_folder.fixtures))[-NEWEST:]
        if not fixtures:
            raise NothingToDo
        path = self.run_folder.fixtures / self.chance.choice(fixtures)
        name = json.loads(path.read_text())[-1]["fields"]["content"]
        with self.attempt("load") as given:
            call_command("loaddata", str(path), verbosity=0)
            given += [acknowledged(row) for row in FileMeta.objects.filter(content=name)]

    # -- Operations that run outside of transactions --

    def purge(self) -> None:
        with self.attempt("purge"):
            events = list(purge())
        for event in events:
            # Both can occur for a short time: a burial looks for rows after its COMMIT.
            passing = ("a row names the file", "it was buried as an orphan")
            if event.result == "kept" and not event.reason.startswith(passing):
                self.journal.write("fault", f"purge keeps {event}")

    def remove_now(self) -> None:
        tombstones = [self.tombstone() for _ in range(self.chance.randint(1, 3))]
        with self.attempt("remove_now"):
            list(remove_now(tombstones))

    def take_back(self) -> None:
        tombstone = self.tombstone(file_id=None, delivery_id=None, rows=[])
        with self.attempt("take_back"):
            name = take_back(tombstone)
        self.run_folder.add_orphan(name)

    def leave(self) -> None:
        """Leave an orphan, as a killed writer does, or a foreign file."""
        store = store_for(FileMeta)
        key = store.layout.key(*self.file().key_ids())
        name = store.get_alternative_name(key, "")
        if self.chance.random() < 0.3:
            name = f"elsewhere/{posixpath.basename(name)}.txt"
        with self.attempt("leave"):
            name = store.save(name, ContentFile(self.content()))
        self.run_folder.add_orphan(name)

    def bury_orphan(self) -> None:
        name = self.orphan()
        # Its transaction has ended, so it does not have to be old.
        with override_settings(DELIVERY_STORE_GRACE_HOURS=0), self.attempt("bury_orphan"):
            orphans.bury_orphan(FileMeta, name, using=DEFAULT_DB_ALIAS)

    def dump(self) -> None:
        """Write a fixture with a delivery and one of its files."""
        row = self.file()
        self.write_fixture(row)

    def dump_orphan(self) -> None:
        """Write a fixture with a row that refers to an orphan, like a dump of a lost database."""
        name, row = self.orphan(), self.file()
        data = bytes_under(name)
        if data is None:
            raise NothingToDo
        row.pk, row.filename = None, f"{self.chance.random()}.txt"
        row._set_content(name, len(data), digest(data))
        self.write_fixture(row)

    def write_fixture(self, row: Any) -> None:
        self.made += 1
        path = self.run_folder.fixtures / f"{time.time_ns()}-{self.number}-{self.made}.json"
        fixture = serializers.serialize("json", [row.delivery, row])
        new = self.run_folder.folder / path.name
        new.write_text(fixture)
        new.rename(path)

    def make_due(self) -> None:
        """Make some tombstones due."""
        chosen = [self.tombstone().pk for _ in range(3)]
        buried = Tombstone.objects.buried().filter(pk__in=chosen)
        buried.filter(file_id=None, delivery_id=None, rows=[]).update(created=LONG_AGO)
        buried.update(due=LONG_AGO)

    def abandon(self) -> None:
        """Make a row without content older than the grace time."""
        row = self.one(FileMeta.objects.filter(content__isnull=True))
        FileMeta.objects.filter(pk=row.pk, content__isnull=True).update(created=LONG_AGO)

    # -- Reading --

    def read_file(self) -> None:
        row = self.file()
        data = bytes_under(row.content.name)
        if data is not None and digest(data) == row.sha256:
            return
        if FileMeta.objects.filter(pk=row.pk, content=row.content.name).exists():
            found = "no bytes" if data is None else "other bytes"
            self.journal.write("fault", f"row {row.pk} refers to {row.content.name!r}: {found}")

    def read_tombstone(self) -> None:
        tombstone = self.tombstone()
        if bytes_under(tombstone.name) is None:
            self.expect_claimed(tombstone)

    def expect_claimed(self, tombstone: Any) -> None:
        """Record a fault if a tombstone without bytes is not claimed."""
        if transaction.get_connection().in_atomic_block:
            return  # the transaction may see an old version of the tombstone
        if Tombstone.objects.buried().filter(pk=tombstone.pk).exists():
            self.journal.write("fault", f"{tombstone.name!r} is gone, and was not claimed")


Operation = Callable[[Worker], None]

IN_TRANSACTION: dict[Operation, int] = {
    Worker.begin: 3,
    Worker.add_file: 6,
    Worker.add_files: 3,
    Worker.replace: 5,
    Worker.clear: 2,
    Worker.delete: 4,
    Worker.delete_delivery: 1,
    Worker.finish: 2,
    Worker.copy: 1,
    Worker.restore: 5,
    Worker.adopt: 4,
    Worker.load: 3,
}
ALONE: dict[Operation, int] = {
    Worker.purge: 2,
    Worker.remove_now: 2,
    Worker.take_back: 1,
    Worker.leave: 2,
    Worker.bury_orphan: 3,
    Worker.dump: 2,
    Worker.dump_orphan: 1,
    Worker.make_due: 3,
    Worker.abandon: 1,
    Worker.read_file: 4,
    Worker.read_tombstone: 3,
}


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def acknowledged(row: Any) -> Given:
    return row.pk, row.content.name, row.sha256


def reconnect() -> None:
    """Open a new connection, whatever the state of the old one."""
    old = connections[DEFAULT_DB_ALIAS]
    with suppress(Exception):
        if old.connection is not None:
            old.connection.close()
    del connections[DEFAULT_DB_ALIAS]


# -- The names that a store creates --

_collecting: list[list[str]] = []


@contextmanager
def collected_names(names: list[str]) -> Iterator[None]:
    """Append the names that the block is about to create."""
    _collecting.append(names)
    try:
        yield
    finally:
        _collecting.clear()


def watch_names(journal: Journal) -> None:
    """Record each name in the journal before the store creates it."""
    store: Any = store_for(FileMeta)
    candidates = store._candidates

    def record(found: Iterable[str]) -> Iterator[str]:
        for name in found:
            journal.name(str(name))
            for names in _collecting:
                names.append(str(name))
            yield name

    def watched(*args: Any, **kwargs: Any) -> Iterator[str]:
        yield from record(candidates(*args, **kwargs))

    store._candidates = watched
    if hasattr(store, "_unshared"):
        unshared = store._unshared

        def watched_unshared(name: str) -> str:
            (found,) = record([unshared(name)])
            return found

        store._unshared = watched_unshared


# -- The process --


def shift_clock(days: float) -> None:
    """Shift the clock of this process, as far as Django reads it."""

    class Shifted(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Any:
            return datetime.datetime.now(tz) + datetime.timedelta(days=days)

    patch.object(timezone, "datetime", Shifted).start()


def read_repeatably() -> None:
    """Use REPEATABLE READ for the connections of this process, as a site's settings may do."""
    options = connections[DEFAULT_DB_ALIAS].settings_dict["OPTIONS"]
    options["isolation_level"] = psycopg.IsolationLevel.REPEATABLE_READ


def work(run_folder: RunFolder, number: int, seed: str, plant: Callable[[], None]) -> None:
    """Run a worker; ``plant`` may plant a fault in it."""
    log = os.open(run_folder.folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    worker = Worker(run_folder, number, seed)
    signal.signal(signal.SIGUSR1, worker.disturb)
    signal.signal(signal.SIGTERM, lambda *signal_: setattr(worker, "ending", True))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    shift_clock(worker.chance.choice((0, 0, 0, -3, 3)))
    if worker.chance.random() < 0.25:
        read_repeatably()
    # Orphans are frequent here, and known to be orphans.
    patch.object(orphans, "ONE_IN", 1).start()
    watch_names(worker.journal)

    def note_removed(name: str, **kwargs: Any) -> None:
        worker.journal.write("removed", name)

    file_removed.connect(note_removed)
    plant()
    reconnect()
    worker.run()
    os._exit(0)
