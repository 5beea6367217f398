"""Races on the same rows: every row keeps its bytes, and delivery numbers are unique.

A hit is a race in which the two sides overlapped in time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from typing import Any, cast
from unittest.mock import patch

import pytest
from django.core.files.base import ContentFile
from django.db import models, transaction
from django.test import override_settings
from django.utils import timezone

from devilry_storage.db.rows import plain_instances
from devilry_storage.deletion import purge
from devilry_storage.deliveries.models import Delivery, FileMeta
from devilry_storage.models import Tombstone
from devilry_storage.resolving import store_for
from devilry_storage.restoring import restore
from devilry_storage.tables import TombstoneState
from tests.harness.proofs import count, report

from . import database_racing
from . import database_state as state
from .database_racing import (
    Runs,
    Side,
    error,
    finish,
    isolation_level,
    met,
    race_on_rows,
    unexpected,
)
from .racing import Act

pytestmark = [
    pytest.mark.slow,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("without_fsync"),
]

remove_at_once = override_settings(DELIVERY_STORE_RETENTION_DAYS=0)

LEFT, RIGHT = b"the left side's", b"the right side's bytes"
REFUSED = ("DeliveryFinished", "DeliveryIncomplete")
GONE = ("DoesNotExist",)


def races(full: int = 40) -> int:
    """Return the number of races. Use more if one side is fast, so that enough of them overlap."""
    return count(full, full // 4)


def report_races(name: str, runs: Runs, bad: list[str]) -> None:
    """Report the races; fail if one broke the promise, or if too few overlapped in time."""
    report(name, tried=len(runs), hit=met(runs), bad=bad)
    assert met(runs) >= 0.3 * len(runs)


# -- Sides of races --


def on(rows: list[Any], act: Callable[[Any], object]) -> Side:
    """Return a side that loads its row before the race and acts on it in the race."""

    def prepare(number: int) -> Act:
        row = type(rows[number])._base_manager.get(pk=rows[number].pk)
        return lambda: act(row)

    return prepare


def in_turn(*sides: Side) -> Side:
    """Return a side that alternates between the given sides."""
    return lambda number: sides[number % len(sides)](number)


def add(delivery: Any) -> Any:
    return delivery.add_file("late.txt", RIGHT).pk


def add_many(delivery: Any) -> list[Any]:
    return [row.pk for row in delivery.add_files({f"late{n}.txt": RIGHT for n in range(3)})]


def add_a(data: bytes) -> Callable[[Any], object]:
    return lambda delivery: delivery.add_file("a.txt", data).pk


def replace(data: bytes) -> Callable[[Any], None]:
    def act(row: Any) -> None:
        row.content = ContentFile(data, name="again.txt")
        row.save()

    return act


def rename(row: Any) -> None:
    """Save a possibly stale instance with a new filename."""
    row.filename = "renamed.txt"
    row.save()


def delete(row: Any) -> None:
    row.delete()


def files_of(deliveries: list[Any]) -> list[Any]:
    """Return the first file of each delivery."""
    return [delivery.files.first() for delivery in deliveries]


# -- finish() against add_file() --


def unseen_files(deliveries: list[Any], runs: Runs) -> list[str]:
    """Return a line for each file of a finished delivery that finish() did not check."""
    lines = []
    for delivery, (finished, _) in zip(deliveries, runs, strict=True):
        if finished.error is None:
            assert isinstance(finished.value, list)
            rows = delivery.files.filter(content__isnull=False)
            rows = rows.exclude(content__in=finished.value)
            lines += [f"delivery {delivery.pk}: {row.filename}" for row in rows]
    return lines


@pytest.mark.parametrize(("kind", "late"), [("add", add), ("add-files", add_many)])
def test_finish_checks_every_file_of_the_delivery(
    kind: str, late: Callable[[Any], object]
) -> None:
    """finish() races with add_file() or add_files(): the second one waits and then refuses."""
    deliveries = state.deliveries(races(60), files=1)
    runs = race_on_rows(on(deliveries, finish), on(deliveries, late), len(deliveries))
    bad = unseen_files(deliveries, runs) + state.faults() + unexpected(runs, *REFUSED)
    report_races(f"db-finish-{kind}", runs, bad)


@contextmanager
def no_locks() -> Iterator[None]:
    """Replace the row locks by plain reads."""

    def read_row(
        model: type[models.Model], key: Any, using: str, columns: Any = None, *, by: str = "pk"
    ) -> Any:
        return model._base_manager.using(using).filter(**{by: key}).first()

    with (
        patch("devilry_storage.abstract_models.delivery.lock_row", read_row),
        patch("devilry_storage.abstract_models.filemeta.lock_row", read_row),
        patch("devilry_storage.abstract_models.filemeta.row_and_related", lambda *a, **k: None),
        patch.dict("devilry_storage.abstract_models.recording._POSTGRES", lock=""),
    ):
        yield


@pytest.mark.postgres
def test_harness_detects_finish_without_locks() -> None:
    """The same harness fails without row locks: files get into finished deliveries."""
    found: list[str] = []
    for _ in range(10):
        deliveries = state.deliveries(60, files=1)
        with no_locks():
            runs = race_on_rows(on(deliveries, finish), on(deliveries, add), len(deliveries))
        found += unseen_files(deliveries, runs)
        if found:
            break
    assert found != []


def race_at_repeatable_read(tried: int) -> tuple[list[Any], Runs]:
    """Let finish(), in a transaction that has read before, race with calls that add files."""
    deliveries = state.deliveries(tried, files=1)
    files = files_of(deliveries)
    for delivery in deliveries:
        store_for(FileMeta).save(f"found/{delivery.pk}", ContentFile(RIGHT))

    def adopt(delivery: Any) -> None:
        FileMeta.objects.adopt(f"found/{delivery.pk}", delivery=delivery)

    def finish_after_reading(delivery: Any) -> list[str | None]:
        with transaction.atomic():
            Delivery.objects.get(pk=delivery.pk)
            time.sleep(database_racing.SPREAD)
            return finish(delivery)

    late = in_turn(
        on(deliveries, add), on(deliveries, add_many), on(files, replace(RIGHT)),
        on(deliveries, adopt),
    )  # fmt: skip
    with isolation_level("repeatable read"):
        runs = race_on_rows(on(deliveries, finish_after_reading), late, tried)
    return deliveries, runs


@pytest.mark.postgres
def test_finish_at_repeatable_read_checks_every_file() -> None:
    """One of the callers may get PostgreSQL's serialization failure instead."""
    deliveries, runs = race_at_repeatable_read(races(60))
    bad = unseen_files(deliveries, runs) + state.faults()
    bad += unexpected(runs, "OperationalError", *REFUSED)
    failed = (str(run.error) for sides in runs for run in sides if "Operational" in error(run))
    bad += [line for line in failed if "could not serialize" not in line]
    report_races("db-finish-repeatable-read", runs, bad)


@pytest.mark.postgres
def test_harness_detects_repeatable_read_without_writes() -> None:
    """The same harness fails if the rows are only locked, not written."""
    with patch("devilry_storage.db.rows._write", lambda rows: None):
        deliveries, runs = race_at_repeatable_read(40)
    assert unseen_files(deliveries, runs) != []


@pytest.mark.parametrize("kind", ["autocommit", "transaction"])
def test_concurrent_add_file_calls_on_a_delivery_succeed(kind: str) -> None:
    """Also in a transaction of the caller: SQLite's writers wait, as nothing is read first."""
    deliveries = state.deliveries(races())

    def side(filename: str) -> Side:
        def store(delivery: Any) -> None:
            with transaction.atomic() if kind == "transaction" else nullcontext():
                delivery.add_file(filename, RIGHT)

        return on(deliveries, store)

    runs = race_on_rows(side("left.txt"), side("right.txt"), len(deliveries))
    bad = state.faults() + unexpected(runs)
    assert FileMeta.objects.filter(content__isnull=False).count() == 2 * len(deliveries)
    report_races(f"db-add-{kind}", runs, bad)


# -- finish() against finish() and copy() --


def numbers(deliveries: list[Any]) -> list[str]:
    """Return a line for each group whose numbers are not 1, 2, ..."""
    lines = []
    for owner in {delivery.assignment_group for delivery in deliveries}:
        finished = owner.deliveries.filter(successful=True)
        given = sorted(finished.values_list("number", flat=True))
        if given != list(range(1, len(given) + 1)):
            lines.append(f"group {owner.pk} has the numbers {given}")
    return lines


def test_concurrent_finish_calls_get_consecutive_numbers() -> None:
    """finish() races with finish() in the same group: numbers are unique and without a gap."""
    tried = races()
    owners = [state.group() for _ in range(tried)]
    left = [state.deliveries(1, files=1, owner=owner)[0] for owner in owners]
    right = [state.deliveries(1, files=1, owner=owner)[0] for owner in owners]
    runs = race_on_rows(on(left, finish), on(right, finish), tried)
    assert Delivery.objects.filter(number=2).count() == tried
    report_races("db-finish-finish", runs, numbers(left) + state.faults() + unexpected(runs))


def test_concurrent_copy_and_finish_get_consecutive_numbers() -> None:
    """copy() into a group races with finish() in it: numbers are unique and without a gap."""
    source = state.deliveries(1, files=2)[0]
    source.finish()
    deliveries = [state.deliveries(1, files=1)[0] for _ in range(races())]

    def copy(delivery: Any) -> None:
        source.copy(delivery.assignment_group)

    runs = race_on_rows(on(deliveries, finish), on(deliveries, copy), len(deliveries))
    assert Delivery.objects.filter(number=2).count() == len(deliveries)
    report_races("db-finish-copy", runs, numbers(deliveries) + state.faults() + unexpected(runs))


# -- Replacing, deleting, and stale instances --


def accounted(files: list[Any], runs: Runs) -> list[str]:
    """Return a line for each orphan."""
    return [f"{name!r} is an orphan" for name in state.orphans()]


def test_concurrent_replacements_keep_the_last_content_and_bury_the_others() -> None:
    """Both succeed: the row has the bytes of the later one, and the others have tombstones."""
    files = files_of(state.deliveries(races(), files=1))
    runs = race_on_rows(on(files, replace(LEFT)), on(files, replace(RIGHT)), len(files))
    bad = state.faults() + accounted(files, runs) + unexpected(runs)
    bad += [f"row {row.pk}" for row in files if state.stored(row) not in {LEFT, RIGHT}]
    assert Tombstone.objects.count() == 2 * len(files)
    report_races("db-replace-replace", runs, bad)


def test_concurrent_replacement_and_delete_leave_no_untracked_bytes() -> None:
    """The second one sees the result of the first: all bytes have a row or a tombstone.

    Only a replacement that fails because it comes too late may leave an orphan.
    """
    files = files_of(state.deliveries(races(), files=1))
    runs = race_on_rows(on(files, replace(LEFT)), on(files, delete), len(files))
    failed = sum(left.error is not None for left, _ in runs)
    bad = state.faults() + unexpected(runs, *GONE)
    bad += [f"row {row.pk} still exists" for row in FileMeta.objects.all()]
    bad += ["more orphans than failed replacements"] * (len(state.orphans()) > failed)
    report_races("db-replace-delete", runs, bad)


def test_saving_a_stale_instance_restores_nothing() -> None:
    """The instance was loaded before a replacement or a delete."""
    files = files_of(state.deliveries(races(60), files=1))
    changes = in_turn(on(files, replace(LEFT)), on(files, delete))
    runs = race_on_rows(changes, on(files, rename), len(files))
    bad = state.faults() + unexpected(runs, "DatabaseError", "NotUpdated", *GONE)
    bad += accounted(files, runs)
    for number, row in enumerate(files):
        found = FileMeta.objects.filter(pk=row.pk)
        if number % 2:
            bad += [f"row {row.pk} exists again" for row in found]
        elif state.stored(row) != LEFT:
            bad.append(f"row {row.pk} has its old content again")
    report_races("db-stale-save", runs, bad)


def test_concurrent_deletes_remove_only_their_own_bytes() -> None:
    """Without retention, two files of a delivery are deleted, or one file twice."""
    deliveries = state.deliveries(races(), files=3)
    first, second = [[list(d.files)[n] for d in deliveries] for n in (0, 1)]
    either = in_turn(on(second, delete), on(first, delete))
    with remove_at_once:
        runs = race_on_rows(on(first, delete), either, len(deliveries))
    bad = state.faults() + unexpected(runs)
    bad += [f"{name!r} is left" for name in state.names() - state.live_names()]
    assert not state.left()
    assert FileMeta.objects.count() == len(deliveries) * 3 // 2
    report_races("db-delete-delete", runs, bad)


def test_removal_succeeds_while_another_deletes_the_newest_row() -> None:
    """A removal first looks up the newest row of the store, which may be deleted meanwhile."""
    tried = races()
    state.deliveries(1, files=1)
    both = list(reversed(state.deliveries(2 * tried, files=1)))
    with remove_at_once:
        runs = race_on_rows(on(both[::2], delete), on(both[1::2], delete), tried)
    bad = state.faults() + unexpected(runs)
    bad += [f"{name!r} is left" for name in state.names() - state.live_names()]
    report_races("db-delete-newest", runs, bad)


def test_calls_on_a_delivery_that_is_being_deleted_fail_clearly() -> None:
    """A cascade races with add_file(), add_files(), a replacement and finish(): no deadlock."""
    deliveries = state.deliveries(2 * races(), files=3)
    files = files_of(deliveries)
    works = in_turn(
        on(deliveries, add), on(deliveries, add_many), on(files, replace(RIGHT)),
        on(deliveries, finish),
    )  # fmt: skip
    runs = race_on_rows(on(deliveries, delete), works, len(deliveries))
    bad = state.faults() + unexpected(runs, "IntegrityError", *GONE)
    failed = sum(3 for _, right in runs if right.error)
    bad += ["more orphans than failed stores"] * (len(state.orphans()) > failed)
    report_races("db-delete-store", runs, bad)


def race_of_many(tried: int) -> tuple[Runs, list[str]]:
    """Let a delete of the files of several deliveries race with other changes of them."""
    deliveries = state.deliveries(3 * tried, files=3)
    threes = [deliveries[3 * n : 3 * n + 3] for n in range(tried)]
    lasts = [three[-1] for three in threes]
    files = [delivery.files.last() for delivery in lasts]

    def delete_files(number: int) -> Act:
        rows: Any = FileMeta.objects.filter(delivery__in=threes[number])
        return cast(Act, rows.delete)

    def delete_backwards(number: int) -> Act:
        rows = FileMeta.objects.filter(delivery__in=threes[number]).order_by("-pk")
        return lambda: [row.delete() for row in rows.all()]

    def delete_deliveries(number: int) -> Act:
        pks = [delivery.pk for delivery in threes[number][1:]]
        return lambda: Delivery.objects.filter(pk__in=pks).delete()

    works = in_turn(
        on(files, replace(RIGHT)), on(lasts, add), on(files, delete), on(lasts, finish),
        delete_backwards, on(files, replace(LEFT)), on(lasts, add_many), delete_deliveries,
        delete_files,
    )  # fmt: skip
    runs = race_on_rows(delete_files, works, tried)
    failed = sum(3 for _, right in runs if right.error)
    bad = state.faults() + unexpected(runs, "IntegrityError", *REFUSED, *GONE)
    bad += [f"{name!r} is an orphan" for name in state.orphans()][failed:]
    known = {row.pk for row in files}
    bad += [f"row {row.pk} still exists" for row in FileMeta.objects.filter(pk__in=known)]
    return runs, bad


def test_delete_of_many_files_loses_nothing() -> None:
    """It races with replacements, new files, finish() and other deletes, in any order."""
    runs, bad = race_of_many(races(72))
    report_races("db-delete-many", runs, bad)


@pytest.mark.postgres
def test_harness_detects_delete_of_many_files_without_locks() -> None:
    """The same harness finds orphans if the rows are read, but not locked."""

    def read_rows(rows: models.QuerySet[Any]) -> list[Any]:
        found = [*plain_instances(rows)]
        time.sleep(database_racing.SPREAD)
        return found

    with patch("devilry_storage.deletion.deleting.lock_rows", read_rows):
        _runs, bad = race_of_many(72)
    assert bad != []


# -- One filename, one object --


def test_concurrent_add_file_calls_with_the_same_filename_succeed_once() -> None:
    """One call raises FileExistsError, and nothing is lost."""
    deliveries = state.deliveries(races())
    sides = on(deliveries, add_a(LEFT)), on(deliveries, add_a(RIGHT))
    runs = race_on_rows(*sides, races=len(deliveries))
    report_races("db-add-add", runs, one_winner(deliveries, runs))


def test_abandoned_row_is_taken_over_once() -> None:
    """add_file() races with add_file() for the filename of an abandoned row."""
    deliveries = state.deliveries(races())
    long_ago = timezone.now() - timedelta(days=3)
    for delivery in deliveries:
        FileMeta.objects.create(delivery=delivery, filename="a.txt", created=long_ago)
    sides = on(deliveries, add_a(LEFT)), on(deliveries, add_a(RIGHT))
    runs = race_on_rows(*sides, races=len(deliveries))
    report_races("db-takeover", runs, one_winner(deliveries, runs))


def one_winner(deliveries: list[Any], runs: Runs) -> list[str]:
    bad = state.faults() + unexpected(runs, "FileExistsError")
    for delivery, sides in zip(deliveries, runs, strict=True):
        winners = [data for data, run in zip((LEFT, RIGHT), sides, strict=True) if not run.error]
        stored = [state.stored(row) for row in delivery.files]
        if len(winners) != 1 or stored != winners:
            bad.append(f"delivery {delivery.pk}: {winners} succeeded, {stored} is stored")
    return bad


# -- purge() against calls that use a key again --


def buried(number: int, *, absent: Callable[[int], bool] = lambda number: False) -> list[Any]:
    """Return deleted rows (with their ids) whose tombstones are not due yet.

    ``absent`` selects rows whose bytes are already removed, as if a purge had been killed before
    it recorded the removal.
    """
    files = files_of(state.deliveries(number, files=2))
    FileMeta.objects.filter(pk__in=[row.pk for row in files]).delete()
    for position, row in enumerate(files):
        if absent(position):
            tombstones = Tombstone.objects.filter(name=row.content.name)
            tombstones.update(claimed=timezone.now(), rows=[])
            store_for(FileMeta).delete(row.content.name)
    return files


def purging(rows: list[Any]) -> Side:
    """Return a side that makes the row's tombstone due and purges in the race."""

    def prepare(number: int) -> Act:
        name = rows[number].content.name
        Tombstone.objects.filter(name=name).update(due=timezone.now())
        return lambda: [event.result for event in purge()]

    return prepare


def storing_again(rows: list[Any]) -> Side:
    """Return a side that stores under the old id of the row, within a transaction or without."""

    def prepare(number: int) -> Act:
        old = rows[number]
        row = FileMeta(pk=old.pk, delivery_id=old.delivery_id, filename="again.txt")
        row.content = ContentFile(RIGHT, name="again.txt")

        def act() -> str:
            with transaction.atomic() if number % 4 < 2 else nullcontext():
                row.save()
                time.sleep(number % 3 * 0.001)
            return str(row.content.name)

        return act

    return prepare


def test_purge_keeps_the_bytes_of_a_key_that_is_used_again() -> None:
    """Purge cannot see uncommitted rows, so saves must not use a key with a tombstone.

    In every other race the bytes are already removed, so that the key itself is free.
    """
    rows = buried(2 * races(), absent=lambda number: bool(number % 2))
    runs = race_on_rows(purging(rows), storing_again(rows), len(rows))
    bad = state.faults() + unexpected(runs)
    report_races("db-purge-reuse", runs, bad)


def test_concurrent_purges_remove_all_due_files() -> None:
    """Each purge removes what either has claimed, and nothing else."""
    rows = buried(races())
    runs = race_on_rows(purging(rows), purging(rows), len(rows))
    bad = state.faults() + unexpected(runs)
    bad += [f"{name!r} is left" for name in state.names() - state.live_names()]
    assert not state.left()
    report_races("db-purge-purge", runs, bad)


def test_adopting_a_file_that_is_being_purged_fails() -> None:
    """adopt() of bytes with a tombstone fails before, while and after they are removed."""
    rows = buried(races(60))
    runs = race_on_rows(purging(rows), adopting(rows), len(rows))
    bad = state.faults()
    bad += unexpected(runs, "FileExistsError", "DeliveryFileNotFound")
    report_races("db-purge-adopt", runs, bad)


def adopting(rows: list[Any]) -> Side:
    def adopt(delivery: Any, name: str) -> Any:
        return FileMeta.objects.adopt(name, delivery=delivery, filename="adopted.txt").pk

    def prepare(number: int) -> Act:
        old = rows[number]
        delivery = Delivery.objects.get(pk=old.delivery_id)
        return lambda: adopt(delivery, old.content.name)

    return prepare


def test_adopting_the_bytes_of_a_row_that_is_being_deleted_fails() -> None:
    """Without retention, the delete removes the bytes right after COMMIT."""
    rows = files_of(state.deliveries(races(60), files=2))
    with remove_at_once:
        runs = race_on_rows(on(rows, delete), adopting(rows), len(rows))
    bad = state.faults()
    bad += unexpected(runs, "FileExistsError", "DeliveryFileNotFound")
    report_races("db-delete-adopt", runs, bad)


def test_concurrent_adoptions_of_an_orphan_succeed_once() -> None:
    """One row gets the bytes, the other call raises FileExistsError."""
    rows = files_of(state.deliveries(races(), files=2))
    FileMeta.objects.filter(pk__in=[row.pk for row in rows]).delete()
    Tombstone.objects.all().delete()
    runs = race_on_rows(adopting(rows), adopting(rows), len(rows))
    bad = state.faults() + unexpected(runs, "FileExistsError")
    bad += [f"{name!r} was not adopted" for name in state.orphans()]
    report_races("db-adopt-adopt", runs, bad)


# -- Restoring --


def restoring(rows: list[Any]) -> Side:
    """Return a side that restores the deleted row in the race."""

    def prepare(number: int) -> Act:
        tombstone = Tombstone.objects.get(name=rows[number].content.name)
        return lambda: restore(tombstone).pk

    return prepare


def lost(rows: list[Any], runs: Runs) -> list[str]:
    """Return a line for each row that is missing although its restore succeeded."""
    found = set(FileMeta.objects.filter(content__isnull=False).values_list("pk", flat=True))
    restored = (row.pk for row, (left, _) in zip(rows, runs, strict=True) if not left.error)
    return [f"row {pk} was restored and is missing" for pk in restored if pk not in found]


def unaccounted(runs: Runs) -> list[str]:
    """Return a line for each tombstone and orphan that restores cannot have left.

    A restore that succeeds leaves the tombstone of the old name. A restore that fails leaves the
    duplicate.
    """
    left = [tombstone for tombstone in state.left() if tombstone.state is TombstoneState.RESTORED]
    others = [f"{tombstone} is left" for tombstone in state.left() if tombstone not in left]
    failed = sum(error(run) == "NotRestorable" for sides in runs for run in sides)
    too_many = len(state.orphans()) > failed
    return others + ["more orphans than failed restores"] * too_many


def test_restored_row_keeps_its_bytes_during_a_purge() -> None:
    """restore() races with purge(): the first gets the tombstone, the other fails or skips it."""
    rows = buried(races(60))
    runs = race_on_rows(restoring(rows), purging(rows), len(rows))
    bad = state.faults() + lost(rows, runs) + unexpected(runs, "NotRestorable")
    bad += unaccounted(runs)
    restored = sum(not left.error for left, _ in runs)
    bad += ["a restored name is not buried"] * (len(state.left()) != restored)
    report_races("db-restore-purge", runs, bad)


def test_concurrent_restores_succeed_once() -> None:
    """One restore() brings the row back, the other raises NotRestorable."""
    rows = buried(races())
    runs = race_on_rows(restoring(rows), restoring(rows), len(rows))
    winners = [sum(not run.error for run in sides) for sides in runs]
    bad = state.faults() + lost(rows, runs) + unexpected(runs, "NotRestorable")
    bad += [f"{many} restores succeeded" for many in winners if many != 1]
    bad += unaccounted(runs)
    assert len(state.left()) == len(rows)
    report_races("db-restore-restore", runs, bad)


def test_concurrent_restore_and_save_with_the_same_id_succeed_once() -> None:
    """The row has the bytes of the call that succeeded."""
    rows = buried(races(60))
    runs = race_on_rows(restoring(rows), storing_again(rows), len(rows))
    bad = state.faults() + unexpected(runs, "NotRestorable", "IntegrityError")
    for row, (restored, stored) in zip(rows, runs, strict=True):
        expected = {state.CONTENT} if stored.error else {RIGHT}
        if bool(restored.error) == bool(stored.error) or state.stored(row) not in expected:
            bad.append(f"row {row.pk}: {restored.error}, {stored.error}")
    report_races("db-restore-store", runs, bad)


def test_finish_checks_files_that_are_being_restored() -> None:
    """restore() races with finish(): the file is checked, or it stays deleted."""
    rows = buried(races(60))
    deliveries = [Delivery.objects.get(pk=row.delivery_id) for row in rows]
    runs = race_on_rows(on(deliveries, finish), restoring(rows), len(rows))
    bad = unseen_files(deliveries, runs) + state.faults()
    bad += unexpected(runs, "NotRestorable", *REFUSED)
    report_races("db-restore-finish", runs, bad)
