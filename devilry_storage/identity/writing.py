"""Check, before a file is stored, that the store is the one that has the files of the rows."""

from __future__ import annotations

import logging
import time

from ..db.transactions import has_transaction, is_in_test_case
from ..exceptions import StoreNotRecognised
from ..registry import FileModel
from ..storages.protocols import OwnObjects
from .process_cache import PAUSE, Checked, checked
from .recognition import settle
from .stores import MarkedStore, marked

logger = logging.getLogger("devilry_storage")


def check_writing(model: FileModel, using: str) -> None:
    """Raise StoreNotRecognised if the store does not seem to be that of the model's rows.

    A missing mark is made and remembered if the rows permit it. A store that fails to respond is
    only logged. In a test case that rolls back, nothing is checked or made.
    """
    found = marked(model, using)
    if found is None:
        return
    if is_in_test_case(using):
        found.own.expect(known=False)
        return
    if not _is_fresh(checked.get(found.key), found.own, using):
        checked[found.key] = _check(found)


def _is_fresh(last: Checked | None, own: OwnObjects, using: str) -> bool:
    if last is None:
        return False
    if last.until:
        return time.monotonic() < last.until
    return own.volume() == last.volume and (last.is_settled or has_transaction(using))


def _check(found: MarkedStore) -> Checked:
    try:
        identity = settle(found)
        found.own.expect(known=identity.mark is not None)
    except StoreNotRecognised:
        raise
    except OSError as exception:
        logger.warning(
            "%s cannot be recognised; files are stored anyway: %r", found.name, str(exception)
        )
        return Checked(found.own, None, time.monotonic() + PAUSE, is_settled=False)
    is_settled = identity.mark is not None and identity.remembered is not None
    return Checked(found.own, found.own.volume(), 0, is_settled)
