"""From a row that lost its bytes to bytes that are gone: tombstones, written and carried out."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, time
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from django.apps import apps
from django.core import serializers
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models, transaction
from django.utils import timezone

from .conf import conf
from .fields import DeliveryFileField
from .models.locking import take_write_lock
from .models.tombstone import Tombstone
from .signals import file_removed, send_after_commit
from .storages.base import DeliveryStoreMixin
from .store import resolve, store_for

logger = logging.getLogger("devilry_storage")

#: At most so many tombstones are carried out right after COMMIT; the rest is left to a purge.
AFTER_COMMIT = 1000

FileModel = type[models.Model]

# Names buried on a connection and due at once. A savepoint or transaction that is rolled back
# leaves its names here, but not its tombstones in the table, which is asked again.
_due_names: WeakKeyDictionary[Any, set[str]] = WeakKeyDictionary()


# -- Writing --


def bury(row: Any, delivery: models.Model | None, using: str) -> None:
    """Write the tombstone of a row's bytes, in the transaction that takes them from the row.

    ``row`` and ``delivery`` are as they stand in the database, locked; ``row.content`` is set.
    """
    field = row._meta.get_field("content")
    now = timezone.now()
    tombstone = Tombstone(
        model=field.model._meta.label_lower,
        alias=resolve(row).alias,
        name=row.content.name,
        size=row.size,
        sha256=row.sha256 or "",
        rows=[*_serialised(delivery, using), *_serialised(row, using)],
        filename=row.filename[:255],
        file_id=_searched(row),
        delivery_id=_searched(delivery),
        created=now,
        due=now + conf.retention,
    )
    Tombstone.objects.using(using).bulk_create(
        [tombstone],
        update_conflicts=True,
        unique_fields=["model", "alias", "name"],
        update_fields=[
            *("size", "sha256", "rows", "filename", "file_id", "delivery_id", "created", "due")
        ],
    )
    send_after_commit(file_removed, row, using, name=tombstone.name, size=row.size)
    if tombstone.due <= now:
        connection = transaction.get_connection(using)
        _due_names.setdefault(connection, set()).add(tombstone.name)

        def carry_out_due() -> None:  # no partial: Django logs a failing one by its __qualname__
            _after_commit(using)

        transaction.on_commit(carry_out_due, using=using, robust=True)


def buried_names(model: FileModel, names: Iterable[str], using: str) -> set[str]:
    """Return those of the objects that a tombstone names: they may be removed at any time."""
    label = model._meta.get_field("content").model._meta.label_lower
    buried = Tombstone.objects.using(using).filter(model=label, name__in=list(names))
    return set(buried.values_list("name", flat=True))


def _searched(row: models.Model | None) -> int | None:
    return row.pk if row is not None and isinstance(row.pk, int) else None


def _serialised(row: models.Model | None, using: str) -> list[Any]:
    if row is None:
        return []
    family = [*_ancestors(row, using), row, *_descendants(row, using)]
    rows: list[Any] = json.loads(json.dumps(serializers.serialize("python", family), cls=_Exact))
    return rows


class _Exact(DjangoJSONEncoder):
    """Keeps the microseconds, which Django's own drops: what is restored is what was deleted."""

    def default(self, o: Any) -> Any:
        return o.isoformat() if isinstance(o, (datetime, time)) else super().default(o)


def _ancestors(row: models.Model, using: str) -> Iterator[models.Model]:
    """Yield the rows of multi-table parents, topmost first."""
    for parent in row._meta.parents:
        above = parent._base_manager.using(using).get(pk=row.pk)
        yield from _ancestors(above, using)
        yield above


def _descendants(row: models.Model, using: str) -> Iterator[models.Model]:
    """Yield the rows of multi-table children, which go when their parent goes."""
    for relation in row._meta.get_fields(include_hidden=True):
        if isinstance(relation, models.OneToOneRel) and relation.parent_link:
            below = relation.related_model._base_manager.using(using).filter(pk=row.pk).first()
            if below is not None:
                yield below
                yield from _descendants(below, using)


# -- Looking before removing --


def refusal(model: FileModel, using: str, sample: int) -> str:
    """Return why nothing may be removed from the model's store now, or ``""``.

    Looks up ``sample`` stored rows of each model that uses the store, the newest ones and (from
    two on) the oldest: a row without its object means an unmounted disk or a wrong bucket, and
    then what is to be removed may belong to others.
    """
    store = store_for(model)
    if absence := store.absence():
        return f"{absence} (is the disk mounted, is it the right bucket?)"
    for each in sharing(model, store):
        rows = each._base_manager.using(using).filter(content__isnull=False)
        newest = list(rows.order_by("-pk")[: (sample + 1) // 2])
        oldest = list(rows.order_by("pk")[: sample // 2])
        for row in [*oldest, *newest]:
            name = row.content.name
            # Asked again: the row may have been deleted or given new content meanwhile.
            if not store.exists(name) and rows.filter(pk=row.pk, content=name).exists():
                return (
                    f"the file {name!r} of {row._meta.label} '{row.pk}' is not in the store (is "
                    "the disk mounted, is it the right bucket or database?)"
                )
    return ""


def sharing(model: FileModel, store: DeliveryStoreMixin) -> list[FileModel]:
    """Return the model and every other one whose bytes lie in its store."""
    others = [other for other in file_models() if other is not model]
    return [model, *(other for other in others if resolve(other).store is store)]


def file_models() -> list[FileModel]:
    """Return the models that declare a file, each once, without proxies and children."""
    return [
        model
        for model in apps.get_models()
        if not model._meta.proxy
        and any(isinstance(field, DeliveryFileField) for field in model._meta.local_fields)
    ]


# -- Carrying out --


class Outcome(NamedTuple):
    """What became of one tombstone: ``removed``, ``kept`` or ``failed``, and why."""

    tombstone: Tombstone
    result: str
    reason: str = ""


def carry_out(model: FileModel, tombstones: Sequence[Tombstone], using: str) -> list[Outcome]:
    """Remove the bytes of due tombstones of one model, and then the tombstones.

    They are locked meanwhile; those that somebody else holds are passed by, and so are those that
    are due at another time by now: they are of another delete. A tombstone whose object a row
    names is kept, and so is one whose removal fails, with the error. A missing object counts as
    removed.
    """
    store = store_for(model)
    outcomes = []
    due = {each.pk: each.due for each in tombstones}
    with transaction.atomic(using=using):
        rows = Tombstone.objects.using(using).filter(pk__in=due)
        take_write_lock(rows, using)
        locked = list(rows.select_for_update(skip_locked=True).order_by("pk"))
        locked = [each for each in locked if each.due == due[each.pk]]
        names = {tombstone.name for tombstone in locked}
        living: set[str] = set()
        for each in sharing(model, store):
            alive = each._base_manager.using(using).filter(content__in=names)
            living.update(alive.values_list("content", flat=True))
        failures = store.delete_many(sorted(names - living))
        gone = []
        for tombstone in locked:
            if tombstone.name in living:
                outcomes.append(Outcome(tombstone, "kept", "a row names the file"))
            elif exception := failures.get(tombstone.name):
                tombstone.attempts += 1
                tombstone.last_error = f"{type(exception).__name__}: {exception}"[:1000]
                tombstone.save(using=using, update_fields=["attempts", "last_error"])
                outcomes.append(Outcome(tombstone, "failed", tombstone.last_error))
            else:
                gone.append(tombstone.pk)
                outcomes.append(Outcome(tombstone, "removed"))
        Tombstone.objects.using(using).filter(pk__in=gone).delete()
    return outcomes


def due_tombstones(using: str, **narrowed: Any) -> models.QuerySet[Tombstone]:
    """Return the tombstones whose time has come, longest due first."""
    due: models.QuerySet[Tombstone] = Tombstone.objects.using(using).filter(
        due__lte=timezone.now(), **narrowed
    )
    due = due.order_by("due", "pk")
    return due


def by_model(tombstones: Iterable[Tombstone]) -> dict[FileModel, list[Tombstone]]:
    """Return the tombstones by their models; those of a model that is gone are left out."""
    grouped: dict[FileModel, list[Tombstone]] = {}
    for tombstone in tombstones:
        try:
            model = apps.get_model(tombstone.model)
        except LookupError:
            continue
        grouped.setdefault(model, []).append(tombstone)
    return grouped


def _after_commit(using: str) -> None:
    """Carry out what was committed on this connection; the first such call takes all."""
    names = _due_names.pop(transaction.get_connection(using), None)
    if not names:
        return
    due = due_tombstones(using, name__in=names)[:AFTER_COMMIT]
    for model, tombstones in by_model(due).items():
        if reason := refusal(model, using, sample=1):
            logger.error("Nothing is removed after the delete: %s.", reason)
            continue
        alias = resolve(model).alias
        mine = [tombstone for tombstone in tombstones if tombstone.alias == alias]
        batch = store_for(model).removal_batch
        for start in range(0, len(mine), batch):
            for outcome in carry_out(model, mine[start : start + batch], using):
                if outcome.result != "removed":
                    logger.error("%s is %s: %s", outcome.tombstone, outcome.result, outcome.reason)
