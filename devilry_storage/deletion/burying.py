"""Writing tombstones, and asking whether a name has one: a name in a store is used once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import datetime, time
from typing import Any

from django.core import serializers
from django.core.serializers.json import DjangoJSONEncoder
from django.db import IntegrityError, models, transaction
from django.db.models import Exists, Q
from django.db.models.expressions import Combinable

from ..conf import conf
from ..db.clock import DatabaseNow
from ..fields import StoredName
from ..registry import FileModel, label, sharing
from ..resolving import resolve, store_for
from ..schema import declaring_model
from ..signals import file_removed, send_after_commit
from ..tables.tombstone import Tombstone
from .removal import remove_after_commit, store_label


def bury(row: Any, delivery: models.Model | None, using: str) -> None:
    """Write the tombstone of a row's bytes, in the transaction that takes them from the row.

    ``row`` and ``delivery`` are as they are in the database, locked; ``row.content`` is set.
    """
    model = type(row)
    tombstone = Tombstone(
        model=label(model),
        alias=store_label(model),
        name=row.content.name,
        size=row.size,
        sha256=row.sha256 or "",
        rows=[*_serialised(delivery, using), *_serialised(row, using)],
        filename=row.filename[:255],
        file_id=_searched(row),
        delivery_id=_searched(delivery),
        created=DatabaseNow(),
        due=DatabaseNow() + conf.retention,
    )
    Tombstone.objects.using(using).bulk_create(
        [tombstone],
        update_conflicts=True,
        unique_fields=["name", "alias"],
        update_fields=[
            *("model", "size", "sha256", "rows", "filename", "file_id", "delivery_id"),
            *("created", "due", "attempts", "last_error"),
        ],
    )
    send_after_commit(file_removed, row, using, name=tombstone.name, size=row.size)
    if not conf.retention:
        remove_after_commit(model, tombstone.name, row.size, using)


# -- Names that are used --


def naming(model: FileModel, names: Iterable[str], using: str) -> models.QuerySet[Tombstone]:
    """Return the tombstones of these names in the model's store, removals included.

    Also those of the model under an alias that its store had before, and those of all models of
    a store without an alias.
    """
    store, alias = resolve(model)
    others = [] if alias else sharing(declaring_model(model), store, strict=False)
    aliases = [alias or label(model), *map(label, others)]
    named: models.QuerySet[Tombstone] = Tombstone.objects.using(using).filter(
        Q(alias__in=aliases) | Q(model=label(model)), name__in=list(names)
    )
    return named


def buried_names(model: FileModel, names: Iterable[str], using: str) -> set[str]:
    """Return which of the names a tombstone has: they may be removed at any time."""
    return set(naming(model, names, using).values_list("name", flat=True))


def unused(model: FileModel, names: Iterable[str], using: str) -> Combinable:
    """Return the condition, for an UPDATE that records names, that no tombstone has them."""
    return ~Exists(naming(model, names, using))


def reserve(model: FileModel, name: str, using: str, *, pk: Any = None) -> None:
    """Let no other transaction bury or record an object that this one makes a row name.

    A tombstone of the name is inserted and deleted again: others that insert one wait for the end
    of the transaction, at any isolation level. Raises FileExistsError where there is a tombstone,
    or where a row other than ``pk`` of the model names the object.
    """
    guard = Tombstone(model=label(model), alias=store_label(model), name=name, due=DatabaseNow())
    try:
        with transaction.atomic(using=using):
            guard.save(force_insert=True, using=using)
            Tombstone.objects.using(using).filter(pk=guard.pk).delete()
    except IntegrityError as exception:
        raise named_by_tombstone(name) from exception
    # Rows first: of one that is just being deleted either the row is seen or the tombstone.
    refuse_named_by_row(model, name, using, pk=pk)
    if naming(model, [name], using).exists():
        raise named_by_tombstone(name)


def refuse_named_by_row(model: FileModel, name: str, using: str, *, pk: Any = None) -> None:
    """Raise FileExistsError if a row names the object, other than ``pk`` of the model."""
    declaring = declaring_model(model)
    for other in sharing(declaring, store_for(declaring)):
        rows = other._base_manager.using(using).filter(content=StoredName(name))
        if other is declaring and pk is not None:
            rows = rows.exclude(pk=pk)
        for row in rows[:1]:
            raise FileExistsError(f"{name!r} is the file of {row._meta.label} '{row.pk}'.")


def named_by_tombstone(name: str) -> FileExistsError:
    """Return the error for a name that cannot be used because of a tombstone."""
    return FileExistsError(
        f"{name!r} belongs to a deleted file and may be purged at any time: restore that, which "
        "gives it another name."
    )


# -- What a restore needs --


def _searched(row: models.Model | None) -> int | None:
    return row.pk if row is not None and isinstance(row.pk, int) else None


def _serialised(row: models.Model | None, using: str) -> list[Any]:
    if row is None:
        return []
    family = [*_ancestors(row, using), row, *_descendants(row, using)]
    text = json.dumps(serializers.serialize("python", family), cls=_Exact)
    # Databases take no NaN in JSON; a FloatField reads it from text as well.
    rows: list[Any] = json.loads(text, parse_constant=str)
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
