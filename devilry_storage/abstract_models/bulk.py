"""Add or copy many files: one INSERT, concurrent uploads, one UPDATE."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from django.db import connections, transaction
from django.db.models import BigIntegerField, Func, IntegerField, TextField, Value
from django.db.models.fields.files import FieldFile
from django.db.models.functions import Cast

from .._compat import batched
from ..db.routing import database_of
from ..db.rows import plain_instances, stored_rows, undone_on_error
from ..deletion.burying import buried_names, descendants, named_by_tombstone, unused
from ..exceptions import note_file
from ..identity import check_writing
from ..names import validate_filename
from ..resolving import store_for
from ..signals import file_stored, has_receivers, send_after_commit
from ..storages.base import DeliveryStoreMixin
from ..storages.chunks import read_chunks
from ..storages.content import as_file, rewinds, shared_sources, source_of
from ..storages.pools import Pool, called
from ..storages.protocols import checked_ids

if TYPE_CHECKING:
    from .delivery import AbstractDelivery

#: Maximum number of concurrent uploads.
PARALLEL = 8

#: A row, and the name, size in bytes and SHA-256 of its stored file.
Stored = tuple[Any, str, int, str]


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
    _refuse_second_reading(contents)
    using = database_of(delivery)
    if not _is_plain(delivery.filemeta_model(), using):
        return _one_by_one(delivery, contents)
    delivery.refuse_finished()
    with delivery._claimed(contents) as claimed:
        return _at_once(delivery, contents, claimed, using)


def _refuse_second_reading(contents: Mapping[str, Any]) -> None:
    shared = shared_sources(contents.values())
    for filename, content in contents.items():
        if id(source_of(content)) not in shared or isinstance(content, FieldFile):
            continue
        is_read_once = isinstance(content, Iterator) or hasattr(content, "read")
        if is_read_once and not rewinds(content):
            raise ValueError(
                f"The content of {filename!r} is that of another file, too, and can be read only "
                "once: pass each file its own."
            )


def copy_all(delivery: AbstractDelivery, twin: AbstractDelivery, using: str) -> None:
    """Copy the files of a delivery, and their rows, to another one, which is not finished."""
    model = delivery.filemeta_model()
    files = delivery.files.using(using).filter(content__isnull=False)
    sources: dict[Any, Any] = {row.pk: row for row in plain_instances(files)}
    # The row of a multi-table child has the columns of its parents, too.
    lowest = {**sources, **dict(descendants([*sources.values()], using))}
    pairs = [
        (twin_of(lowest[pk], {"content": None, "delivery": twin}), source)
        for pk, source in sources.items()
    ]
    is_own_save = not model.save.__module__.startswith("devilry_storage.")
    is_child = any(type(row) is not model for row, _ in pairs)
    if not pairs or is_own_save or is_child or not _is_plain(model, using):
        for row, source in pairs:
            row.save(using=using)
            store_for(source).copy(source, row)
        return
    for source in sources.values():
        source.key_ids = partial(tuple, source.key_ids())  # which a site may look up
    model._base_manager.using(using).bulk_create([row for row, _ in pairs])
    _store_all(twin, pairs, using, lambda store, record, source: store.copy(source, record))


def twin_of(row: Any, fields: Mapping[str, Any]) -> Any:
    """Return an unsaved copy of a row without its content, and with other values of ``fields``."""
    values = {
        field.attname: getattr(row, field.attname)
        for field in row._meta.concrete_fields
        if not field.unique
        and not getattr(field, "generated", False)
        and field.name not in {"content", "size", "sha256", "created", "verified_at"}
    }
    twin = type(row)(**values)
    for name, value in fields.items():
        setattr(twin, name, value)
    return twin


def _is_plain(model: Any, using: str) -> bool:
    """Return whether rows can be written in bulk without a difference to the site."""
    can_insert = connections[using].features.can_return_rows_from_bulk_insert
    has_own_id = not model._meta.parents and isinstance(model._meta.pk, IntegerField)
    return can_insert and has_own_id and not has_receivers(model)


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
        pairs = [(row, contents[filename]) for filename, row in rows.items()]
        _store_all(delivery, pairs, using, _write)
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
    delivery: AbstractDelivery,
    pairs: Sequence[tuple[Any, Any]],
    using: str,
    store_one: Callable[..., None],
) -> None:
    """Store a file for each pair of row and content, then record all in the delivery.

    ``store_one`` is called in threads with the store, a record of the row, and the content.
    """
    stored: list[Stored] = []
    model = type(pairs[0][0])
    check_writing(model, using)
    store = store_for(model).with_fixed_location()
    ids = {row.pk: checked_ids(row) for row, _ in pairs}
    keys = {pk: store.layout.key(*both) for pk, both in ids.items()}
    used = buried_names(model, keys.values(), using)
    # The upload from which a row was taken over may still store a file under the key.
    used |= {keys[row.pk] for row, _ in pairs if row._is_taken_over}

    def record_of(row: Any) -> Any:
        # Threads do not use the database: names are looked up and files recorded all together.
        return SimpleNamespace(
            content=None,
            filename=row.filename,
            key_ids=lambda: ids[row.pk],
            is_buried=lambda name: name in used,
            record_stored=lambda name, size, sha256: stored.append((row, name, size, sha256)),
        )

    shared = shared_sources(content for _, content in pairs)
    # If a file fails, those that are stored already stay as orphans: an error never deletes
    # published bytes.
    with Pool(PARALLEL) as pool:
        futures = {}
        for row, content in pairs:
            # A stored file may have to be opened first, at the location of this thread's tenant.
            # A file that is given several times has one position.
            is_alone = isinstance(content, FieldFile) or id(source_of(content)) in shared
            submit = called if is_alone else pool.submit
            future = submit(store_one, store, record_of(row), content)
            futures[future] = row.filename
            if future.done() and future.exception():
                break
        for future in as_completed(futures):
            if exception := future.exception():
                pool.shutdown(wait=True, cancel_futures=True)
                note_file(exception, futures[future])
                raise exception
    with transaction.atomic(using=using):
        delivery._lock_unfinished(using)
        _record_all(stored, using)


def _write(store: DeliveryStoreMixin, record: Any, content: Any) -> None:
    key = store.layout.key(*record.key_ids())
    writer = partial(store.writer, key, record=record.record_stored, filename=record.filename)
    is_used = partial(record.is_buried, key)
    with as_file(content, record.filename) as file, writer(is_used=is_used) as output:
        output.write_all(file, read_chunks(file))


def _record_all(stored: list[Stored], using: str) -> None:
    model = type(stored[0][0])
    for row, name, size, sha256 in stored:
        row._set_content(name, size, sha256)
        send_after_commit(file_stored, row, using, name=name, size=size)
    # Each row has three parameters.
    most = connections[using].ops.bulk_batch_size(["pk"] * 4, stored)
    for some in batched(stored, max(1, most)):
        _record(model, some, using)


def _record(model: Any, stored: Sequence[Stored], using: str) -> None:
    names = [name for _, name, _, _ in stored]
    there = stored_rows(model, using).filter(pk__in=[row.pk for row, *_ in stored])
    # Only rows that this call has made or taken over: another upload may have taken one over or
    # stored content in it.
    unchanged = there.filter(
        unused(model, names, using),
        content__isnull=True,
        created__in={row.created for row, *_ in stored},
    )
    # A field may have a Python class of its own.
    prepared = model._meta.pk.get_db_prep_value
    keys = [prepared(row.pk, connections[using]) for row, *_ in stored]
    sizes = [size for _, _, size, _ in stored]
    checksums = [sha256 for _, _, _, sha256 in stored]
    recorded = unchanged.update(
        content=_by_pk(keys, names, using),
        size=Cast(_by_pk(keys, sizes, using), BigIntegerField()),
        sha256=_by_pk(keys, checksums, using),
        verified_at=None,
    )
    if recorded != len(stored):
        if there.count() != len(stored):
            raise model.DoesNotExist(
                "No file is added: the row of one was deleted while the files were stored."
            )
        if buried := buried_names(model, names, using):
            raise named_by_tombstone(buried.pop())
        raise FileExistsError(
            "No file is added: another upload has stored one of these files, or has taken over "
            "its row after the grace time."
        )


def _by_pk(keys: Sequence[int], values: Sequence[Any], using: str) -> Func:
    """Return the expression of each row's value, as text, by primary keys.

    It is one parameter: ``bulk_update()`` would compare each row with each key.
    """
    template, joiner = "(%(expressions)s)", "::jsonb ->> "
    if connections[using].vendor == "sqlite":
        template, joiner = "json_extract(%(expressions)s || '\"')", ", '$.\"' || "
    both = Value(json.dumps(dict(zip(keys, values, strict=True)))), Cast("pk", TextField())
    return Func(*both, template=template, arg_joiner=joiner, output_field=TextField())
