"""Error messages for users. Details are only logged."""

import errno

from django import db
from django.core.exceptions import ObjectDoesNotExist
from django.utils.translation import gettext as _

from .exceptions import DeliveryIncomplete, DeliveryStateError

#: Exceptions that storing a file may raise although the code is correct; see the manual's page of
#: exceptions.
EXPECTED = (OSError, db.Error, DeliveryStateError, ObjectDoesNotExist)

#: Maximum number of filenames in a message.
_MAX_FILENAMES = 10

#: Exceptions after which a transaction may be committed, because only the reply was lost.
UNCERTAIN = (db.OperationalError, db.InterfaceError)


def database_reason(exception: BaseException) -> str:
    """Return why a database operation failed, or ``""`` for other exceptions."""
    if isinstance(exception, db.IntegrityError):
        return _(
            "the same data was changed at the same time by another user; check it and try again"
        )
    if isinstance(exception, (db.DataError, OverflowError)):
        return _("a value is too large or invalid for the database")
    if isinstance(exception, db.DatabaseError):
        return _("the database failed or is busy; try again")
    return ""


def delivery_failure(exception: BaseException) -> str:
    """Return the message for a user whose delivery could not be stored.

    It does not contain names of servers, buckets or folders.
    """
    if isinstance(exception, UNCERTAIN):
        return _(
            "The database failed or is busy: check whether your delivery was recorded before "
            "trying again."
        )
    filename = getattr(exception, "being_stored", "")
    text = _("Nothing was delivered, because %(reason)s.")
    if filename:
        text = _("Nothing was delivered: “%(filename)s” was not stored, because %(reason)s.")
    return text % {"reason": _delivery_reason(exception), "filename": filename}


def _delivery_reason(exception: BaseException) -> str:
    if isinstance(exception, OSError):
        if exception.errno in {errno.ENOSPC, errno.EDQUOT}:
            return _("the server has no space left; please contact the administrators")
        if isinstance(exception, (ConnectionError, TimeoutError)):
            return _("the file storage does not respond; try again later")
        return _("the file storage failed; try again or contact the administrators")
    if isinstance(exception, DeliveryIncomplete) and exception.filenames:
        text = _(
            "the file storage did not save %(filenames)s; try again or contact the administrators"
        )
        filenames = ", ".join(f"“{filename}”" for filename in exception.filenames[:_MAX_FILENAMES])
        return text % {"filenames": filenames}
    return database_reason(exception) or str(exception).rstrip(".")
