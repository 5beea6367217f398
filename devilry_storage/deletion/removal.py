"""Removing the bytes of tombstones: claim them, remove, settle.

A claim is one durable UPDATE. From then on nothing brings the name back to life, so that removing
it needs no lock: a remover may die, sleep, be repeated or run beside others.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from django.db import DatabaseError, connections, models, transaction
from django.db.models import Exists, F, OuterRef, Q
from django.utils import timezone

from ..conf import conf
from ..db.clock import DatabaseNow
from ..db.transactions import durable_transaction
from ..exceptions import WrongSize
from ..identity import accepted_at, before_removing, is_same_disk, note_removal
from ..registry import FileModel, label, sharing
from ..resolving import resolve, store_for
from ..storages.base import DeliveryStoreMixin
from ..tables.tombstone import IS_ORPHAN, Tombstone

logger = logging.getLogger("devilry_storage")

#: Maximum number of files removed right after COMMIT; the rest is left to a purge.
AFTER_COMMIT = 1000

#: Maximum number of tombstones claimed in one transaction.
CLAIMED_AT_ONCE = 10_000

# Sizes by names that were buried on a connection and are due at once, by model. A savepoint or
# transaction that is rolled back leaves its names here, but not its tombstones in the table, of
# which a claim is made.
_due_files: WeakKeyDictionary[Any, dict[FileModel, dict[str, int | None]]] = WeakKeyDictionary()


def store_label(model: FileModel) -> str:
    """Return what tombstones have as the store of a model: its alias, or the model's label."""
    return resolve(model).alias or label(model)


# -- Looking before removing --


def refusal(
    model: FileModel, using: str, sample: int, *, dry: bool = False, lately: bool = False
) -> str:
    """Return why nothing may be removed from the model's store now, or ``""``.

    This site must be known to the store; see :func:`~.identity.before_removing` for ``dry`` and
    ``lately``. Then about ``sample`` stored rows of each model that uses the store are looked up:
    newest, oldest and random ones. If the files of at least two and a fifth of them, or of all,
    are missing, the disk may not be mounted, or the store or the database may be the wrong one. A
    store without identity must not be empty either, and a file of another size counts as missing.
    Raises OSError where the store cannot be asked.
    """
    permission = before_removing(model, using, dry=dry, lately=lately)
    if permission.problem:
        return permission.problem
    store = store_for(model)
    if not permission.is_recognised and (reason := store.unavailable_reason()):
        return f"{reason} (is the disk mounted, is it the right bucket?)"
    looked, problems = 0, []
    for other in sharing(model, store):
        rows = other._base_manager.using(using).filter(content__isnull=False)
        for row in _sampled(rows, sample):
            looked += 1
            problem, is_missing = _problem(row, rows, store)
            if problem and (is_missing or not permission.is_recognised):
                problems.append(problem)
            elif problem:
                logger.warning("Before a removal: %s.", problem)
    if not problems:
        return ""
    if _are_many(len(problems), looked):
        return (
            f"{problems[0]}, as are {len(problems)} of {looked} files looked up (is the disk "
            "mounted, is it the right bucket or database?)"
        )
    for problem in problems:
        logger.warning("Before a removal: %s.", problem)
    return ""


def _are_many(problems: int, looked: int) -> bool:
    """Return whether the share of problems in a sample is too high to be an accident."""
    return problems > 0 and (problems == looked or problems >= max(2, looked / 5))


def _sampled(rows: models.QuerySet[Any], sample: int) -> list[Any]:
    """Return about ``sample`` rows: a third of the newest, of the oldest and of random ones."""
    oldest = list(rows.order_by("pk")[: sample // 3])
    newest = list(rows.order_by("-pk")[: sample - 2 * (sample // 3)])
    found = {row.pk: row for row in [*oldest, *newest]}
    pks = [pk for pk in found if isinstance(pk, int)]
    if oldest and len(found) >= sample - sample // 3 and len(pks) == len(found):
        for _ in range(sample // 3):
            start = random.randint(min(pks), max(pks))  # noqa: S311  # a sample
            found.update((row.pk, row) for row in rows.filter(pk__gte=start).order_by("pk")[:1])
    return list(found.values())


def _problem(row: Any, rows: models.QuerySet[Any], store: DeliveryStoreMixin) -> tuple[str, bool]:
    """Return what is wrong with the file of a row, or ``""``, and whether it is missing."""
    name = row.content.name
    is_missing = False
    subject = f"the file {name!r} of {row._meta.label} '{row.pk}'"
    try:
        size = store.size(name)
    except FileNotFoundError:
        problem, is_missing = f"{subject} is not in the store", True
    else:
        if row.size in {None, size}:
            return "", False
        problem = f"{subject} has {size} bytes in the store, but {row.size} were recorded"
    # The row may have been deleted or given new content meanwhile.
    return (problem if rows.filter(pk=row.pk, content=name).exists() else ""), is_missing


class OtherFiles(OSError):
    """The files that are to be removed do not look like those that were recorded."""


def differing(
    model: FileModel, recorded: Iterable[tuple[str, int | None]], using: str, sample: int
) -> set[str] | None:
    """Compare a sample of the files to be removed, and return the names of those that differ.

    ``recorded`` has the names and sizes (bytes). Where a size costs no request nothing is compared
    here, but each file when it is removed; so it is, and None returned, where this site was
    accepted for the store within the retention. Raises OtherFiles where many differ, and OSError
    where the store cannot be asked.
    """
    store = store_for(model)
    if not store.size_costs_request:
        return set()
    accepted = accepted_at(model, using)
    if accepted is not None and accepted > timezone.now() - conf.retention:
        return None
    sizes = {name: size for name, size in recorded if size is not None}
    looked = 0
    problems = {}
    for name in random.sample(sorted(sizes), min(sample, len(sizes))):
        try:
            size = store.size(name)
        except FileNotFoundError:
            continue
        looked += 1
        if size != sizes[name]:
            problems[name] = WrongSize.of(name, size, sizes[name])
    # A single file may well differ: it is kept and reported.
    if len(problems) >= max(2, looked / 5):
        raise OtherFiles(
            f"{next(iter(problems.values()))}, as are {len(problems)} of {looked} files looked up "
            "(is it the right bucket or folder?)"
        )
    return set(problems)


# -- Claiming --


def due(using: str, **conditions: Any) -> models.QuerySet[Tombstone]:
    """Return the tombstones that are due, by the database's clock, and not claimed yet."""
    tombstones: models.QuerySet[Tombstone] = Tombstone.objects.using(using).buried()
    tombstones = tombstones.filter(due__lte=DatabaseNow(), **conditions)
    return tombstones


def claim(model: FileModel, tombstones: models.QuerySet[Tombstone]) -> int:
    """Make removals of tombstones in the store of a model, and return of how many.

    At most `CLAIMED_AT_ONCE`; their rows and filenames are forgotten. Left out are those that a
    row names, and orphans until the grace time after they were buried is over. Raises RuntimeError
    in a transaction of the caller.
    """
    using = tombstones.db
    tombstones = tombstones.filter(claimed=None, alias=store_label(model)).exclude(_young_orphan())
    unnamed = tombstones.exclude(_named(model, using))
    chosen = unnamed.order_by("due", "pk").values("pk")[:CLAIMED_AT_ONCE]
    with durable_transaction(using):
        # All conditions once more: of a row that it had to wait for PostgreSQL asks only those of
        # the UPDATE itself.
        # What a person has written goes with the retention.
        claimed: int = tombstones.filter(pk__in=chosen).update(
            claimed=DatabaseNow(), rows=[], filename=""
        )
    return claimed


def _named(model: FileModel, using: str) -> Q:
    """Return the condition that a row of a model that shares the store has the name."""
    named = Q()
    for other in sharing(model, store_for(model)):
        named |= Q(Exists(other._base_manager.using(using).filter(content=OuterRef("name"))))
    return named


def _young_orphan() -> Q:
    created = DatabaseNow() - conf.grace
    return IS_ORPHAN & Q(created__gt=created)


# -- Removing --


class Outcome(NamedTuple):
    """The result for one removal: ``removed``, ``kept`` or ``failed``, and why."""

    tombstone: Tombstone
    result: str
    reason: str = ""


def kept(model: FileModel, tombstones: models.QuerySet[Tombstone]) -> Iterator[Outcome]:
    """Yield those of the tombstones that `claim` leaves out for ever or for long, and why."""
    tombstones = tombstones.filter(claimed=None).order_by("pk")
    named = _named(model, tombstones.db)
    for tombstone in tombstones.filter(named).iterator():
        yield Outcome(tombstone, "kept", "a row names the file")
    for tombstone in tombstones.filter(_young_orphan()).exclude(named).iterator():
        reason = "it was buried as an orphan less than the grace time ago"
        yield Outcome(tombstone, "kept", reason)


def remove(
    model: FileModel,
    removals: Sequence[Tombstone],
    using: str,
    *,
    compared: Collection[str] | None = (),
    uncompared: Collection[str] = (),
) -> list[Outcome]:
    """Remove the bytes of claimed tombstones of a model's store, and settle these.

    A missing file counts as removed. A file of another size than recorded is kept and reported.
    Where a size costs a request, only those of ``compared`` are asked for (None: all). Files of
    ``uncompared`` are removed whatever their size. A removal that fails stays one, with the error.
    """
    store = store_for(model)
    sizes = {
        removal.name: removal.size
        for removal in removals
        if removal.size is not None
        and removal.name not in uncompared
        and (not store.size_costs_request or compared is None or removal.name in compared)
    }
    failures = store.delete_many([removal.name for removal in removals], sizes=sizes)
    if not is_same_disk(model, using):
        # Then a file that was not found says nothing.
        gone = OSError(f"the disk of {store.location_text()} was unmounted or exchanged meanwhile")
        failures = {removal.name: gone for removal in removals}
    outcomes = [_outcome(removal, failures.get(removal.name)) for removal in removals]
    if len(failures) < len(removals):
        note_removal(model, using)
    try:
        _settle(outcomes, using)
    except DatabaseError:
        if connections[using].in_atomic_block or connections[using].is_usable():
            raise
        # The session ended while the store worked. It had no transaction open.
        connections[using].close()
        _settle(outcomes, using)
    return outcomes


def _outcome(removal: Tombstone, exception: Exception | None) -> Outcome:
    if exception is None:
        return Outcome(removal, "removed")
    if isinstance(exception, WrongSize):
        return Outcome(removal, "kept", f"{exception}; purge_deliveries --also removes it")
    return Outcome(removal, "failed", f"{type(exception).__name__}: {exception}"[:1000])


def _settle(outcomes: Iterable[Outcome], using: str) -> None:
    """Record the outcomes, with one UPDATE for the done ones and one for each kind of error."""
    pks: dict[str, list[int]] = {}
    for outcome in outcomes:
        pks.setdefault(outcome.reason, []).append(outcome.tombstone.pk)
    for reason, of_it in pks.items():
        rows = Tombstone.objects.using(using).filter(pk__in=of_it)
        if reason:
            rows.update(attempts=F("attempts") + 1, last_error=reason)
        else:
            rows.update(done=DatabaseNow(), last_error="")


# -- Right after COMMIT --


def remove_after_commit(model: FileModel, name: str, size: int | None, using: str) -> None:
    """Remove the bytes of a buried name when the transaction that is open is committed."""
    connection = transaction.get_connection(using)
    _due_files.setdefault(connection, {}).setdefault(model, {})[name] = size

    def remove_committed() -> None:  # no partial: Django logs a failing one by its __qualname__
        for buried, files in _due_files.pop(connection, {}).items():
            _remove_committed(buried, dict(islice(files.items(), AFTER_COMMIT)), using)

    transaction.on_commit(remove_committed, using=using, robust=True)


def _remove_committed(model: FileModel, files: dict[str, int | None], using: str) -> None:
    """Remove files, given with their sizes, unless the store looks like the wrong one."""
    try:
        reason = refusal(model, using, sample=1, lately=True)
        compared = set() if reason else differing(model, files.items(), using, sample=1)
    except OSError as exception:
        reason = str(exception)
    if reason:
        logger.error("Nothing is removed after the delete: %s.", reason)
        return
    mine = {"alias": store_label(model), "name__in": list(files)}
    if not claim(model, due(using, **mine)):
        return
    removals = list(Tombstone.objects.using(using).removals().filter(**mine))
    for outcome in remove(model, removals, using, compared=compared):
        if outcome.result != "removed":
            logger.error("%s is %s: %s", outcome.tombstone, outcome.result, outcome.reason)
