"""Add many files to a delivery: one INSERT, concurrent uploads, one UPDATE."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import as_completed
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db import connections, transaction
from django.db.models import signals
from django.db.models.fields.files import FieldFile

from ..db.routing import database_of
from ..db.rows import stored_rows, undone_on_error
from ..deletion.burying import buried_names, named_by_tombstone, unused
from ..exceptions import note_file
from ..identity import check_writing
from ..names import validate_filename
from ..resolving import store_for
from ..signals import file_stored, send_after_commit
from ..storages.chunks import read_chunks
from ..storages.content import as_file
from ..storages.pools import Pool, called
from ..storages.protocols import checked_ids

if TYPE_CHECKING:
    from .delivery import AbstractDelivery

#: Maximum number of concurrent uploads.
PARALLEL = 8


def add_many(delivery: AbstractDelivery, files: Mapping[str, Any]) -> list[Any]:
    """Store the files and return their rows; see :meth:`AbstractDelivery.add_files`."""
    contents: dict[str, Any] = {}
    for filename, content in files.items():
        clean = validate_filename(filename)
        if clean in contents:
            raise FileExistsError(f"{clean!r} is given twice: filenames are unique in a delivery.")
        contents[clean] = content
    if not contents:
        return []
    model = delivery.filemeta_model()
    using = database_of(delivery)
    features = connections[using].features
    is_plain = not model._meta.parents and features.can_return_rows_from_bulk_insert
    if not is_plain or _has_receivers(model):
        return _one_by_one(delivery, contents)
    delivery.refuse_finished()
    with delivery._claimed(contents) as claimed:
        return _at_once(delivery, contents, claimed, using)


def _has_receivers(model: Any) -> bool:
    """Return whether the site has receivers of ``pre_save`` or ``post_save``."""
    for signal in (signals.pre_save, signals.post_save):
        live: Any = signal._live_receivers(model)
        # Since Django 5.0 these are two lists: of synchronous and of asynchronous receivers.
        receivers = [*live[0], *live[1]] if isinstance(live, tuple) else live
        if any(not receiver.__module__.startswith("devilry_storage.") for receiver in receivers):
            return True  # not only the package's own
    return False


def _at_once(
    delivery: AbstractDelivery, contents: Mapping[str, Any], claimed: Mapping[str, Any], using: str
) -> list[Any]:
    model = delivery.filemeta_model()
    new = [model(delivery=delivery, filename=name) for name in contents if name not in claimed]
    model._base_manager.using(using).bulk_create(new)
    rows = {**claimed, **{row.filename: row for row in new}}

    def delete_again() -> None:
        # Except rows that have content, because the reply to a COMMIT may have been lost, and
        # rows that another upload has taken over.
        inserted = stored_rows(model, using).filter(pk__in=[row.pk for row in new])
        created = {row.created for row in new}
        inserted.filter(content__isnull=True, created__in=created).delete()

    with undone_on_error(delete_again, using, "Rows without content"):
        stored = _store_all(rows, contents, using)
        with transaction.atomic(using=using):
            delivery._lock_unfinished(using)
            _record_all(stored, using)
    return [rows[filename] for filename in contents]


def _one_by_one(delivery: AbstractDelivery, contents: Mapping[str, Any]) -> list[Any]:
    added: list[Any] = []

    def delete_again() -> None:
        for row in added:
            row.delete()

    with undone_on_error(delete_again, database_of(delivery), "Files that were added"):
        for filename, content in contents.items():
            try:
                added.append(delivery.add_file(filename, content))
            except Exception as exception:
                note_file(exception, filename)
                raise
    return added


def _store_all(
    rows: Mapping[str, Any], contents: Mapping[str, Any], using: str
) -> list[tuple[Any, str, int, str]]:
    """Store the files, and return (row, name, size in bytes, SHA-256) for each."""
    stored: list[tuple[Any, str, int, str]] = []

    def store_one(row: Any, content: Any, fresh: bool) -> None:
        # Threads do not use the database: all files are recorded together afterwards.
        open_writer = partial(
            store.writer,
            keys[row.filename],
            record=lambda name, size, sha256: stored.append((row, name, size, sha256)),
            filename=row.filename,
            is_used=lambda: fresh,  # looked up for all files at once
        )
        with as_file(content, row.filename) as file, open_writer() as writer:
            writer.write_all(file, read_chunks(file))

    model = type(next(iter(rows.values())))
    check_writing(model, using)
    store = store_for(model).with_fixed_location()
    keys = {filename: store.layout.key(*checked_ids(row)) for filename, row in rows.items()}
    used = buried_names(model, keys.values(), using)
    # The upload from which a row was taken over may still store a file under the key.
    used |= {keys[filename] for filename, row in rows.items() if row._is_taken_over}
    # If a file fails, those that are stored already stay as orphans: an error never deletes
    # published bytes.
    with Pool(PARALLEL) as pool:
        futures = {}
        for filename, row in rows.items():
            content = contents[filename]
            # A stored file may have to be opened first, at the location of this thread's tenant.
            submit = called if isinstance(content, FieldFile) else pool.submit
            future = submit(store_one, row, content, keys[filename] in used)
            futures[future] = filename
            if future.done() and future.exception():
                break
        for future in as_completed(futures):
            if exception := future.exception():
                pool.shutdown(wait=True, cancel_futures=True)
                note_file(exception, futures[future])
                raise exception
    return stored


def _record_all(stored: list[tuple[Any, str, int, str]], using: str) -> None:
    model = type(stored[0][0])
    names = [name for _, name, _, _ in stored]
    for row, name, size, sha256 in stored:
        row._set_content(name, size, sha256)
        send_after_commit(file_stored, row, using, name=name, size=size)
    fields = ["content", "size", "sha256", "verified_at"]
    rows = [row for row, *_ in stored]
    there = stored_rows(model, using)
    # Only rows that this call has made or taken over: another upload may have taken one over or
    # stored content in it.
    unchanged = there.filter(
        unused(model, names, using),
        content__isnull=True,
        created__in={row.created for row in rows},
    )
    if unchanged.bulk_update(rows, fields) != len(rows):
        if there.filter(pk__in=[row.pk for row in rows]).count() != len(rows):
            raise model.DoesNotExist(
                "No file is added: the row of one was deleted while the files were stored."
            )
        if buried := buried_names(model, names, using):
            raise named_by_tombstone(buried.pop())
        raise FileExistsError(
            "No file is added: another upload has stored one of these files, or has taken over "
            "its row after the grace time."
        )
