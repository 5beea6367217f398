"""What lies in a store against what the database says of it: one verdict a name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from typing import Any, NamedTuple, Protocol

from django.db import models
from django.db.models.constants import LOOKUP_SEP

from ._compat import batched
from .registry import FileModel, sharing
from .resolving import store_for
from .schema import DELIVERY, foreign_key
from .storages.protocols import Entry
from .tables.tombstone import Tombstone

# No database takes a parameter more for each of any number of names.
_NAMES_OF_A_QUERY = 10_000


class State(Enum):
    """What is the matter with a name."""

    WHOLE = "whole"
    MISSING = "missing"
    WRONG_SIZE = "wrong size"
    TOMBSTONED = "tombstoned"
    ORPHAN = "orphan"
    FOREIGN = "foreign"


class Verdict(NamedTuple):
    """A name, its state, and what lies (``entry``) or is recorded (``row``, else ``tombstone``)
    under it.
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
) -> Iterator[Verdict]:
    """Yield a verdict on each listed name, then on each row whose name was not listed.

    ``rows`` and ``tombstones`` by the names that they record, ``is_key`` tells a name that the
    layout makes. Only the size is compared (bytes; a row without one claims none). Lazy: of the
    listing only the names are kept that a row records.
    """
    found = set()
    for entry in listing:
        row, tombstone = rows.get(entry.name), tombstones.get(entry.name)
        if row is not None:
            found.add(entry.name)
            state = State.WHOLE if row.size in {None, entry.size} else State.WRONG_SIZE
        elif tombstone is not None:
            state = State.TOMBSTONED
        else:
            state = State.ORPHAN if is_key(entry.name) else State.FOREIGN
        yield Verdict(entry.name, state, entry, row, None if row is not None else tombstone)
    for name, row in rows.items():
        if name not in found:
            yield Verdict(name, State.MISSING, row=row)


class HasFiles(Protocol):
    """A delivery: its id, and its files as a queryset."""

    pk: Any

    @property
    def files(self) -> models.QuerySet[Any]: ...


def verify(delivery: HasFiles) -> Iterator[Verdict]:
    """Compare the files of a delivery, and all that lies in its folder, with the store.

    One listing; what is not in it, such as adopted names, is asked for one by one. Rows without
    content are passed by. Raises what the store raises where it cannot be asked.
    """
    files = delivery.files.filter(content__isnull=False)
    rows = {row.content.name: row for row in files}
    model = files.model
    store = store_for(model)
    listing = list(store.scan(store.layout.folder(delivery.pk)))
    listed = {entry.name for entry in listing}
    for name in rows.keys() - listed:
        try:
            entry = Entry(name, store.size(name), store.get_modified_time(name))
        except FileNotFoundError:
            continue
        listing.append(entry)
    others = listed - rows.keys()
    rows.update(rows_named(model, others, files.db))
    buried = tombstones_named(model, others, files.db)
    yield from compare(listing, rows, buried, store.is_key)


def rows_named(model: FileModel, names: Iterable[str], using: str) -> dict[str, Any]:
    """Return the rows that record these names, of the model and of others with its store.

    Each comes with its delivery and who delivered it; one query for each of the models.
    """
    found: dict[str, Any] = {}
    batches = list(batched(names, _NAMES_OF_A_QUERY))
    for each in sharing(model, store_for(model)):
        rows = each._base_manager.using(using)
        if owners := _owners(each):  # without names Django would follow every reference
            rows = rows.select_related(*owners)
        for batch in batches:
            found.update((row.content.name, row) for row in rows.filter(content__in=batch))
    return found


def tombstones_named(model: FileModel, names: Iterable[str], using: str) -> dict[str, Tombstone]:
    """Return the tombstones of these names in the model's store, whichever model wrote them.

    Also those of a store that the model used before, under another alias for example: what was
    deleted there may be stored here.
    """
    labels = [each._meta.label_lower for each in sharing(model, store_for(model))]
    tombstones = Tombstone.objects.using(using).filter(model__in=labels)
    found: dict[str, Tombstone] = {}
    for batch in batched(names, _NAMES_OF_A_QUERY):
        found.update((each.name, each) for each in tombstones.filter(name__in=batch))
    return found


def _owners(model: Any) -> list[str]:
    """Return the relations to a row's delivery and to who delivered it, where there are such.

    A site may have anything else by these names, which no query can follow.
    """
    owners: list[str] = []
    for name in (DELIVERY, "delivered_by"):
        field = foreign_key(model, name)
        if field is None:
            break
        owners.append(LOOKUP_SEP.join([*owners, name]))
        model = field.related_model
    return owners
