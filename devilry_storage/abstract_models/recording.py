"""Record the first content of a row by one statement, which needs no look-up before it."""

from collections.abc import Mapping
from typing import Any

from django.db import connections

from ..db.transactions import around_statement
from ..fields import SAVED_CONTENT, StoredName
from ..schema import DELIVERY, declaring_model, foreign_key
from ..signals import file_stored, has_receivers, send_after_commit
from ..tables import Tombstone
from .delivery import AbstractDelivery

_UPDATE = """
UPDATE {files} SET {content} = %s, {size} = %s, {sha256} = %s, {verified_at} = NULL
WHERE {pk} = %s AND {content} IS NULL{unchanged}
AND NOT EXISTS (SELECT 1 FROM {tombstones} AS devilry_t WHERE devilry_t.name = %s)
AND EXISTS (
    SELECT 1 FROM {deliveries} AS devilry_d
    WHERE devilry_d.{target} = {files}.{delivery} AND NOT devilry_d.{successful}{lock}
)
"""

# The lock never waits: while it waited, the statement would not see tombstones that are committed.
# At other levels a lock is not enough, see lock_row().
_POSTGRES = {
    "lock": " FOR NO KEY UPDATE SKIP LOCKED",
    "level": "AND current_setting('transaction_isolation') = 'read committed'",
}


def record_at_once(
    row: Any, only: Mapping[str, Any], using: str, name: str, size: int, sha256: str
) -> bool:
    """Record content unless the row has content, and return whether this was possible.

    It is not possible if the row has not the value of ``created`` in ``only``, if a tombstone has
    the name, or if the delivery is finished or locked. Then nothing is changed. Nothing is tried
    for models of which the statement does not know all, such as those with receivers.
    """
    meta: Any = declaring_model(type(row))._meta
    to_delivery = foreign_key(meta.model, DELIVERY)
    delivery: Any = None if to_delivery is None else to_delivery.related_model
    if (
        delivery is None
        or meta.parents
        or delivery._meta.concrete_model._meta.parents
        or getattr(delivery, "refuse_finished", None) is not AbstractDelivery.refuse_finished
        or has_receivers(type(row))
    ):
        return False
    connection = connections[using]
    values = {"content": StoredName(name), "size": size, "sha256": sha256, "pk": row.pk}
    unchanged = ""
    if "created" in only:
        values["created"], unchanged = only["created"], " AND {created} = %s"
    fields = {field.name: field for field in meta.concrete_fields} | {"pk": meta.pk}
    columns = {key: field.column for key, field in fields.items()} | {
        "files": meta.db_table,
        "tombstones": Tombstone._meta.db_table,
        "deliveries": delivery._meta.db_table,
        "delivery": to_delivery.column,
        "target": to_delivery.target_field.column,
        "successful": delivery._meta.get_field("successful").column,
    }
    quoted = {key: connection.ops.quote_name(column) for key, column in columns.items()}
    extra = _POSTGRES if connection.vendor == "postgresql" else {"lock": "", "level": ""}
    sql = (_UPDATE.replace("{unchanged}", unchanged) + extra["level"]).format(**quoted, **extra)
    saved = [fields[key].get_db_prep_save(value, connection) for key, value in values.items()]
    with around_statement(using), connection.cursor() as cursor:
        cursor.execute(sql.strip(), [*saved, name])
        if not cursor.rowcount:
            return False
        row._set_content(name, size, sha256)
        row.__dict__.pop(SAVED_CONTENT, None)
        send_after_commit(file_stored, row, using, name=name, size=size)
        return True
