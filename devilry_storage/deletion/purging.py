"""Removing for good what is due: bytes of tombstones, and what writers that died left behind."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from datetime import timedelta
from itertools import chain
from typing import NamedTuple

from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS
from django.db.models import Q, QuerySet

from .._compat import batched
from ..conf import conf
from ..db.clock import DatabaseNow
from ..db.transactions import refuse_in_transaction
from ..registry import FileModel, configured_stores, label, labelled
from ..storages.base import DeliveryStoreMixin
from ..tables.tombstone import Tombstone
from .removal import (
    CLAIMED_AT_ONCE,
    OtherFiles,
    Outcome,
    claim,
    differing,
    due,
    kept,
    refusal,
    remove,
    store_label,
)

#: Number of stored rows of each model, and of tombstones, that are looked up before anything is
#: removed.
SAMPLE = 10

#: Number of tombstones of which that sample is taken.
LOOKED_AT = 1000

#: Number of removals that are settled at once.
REMOVED_AT_ONCE = 1000

#: How long removals that are done are kept. Until then their names are not used again, whatever
#: requests to remove them still arrive.
KEPT_DONE = timedelta(days=30)

# Maximum number of done removals deleted by one statement.
_FORGOTTEN_AT_ONCE = 10_000


class Event(NamedTuple):
    """One step of a purge.

    ``result`` is ``removed`` (the bytes of a tombstone; ``due`` in a dry run), ``upload`` (a stale
    unpublished one), ``kept``, ``failed``, ``skipped`` or ``refused``; ``subject`` is a name, or
    the label of a model; ``size`` is in bytes, None where unknown; ``tombstone`` is the one that
    was removed or kept, or whose removal failed, None for other events.
    """

    result: str
    subject: str
    reason: str = ""
    size: int | None = None
    tombstone: Tombstone | None = None


def purge(
    *, using: str = DEFAULT_DB_ALIAS, dry_run: bool = False, also: Collection[str] = ()
) -> Iterator[Event]:
    """Remove the bytes of all tombstones that are due in a database, and stale uploads.

    Yields an :class:`Event` for each step. Nothing is removed from a store that does not look
    like the one that has the files of the rows. What another purge has left is removed, too.
    ``also`` names files that are removed, too, although their size is not the recorded one. Raises
    RuntimeError in a transaction of the caller.
    """
    refuse_in_transaction(using, "A purge")
    looked: dict[str, str] = {}
    not_found = set(also)
    pending = _pending(using)
    pairs = pending.order_by("alias", "model").values_list("alias", "model").distinct()
    models, skipped = _models_of(list(pairs))
    for alias, model_label, reason in skipped:
        count = pending.filter(alias=alias, model=model_label).count()
        yield Event("skipped", model_label, f"{count} tombstones stay: {reason}")
    for alias, model in models.items():
        looked[alias] = ""
        for event in _purge_store(model, alias, using, dry_run, also):
            if event.result == "refused":
                looked[alias] = event.reason
            not_found.discard(event.subject)
            yield event
    for name in sorted(not_found):
        yield Event("skipped", name, "no deleted file of this name is to be removed now")
    if not dry_run:
        _forget_done(using)
    yield from _purge_uploads(using, dry_run, looked)


def remove_now(
    tombstones: Iterable[Tombstone], *, using: str = DEFAULT_DB_ALIAS
) -> Iterator[Event]:
    """Remove the bytes of tombstones before they are due; as :func:`purge`, and as carefully.

    Orphans are kept until the grace time after their burying is over. Raises RuntimeError in a
    transaction of the caller.
    """
    refuse_in_transaction(using, "Removing deleted files")
    by_pair: dict[tuple[str, str], list[Tombstone]] = {}
    for tombstone in tombstones:
        by_pair.setdefault((tombstone.alias, tombstone.model), []).append(tombstone)
    models, skipped = _models_of(by_pair)
    for alias, model_label, reason in skipped:
        for tombstone in by_pair[alias, model_label]:
            yield Event("skipped", tombstone.name, reason)
    for alias, model in models.items():
        mine = [each for pair, group in by_pair.items() if pair[0] == alias for each in group]
        yield from _remove_now(model, mine, using)


def _remove_now(model: FileModel, tombstones: list[Tombstone], using: str) -> Iterator[Event]:
    recorded = ((tombstone.name, tombstone.size) for tombstone in tombstones)
    reason, compared = _looked(model, recorded, using)
    if reason:
        yield Event("refused", label(model), f"{reason}; nothing was removed, all tombstones stay")
        return
    for batch in batched(tombstones, REMOVED_AT_ONCE):
        given = {tombstone.pk: tombstone for tombstone in batch}
        rows = Tombstone.objects.using(using).filter(pk__in=given)
        claim(model, rows)
        removals = list(rows.removals().order_by("pk"))
        yield from _events(remove(model, removals, using, compared=compared))
        left_out = list(kept(model, rows))
        yield from _events(left_out)
        for tombstone in (*removals, *(outcome.tombstone for outcome in left_out)):
            given.pop(tombstone.pk, None)
        for tombstone in given.values():
            yield Event("skipped", tombstone.name, "it was restored or removed meanwhile")


def _pending(using: str) -> QuerySet[Tombstone]:
    """Return the tombstones that a purge has to look at."""
    pending: QuerySet[Tombstone] = Tombstone.objects.using(using).filter(
        Q(due__lte=DatabaseNow()) | Q(claimed__isnull=False), done=None
    )
    return pending


def _models_of(
    pairs: Iterable[tuple[str, str]],
) -> tuple[dict[str, FileModel], list[tuple[str, str, str]]]:
    """Return a model for each store of these (alias, model's label), and the pairs without one.

    The models are by alias; with each pair comes the reason.
    """
    models: dict[str, FileModel] = {}
    skipped = []
    for alias, model_label in pairs:
        model = labelled(model_label)
        if model is None:
            reason = f"no model of files has the label {model_label!r} any more"
            skipped.append((alias, model_label, reason))
            continue
        try:
            current = store_label(model)
        except ImproperlyConfigured:
            models.setdefault(alias, model)  # refused, with the reason
            continue
        if current == alias:
            models.setdefault(alias, model)
            continue
        reason = (
            f"they are of the store {alias!r}, but the model now uses {current!r}: configure that "
            "store for it to purge them"
        )
        skipped.append((alias, model_label, reason))
    # Where a store is known, it does not matter which model a file was of.
    return models, [pair for pair in skipped if pair[0] not in models]


def _purge_store(
    model: FileModel, alias: str, using: str, dry_run: bool, also: Collection[str]
) -> Iterator[Event]:
    removals = Tombstone.objects.using(using).removals().filter(alias=alias)
    mine = due(using, alias=alias)
    # Files that differ and were kept by an earlier run are compared again when they are removed.
    recorded = chain(
        removals.filter(attempts=0).values_list("name", "size")[:SAMPLE],
        mine.exclude(name__in=also).order_by("due").values_list("name", "size")[:LOOKED_AT],
    )
    reason, compared = _looked(model, recorded, using, dry=dry_run)
    if reason:
        yield Event("refused", label(model), f"{reason}; nothing was removed, all tombstones stay")
        return
    if dry_run:
        for tombstone in (removals | mine).order_by("pk").iterator():
            yield Event("due", tombstone.name, size=tombstone.size)
        return
    while claim(model, mine) == CLAIMED_AT_ONCE:
        pass
    last = 0
    while batch := list(removals.filter(pk__gt=last).order_by("pk")[:REMOVED_AT_ONCE]):
        last = batch[-1].pk
        again = (removal.name for removal in batch if removal.attempts)
        asked = None if compared is None else {*compared, *again}
        yield from _events(remove(model, batch, using, compared=asked, uncompared=also))
    yield from _events(kept(model, mine))


def _events(outcomes: Iterable[Outcome]) -> Iterator[Event]:
    for outcome in outcomes:
        tombstone = outcome.tombstone
        yield Event(outcome.result, tombstone.name, outcome.reason, tombstone.size, tombstone)


def _looked(
    model: FileModel, recorded: Iterable[tuple[str, int | None]], using: str, *, dry: bool = False
) -> tuple[str, Collection[str] | None]:
    """Look before removing: return why not, or ``""``, and which files to compare (None: all)."""
    try:
        if reason := refusal(model, using, SAMPLE, dry=dry):
            return reason, ()
        return "", differing(model, recorded, using, SAMPLE)
    except OtherFiles as exception:
        return str(exception), ()
    except OSError as exception:
        return f"the store cannot be asked ({exception})", ()
    except ImproperlyConfigured as exception:
        # Another model's store is unknown: it may be this one, and its rows name these objects.
        return str(exception), ()


def _forget_done(using: str) -> None:
    """Delete the removals that were done long ago."""
    old = Tombstone.objects.using(using).filter(done__lt=DatabaseNow() - KEPT_DONE)
    while True:
        some = old.order_by("done").values("pk")[:_FORGOTTEN_AT_ONCE]
        if old.filter(pk__in=some).delete()[0] < _FORGOTTEN_AT_ONCE:
            return


def _purge_uploads(using: str, dry_run: bool, looked: dict[str, str]) -> Iterator[Event]:
    """Remove stale uploads; ``looked`` has why stores were refused by alias, ``""`` if not."""
    for configured in configured_stores():
        store = configured.store
        labels = [label(model) for model in configured.models]
        # In a wrong bucket others may be in the middle of theirs.
        reason = looked.get(store_label(configured.models[0]))
        if reason is None:
            reason, _ = _looked(configured.models[0], [], using, dry=dry_run)
            if reason and not _is_unused(configured.models, labels, using, store):
                yield Event("refused", labels[0], f"{reason}; no stale upload was removed")
        if reason:
            continue
        try:
            before = store.current_time() - conf.grace
            for name in store.remove_stale_uploads(before, dry_run=dry_run):
                yield Event("upload", name)
        # The next store may do what this one does not.
        except OSError as exception:
            yield Event("failed", labels[0], f"stale uploads: {exception}")


def _is_unused(
    models: list[FileModel], labels: list[str], using: str, store: DeliveryStoreMixin
) -> bool:
    """Return whether nothing is stored and nothing should be: no file, row or tombstone."""
    rows = (model._base_manager.using(using).filter(content__isnull=False) for model in models)
    tombstones = Tombstone.objects.using(using).filter(model__in=labels, done=None)
    if any(expected.exists() for expected in (*rows, tombstones)):
        return False
    try:
        return next(store.scan(), None) is None
    except OSError:
        return False
