"""Bury the rows that Django is about to delete, many at once."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from django.db import connections, models, transaction

from .._compat import batched
from ..db.rows import intend_to_write, lock_rows, stored_rows
from ..registry import FileModel
from ..schema import DELIVERY, declaring_model, foreign_key
from .burying import bury_rows

#: Maximum number of tombstones inserted at once.
BURIED_AT_ONCE = 500


def bury_before_delete(row: models.Model, using: str) -> None:
    """Bury a row before the next statement of the open transaction, which may be its DELETE.

    Django sends ``pre_delete`` for all rows of a delete before it deletes one, so they are buried
    together. Columns of the instance may be outdated. Raises TransactionManagementError if no
    transaction is open.
    """
    connection = connections[using]
    if not connection.in_atomic_block:
        raise transaction.TransactionManagementError(
            f"Cannot delete {row._meta.label} '{row.pk}' outside of a transaction, because its "
            "file is deleted with it: use transaction.atomic()."
        )
    block = connection.atomic_blocks[-1]
    burials = (one for one in connection.execute_wrappers if isinstance(one, _Burial))
    burial = next((one for one in burials if one.block is block), None)
    if burial is None:
        burial = _Burial(connection, block)
        # The first, because the end of a block of execute_wrapper() removes the last.
        connection.execute_wrappers.insert(0, burial)
    burial.rows.setdefault(declaring_model(type(row)), {})[row.pk] = row


class _Burial:
    """Rows of a block of atomic() that are buried before the next statement of its connection.

    It is one of the connection's ``execute_wrappers`` until then.
    """

    def __init__(self, connection: Any, block: transaction.Atomic) -> None:
        self.connection = connection
        self.block = block
        self.rows: dict[FileModel, dict[Any, models.Model]] = {}

    def __call__(self, execute: Callable[..., Any], *statement: Any) -> Any:
        wrappers = self.connection.execute_wrappers
        # Otherwise Django refuses the statement, or the rows are buried already.
        if not self.connection.needs_rollback and self in wrappers:
            wrappers.remove(self)
            if self.block in self.connection.atomic_blocks:  # otherwise the delete has failed
                using = self.connection.alias
                # The statement may be that of a receiver which ignores its failure.
                with transaction.mark_for_rollback_on_error(using):
                    for model, rows in self.rows.items():
                        _bury_all(model, rows, using)
        return execute(*statement)


def _bury_all(model: FileModel, instances: Mapping[Any, models.Model], using: str) -> None:
    """Lock the deliveries and then the rows of instances, and bury the rows that have content."""
    to_delivery = foreign_key(model, DELIVERY)
    most = max(1, connections[using].ops.bulk_batch_size(["pk"], [*instances]))
    deliveries: dict[Any, Any] = {}

    def lock_deliveries(values: Iterable[Any]) -> None:
        new = {value for value in values if value is not None} - deliveries.keys()
        target = to_delivery.target_field.attname
        for batch in batched(new, most):
            found = stored_rows(to_delivery.related_model, using)
            locked = lock_rows(found.filter(**{f"{target}__in": batch}))
            deliveries.update((getattr(delivery, target), delivery) for delivery in locked)

    batches = [stored_rows(model, using).filter(pk__in=pks) for pks in batched(instances, most)]
    if to_delivery is not None:
        column = to_delivery.attname
        known = [row.__dict__[column] for row in instances.values() if column in row.__dict__]
        if len(known) < len(instances):  # the column is deferred
            for rows in batches:
                intend_to_write(rows, using)
                known += rows.values_list(column, flat=True)
        lock_deliveries(known)
    for rows in batches:
        buried: list[Any] = [row for row in lock_rows(rows) if row.content]
        if to_delivery is not None:  # that of a row may have changed
            lock_deliveries(getattr(row, column) for row in buried)
        for some in batched(buried, BURIED_AT_ONCE):
            bury_rows(some, deliveries, using)
