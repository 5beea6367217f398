"""Purge: remove the bytes of tombstones that are due, and the uploads of dead processes."""

from collections.abc import Collection, Iterable, Iterator
from datetime import timedelta
from itertools import chain

from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS

from .._compat import batched
from ..conf import conf
from ..db.clock import DatabaseNow
from ..db.rows import stored_rows
from ..db.transactions import refuse_in_transaction
from ..registry import ConfiguredStore, FileModel, configured_stores, label, labelled, store_label
from ..tables import Tombstone
from .removal import CLAIMED_AT_ONCE, OtherFiles, claim, differing, kept, refusal, remove
from .results import Event, Result

#: Number of stored rows of each model, and of tombstones, that are looked up before a removal.
SAMPLE = 10

#: Number of tombstones from which that sample is taken.
LOOKED_AT = 1000

#: Number of removals whose results are recorded together.
REMOVED_AT_ONCE = 1000

#: How long finished removals are kept. Until then their names are not used again, because a late
#: request to remove them may still arrive.
KEPT_DONE = timedelta(days=30)

# Maximum number of finished removals deleted by one statement.
_FORGOTTEN_AT_ONCE = 10_000


def purge(
    *, using: str = DEFAULT_DB_ALIAS, dry_run: bool = False, also: Collection[str] = ()
) -> Iterator[Event]:
    """Remove the bytes of all tombstones that are due in a database, and stale uploads.

    Yields an :class:`Event` for each step. Nothing is removed from a store that does not look like
    the one with the files of the rows. Removals that another purge has left unfinished are
    finished. ``also`` names files that are removed although their size is not the recorded one.

    Raises RuntimeError in a transaction of the caller.
    """
    refuse_in_transaction(using, "A purge")
    checked: dict[str, str] = {}
    not_found = set(also)
    pending = Tombstone.objects.using(using).pending()
    pairs = pending.order_by("alias", "model").values_list("alias", "model").distinct()
    models, unresolved = _models_of(pairs)
    for (alias, model_label), reason in unresolved.items():
        count = pending.filter(alias=alias, model=model_label).count()
        yield Event(Result.SKIPPED, model_label, f"{count} tombstones stay: {reason}")
    for alias, model in models.items():
        checked[alias] = ""
        for event in _purge_store(model, alias, using, dry_run, also):
            if event.result is Result.REFUSED:
                checked[alias] = event.reason
            not_found.discard(event.subject)
            yield event
    for name in sorted(not_found):
        yield Event(Result.SKIPPED, name, "no deleted file of this name is to be removed now")
    if not dry_run:
        _forget_done(using)
    yield from _purge_uploads(using, dry_run, checked)


def remove_now(
    tombstones: Iterable[Tombstone], *, using: str = DEFAULT_DB_ALIAS
) -> Iterator[Event]:
    """Remove the bytes of tombstones before they are due, with the same checks as :func:`purge`.

    Orphans are kept until the grace time after their burial is over. Raises RuntimeError in a
    transaction of the caller.
    """
    refuse_in_transaction(using, "Removing deleted files")
    chosen = list(tombstones)
    pairs = dict.fromkeys((tombstone.alias, tombstone.model) for tombstone in chosen)
    models, unresolved = _models_of(pairs)
    for tombstone in chosen:
        if reason := unresolved.get((tombstone.alias, tombstone.model)):
            yield Event(Result.SKIPPED, tombstone.name, reason)
    for alias, model in models.items():
        same = [tombstone for tombstone in chosen if tombstone.alias == alias]
        yield from _remove_now(model, same, using)


def _remove_now(model: FileModel, tombstones: list[Tombstone], using: str) -> Iterator[Event]:
    recorded = ((tombstone.name, tombstone.size) for tombstone in tombstones)
    reason, compared = _check(model, recorded, using)
    if reason:
        yield _refused(model, reason)
        return
    for batch in batched(tombstones, REMOVED_AT_ONCE):
        rows = Tombstone.objects.using(using).filter(pk__in=[tombstone.pk for tombstone in batch])
        claim(model, rows)
        removals = list(rows.removals().order_by("pk"))
        removed = remove(model, removals, using, compared=compared)
        yield from removed
        left = list(kept(model, rows))
        yield from left
        handled = {event.subject for event in (*removed, *left)}
        for tombstone in batch:
            if tombstone.name not in handled:
                reason = "it was restored or removed meanwhile"
                yield Event(Result.SKIPPED, tombstone.name, reason)


def _models_of(
    pairs: Iterable[tuple[str, str]],
) -> tuple[dict[str, FileModel], dict[tuple[str, str], str]]:
    """Return a model for each store, by its alias, and why the store of other pairs is not known.

    ``pairs`` are the aliases and the labels of the models of tombstones.
    """
    models: dict[str, FileModel] = {}
    unresolved: dict[tuple[str, str], str] = {}
    for pair in pairs:
        alias, model_label = pair
        model = labelled(model_label)
        if model is None:
            unresolved[pair] = f"no model of files has the label {model_label!r} any more"
            continue
        try:
            current = store_label(model)
        except ImproperlyConfigured:
            current = alias  # refused later, with the reason
        if current == alias:
            models.setdefault(alias, model)
        else:
            unresolved[pair] = (
                f"they are of the store {alias!r}, but the model now uses {current!r}. Configure "
                "that store for the model to purge them"
            )
    # Once a store is known, the model of a file does not matter.
    return models, {pair: why for pair, why in unresolved.items() if pair[0] not in models}


def _purge_store(
    model: FileModel, alias: str, using: str, dry_run: bool, also: Collection[str]
) -> Iterator[Event]:
    tombstones = Tombstone.objects.using(using).filter(alias=alias)
    removals, due = tombstones.removals(), tombstones.due()
    # Files that an earlier run has kept because they differ are compared when they are removed.
    recorded = chain(
        removals.filter(attempts=0).values_list("name", "size")[:SAMPLE],
        due.exclude(name__in=also).order_by("due").values_list("name", "size")[:LOOKED_AT],
    )
    reason, compared = _check(model, recorded, using, dry=dry_run)
    if reason:
        yield _refused(model, reason)
        return
    if dry_run:
        for tombstone in (removals | due).order_by("pk").iterator():
            yield Event(Result.DUE, tombstone.name, size=tombstone.size)
        return
    while claim(model, due) == CLAIMED_AT_ONCE:
        pass
    last = 0
    while batch := list(removals.filter(pk__gt=last).order_by("pk")[:REMOVED_AT_ONCE]):
        last = batch[-1].pk
        retried = (removal.name for removal in batch if removal.attempts)
        names = None if compared is None else {*compared, *retried}
        yield from remove(model, batch, using, compared=names, uncompared=also)
    yield from kept(model, due)


def _refused(model: FileModel, reason: str) -> Event:
    reason = f"{reason}. Nothing was removed, and all tombstones stay"
    return Event(Result.REFUSED, label(model), reason)


def _check(
    model: FileModel, recorded: Iterable[tuple[str, int | None]], using: str, *, dry: bool = False
) -> tuple[str, Collection[str] | None]:
    """Return why nothing may be removed, or ``""``, and the files to compare (None: all)."""
    try:
        if reason := refusal(model, using, SAMPLE, dry=dry):
            return reason, ()
        return "", differing(model, recorded, using, SAMPLE)
    except OtherFiles as exception:
        return str(exception), ()
    except OSError as exception:
        return f"the store cannot be checked ({exception})", ()
    except ImproperlyConfigured as exception:
        # Another model without a known store may use this one, and its rows may name these files.
        return str(exception), ()


def _forget_done(using: str) -> None:
    old = Tombstone.objects.using(using).filter(done__lt=DatabaseNow() - KEPT_DONE)
    some = old.order_by("done").values("pk")[:_FORGOTTEN_AT_ONCE]
    while old.filter(pk__in=some).delete()[0] == _FORGOTTEN_AT_ONCE:
        pass


def _purge_uploads(using: str, dry_run: bool, checked: dict[str, str]) -> Iterator[Event]:
    """Remove stale uploads. ``checked`` maps aliases to refusals, ``""`` for none."""
    for configured in configured_stores():
        store = configured.store
        subject = label(configured.models[0])
        # In the wrong bucket, other sites may be uploading now.
        reason = checked.get(store_label(configured.models[0]))
        if reason is None:
            reason, _ = _check(configured.models[0], [], using, dry=dry_run)
            if reason and not _is_unused(configured, using):
                reason = f"{reason}. No stale upload was removed"
                yield Event(Result.REFUSED, subject, reason)
        if reason:
            continue
        try:
            before = store.current_time() - conf.grace
            for name in store.remove_stale_uploads(before, dry_run=dry_run):
                yield Event(Result.UPLOAD, name)
        except OSError as exception:  # the next store may work
            yield Event(Result.FAILED, subject, f"stale uploads: {exception}")


def _is_unused(configured: ConfiguredStore, using: str) -> bool:
    """Return whether nothing is stored and nothing should be: no file, row or tombstone."""
    rows = (stored_rows(model, using).filter(content__isnull=False) for model in configured.models)
    labels = map(label, configured.models)
    tombstones = Tombstone.objects.using(using).not_done().filter(model__in=labels)
    if any(expected.exists() for expected in (*rows, tombstones)):
        return False
    try:
        return next(configured.store.scan(), None) is None
    except OSError:
        return False
