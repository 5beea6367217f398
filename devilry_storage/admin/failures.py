"""Failures as users of the admin see them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import DataError, IntegrityError, OperationalError
from django.utils.translation import gettext as _

from ..error_messages import database_reason
from ..exceptions import DeliveryFileNotFound

#: Database errors that are caused by the submitted values or by concurrent changes.
DATABASE_ERRORS = (IntegrityError, OperationalError, DataError, OverflowError)


class NotSaved(Exception):
    """The page was not saved, and its transaction is rolled back; the text is the reason."""


@contextmanager
def storing() -> Iterator[None]:
    """Raise NotSaved if the block fails, whatever the storage backend raises."""
    try:
        yield
    except NotSaved:
        raise
    except Exception as exception:
        raise NotSaved(reason(exception)) from exception


def reason(exception: BaseException) -> str:
    """Return why something failed, in words for staff."""
    if why := database_reason(exception):
        return why
    if isinstance(exception, DeliveryFileNotFound):
        return f"{exception.strerror} '{exception.filename}'"
    if isinstance(exception, OSError) and exception.strerror:
        return _("the delivery store failed: %(error)s") % {"error": exception.strerror}
    return str(exception).rstrip(".") or type(exception).__name__


def failure_message(exception: Exception) -> str:
    """Return the message about a form or an action that failed."""
    if isinstance(exception, OperationalError):  # perhaps only the reply to COMMIT was lost
        return _(
            "The database failed or is busy: check whether your changes were saved before trying "
            "again."
        )
    why = str(exception) if isinstance(exception, NotSaved) else reason(exception)
    return _("Nothing was saved: %(reason)s.") % {"reason": why}
