"""Removing for good what is due: tombstoned bytes, and what writers that died left behind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS
from django.utils import timezone

from .conf import conf
from .info import uses
from .models.tombstone import Tombstone
from .removal import FileModel, by_model, carry_out, due_tombstones, refusal
from .storages.base import DeliveryStoreMixin
from .store import resolve

#: So many stored rows of each model are looked up before anything is removed.
SAMPLE = 10


class Event(NamedTuple):
    """What a purge did, or would not do.

    ``result`` is ``removed`` (a tombstone's bytes; ``due`` in a dry run), ``upload`` (a stale
    unpublished one), ``kept``, ``failed``, ``skipped`` or ``refused``; ``subject`` is a name, or
    the label of a model; ``size`` is in bytes, None where unknown; ``tombstone`` is the one that
    was removed, kept, or failed to be carried out, None for other events.
    """

    result: str
    subject: str
    reason: str = ""
    size: int | None = None
    tombstone: Tombstone | None = None


def purge(*, using: str = DEFAULT_DB_ALIAS, dry_run: bool = False) -> Iterator[Event]:
    """Carry out the tombstones that are due in a database, and remove stale uploads.

    Yields an :class:`Event` for each step as it is done. Nothing is removed from a store that
    does not look like the one in which the rows' files lie. A tombstone that cannot be carried
    out stays, with the error.
    """
    due = due_tombstones(using)
    labels = due.order_by("model").values_list("model", flat=True).distinct()
    refused = set()
    for label in list(labels):
        for event in _purge_model(label, using, dry_run):
            if event.result == "refused":
                refused.add(label)
            yield event
    yield from _purge_uploads(using, dry_run, refused)


def remove_now(
    tombstones: Iterable[Tombstone], *, using: str = DEFAULT_DB_ALIAS
) -> Iterator[Event]:
    """Carry out tombstones whose time has not come yet; as :func:`purge`, and as carefully."""
    given = list(tombstones)
    grouped = by_model(given)
    known = {tombstone.pk for group in grouped.values() for tombstone in group}
    for tombstone in given:
        if tombstone.pk not in known:
            yield Event(
                "skipped", tombstone.name, f"there is no model {tombstone.model!r} any more"
            )
    for model, group in grouped.items():
        label = model._meta.label_lower
        try:
            store, alias = resolve(model)
        except ImproperlyConfigured as exception:
            yield Event("refused", label, str(exception))
            continue
        mine = [tombstone for tombstone in group if tombstone.alias == alias]
        for tombstone in group:
            if tombstone.alias != alias:
                yield Event("skipped", tombstone.name, f"it is of the store {tombstone.alias!r}")
        if mine and (reason := _reason_to_refuse(model, using, mine[:SAMPLE], store)):
            yield Event("refused", label, f"{reason}; nothing was removed, all tombstones stay")
            continue
        for outcome in carry_out(model, mine, using):
            tombstone = outcome.tombstone
            yield Event(outcome.result, tombstone.name, outcome.reason, tombstone.size, tombstone)


def _purge_model(label: str, using: str, dry_run: bool) -> Iterator[Event]:
    try:
        model: FileModel = apps.get_model(label)
        resolved = resolve(model)
    except LookupError:
        yield Event("skipped", label, "there is no such model any more: its tombstones stay")
        return
    except ImproperlyConfigured as exception:
        yield Event("refused", label, str(exception))
        return
    others = due_tombstones(using, model=label).exclude(alias=resolved.alias)
    for alias in others.order_by("alias").values_list("alias", flat=True).distinct():
        yield Event(
            "skipped",
            label,
            f"{others.filter(alias=alias).count()} tombstones are of the store {alias!r}, but the "
            f"model now uses {resolved.alias!r}: configure that store for it to purge them",
        )
    due = due_tombstones(using, model=label, alias=resolved.alias)
    if not due.exists():
        return
    if reason := _reason_to_refuse(model, using, list(due[:SAMPLE]), resolved.store):
        yield Event("refused", label, f"{reason}; nothing was removed, all tombstones stay")
        return
    last = 0
    while batch := list(due.filter(pk__gt=last).order_by("pk")[: resolved.store.removal_batch]):
        last = batch[-1].pk
        if dry_run:
            for tombstone in batch:
                yield Event("due", tombstone.name, size=tombstone.size)
            continue
        for outcome in carry_out(model, batch, using):
            tombstone = outcome.tombstone
            yield Event(outcome.result, tombstone.name, outcome.reason, tombstone.size, tombstone)


def _reason_to_refuse(
    model: FileModel, using: str, tombstones: list[Tombstone], store: DeliveryStoreMixin
) -> str:
    """Return why nothing may be removed from the store of a model now, or ``""``."""
    try:
        return refusal(model, using, SAMPLE) or _strange_size(tombstones, store)
    except OSError as exception:
        return f"the store cannot be asked ({exception})"
    except ImproperlyConfigured as exception:
        # Another model's store is unknown: it may be this one, and its rows name these objects.
        return str(exception)


def _strange_size(tombstones: list[Tombstone], store: DeliveryStoreMixin) -> str:
    """Return why the objects that are to be removed look like somebody else's, or ``""``."""
    for tombstone in tombstones:
        try:
            size = store.size(tombstone.name)
        except FileNotFoundError:
            continue
        if tombstone.size not in {None, size}:
            return (
                f"{tombstone.name!r} has {size} bytes in the store, but {tombstone.size} were "
                "recorded (is it the right bucket or folder?)"
            )
    return ""


def _purge_uploads(using: str, dry_run: bool, refused: set[str]) -> Iterator[Event]:
    """Remove stale uploads; ``refused`` are the labels of models that were refused already."""
    before = timezone.now() - conf.grace
    for use in uses():
        if use.resolved is None:
            continue
        store = use.resolved.store
        labels = [model._meta.label_lower for model in use.models]
        # In a wrong bucket others may be in the middle of theirs.
        if reason := _reason_to_refuse(use.models[0], using, [], store):
            if refused.isdisjoint(labels) and not _is_unused(use.models, labels, using, store):
                yield Event("refused", labels[0], f"{reason}; no stale upload was removed")
            continue
        try:
            for name in store.remove_stale_uploads(before, dry_run=dry_run):
                yield Event("upload", name)
        # The next store may do what this one does not.
        except OSError as exception:
            yield Event("failed", labels[0], f"stale uploads: {exception}")


def _is_unused(
    models: list[FileModel], labels: list[str], using: str, store: DeliveryStoreMixin
) -> bool:
    """Tell whether nothing is stored and nothing should be: no file, no row and no tombstone."""
    rows = (each._base_manager.using(using).filter(content__isnull=False) for each in models)
    tombstones = Tombstone.objects.using(using).filter(model__in=labels)
    if any(expected.exists() for expected in (*rows, tombstones)):
        return False
    try:
        return next(store.scan(), None) is None
    except OSError:
        return False
