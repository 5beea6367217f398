"""What people are told of what failed: not more than helps them; the log has the rest."""

from __future__ import annotations

import errno

from django.core.exceptions import ObjectDoesNotExist
from django.db import (
    DatabaseError,
    DataError,
    Error,
    IntegrityError,
    InterfaceError,
    OperationalError,
)
from django.utils.translation import gettext as _

from .exceptions import DeliveryIncomplete, DeliveryStateError

#: What storing raises where nothing is wrong with the code: see the manual's page of exceptions.
EXPECTED = (OSError, Error, DeliveryStateError, ObjectDoesNotExist)

#: So many files are named at most.
_MOST_NAMED = 10

#: Perhaps only the reply to COMMIT was lost.
UNCERTAIN = (OperationalError, InterfaceError)


def database_reason(exception: BaseException) -> str:
    """Return why a database failed, ``""`` for what is no failure of a database."""
    if isinstance(exception, IntegrityError):
        return _("somebody changed the same rows meanwhile; look at them, and try again")
    if isinstance(exception, (DataError, OverflowError)):
        return _("there is a value that the database cannot hold")
    if isinstance(exception, DatabaseError):
        return _("the database failed or is busy; try again")
    return ""


def delivery_failure(exception: BaseException) -> str:
    """Return what somebody is told whose delivery could not be stored.

    Names of servers, buckets and folders are none of it.
    """
    if isinstance(exception, UNCERTAIN):
        return _("The database failed or is busy: look whether this was delivered, and try again.")
    filename = getattr(exception, "being_stored", "")
    text = _("Nothing was delivered, because %(reason)s.")
    if filename:
        text = _("Nothing was delivered: “%(filename)s” was not stored, because %(reason)s.")
    return text % {"reason": _delivery_reason(exception), "filename": filename}


def _delivery_reason(exception: BaseException) -> str:
    if isinstance(exception, OSError):
        if exception.errno in {errno.ENOSPC, errno.EDQUOT}:
            return _("the store of the deliveries is full; tell those who run this site")
        if isinstance(exception, (ConnectionError, TimeoutError)):
            return _("the store of the deliveries does not answer; try again later")
        return _("the store of the deliveries failed; try again, or tell those who run this site")
    if isinstance(exception, DeliveryIncomplete) and exception.filenames:
        text = _(
            "the store of the deliveries did not keep %(filenames)s; try again, or tell those who "
            "run this site"
        )
        filenames = ", ".join(f"“{each}”" for each in exception.filenames[:_MOST_NAMED])
        return text % {"filenames": filenames}
    return database_reason(exception) or str(exception).rstrip(".")
