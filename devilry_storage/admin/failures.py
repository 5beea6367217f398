"""What the admin says of what failed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import DataError, IntegrityError, OperationalError
from django.utils.translation import gettext as _

from ..error_messages import database_reason
from ..exceptions import DeliveryFileNotFound

#: What a database raises for what was sent, or because of what others do at the same time.
OF_THE_DATABASE = (IntegrityError, OperationalError, DataError, OverflowError)


class NotSaved(Exception):
    """What a page was asked to do was not done, and is rolled back; the text tells why."""


@contextmanager
def storing() -> Iterator[None]:
    """Make whatever fails while files are stored a NotSaved, whichever backend raises what."""
    try:
        yield
    except NotSaved:
        raise
    except Exception as exception:
        raise NotSaved(reason(exception)) from exception


def reason(exception: BaseException) -> str:
    """Return why something failed, for whoever works in the admin."""
    if why := database_reason(exception):
        return why
    if isinstance(exception, DeliveryFileNotFound):
        return f"{exception.strerror} '{exception.filename}'"
    if isinstance(exception, OSError) and exception.strerror:
        return _("the delivery store failed: %(error)s") % {"error": exception.strerror}
    return str(exception).rstrip(".") or type(exception).__name__


def told_of(exception: Exception) -> str:
    """Return the message about a form or action that failed."""
    if isinstance(exception, OperationalError):  # perhaps only the reply to COMMIT was lost
        return _("The database failed or is busy: look whether this was saved, and try again.")
    why = str(exception) if isinstance(exception, NotSaved) else reason(exception)
    return _("Nothing was saved: %(reason)s.") % {"reason": why}
