"""Which database a row is written to."""

from __future__ import annotations

from django.db import models, router


def database_of(row: models.Model) -> str:
    """Return the alias of the database to which the routers send writes of the row.

    It may have been read from another one, such as a replica.
    """
    return router.db_for_write(type(row), instance=row)
