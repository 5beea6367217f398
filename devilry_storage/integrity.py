"""Compare stored files with database rows."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from enum import Enum
from typing import Any, NamedTuple

from django.db.models.constants import LOOKUP_SEP

from ._compat import batched
from .db.routing import database_of, databases_with
from .db.rows import plain_instances, stored_rows
from .names import is_storage_name
from .registry import FileModel, ordinary_fields_in, sharing
from .resolving import store_for
from .schema import DELIVERY, foreign_key
from .storages.protocols import Entry
from .tables import Tombstone

# Databases limit the number of query parameters.
_NAMES_PER_QUERY = 10_000


class State(Enum):
    """The state of a name."""

    WHOLE = "whole"
    MISSING = "missing"
    WRONG_SIZE = "wrong size"
    TOMBSTONED = "tombstoned"
    ORDINARY = "ordinary"
    ORPHAN = "orphan"
    FOREIGN = "foreign"


class Verdict(NamedTuple):
    """A name and its state.

    ``entry`` is the stored file, None if it is missing. ``row`` is the row that records the name;
    without a row, ``tombstone`` is its tombstone.
    """

    name: str
    state: State
    entry: Entry | None = None
    row: Any = None
    tombstone: Any = None


def compare(
    listing: Iterable[Entry],
    rows: Mapping[str, Any],
    tombstones: Mapping[str, Any],
    is_key: Callable[[str], bool],
    ordinary: Collection[str] = (),
) -> Iterator[Verdict]:
    """Yield a verdict on each listed name, then on each row whose name was not listed.

    ``rows`` and ``tombstones`` are by the names that they record. ``is_key`` returns whether the
    layout can make a name; ``ordinary`` are the names that rows of ordinary fields have. Only
    sizes (bytes) are compared; a row without a size matches any. The listing is read lazily, and
    only names that a row records are kept in memory.
    """
    found = set()
    for entry in listing:
        row, tombstone = rows.get(entry.name), tombstones.get(entry.name)
        if row is not None:
            found.add(entry.name)
            state = State.WHOLE if row.size in {None, entry.size} else State.WRONG_SIZE
        elif tombstone is not None:
            state = State.TOMBSTONED
        elif entry.name in ordinary:
            state = State.ORDINARY
        else:
            state = State.ORPHAN if is_key(entry.name) else State.FOREIGN
        yield Verdict(entry.name, state, entry, row, None if row is not None else tombstone)
    for name, row in rows.items():
        if name not in found:
            yield Verdict(name, State.MISSING, row=row)


def verify(delivery: Any) -> Iterator[Verdict]:
    """Compare the rows of a delivery's files, and all files in its folder, with each other.

    The folder is listed once. Files with names elsewhere, such as adopted ones, are looked up one
    by one. Rows without content are skipped. Errors of the store propagate. ``delivery`` is a row
    with the queryset ``files``.
    """
    using = database_of(delivery)
    files = delivery.files.using(using).filter(content__isnull=False)
    rows = {row.content.name: row for row in plain_instances(files)}
    model = files.model
    store = store_for(model)
    row = next(iter(rows.values()), None) or model(delivery=delivery)
    listing = list(store.scan(store.layout.folder(row.key_ids()[0])))
    for name in rows.keys() - {entry.name for entry in listing}:
        with suppress(FileNotFoundError):
            listing.append(Entry(name, store.size(name), store.get_modified_time(name)))
    yield from compare_stored(model, listing, using, rows)


def compare_stored(
    model: FileModel, entries: Collection[Entry], using: str, known: Mapping[str, Any]
) -> Iterator[Verdict]:
    """Compare files in a model's store with all rows and tombstones of their names.

    ``known`` are rows by their names, which are not looked up again.
    """
    rows = dict(known)
    # Rows have only valid names, and other names may not be text that a database accepts.
    names = {entry.name for entry in entries if is_storage_name(entry.name)} - rows.keys()
    rows |= rows_named(model, names, using)
    tombstones = tombstones_named(model, names, using)
    ordinary = ordinary_rows_named(model, names, using)
    return compare(entries, rows, tombstones, store_for(model).is_key, ordinary)


def rows_named(model: FileModel, names: Iterable[str], using: str) -> dict[str, Any]:
    """Return the rows that record these names, of the model and of others with its store.

    Their deliveries, and the users who delivered them, are selected, too. One query is sent for
    each model and 10,000 names.
    """
    found: dict[str, Any] = {}
    batches = list(batched(names, _NAMES_PER_QUERY))
    for other in sharing(model, store_for(model)):
        rows = stored_rows(other, using)
        if owners := _owners(other):  # without names Django would follow every reference
            rows = rows.select_related(*owners)
        for batch in batches:
            found.update((row.content.name, row) for row in rows.filter(content__in=batch))
    return found


def ordinary_rows_named(model: FileModel, names: Iterable[str], using: str) -> dict[str, str]:
    """Return those of the names that a row of an ordinary field in the model's store has.

    The values are the labels of the fields. Rows are looked up in this database, and in the one to
    which the rows of the field's model are written. One query is sent for each of them, each field
    and 10,000 names.
    """
    found: dict[str, str] = {}
    fields = ordinary_fields_in(store_for(model))
    batches = list(batched(names, _NAMES_PER_QUERY)) if fields else []
    for ordinary in fields:
        owner, column = ordinary.field.model, ordinary.field.name
        for database in databases_with(owner, using):
            rows = stored_rows(owner, database)
            for batch in batches:
                recorded = rows.filter(**{f"{column}__in": batch}).values_list(column, flat=True)
                found.update(dict.fromkeys(map(str, recorded), ordinary.label))
    return found


def tombstones_named(model: FileModel, names: Iterable[str], using: str) -> dict[str, Tombstone]:
    """Return the tombstones of these names in the model's store, in any state."""
    found: dict[str, Tombstone] = {}
    for batch in batched(names, _NAMES_PER_QUERY):
        tombstones = Tombstone.objects.using(using).naming(model, batch)
        found.update((tombstone.name, tombstone) for tombstone in tombstones)
    return found


def _owners(model: Any) -> list[str]:
    """Return the foreign keys to a row's delivery and to the user who delivered it, if they exist.

    Other fields with these names cannot be selected.
    """
    owners: list[str] = []
    for name in (DELIVERY, "delivered_by"):
        field = foreign_key(model, name)
        if field is None:
            break
        owners.append(LOOKUP_SEP.join([*owners, name]))
        model = field.related_model
    return owners
