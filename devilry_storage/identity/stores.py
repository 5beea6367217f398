"""Stores that can have a mark, and the digests by which they recognise this site."""

import hashlib
import hmac
import json
import logging
from collections.abc import Hashable
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.utils.encoding import force_bytes

from ..conf import conf
from ..registry import FileModel, sharing
from ..resolving import resolve
from ..schema import declaring_model
from ..storages.base import DeliveryStoreMixin
from ..storages.protocols import OwnObjects
from ..tables import StoreMark, Tombstone

logger = logging.getLogger("devilry_storage")

_SYSTEM = "SELECT system_identifier::text FROM pg_catalog.pg_control_system()"
_DATABASE = """
SELECT has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE'),
       current_database(), to_regclass(%s)::oid::bigint
"""


class MarkedStore(NamedTuple):
    """A store that can have a mark, for a model and the rows of one database.

    ``own`` are the store's own objects. ``given_alias`` is ``""`` for a store without an alias.
    """

    model: FileModel
    using: str
    store: DeliveryStoreMixin
    own: OwnObjects
    given_alias: str

    @property
    def alias(self) -> str:
        """The store's alias, or the label of the first model that uses a store without one."""
        return self.given_alias or min(
            model._meta.label_lower for model in sharing(self.model, self.store, strict=False)
        )

    @property
    def key(self) -> Hashable:
        """The key of the store in the caches of this process."""
        return self.own.location, self.model, self.using

    @property
    def name(self) -> str:
        """The store's alias and location, as the start of a sentence."""
        return f"The store {self.alias!r} ({self.store.location_text()})"

    def remembered(self) -> StoreMark | None:
        """Return the mark that the database remembers at this location, or None."""
        marks = StoreMark.objects.using(self.using)
        mark: StoreMark | None = marks.filter(
            alias=self.alias, location=self.store.location_text()
        ).first()
        return mark


def marked(model: FileModel, using: str) -> MarkedStore | None:
    """Return the model's store if it can have a mark, otherwise None.

    A store that the class attribute ``deliverystore`` sets, as tests do, has no mark.
    """
    declaring = declaring_model(model)
    if getattr(declaring, "deliverystore", None) is not None:
        return None
    store, alias = resolve(model)
    own = store.own_objects
    return None if own is None else MarkedStore(declaring, using, store, own, alias)


# -- This site --


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
