"""Which database a row is written to."""

from django.db import models, router


def databases_with(model: type[models.Model], using: str) -> set[str]:
    """Return the databases that may have rows of a model.

    These are the one to which the routers send its writes, and this one unless they do not allow
    the model there.
    """
    databases = {router.db_for_write(model)}
    if router.allow_migrate_model(using, model):
        databases.add(using)
    return databases


def database_of(row: models.Model) -> str:
    """Return the alias of the database to which the routers send writes of the row.

    It may have been read from another one, such as a replica.
    """
    return router.db_for_write(type(row), instance=row)
