"""Write tombstones, and look up names that have one: a name in a store is used only once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import datetime, time
from typing import Any, cast

from django.core import serializers
from django.core.serializers.json import DjangoJSONEncoder
from django.db import IntegrityError, models, transaction
from django.db.models import Exists
from django.db.models.expressions import Combinable

from ..conf import conf
from ..db.clock import DatabaseNow
from ..db.rows import plain_instances, stored_rows
from ..fields import StoredName
from ..registry import FileModel, label, sharing, store_label
from ..resolving import store_for
from ..schema import declaring_model
from ..signals import file_removed, send_after_commit
from ..tables import Tombstone
from .removal import remove_after_commit


def bury(row: Any, delivery: models.Model | None, using: str) -> None:
    """Write the tombstone of a row's bytes, in the transaction that removes them from the row.

    ``row`` and ``delivery`` are locked and as they are in the database. ``row.content`` is set.
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


# -- Names --


def buried_names(model: FileModel, names: Iterable[str], using: str) -> set[str]:
    """Return which of the names belong to a tombstone."""
    return set(Tombstone.objects.using(using).naming(model, names).values_list("name", flat=True))


def unused(model: FileModel, names: Iterable[str], using: str) -> Combinable:
    """Return the condition that no tombstone has the names, for an UPDATE that records them."""
    return ~Exists(Tombstone.objects.using(using).naming(model, names))


def reserve(model: FileModel, name: str, using: str, *, pk: Any = None) -> None:
    """Keep other transactions from burying or recording a name that this one records.

    A tombstone of the name is inserted and deleted again. Transactions that insert one wait for
    the end of this one, at any isolation level. Raises FileExistsError if there is a tombstone, or
    if a row other than ``pk`` of the model has the name.
    """
    guard = Tombstone(model=label(model), alias=store_label(model), name=name, due=DatabaseNow())
    try:
        with transaction.atomic(using=using):
            guard.save(force_insert=True, using=using)
            Tombstone.objects.using(using).filter(pk=guard.pk).delete()
    except IntegrityError as exception:
        raise named_by_tombstone(name) from exception
    # Rows first: of a row that is being deleted now, either the row or its tombstone is found.
    refuse_named_by_row(model, name, using, pk=pk)
    if Tombstone.objects.using(using).naming(model, [name]).exists():
        raise named_by_tombstone(name)


def refuse_named_by_row(model: FileModel, name: str, using: str, *, pk: Any = None) -> None:
    """Raise FileExistsError if a row other than ``pk`` of the model has the name."""
    declaring = declaring_model(model)
    for other in sharing(declaring, store_for(declaring)):
        rows = stored_rows(other, using).filter(content=StoredName(name))
        if other is declaring and pk is not None:
            rows = rows.exclude(pk=pk)
        for found in rows.values_list("pk", flat=True)[:1]:
            raise FileExistsError(f"{name!r} is the file of {other._meta.label} '{found}'.")


def named_by_tombstone(name: str) -> FileExistsError:
    """Return the error for a name that cannot be used because of a tombstone."""
    return FileExistsError(
        f"{name!r} belongs to a deleted file and may be purged at any time. Restore that file: it "
        "gets another name."
    )


# -- Serialising rows --


def _searched(row: models.Model | None) -> int | None:
    return row.pk if row is not None and isinstance(row.pk, int) else None


def _serialised(row: models.Model | None, using: str) -> list[Any]:
    if row is None:
        return []
    family = [*_ancestors(row, using), row, *descendants(row, using)]
    text = json.dumps(serializers.serialize("python", family), cls=_Exact)
    # JSON columns reject NaN and infinity, which a FloatField also reads from text.
    return cast(list[Any], json.loads(text, parse_constant=str))


class _Exact(DjangoJSONEncoder):
    """Encode microseconds, which Django's encoder drops, so that rows are restored exactly."""

    def default(self, o: Any) -> Any:
        return o.isoformat() if isinstance(o, (datetime, time)) else super().default(o)


def _ancestors(row: models.Model, using: str) -> Iterator[models.Model]:
    """Yield the rows of multi-table parents, topmost first."""
    meta = cast(Any, row)._meta.concrete_model._meta
    for parent in reversed(meta.get_parent_list()):
        link = meta.get_ancestor_link(parent)
        yield from plain_instances(
            stored_rows(parent, using).filter(pk=getattr(row, link.attname))
        )


def descendants(row: models.Model, using: str) -> Iterator[models.Model]:
    """Yield the rows of multi-table children, which are deleted with their parent."""
    for relation in row._meta.get_fields(include_hidden=True):
        if isinstance(relation, models.OneToOneRel) and relation.parent_link:
            rows = stored_rows(relation.related_model, using)
            for below in plain_instances(rows.filter(**{relation.field.attname: row.pk})):
                yield below
                yield from descendants(below, using)
