"""Whoever meets on the same rows: no row without its bytes, nothing live removed, no number twice.

A hit is a race in which the two sides overlapped in time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import pytest
from django.core.files.base import ContentFile
from django.db import models, transaction
from django.test import override_settings
from django.utils import timezone

from devilry_storage.deletion import purge
from devilry_storage.deliveries.models import Delivery, FileMeta
from devilry_storage.models import Tombstone
from devilry_storage.resolving import store_for
from devilry_storage.restoring import restore
from devilry_storage.tables.tombstone import TombstoneState
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
    """Return how many races: more where one side is quick, so that enough of them meet."""
    return count(full, full // 4)


def judge(name: str, runs: Runs, bad: list[str]) -> None:
    """Report the races and fail if one broke the promise, or if too few of them met."""
    report(name, tried=len(runs), hit=met(runs), bad=bad)
    assert met(runs) >= 0.3 * len(runs)


# -- What the sides do --


def on(rows: list[Any], act: Callable[[Any], object]) -> Side:
    """Return a side that loads its row before the race and then acts on it."""

    def prepare(number: int) -> Act:
        row = type(rows[number])._base_manager.get(pk=rows[number].pk)
        return lambda: act(row)

    return prepare


def in_turn(*sides: Side) -> Side:
    """Return a side that does something else in each race."""
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
    """Save an instance that knows nothing of what happened to its content."""
    row.filename = "renamed.txt"
    row.save()


def delete(row: Any) -> None:
    row.delete()


def files_of(deliveries: list[Any]) -> list[Any]:
    """Return the first file of each delivery."""
    return [delivery.files.first() for delivery in deliveries]


# -- finish() against add_file() --


def unseen_files(deliveries: list[Any], runs: Runs) -> list[str]:
    """Return a line for each file of a finished delivery that finish() did not look at."""
    lines = []
    for delivery, (finished, _) in zip(deliveries, runs, strict=True):
        if finished.error is None:
            assert isinstance(finished.value, list)
            there = delivery.files.filter(content__isnull=False)
            there = there.exclude(content__in=finished.value)
            lines += [f"delivery {delivery.pk}: {row.filename}" for row in there]
    return lines


@pytest.mark.parametrize(("kind", "late"), [("add", add), ("add-files", add_many)])
def test_finished_delivery_has_no_file_that_finish_did_not_see(
    kind: str, late: Callable[[Any], object]
) -> None:
    """finish() against add_file() or add_files(): one waits for the other, and then refuses."""
    deliveries = state.deliveries(races(60), files=1)
    runs = race_on_rows(on(deliveries, finish), on(deliveries, late), len(deliveries))
    bad = unseen_files(deliveries, runs) + state.faults() + unexpected(runs, *REFUSED)
    judge(f"db-finish-{kind}", runs, bad)


@contextmanager
def no_locks() -> Iterator[None]:
    """Sabotage the row locks into plain reads, as most code has it."""

    def read_row(model: type[models.Model], pk: Any, using: str) -> Any:
        return model._base_manager.using(using).filter(pk=pk).first()

    with (
        patch("devilry_storage.abstract_models.delivery.lock_row", read_row),
        patch("devilry_storage.abstract_models.filemeta.lock_row", read_row),
    ):
        yield


@pytest.mark.postgres
def test_the_races_find_a_finish_without_locks() -> None:
    """The same harness is red where nobody locks: files slip into finished deliveries."""
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
    """Let finish(), in a transaction that has read before, race with what adds files."""
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
def test_finish_at_repeatable_read_sees_every_file() -> None:
    """Otherwise PostgreSQL's serialization failure reaches one of the callers."""
    deliveries, runs = race_at_repeatable_read(races(60))
    bad = unseen_files(deliveries, runs) + state.faults()
    bad += unexpected(runs, "OperationalError", *REFUSED)
    failed = (str(run.error) for sides in runs for run in sides if "Operational" in error(run))
    bad += [line for line in failed if "could not serialize" not in line]
    judge("db-finish-repeatable-read", runs, bad)


@pytest.mark.postgres
def test_the_races_find_repeatable_read_without_writes() -> None:
    """The same harness is red where the rows are only locked."""
    with patch("devilry_storage.db.rows._write", lambda rows: None):
        deliveries, runs = race_at_repeatable_read(40)
    assert unseen_files(deliveries, runs) != []


@pytest.mark.parametrize("kind", ["autocommit", "transaction"])
def test_files_are_added_to_one_delivery_at_once(kind: str) -> None:
    """In a transaction of the caller too: SQLite's writers wait, as nothing is read first."""
    deliveries = state.deliveries(races())

    def side(filename: str) -> Side:
        def store(delivery: Any) -> None:
            with transaction.atomic() if kind == "transaction" else nullcontext():
                delivery.add_file(filename, RIGHT)

        return on(deliveries, store)

    runs = race_on_rows(side("left.txt"), side("right.txt"), len(deliveries))
    bad = state.faults() + unexpected(runs)
    assert FileMeta.objects.filter(content__isnull=False).count() == 2 * len(deliveries)
    judge(f"db-add-{kind}", runs, bad)


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


def test_deliveries_that_are_finished_at_once_get_the_next_two_numbers() -> None:
    """finish() against finish() in one group: numbers are unique and without a gap."""
    tried = races()
    owners = [state.group() for _ in range(tried)]
    left = [state.deliveries(1, files=1, owner=owner)[0] for owner in owners]
    right = [state.deliveries(1, files=1, owner=owner)[0] for owner in owners]
    runs = race_on_rows(on(left, finish), on(right, finish), tried)
    assert Delivery.objects.filter(number=2).count() == tried
    judge("db-finish-finish", runs, numbers(left) + state.faults() + unexpected(runs))


def test_copy_and_finish_at_once_get_the_next_two_numbers() -> None:
    """copy() into a group against finish() in it: as for two that are finished."""
    source = state.deliveries(1, files=2)[0]
    source.finish()
    deliveries = [state.deliveries(1, files=1)[0] for _ in range(races())]

    def copy(delivery: Any) -> None:
        source.copy(delivery.assignment_group)

    runs = race_on_rows(on(deliveries, finish), on(deliveries, copy), len(deliveries))
    assert Delivery.objects.filter(number=2).count() == len(deliveries)
    judge("db-finish-copy", runs, numbers(deliveries) + state.faults() + unexpected(runs))


# -- Replacing, deleting, and instances that do not know --


def accounted(files: list[Any], runs: Runs) -> list[str]:
    """Return a line for all bytes that neither a row nor a tombstone names."""
    return [f"{name!r} is an orphan" for name in state.orphans()]


def test_two_replacements_leave_one_and_bury_the_others() -> None:
    """Both are told success: the later one's bytes live, the others have tombstones."""
    files = files_of(state.deliveries(races(), files=1))
    runs = race_on_rows(on(files, replace(LEFT)), on(files, replace(RIGHT)), len(files))
    bad = state.faults() + accounted(files, runs) + unexpected(runs)
    bad += [f"row {row.pk}" for row in files if state.stored(row) not in {LEFT, RIGHT}]
    assert Tombstone.objects.count() == 2 * len(files)
    judge("db-replace-replace", runs, bad)


def test_replacement_against_delete_leaves_nothing_untracked() -> None:
    """Whoever is second sees what the first did: bytes are the row's or have a tombstone.

    Only a replacement that comes too late, and is told so, may leave an orphan.
    """
    files = files_of(state.deliveries(races(), files=1))
    runs = race_on_rows(on(files, replace(LEFT)), on(files, delete), len(files))
    failed = sum(left.error is not None for left, _ in runs)
    bad = state.faults() + unexpected(runs, *GONE)
    bad += [f"row {row.pk} is there" for row in FileMeta.objects.all()]
    bad += ["more orphans than failed replacements"] * (len(state.orphans()) > failed)
    judge("db-replace-delete", runs, bad)


def test_stale_instance_brings_nothing_back() -> None:
    """save() of an instance that was loaded before a replacement, or before a delete."""
    files = files_of(state.deliveries(races(60), files=1))
    changes = in_turn(on(files, replace(LEFT)), on(files, delete))
    runs = race_on_rows(changes, on(files, rename), len(files))
    bad = state.faults() + unexpected(runs, "DatabaseError", "NotUpdated", *GONE)
    bad += accounted(files, runs)
    for number, row in enumerate(files):
        there = FileMeta.objects.filter(pk=row.pk)
        if number % 2:
            bad += [f"row {row.pk} is back" for row in there]
        elif state.stored(row) != LEFT:
            bad.append(f"row {row.pk} has its old content again")
    judge("db-stale-save", runs, bad)


def test_rows_deleted_at_once_take_only_their_own_bytes_along() -> None:
    """With no retention, after COMMIT: two files of a delivery, or one twice; the others stay."""
    deliveries = state.deliveries(races(), files=3)
    first, second = [[list(d.files)[n] for d in deliveries] for n in (0, 1)]
    either = in_turn(on(second, delete), on(first, delete))
    with remove_at_once:
        runs = race_on_rows(on(first, delete), either, len(deliveries))
    bad = state.faults() + unexpected(runs)
    bad += [f"{name!r} is left" for name in state.names() - state.live_names()]
    assert not state.left()
    assert FileMeta.objects.count() == len(deliveries) * 3 // 2
    judge("db-delete-delete", runs, bad)


def test_removal_is_not_held_up_by_another_that_has_just_removed_the_newest_row() -> None:
    """The newest row of the store is looked up first, and may be deleted meanwhile."""
    tried = races()
    state.deliveries(1, files=1)
    both = list(reversed(state.deliveries(2 * tried, files=1)))
    with remove_at_once:
        runs = race_on_rows(on(both[::2], delete), on(both[1::2], delete), tried)
    bad = state.faults() + unexpected(runs)
    bad += [f"{name!r} is left" for name in state.names() - state.live_names()]
    judge("db-delete-newest", runs, bad)


def test_deleting_a_delivery_under_whoever_works_on_it_gives_clear_errors() -> None:
    """A cascade against add_file(), add_files(), a replacement and finish(): no deadlock."""
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
    judge("db-delete-store", runs, bad)


# -- One filename, one object --


def test_filename_goes_to_one_of_two() -> None:
    """add_file() of one name twice at once: one is told FileExistsError, and nothing is lost."""
    deliveries = state.deliveries(races())
    sides = on(deliveries, add_a(LEFT)), on(deliveries, add_a(RIGHT))
    runs = race_on_rows(*sides, races=len(deliveries))
    judge("db-add-add", runs, one_winner(deliveries, runs))


def test_row_left_behind_is_taken_over_by_one_of_two() -> None:
    """add_file() twice at once where a writer died long ago: as for a new name."""
    deliveries = state.deliveries(races())
    long_ago = timezone.now() - timedelta(days=3)
    for delivery in deliveries:
        FileMeta.objects.create(delivery=delivery, filename="a.txt", created=long_ago)
    sides = on(deliveries, add_a(LEFT)), on(deliveries, add_a(RIGHT))
    runs = race_on_rows(*sides, races=len(deliveries))
    judge("db-takeover", runs, one_winner(deliveries, runs))


def one_winner(deliveries: list[Any], runs: Runs) -> list[str]:
    bad = state.faults() + unexpected(runs, "FileExistsError")
    for delivery, sides in zip(deliveries, runs, strict=True):
        winners = [data for data, run in zip((LEFT, RIGHT), sides, strict=True) if not run.error]
        there = [state.stored(row) for row in delivery.files]
        if len(winners) != 1 or there != winners:
            bad.append(f"delivery {delivery.pk}: {winners} were told success, {there} is there")
    return bad


# -- Purge and whoever uses a key again --


def buried(number: int, *, absent: Callable[[int], bool] = lambda number: False) -> list[Any]:
    """Return deleted rows (with their ids) whose tombstones are not due yet.

    ``absent`` selects those whose bytes are gone already, as when a purge was killed before it
    recorded their removal.
    """
    files = files_of(state.deliveries(number, files=2))
    FileMeta.objects.filter(pk__in=[row.pk for row in files]).delete()
    for place, row in enumerate(files):
        if absent(place):
            tombstones = Tombstone.objects.filter(name=row.content.name)
            tombstones.update(claimed=timezone.now(), rows=[])
            store_for(FileMeta).delete(row.content.name)
    return files


def purging(rows: list[Any]) -> Side:
    """Let the row's tombstone be due; in the race, purge."""

    def prepare(number: int) -> Act:
        name = rows[number].content.name
        Tombstone.objects.filter(name=name).update(due=timezone.now())
        return lambda: [event.result for event in purge()]

    return prepare


def storing_again(rows: list[Any]) -> Side:
    """In the race, store under the id that the row had, in a transaction or without one."""

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


def test_purge_does_not_take_the_bytes_of_a_key_that_is_being_used_again() -> None:
    """Nothing tells purge of a row that is not committed yet: nobody stores under a due key.

    In every other race the bytes are gone already, so that the key itself is free.
    """
    rows = buried(2 * races(), absent=lambda number: bool(number % 2))
    runs = race_on_rows(purging(rows), storing_again(rows), len(rows))
    bad = state.faults() + unexpected(runs)
    judge("db-purge-reuse", runs, bad)


def test_two_purges_share_the_work() -> None:
    """Both remove what either has claimed; all is removed, and nothing else."""
    rows = buried(races())
    runs = race_on_rows(purging(rows), purging(rows), len(rows))
    bad = state.faults() + unexpected(runs)
    bad += [f"{name!r} is left" for name in state.names() - state.live_names()]
    assert not state.left()
    judge("db-purge-purge", runs, bad)


def test_purge_does_not_take_what_is_being_adopted() -> None:
    """adopt() of bytes with a tombstone fails, before, while and after they are removed."""
    rows = buried(races(60))
    runs = race_on_rows(purging(rows), adopting(rows), len(rows))
    bad = state.faults()
    bad += unexpected(runs, "FileExistsError", "DeliveryFileNotFound")
    judge("db-purge-adopt", runs, bad)


def adopting(rows: list[Any]) -> Side:
    def adopt(delivery: Any, name: str) -> Any:
        return FileMeta.objects.adopt(name, delivery=delivery, filename="adopted.txt").pk

    def prepare(number: int) -> Act:
        old = rows[number]
        delivery = Delivery.objects.get(pk=old.delivery_id)
        return lambda: adopt(delivery, old.content.name)

    return prepare


def test_bytes_cannot_be_adopted_from_a_row_that_is_being_deleted() -> None:
    """adopt() of a row's own bytes against the delete that removes them right after COMMIT."""
    rows = files_of(state.deliveries(races(60), files=2))
    with remove_at_once:
        runs = race_on_rows(on(rows, delete), adopting(rows), len(rows))
    bad = state.faults()
    bad += unexpected(runs, "FileExistsError", "DeliveryFileNotFound")
    judge("db-delete-adopt", runs, bad)


def test_orphan_is_adopted_once() -> None:
    """adopt() twice at once: one row names the bytes, the other is told FileExistsError."""
    rows = files_of(state.deliveries(races(), files=2))
    FileMeta.objects.filter(pk__in=[row.pk for row in rows]).delete()
    Tombstone.objects.all().delete()
    runs = race_on_rows(adopting(rows), adopting(rows), len(rows))
    bad = state.faults() + unexpected(runs, "FileExistsError")
    bad += [f"{name!r} was adopted by nobody" for name in state.orphans()]
    judge("db-adopt-adopt", runs, bad)


# -- Restoring --


def restoring(rows: list[Any]) -> Side:
    """In the race, bring the row back that has a tombstone."""

    def prepare(number: int) -> Act:
        tombstone = Tombstone.objects.get(name=rows[number].content.name)
        return lambda: restore(tombstone).pk

    return prepare


def lost(rows: list[Any], runs: Runs) -> list[str]:
    """Return a line for each row that is not there although its restore was told success."""
    there = set(FileMeta.objects.filter(content__isnull=False).values_list("pk", flat=True))
    restored = (row.pk for row, (left, _) in zip(rows, runs, strict=True) if not left.error)
    return [f"row {pk} was restored and is not there" for pk in restored if pk not in there]


def unaccounted(runs: Runs) -> list[str]:
    """Return a line for each tombstone and orphan that restores cannot have left.

    One that succeeds leaves the tombstone of the old name; one that fails leaves the duplicate.
    """
    left = [tombstone for tombstone in state.left() if tombstone.state is TombstoneState.RESTORED]
    others = [f"{tombstone} is left" for tombstone in state.left() if tombstone not in left]
    failed = sum(error(run) == "NotRestorable" for sides in runs for run in sides)
    too_many = len(state.orphans()) > failed
    return others + ["more orphans than failed restores"] * too_many


def test_restored_row_has_its_bytes_whatever_a_purge_does() -> None:
    """restore() against purge: the first one has the tombstone, the other one fails or skips."""
    rows = buried(races(60))
    runs = race_on_rows(restoring(rows), purging(rows), len(rows))
    bad = state.faults() + lost(rows, runs) + unexpected(runs, "NotRestorable")
    bad += unaccounted(runs)
    restored = sum(not left.error for left, _ in runs)
    bad += ["a restored name is not buried"] * (len(state.left()) != restored)
    judge("db-restore-purge", runs, bad)


def test_tombstone_is_restored_once() -> None:
    """restore() twice at once: one brings the row back, the other is told that it is there."""
    rows = buried(races())
    runs = race_on_rows(restoring(rows), restoring(rows), len(rows))
    winners = [sum(not run.error for run in sides) for sides in runs]
    bad = state.faults() + lost(rows, runs) + unexpected(runs, "NotRestorable")
    bad += [f"{many} were told success" for many in winners if many != 1]
    bad += unaccounted(runs)
    assert len(state.left()) == len(rows)
    judge("db-restore-restore", runs, bad)


def test_restored_row_and_one_that_is_stored_under_its_id_exclude_each_other() -> None:
    """restore() against a save() with the row's id: one of them has it, with its own bytes."""
    rows = buried(races(60))
    runs = race_on_rows(restoring(rows), storing_again(rows), len(rows))
    bad = state.faults() + unexpected(runs, "NotRestorable", "IntegrityError")
    for row, (restored, stored) in zip(rows, runs, strict=True):
        expected = {state.CONTENT} if stored.error else {RIGHT}
        if bool(restored.error) == bool(stored.error) or state.stored(row) not in expected:
            bad.append(f"row {row.pk}: {restored.error}, {stored.error}")
    judge("db-restore-store", runs, bad)


def test_no_file_is_restored_into_a_delivery_that_is_being_finished() -> None:
    """restore() against finish(): it sees the file, or the file stays deleted."""
    rows = buried(races(60))
    deliveries = [Delivery.objects.get(pk=row.delivery_id) for row in rows]
    runs = race_on_rows(on(deliveries, finish), restoring(rows), len(rows))
    bad = unseen_files(deliveries, runs) + state.faults()
    bad += unexpected(runs, "NotRestorable", *REFUSED)
    judge("db-restore-finish", runs, bad)
