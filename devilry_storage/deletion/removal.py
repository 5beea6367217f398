"""Remove the bytes of tombstones: claim the tombstones, remove the bytes, record the results.

A claim is one durable UPDATE. After it nothing restores the file, so that removing its bytes needs
no lock: the process may die, wait, try again or run beside others.
"""

import logging
import random
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any
from weakref import WeakKeyDictionary

from django.db import DatabaseError, connections, models, transaction
from django.db.models import Exists, F, OuterRef, Q
from django.utils import timezone

from .._compat import batched
from ..conf import conf
from ..db.clock import DatabaseNow
from ..db.rows import plain_instances, stored_rows
from ..db.transactions import durable_transaction
from ..exceptions import WrongSize
from ..identity import accepted_at, before_removing, is_same_disk, note_removal
from ..integrity import ordinary_rows_named
from ..registry import FileModel, ordinary_fields_in, sharing, store_label
from ..resolving import store_for
from ..storages.base import DeliveryStoreMixin
from ..tables import IS_ORPHAN, Tombstone, TombstoneQuerySet
from .results import Event, Result

logger = logging.getLogger("devilry_storage")

#: Maximum number of files removed right after COMMIT; a purge removes the rest.
AFTER_COMMIT = 1000

#: Maximum number of tombstones claimed in one transaction.
CLAIMED_AT_ONCE = 10_000

# Files deleted without retention in the open transaction of a connection: by model and location of
# its store, the sizes by name. After a rollback names stay here that have no tombstone; those are
# not claimed.
_due_files: WeakKeyDictionary[Any, dict[tuple[FileModel, str], dict[str, int | None]]] = (
    WeakKeyDictionary()
)


# -- Checks before a removal --


def refusal(
    model: FileModel, using: str, sample: int, *, dry: bool = False, lately: bool = False
) -> str:
    """Return why nothing may be removed from the model's store now, or ``""``.

    - The store must know this site; see :func:`~.identity.before_removing` for ``dry`` and
      ``lately``.
    - About ``sample`` stored rows of each model that uses the store are looked up: the newest, the
      oldest and random ones. If the files of at least two and a fifth of them are missing, or all
      files are, the disk may not be mounted, or the store or database may be the wrong one.
    - A store without identity must not be empty, and a file of another size counts as missing.

    Errors of the store propagate.
    """
    permission = before_removing(model, using, dry=dry, lately=lately)
    if permission.problem:
        return permission.problem
    store = store_for(model)
    if not permission.is_recognised and (reason := store.unavailable_reason()):
        return f"{reason}. Check that the disk is mounted and that it is the right bucket"
    looked, problems = 0, []
    for other in sharing(model, store):
        rows = stored_rows(other, using).filter(content__isnull=False)
        for row in _sampled(rows, sample):
            looked += 1
            problem, is_missing = _problem(row, rows, store)
            if problem and (is_missing or not permission.is_recognised):
                problems.append(problem)
            elif problem:
                logger.warning("Before a removal: %s.", problem)
    if _are_many(len(problems), looked):
        return (
            f"{problems[0]} ({len(problems)} of {looked} files looked up are missing or differ). "
            "Check that the disk is mounted and that bucket and database are the right ones"
        )
    for problem in problems:
        logger.warning("Before a removal: %s.", problem)
    return ""


def _are_many(problems: int, looked: int) -> bool:
    """Return whether more files of a sample have problems than single losses explain."""
    return problems > 0 and (problems == looked or problems >= max(2, looked / 5))


def _sampled(rows: models.QuerySet[Any], sample: int) -> list[Any]:
    """Return about ``sample`` rows: a third of the newest, of the oldest and of random ones."""
    read = partial(plain_instances, columns={"content", "size"})
    oldest = list(read(rows.order_by("pk")[: sample // 3]))
    newest = list(read(rows.order_by("-pk")[: sample - 2 * (sample // 3)]))
    found = {row.pk: row for row in [*oldest, *newest]}
    pks = [pk for pk in found if isinstance(pk, int)]
    if oldest and len(found) >= sample - sample // 3 and len(pks) == len(found):
        for _ in range(sample // 3):
            start = random.randint(min(pks), max(pks))  # noqa: S311  # a sample
            some = read(rows.filter(pk__gte=start).order_by("pk")[:1])
            found.update((row.pk, row) for row in some)
    return list(found.values())


def _problem(row: Any, rows: models.QuerySet[Any], store: DeliveryStoreMixin) -> tuple[str, bool]:
    """Return what is wrong with the file of a row, or ``""``, and whether it is missing."""
    name = row.content.name
    is_missing = False
    subject = f"the file {name!r} of {row._meta.label} {str(row.pk)!r}"
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
    """The files to be removed do not look like those that were recorded."""


def differing(
    model: FileModel, recorded: Iterable[tuple[str, int | None]], using: str, sample: int
) -> set[str] | None:
    """Compare a sample of the files to be removed, and return the names of those that differ.

    ``recorded`` are names and sizes (bytes). Returns an empty set if the store reads sizes without
    a request: then every file is compared when it is removed. Returns None if this site was
    accepted for the store within the retention: then every file must be compared, too.

    Raises OtherFiles if many files differ. Errors of the store propagate.
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
    # A single file that differs is kept and reported.
    if len(problems) >= max(2, looked / 5):
        raise OtherFiles(
            f"{next(iter(problems.values()))} ({len(problems)} of {looked} files looked up "
            "differ). Check that it is the right bucket or folder"
        )
    return set(problems)


# -- Claims --


def claim(model: FileModel, tombstones: TombstoneQuerySet) -> int:
    """Claim tombstones in the store of a model, and return how many were claimed.

    At most `CLAIMED_AT_ONCE` are claimed. Their rows and filenames are erased. Tombstones whose
    name a row has, of ordinary fields too, are left, and orphans within the grace time after they
    were buried. Raises RuntimeError in a transaction of the caller.
    """
    using = tombstones.db
    tombstones = tombstones.buried().filter(alias=store_label(model)).exclude(_young_orphan())
    unnamed = tombstones.exclude(_named(model, using)).order_by("due", "pk")
    if ordinary_fields_in(store_for(model)):
        unnamed = unnamed.filter(pk__in=_without_ordinary(model, unnamed))
    chosen = unnamed.values("pk")[:CLAIMED_AT_ONCE]
    with durable_transaction(using):
        # The conditions are repeated: after waiting for a row lock, PostgreSQL evaluates only
        # those of the UPDATE itself again. Rows and filename are personal data, which the
        # retention limits.
        claimed: int = tombstones.filter(pk__in=chosen).update(
            claimed=DatabaseNow(), rows=[], filename=""
        )
    return claimed


def _named(model: FileModel, using: str) -> Q:
    """Return the condition that a row of a model that uses the store has the name."""
    named = Q()
    for other in sharing(model, store_for(model)):
        named |= Q(Exists(stored_rows(other, using).filter(content=OuterRef("name"))))
    return named


def _without_ordinary(model: FileModel, tombstones: TombstoneQuerySet) -> list[int]:
    """Return the ids of the first tombstones whose names no row of an ordinary field has.

    This is not a condition of the UPDATE: fields of a site often have no index, and rows may be in
    another database.
    """
    found: list[int] = []
    for batch in batched(tombstones.values_list("pk", "name").iterator(), CLAIMED_AT_ONCE):
        names = dict(batch)
        named = ordinary_rows_named(model, names.values(), tombstones.db)
        found += [pk for pk, name in names.items() if name not in named]
        if len(found) >= CLAIMED_AT_ONCE:
            break
    return found[:CLAIMED_AT_ONCE]


def _young_orphan() -> Q:
    return IS_ORPHAN & Q(created__gt=DatabaseNow() - conf.grace)


# -- Removing --


def kept(model: FileModel, tombstones: TombstoneQuerySet) -> Iterator[Event]:
    """Yield the tombstones that `claim` does not claim, and why.

    The reason is recorded in those whose name a row of an ordinary field has.
    """
    tombstones = tombstones.buried().order_by("pk")
    named = _named(model, tombstones.db)
    for tombstone in tombstones.filter(named).iterator():
        yield Event.of(tombstone, Result.KEPT, "a row names the file")
    for tombstone in tombstones.filter(_young_orphan()).exclude(named).iterator():
        reason = "it was buried as an orphan less than the grace time ago"
        yield Event.of(tombstone, Result.KEPT, reason)
    if ordinary_fields_in(store_for(model)):
        others = tombstones.exclude(named).exclude(_young_orphan())
        for batch in batched(others.iterator(), CLAIMED_AT_ONCE):
            events = _named_by_ordinary(model, batch, tombstones.db)
            _settle(events, tombstones.db)
            yield from events


def _named_by_ordinary(
    model: FileModel, tombstones: Sequence[Tombstone], using: str
) -> list[Event]:
    """Return an event for each tombstone whose name a row of an ordinary field has."""
    labels = ordinary_rows_named(model, (tombstone.name for tombstone in tombstones), using)
    return [
        Event.of(tombstone, Result.KEPT, f"a row names it in the field {labels[tombstone.name]}")
        for tombstone in tombstones
        if tombstone.name in labels
    ]


def remove(
    model: FileModel,
    removals: Sequence[Tombstone],
    using: str,
    *,
    compared: Collection[str] | None = (),
    uncompared: Collection[str] = (),
) -> list[Event]:
    """Remove the bytes of claimed tombstones of a model's store, and record the results.

    A missing file counts as removed. A file whose size is not the recorded one is kept and
    reported, and so is one that a row of an ordinary field names. If a size costs a request, only
    the files of ``compared`` are compared (None: all). Files of ``uncompared`` are removed
    whatever their size. A failed removal stays claimed, with the error.
    """
    store = store_for(model)
    # The row may have been written after the claim.
    named = _named_by_ordinary(model, removals, using)
    names = {event.subject for event in named}
    removals = [removal for removal in removals if removal.name not in names]
    sizes = {
        removal.name: removal.size
        for removal in removals
        if removal.size is not None
        and removal.name not in uncompared
        and (not store.size_costs_request or compared is None or removal.name in compared)
    }
    failures = store.delete_many([removal.name for removal in removals], sizes=sizes)
    if not is_same_disk(model, using):
        # A file that was not found may be on the other disk.
        gone = OSError(f"the disk of {store.location_text()} was unmounted or exchanged meanwhile")
        failures = {removal.name: gone for removal in removals}
    events = [*named, *(_event(removal, failures.get(removal.name)) for removal in removals)]
    if len(failures) < len(removals):
        note_removal(model, using)
    try:
        _settle(events, using)
    except DatabaseError:
        if connections[using].in_atomic_block or connections[using].is_usable():
            raise
        # The session ended while the store worked. It had no transaction open.
        connections[using].close()
        _settle(events, using)
    return events


def _event(removal: Tombstone, exception: Exception | None) -> Event:
    if exception is None:
        return Event.of(removal, Result.REMOVED)
    if isinstance(exception, WrongSize):
        return Event.of(removal, Result.KEPT, f"{exception}; purge_deliveries --also removes it")
    return Event.of(removal, Result.FAILED, f"{type(exception).__name__}: {exception}"[:1000])


def _settle(events: Iterable[Event], using: str) -> None:
    """Record the results: one UPDATE for the removed files, and one for each kind of error."""
    pks: dict[str, list[int]] = {}
    for event in events:
        assert event.tombstone is not None
        pks.setdefault(event.reason, []).append(event.tombstone.pk)
    for reason, same in pks.items():
        rows = Tombstone.objects.using(using).filter(pk__in=same)
        if reason:
            rows.update(attempts=F("attempts") + 1, last_error=reason)
        else:
            rows.update(done=DatabaseNow(), last_error="")


# -- Right after COMMIT --


def remove_after_commit(model: FileModel, name: str, size: int | None, using: str) -> None:
    """Remove the bytes of a buried name when the open transaction is committed."""
    connection = transaction.get_connection(using)
    due = model, store_for(model).location_text()
    _due_files.setdefault(connection, {}).setdefault(due, {})[name] = size

    def remove_committed() -> None:  # no partial: Django logs a failing one by its __qualname__
        for (buried, location), files in _due_files.pop(connection, {}).items():
            # Those of another tenant are left to its purge.
            if store_for(buried).location_text() == location:
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
        logger.error("No bytes were removed after the delete: %r.", reason)
        return
    tombstones = Tombstone.objects.using(using).filter(
        alias=store_label(model), name__in=list(files)
    )
    if not claim(model, tombstones.due()):
        return
    for event in remove(model, list(tombstones.removals()), using, compared=compared):
        if event.result is not Result.REMOVED:
            logger.error("%r is %s: %r", str(event.tombstone), event.result, event.reason)
