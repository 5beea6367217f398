"""Orphans: files at a key that no row and no tombstone names, and burying them."""

from __future__ import annotations

import posixpath
from datetime import datetime
from itertools import islice
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Max
from django.utils.translation import gettext as _

from ..conf import conf
from ..db.clock import DatabaseNow
from ..exceptions import NotAnOrphan
from ..integrity import State, compare, rows_named, tombstones_named
from ..registry import FileModel, label, sharing
from ..resolving import resolve
from ..schema import DELIVERY, has_column
from ..storages.base import DeliveryStoreMixin
from ..storages.protocols import Entry
from ..tables.tombstone import Tombstone
from .purging import SAMPLE
from .removal import refusal, store_label

#: So many names around an orphan are looked at, to tell whether orphans are many.
LOOKED_AT = 10_000

#: More orphans than one in so many names are no accident.
ONE_IN = 100


def bury_orphan(model: FileModel, name: str, *, using: str) -> Tombstone:
    """Write the tombstone of an orphan in the store of a model; a purge removes the bytes then.

    They are kept for the retention, and for the grace time at least. Raises NotAnOrphan where
    the name is none, or where the store or database looks like the wrong one: no rows, a row
    without its file, bytes or ids newer than all rows, orphans above 1 % (but for this one) or
    1,000 of the names around it; and what the store raises that cannot be asked.
    """
    resolved = resolve(model)
    entry = _entry(resolved.store, name)
    reason = _reason_to_keep(model, entry, resolved.store, using)
    if reason:
        raise _kept(name, reason)
    tombstone = Tombstone(
        model=label(model),
        alias=store_label(model),
        name=name,
        size=entry.size,
        created=DatabaseNow(),
        due=DatabaseNow() + max(conf.retention, conf.grace),
    )
    # First the tombstone, then the rows: so either this sees a row that is made to name the file
    # meanwhile, or what makes it sees the tombstone. In two transactions, because at REPEATABLE
    # READ the second look would see no more than the first.
    try:
        with transaction.atomic(using=using):
            tombstone.save(using=using, force_insert=True)
    except IntegrityError as exception:
        raise _kept(name, _("it has a tombstone already")) from exception
    if rows_named(model, [name], using):
        Tombstone.objects.using(using).buried().filter(pk=tombstone.pk).delete()
        raise _kept(name, _("a row names it"))
    tombstone.refresh_from_db(using=using)
    return tombstone


def _kept(name: str, reason: str) -> NotAnOrphan:
    return NotAnOrphan(_("'%(name)s' is kept: %(reason)s.") % {"name": name, "reason": reason})


def _entry(store: DeliveryStoreMixin, name: str) -> Entry:
    try:
        return Entry(name, store.size(name), store.get_modified_time(name))
    except FileNotFoundError as exception:
        raise NotAnOrphan(
            _("'%(name)s' is not an orphan: no file is stored there any more.") % {"name": name}
        ) from exception


def _reason_to_keep(model: FileModel, entry: Entry, store: DeliveryStoreMixin, using: str) -> str:
    """Return why the bytes may belong to somebody, or ``""``."""
    (state,) = _compared(model, [entry], store, using)
    if state is not State.ORPHAN:
        return _of_state(state)
    newest = _newest(model, store, using)
    if newest is None:
        return _("no row of a file is in the database, so it may be the wrong one")
    if reason := refusal(model, using, SAMPLE):
        return reason
    delivery_id, file_id = store.layout.parse(entry.name)
    if _is_being_stored(model, delivery_id, file_id, store, using):
        return _("its ids are those of a row without content, which may be about to get it")
    highest_file, highest_delivery = _highest(model, store, using)
    if file_id > highest_file or delivery_id > highest_delivery:
        return _("its ids are above those of every row, so the database may be an old one")
    # Timestamps, for without USE_TZ times have no zone.
    modified = entry.modified.timestamp()
    if modified > newest.timestamp():
        return _("it is newer than every row, so the database may be an old one")
    if modified > (store.current_time() - conf.grace).timestamp():
        return _("it is younger than the grace time, so its row may be about to be written")
    return _too_many(model, entry.name, store, using)


def _is_being_stored(
    model: FileModel, delivery_id: int, file_id: int, store: DeliveryStoreMixin, using: str
) -> bool:
    """Return whether a row without content has these ids."""
    for other in sharing(model, store):
        row: Any = other._base_manager.using(using).filter(pk=file_id, content=None).first()
        if row is not None and row.key_ids() == (delivery_id, file_id):
            return True
    return False


def _of_state(state: State) -> str:
    if state is State.FOREIGN:
        return _("it is foreign: its name is no key, so it was not stored here as a delivery")
    if state is State.TOMBSTONED:
        return _("it has a tombstone already")
    return _("a row names it")


def _compared(
    model: FileModel, entries: list[Entry], store: DeliveryStoreMixin, using: str
) -> list[State]:
    names = [entry.name for entry in entries]
    rows = rows_named(model, names, using)
    tombstones = tombstones_named(model, names, using)
    return [verdict.state for verdict in compare(entries, rows, tombstones, store.is_key)]


def _stored(model: FileModel, store: DeliveryStoreMixin, using: str) -> list[Any]:
    """Return the stored rows of each model that uses the store."""
    return [
        each._base_manager.using(using).filter(content__isnull=False)
        for each in sharing(model, store)
    ]


def _newest(model: FileModel, store: DeliveryStoreMixin, using: str) -> datetime | None:
    times = (
        rows.aggregate(newest=Max("created"))["newest"] for rows in _stored(model, store, using)
    )
    return max(filter(None, times), default=None)


def _highest(model: FileModel, store: DeliveryStoreMixin, using: str) -> tuple[int, int]:
    """Return the highest id of a file, and of what keys have as the delivery's."""
    files, deliveries = [0], [0]
    for rows in _stored(model, store, using):
        # The newest row says what its model's keys are made of.
        for row in rows.order_by("-pk")[:1]:
            delivery_id, file_id = row.key_ids()
            files.append(file_id or 0)
            deliveries.append(delivery_id or 0)
            if has_column(type(row), DELIVERY):
                deliveries.append(rows.aggregate(highest=Max("delivery"))["highest"] or 0)
    return max(files), max(deliveries)


def _too_many(model: FileModel, name: str, store: DeliveryStoreMixin, using: str) -> str:
    """Return why so many orphans lie around one that more than an accident is behind it."""
    around = posixpath.dirname(posixpath.dirname(name))
    listed = list(islice(store.scan(around), LOOKED_AT))
    orphans = _compared(model, listed, store, using).count(State.ORPHAN)
    if orphans <= max(1, len(listed) // ONE_IN):
        return ""
    return _(
        "%(orphans)d of %(listed)d files around it are orphans, which is no accident: the "
        "database may be an old or a wrong one"
    ) % {"orphans": orphans, "listed": len(listed)}
