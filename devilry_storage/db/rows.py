"""Read and lock rows as they are stored, and undo changes if a block raises."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from django.db import connections, models, transaction
from django.db.models import F, Func, Value
from django.db.models.base import ModelState

from .._compat import add_note
from ..fields import DeliveryFileField

M = TypeVar("M", bound=models.Model)

#: Name of the annotation, which no field of a site should have.
_ISOLATION = "devilry_storage_isolation"
_REPEATABLE = "repeatable read"


def stored_rows(model: type[M], using: str | None) -> models.QuerySet[M]:
    """Return all rows of a model, whatever managers the site has.

    A manager may hide rows, or return instances of other classes. The rows are not ordered:
    ``Meta.ordering`` may join other tables, whose rows would be locked, too.
    """
    return cast(models.QuerySet[M], models.QuerySet(model, using=using).order_by())


def plain_instances(
    rows: models.QuerySet[M], columns: Collection[str] | None = None
) -> Iterator[M]:
    """Yield instances that have only the values of the database.

    No code of the site creates them: a constructor, a descriptor or a receiver of ``post_init``
    may open other files or read columns that are not loaded. ``columns`` are the names of the
    fields to read besides the primary key, None for all; others than the model's are ignored.
    """
    fields = _fields(rows.model, columns)
    for values in rows.values_list(*(field.attname for field in fields)):
        yield _plain_instance(rows.model, fields, values, rows.db)


def _fields(model: type[M], columns: Collection[str] | None) -> list[Any]:
    return [
        field
        for field in model._meta.concrete_fields
        if columns is None or field.primary_key or field.name in columns
    ]


def _plain_instance(model: type[M], fields: list[Any], values: Sequence[Any], using: str) -> M:
    row = model.__new__(model)
    row._state = ModelState()
    for field, value in zip(fields, values, strict=True):
        if isinstance(field, DeliveryFileField):
            setattr(row, field.attname, value)
        else:
            row.__dict__[field.attname] = value
    row._state.adding, row._state.db = False, using
    return row


def other_files(model: type[models.Model]) -> set[str]:
    """Return the names of fields whose files are not in a delivery store.

    An ``ImageField`` may open its file when an instance is created, and fail if it is missing.
    """
    return {
        field.name
        for field in model._meta.concrete_fields
        if isinstance(field, models.FileField) and not isinstance(field, DeliveryFileField)
    }


def lock_row(
    model: type[M], key: Any, using: str, columns: Collection[str] | None = None, *, by: str = "pk"
) -> M | None:
    """Lock a row until the end of the transaction, and return it as it is now, or None.

    ``key`` is its value of the unique field ``by``. The row is one of `plain_instances`. Rows of
    its multi-table parents are locked, too.
    """
    return next(iter(lock_rows(stored_rows(model, using).filter(**{by: key}), columns)), None)


def lock_rows(rows: models.QuerySet[M], columns: Collection[str] | None = None) -> list[M]:
    """Lock `stored_rows`, in the order of their primary keys; see `lock_row`."""
    take_write_lock(rows, rows.db)
    fields = _fields(rows.model, columns)
    names = [field.attname for field in fields]
    # no_key: transactions that only refer to the row need not wait.
    locked = _with_isolation(rows, rows.db).order_by("pk").select_for_update(no_key=True)
    found = list(locked.values_list(*names, _ISOLATION))
    if found and found[0][-1] == _REPEATABLE:
        # A lock leaves no trace after COMMIT, but a write does: another transaction that has
        # read the row before then fails to lock it, instead of acting on outdated values.
        _write(rows)
    return [_plain_instance(rows.model, fields, values, rows.db) for *values, _level in found]


def _with_isolation(rows: models.QuerySet[M], using: str) -> models.QuerySet[M]:
    """Annotate the rows with the isolation level, without another statement."""
    level: Any = Value("", output_field=models.TextField())
    if connections[using].vendor == "postgresql":
        level = Func(
            Value("transaction_isolation"),
            function="current_setting",
            output_field=models.TextField(),
        )
    return cast(models.QuerySet[M], rows.annotate(**{_ISOLATION: level}))


def read_row(
    model: type[M], key: Any, using: str, columns: Collection[str] | None = None, *, by: str = "pk"
) -> M | None:
    """Return a row as it is now, as `lock_row` does, without a lock."""
    rows = stored_rows(model, using).filter(**{by: key})
    intend_to_write(rows, using)
    return next(plain_instances(rows, columns), None)


def row_and_related(field: Any, pk: Any, using: str, *, lock: bool) -> tuple[Any, Any] | None:
    """Return a row and the row to which its foreign key refers, by one statement, or None.

    They are as `read_row` or `lock_row` return them; the referred row is locked first. None means
    that one of them is missing, or that it takes several statements.
    """
    # Of a proxy, because the site may override its methods.
    related = field.related_model
    tables = field.model._meta.db_table, related._meta.db_table
    if (
        field.null
        or field.model._meta.parents
        or related._meta.concrete_model._meta.parents
        or any('"' in table for table in tables)  # in a schema, where FOR UPDATE OF fails
    ):
        return None
    rows = stored_rows(field.model, using).filter(pk=pk)
    both = _with_isolation(rows, using).select_related(field.name)
    if lock:
        take_write_lock(rows, using)
        both = both.select_for_update(no_key=True, of=(field.name, "self"))
    else:
        intend_to_write(rows, using)
    compiler: Any = both.query.get_compiler(using)
    for values in compiler.results_iter():
        row, other = (
            _plain_instance(
                model,
                [compiler.select[position][0].target for position in info["select_fields"]],
                [values[position] for position in info["select_fields"]],
                using,
            )
            for model, info in (
                (field.model, compiler.klass_info),
                (related, compiler.klass_info["related_klass_infos"][0]),
            )
        )
        if lock and values[compiler.annotation_col_map[_ISOLATION]] == _REPEATABLE:
            _write(stored_rows(related, using).filter(pk=other.pk))
            _write(rows)
        return row, other
    return None


def intend_to_write(rows: models.QuerySet[Any], using: str) -> None:
    """Wait for the write lock in a caller's transaction before rows are read.

    On SQLite, a transaction that has read cannot write after another one has written.
    """
    if connections[using].in_atomic_block:
        take_write_lock(rows, using)


def take_write_lock(rows: models.QuerySet[Any], using: str) -> None:
    """Take the write lock of a database without row locks.

    SQLite has no row locks, and Django ignores ``select_for_update`` there. An UPDATE takes the
    database's write lock before rows are read.
    """
    if not connections[using].features.has_select_for_update:
        _write(rows)


def _write(rows: models.QuerySet[Any]) -> None:
    pk = rows.model._meta.pk.name
    rows.update(**{pk: F(pk)})


def loaded_columns(instance: models.Model) -> frozenset[str]:
    """Return the names of the loaded fields, without primary keys and generated fields."""
    deferred = instance.get_deferred_fields()
    return frozenset(
        field.name
        for field in instance._meta.concrete_fields
        if not field.primary_key
        and field.attname not in deferred
        and not getattr(field, "generated", False)
    )


@contextmanager
def restored_on_error(instance: models.Model) -> Iterator[None]:
    """Restore the instance's attributes if the block raises, so that it can be tried again."""
    known = instance.__dict__.copy()
    state = instance._state
    adding, db, cache = state.adding, state.db, dict(state.fields_cache)
    try:
        yield
    except BaseException:
        instance.__dict__.clear()
        instance.__dict__.update(known)
        state.adding, state.db = adding, db
        state.fields_cache.clear()
        state.fields_cache.update(cache)
        raise


@contextmanager
def undone_on_error(undo: Callable[[], object], using: str | None, left: str) -> Iterator[None]:
    """Call ``undo`` if the block raises.

    If ``undo`` fails, too, a note on the exception names what may be ``left`` behind. Nothing is
    called in a transaction that can only be rolled back: the rollback undoes the changes.
    """
    try:
        yield
    except BaseException as exception:
        try:
            if not transaction.get_connection(using).needs_rollback:
                undo()
        except Exception as failure:  # noqa: BLE001  # the first exception matters
            add_note(exception, f"{left} may be left behind: {type(failure).__name__}: {failure}")
        raise
