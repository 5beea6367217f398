"""Write tombstones, and look up names that have one: a name in a store is used only once."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, time
from itertools import chain, islice
from typing import Any, cast

from django.core import serializers
from django.core.serializers.json import DjangoJSONEncoder
from django.db import IntegrityError, connections, models, transaction
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

#: Tombstones of about this length in JSON, in bytes, are inserted together.
INSERTED_BYTES = 1 << 23


def bury(row: Any, delivery: models.Model | None, using: str) -> None:
    """Write the tombstone of a row's bytes, in the transaction that removes them from the row.

    ``row`` and ``delivery`` are locked and as they are in the database. ``row.content`` is set.
    """
    bury_rows([row], {getattr(row, "delivery_id", None): delivery}, using)


def bury_rows(
    rows: Sequence[Any], deliveries: Mapping[Any, models.Model | None], using: str
) -> None:
    """Write the tombstones of rows of one model, as :func:`bury` does.

    ``deliveries`` are the deliveries of the rows, by the value of ``delivery_id``.
    """
    model = type(rows[0])
    values = [getattr(row, "delivery_id", None) for row in rows]
    known = {value: deliveries[value] for value in values if deliveries.get(value) is not None}
    kept = dict(zip(known, _serialised([*known.values()], using), strict=True))
    tombstones = [
        {
            "model": label(model),
            "alias": store_label(model),
            "name": row.content.name,
            "size": row.size,
            "sha256": row.sha256 or "",
            "rows": [*kept.get(value, ()), *own],
            "filename": row.filename[:255],
            "file_id": _searched(row),
            "delivery_id": _searched(known.get(value)),
        }
        for row, value, own in zip(rows, values, _serialised(rows, using), strict=True)
    ]
    _insert(tombstones, using)
    for row in rows:
        send_after_commit(file_removed, row, using, name=row.content.name, size=row.size)
        if not conf.retention:
            remove_after_commit(model, row.content.name, row.size, using)


def _insert(tombstones: Sequence[Mapping[str, Any]], using: str) -> None:
    """Insert or renew tombstones with these columns, which are one parameter of the statement."""
    connection = connections[using]
    query: Any = Tombstone.objects.using(using).query
    times = [DatabaseNow(), DatabaseNow() + conf.retention]
    compiled = [query.get_compiler(using).compile(at.resolve_expression(query)) for at in times]
    names = given = [*tombstones[0]]
    if connection.vendor == "postgresql":
        types = {"size": "bigint", "file_id": "bigint", "delivery_id": "bigint", "rows": "jsonb"}
        columns = ", ".join(f"{name} {types.get(name, 'text')}" for name in names)
        source = f"jsonb_to_recordset(%s) AS item({columns})"
    else:
        source = "json_each(%s)"
        given = [f"json_extract(value, '$.{name}')" for name in names]
    names = [*names, "created", "due", "attempts", "last_error"]
    given = [*given, *(sql for sql, _ in compiled), "0", "''"]
    renewed = [f"{name} = excluded.{name}" for name in names if name not in {"name", "alias"}]
    sql = (  # SQLite needs the WHERE clause to parse the rest
        f"INSERT INTO {connection.ops.quote_name(Tombstone._meta.db_table)} "  # noqa: S608  # names
        f"({', '.join(names)}) SELECT {', '.join(given)} FROM {source} WHERE true "
        f"ON CONFLICT (name, alias) DO UPDATE SET {', '.join(renewed)}"
    )
    times = [*chain(*(parameters for _, parameters in compiled))]
    with connection.cursor() as cursor:
        for text in _as_json(tombstones):
            cursor.execute(sql, [*times, text])


def _as_json(tombstones: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield texts of about INSERTED_BYTES: each tombstone has a copy of its delivery's row."""
    texts: list[str] = []
    size = 0
    for tombstone in tombstones:
        # JSON columns reject NaN and infinity, which a FloatField also reads from text.
        values = json.loads(json.dumps(tombstone, cls=_Exact), parse_constant=str)
        texts.append(json.dumps(values))
        size += len(texts[-1])
        if size > INSERTED_BYTES:
            yield f"[{', '.join(texts)}]"
            texts, size = [], 0
    if texts:
        yield f"[{', '.join(texts)}]"


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


def _serialised(rows: Sequence[Any], using: str) -> Iterator[list[Any]]:
    """Yield, for each of the rows of one model, what is kept of it and its family."""
    families = _families(rows, using) if rows else []
    kept = iter(serializers.serialize("python", chain(*families)))
    return (list(islice(kept, len(family))) for family in families)


def _families(rows: Sequence[models.Model], using: str) -> list[list[models.Model]]:
    """Return each row with the rows of its multi-table parents, topmost first, and children."""
    meta = cast(Any, rows[0])._meta.concrete_model._meta
    families = {row.pk: [row] for row in rows}
    for parent in meta.get_parent_list():
        link = meta.get_ancestor_link(parent).attname
        found = stored_rows(parent, using).filter(pk__in=[getattr(row, link) for row in rows])
        above = {row.pk: row for row in plain_instances(found)}
        for row in rows:
            families[row.pk].insert(0, above[getattr(row, link)])
    for pk, row in descendants(rows, using):
        families[pk].append(row)
    return [*families.values()]


class _Exact(DjangoJSONEncoder):
    """Encode microseconds, which Django's encoder drops, so that rows are restored exactly."""

    def default(self, o: Any) -> Any:
        return o.isoformat() if isinstance(o, (datetime, time)) else super().default(o)


def descendants(rows: Sequence[models.Model], using: str) -> Iterator[tuple[Any, models.Model]]:
    """Yield the rows of multi-table children of rows, which are deleted with their parents.

    Each is yielded with the primary key of that one of ``rows`` to which it belongs.
    """
    pks = [row.pk for row in rows]
    for relation in rows[0]._meta.get_fields(include_hidden=True) if rows else ():
        if isinstance(relation, models.OneToOneRel) and relation.parent_link:
            link = relation.field.attname
            found = stored_rows(relation.related_model, using).filter(**{f"{link}__in": pks})
            below = {getattr(row, link): row for row in plain_instances(found)}
            yield from below.items()
            parents = {row.pk: pk for pk, row in below.items()}
            for pk, row in descendants([*below.values()], using):
                yield parents[pk], row
