"""Bury orphans: stored files with a valid key that no row and no tombstone names."""

import posixpath
from itertools import islice
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Max
from django.utils.translation import gettext as _

from ..conf import conf
from ..db.clock import DatabaseNow
from ..db.rows import plain_instances, stored_rows
from ..exceptions import NotAnOrphan
from ..integrity import State, compare_stored, rows_named
from ..registry import FileModel, label, sharing, store_label
from ..resolving import resolve
from ..schema import DELIVERY, has_column
from ..storages.base import DeliveryStoreMixin
from ..storages.protocols import Entry
from ..tables import Tombstone
from .purging import SAMPLE
from .removal import refusal

#: Maximum number of files near an orphan that are listed to count orphans.
LOOKED_AT = 10_000

#: At most one file in this number may be an orphan.
ONE_IN = 100


def bury_orphan(model: FileModel, name: str, *, using: str) -> Tombstone:
    """Write the tombstone of an orphan in the store of a model, so that a purge removes its bytes.

    They are kept for the retention, and for the grace time at least. Raises NotAnOrphan if the
    name is not an orphan's, or if the store or database may be the wrong one:

    - the database has no row of a stored file, or the files of many rows are missing;
    - the bytes are newer than all rows, or the ids in the key are higher;
    - more than 1 % of the files near it are orphans, of at most 10,000 that are listed.

    Errors of the store propagate.
    """
    resolved = resolve(model)
    try:
        size, modified = resolved.store.size(name), resolved.store.get_modified_time(name)
    except FileNotFoundError as exception:
        text = _("'%(name)s' is not in the store any more.")
        raise NotAnOrphan(text % {"name": name}) from exception
    entry = Entry(name, size, modified)
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
    # The tombstone is written before rows are looked up. Of a row that is given this name at the
    # same time, either this transaction finds the row, or the other one finds the tombstone. Two
    # transactions, because at REPEATABLE READ the second query would not see more than the first.
    try:
        with transaction.atomic(using=using):
            tombstone.save(using=using, force_insert=True)
    except IntegrityError as exception:
        raise _kept(name, _("it is already a deleted file")) from exception
    if rows_named(model, [name], using):
        Tombstone.objects.using(using).buried().filter(pk=tombstone.pk).delete()
        raise _kept(name, _("it is recorded in the database"))
    tombstone.refresh_from_db(using=using)
    return tombstone


def _kept(name: str, reason: str) -> NotAnOrphan:
    return NotAnOrphan(_("'%(name)s' is kept: %(reason)s.") % {"name": name, "reason": reason})


def _reason_to_keep(model: FileModel, entry: Entry, store: DeliveryStoreMixin, using: str) -> str:
    """Return why the bytes may still be needed, or ``""``."""
    (verdict,) = compare_stored(model, [entry], using, {})
    if verdict.state is not State.ORPHAN:
        reasons = {
            State.FOREIGN: _("it is an unknown file, which another program may have written"),
            State.TOMBSTONED: _("it is already a deleted file"),
            State.ORDINARY: _("a row of another model names it"),
        }
        return reasons.get(verdict.state, _("it is recorded in the database"))
    stored = [
        stored_rows(other, using).filter(content__isnull=False) for other in sharing(model, store)
    ]
    times = (rows.aggregate(newest=Max("created"))["newest"] for rows in stored)
    newest = max(filter(None, times), default=None)
    if newest is None:
        return _("the database has no row of a stored file, so it may be the wrong one")
    if reason := refusal(model, using, SAMPLE):
        return reason
    delivery_id, file_id = store.layout.parse(entry.name)
    if _is_being_stored(model, delivery_id, file_id, store, using):
        return _("a row with its ids has no content yet, and may be about to get it")
    highest_file, highest_delivery = _highest(stored)
    if file_id > highest_file or delivery_id > highest_delivery:
        return _("its ids are higher than those of every row, so the database may be an old one")
    # Timestamps, because datetimes have no time zone if USE_TZ is False.
    modified = entry.modified.timestamp()
    if modified > newest.timestamp():
        return _("it is newer than every row, so the database may be an old one")
    if modified > (store.current_time() - conf.grace).timestamp():
        return _("it was stored recently and may still be recorded; try again later")
    return _many_orphans(model, entry.name, store, using)


def _is_being_stored(
    model: FileModel, delivery_id: int, file_id: int, store: DeliveryStoreMixin, using: str
) -> bool:
    """Return whether a row without content has these ids."""
    for other in sharing(model, store):
        rows: Any = plain_instances(stored_rows(other, using).filter(pk=file_id, content=None))
        if any(row.key_ids() == (delivery_id, file_id) for row in rows):
            return True
    return False


def _highest(stored: list[Any]) -> tuple[int, int]:
    """Return the highest id of a file, and the highest delivery id that keys contain."""
    files, deliveries = [0], [0]
    for rows in stored:
        # The newest row shows which ids its model's keys contain.
        for row in plain_instances(rows.order_by("-pk")[:1]):
            delivery_id, file_id = row.key_ids()
            files.append(file_id or 0)
            deliveries.append(delivery_id or 0)
            if has_column(rows.model, DELIVERY):
                deliveries.append(rows.aggregate(highest=Max(DELIVERY))["highest"] or 0)
    return max(files), max(deliveries)


def _many_orphans(model: FileModel, name: str, store: DeliveryStoreMixin, using: str) -> str:
    """Return an error message if there are too many orphans near this one, otherwise ``""``."""
    around = posixpath.dirname(posixpath.dirname(name))
    listed = list(islice(store.scan(around), LOOKED_AT))
    verdicts = compare_stored(model, listed, using, {})
    orphans = sum(verdict.state is State.ORPHAN for verdict in verdicts)
    if orphans <= max(1, len(listed) // ONE_IN):
        return ""
    return _(
        "%(orphans)d of %(listed)d files near it are unrecorded, so this may be an old or a "
        "wrong database"
    ) % {"orphans": orphans, "listed": len(listed)}
