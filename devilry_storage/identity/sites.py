"""Compute the digest by which a store recognises a site, that is one database and key."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.utils.encoding import force_bytes

from ..conf import conf
from ..tables import Tombstone

logger = logging.getLogger("devilry_storage")

_SYSTEM = "SELECT system_identifier::text FROM pg_catalog.pg_control_system()"
_DATABASE = """
SELECT has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE'),
       current_database(), to_regclass(%s)::oid::bigint
"""


def digests(uuid: UUID, using: str) -> list[str]:
    """Return the digests of this site for the store with this UUID, the current one first.

    The others are made with earlier keys (``SECRET_KEY_FALLBACKS``).
    """
    message = json.dumps([str(uuid), *_database(using)]).encode()
    return [hmac.new(key, message, hashlib.sha256).hexdigest() for key in _keys()]


def _keys() -> list[bytes]:
    if conf.delivery_store_site is not None:
        return [conf.delivery_store_site.encode()]
    try:
        current = settings.SECRET_KEY
    except ImproperlyConfigured:
        current = ""  # a script may have no key
    return [force_bytes(key) for key in (current, *settings.SECRET_KEY_FALLBACKS)]


def _database(using: str) -> list[Any]:
    """Return values that differ in a database into which a dump is restored."""
    connection = connections[using]
    if connection.vendor != "postgresql":
        return []
    table = connection.ops.quote_name(Tombstone._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(_DATABASE, [table])
        row: list[Any] = list(cursor.fetchone())
        may_execute, *known = row
        if may_execute:
            cursor.execute(_SYSTEM)
            known += cursor.fetchone()
        else:
            logger.warning(
                "The user of database %r may not execute pg_control_system(), so sites are "
                "recognised by database name and table OID alone. Run GRANT EXECUTE ON FUNCTION "
                "pg_control_system() for that user, then deliverystore_identity --accept.",
                using,
            )
    return known
