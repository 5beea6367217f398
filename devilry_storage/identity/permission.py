"""Decide whether this site may store files in a store, and remove files from it.

The results are remembered for a while in this process.
"""

import logging
import time
from collections.abc import Hashable
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple

from django.core.exceptions import ImproperlyConfigured

from ..db.transactions import has_transaction, is_in_test_case
from ..exceptions import StoreNotRecognised
from ..registry import FileModel, file_models
from ..storages.protocols import OwnObjects
from .marks import Mark, Site, create_site, note_site, read_site
from .recognition import Identity, difference, settle
from .stores import MarkedStore, digests, marked

logger = logging.getLogger("devilry_storage")

#: How long, in seconds, saves do not check a store again after it failed to respond, and how long
#: a delete without retention relies on a permission to remove files.
PAUSE = 300

_NOTED_EVERY = timedelta(days=1)

_REMEDY = "If it is the right store, run manage.py deliverystore_identity --accept --store {}"


class Checked(NamedTuple):
    """The last check before a save.

    ``until`` is the time of the monotonic clock until which it counts, 0 for no limit. A check
    that ``is_settled`` counts as long as the same ``volume`` is there.
    """

    own: OwnObjects
    volume: Hashable
    until: float
    is_settled: bool


class Permitted(NamedTuple):
    """A permission to remove files.

    It counts until a time of the monotonic clock, as long as the same volume is there. ``site``
    is this site's object in the store.
    """

    until: float
    volume: Hashable
    site: Site


#: The last checks and permissions, by `MarkedStore.key`.
checked: dict[Hashable, Checked] = {}
permitted: dict[Hashable, Permitted] = {}


def forget(*, using: str, **kwargs: Any) -> None:
    """Clear the caches. Connected to ``post_migrate``, which follows a flush, too."""
    permitted.clear()
    for key, check in list(checked.items()):
        check.own.expect(known=False)
        checked.pop(key, None)


# -- Storing --


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


# -- Removing --


class Permission(NamedTuple):
    """Whether files may be removed from a store.

    ``problem`` is the reason why not, ``""`` if they may. ``is_recognised`` is False for a store
    without identity: only its files can show that it is the right one.
    """

    problem: str
    is_recognised: bool


def before_removing(
    model: FileModel, using: str, *, dry: bool = False, lately: bool = False
) -> Permission:
    """Return whether this site may remove files from the model's store.

    The store's mark is made and remembered as before a save, unless ``dry``. With ``lately`` a
    permission of the last `PAUSE` seconds is enough, as long as the same disk is there.
    """
    found = marked(model, using)
    if found is None or is_in_test_case(using):
        return Permission("", is_recognised=False)
    last = permitted.get(found.key) if lately else None
    if last and time.monotonic() < last.until and found.own.volume() == last.volume:
        return Permission("", is_recognised=True)
    problem, site = permit(found, dry=dry)
    permitted.pop(found.key, None)
    if site is not None:
        permitted[found.key] = Permitted(time.monotonic() + PAUSE, found.own.volume(), site)
    return Permission(problem, is_recognised=True)


def is_same_disk(model: FileModel, using: str) -> bool:
    """Return whether the disk is the one for which removing was last permitted."""
    found = marked(model, using)
    if found is None:
        return True
    last = permitted.get(found.key)
    return last is None or found.own.volume() == last.volume


def note_removal(model: FileModel, using: str) -> None:
    """Record in the store, once a day, that this site has removed files."""
    found = marked(model, using)
    last = None if found is None else permitted.get(found.key)
    if found is None or last is None:
        return
    site, now = last.site, current_time()
    if site.removed is not None and site.removed > now - _NOTED_EVERY:
        return
    try:
        note_site(found.own, site.digest, now)
    except OSError as exception:
        # The removal goes on: it may be what frees space on a full disk.
        logger.warning(
            "%s cannot record that this site removes files: %r", found.name, str(exception)
        )
    permitted[found.key] = last._replace(site=site._replace(removed=now))


def current_time() -> datetime:
    """Return the time with a time zone, even if USE_TZ is False: sites may differ in that."""
    return datetime.now(tz=timezone.utc)


def permit(found: MarkedStore, *, dry: bool) -> tuple[str, Site | None]:
    """Return why this site may not remove files, or its object in the store."""
    try:
        identity = settle(found, removing=True, dry=dry)
        if dry and identity.mark is None:
            return "", None  # a removal would make the mark
        problem = _mark_problem(found, identity, dry=dry) or _alias_problem(found, identity)
        if problem:
            return problem, None
        assert identity.mark is not None
        site = _own_site(found, identity.mark, dry=dry)
    except StoreNotRecognised as exception:
        return str(exception), None
    except OSError as exception:
        return f"the store cannot be checked ({exception})", None
    if site is not None:
        return "", site
    return (
        f"{found.name} does not know this site, or knows it by another SECRET_KEY or database; "
        "only sites that it knows may remove files. If this site should remove files, run "
        f"manage.py deliverystore_identity --accept --store {found.alias}"
    ), None


def _mark_problem(found: MarkedStore, identity: Identity, *, dry: bool) -> str:
    if identity.matches:
        return ""
    mark, remembered = identity
    if mark is not None and remembered is None and dry:
        return ""  # a removal would remember it
    if mark is not None and remembered is not None:
        return f"{difference(found, identity)}. {_REMEDY.format(found.alias)}"
    # Nothing may be written in the caller's transaction.
    return (
        f"{difference(found, identity)} yet. The next file that is stored outside a transaction "
        "makes and remembers it, and so does manage.py purge_deliveries"
    )


def _alias_problem(found: MarkedStore, identity: Identity) -> str:
    """Return an error message if another alias in the settings names the same store."""
    assert identity.mark is not None
    for model in file_models():
        try:
            other = marked(model, found.using)
        except ImproperlyConfigured:
            continue
        if other is None or other.alias == found.alias:
            continue
        remembered = other.remembered()
        is_same = remembered is not None and remembered.uuid == identity.mark.uuid
        if is_same or other.own.location == found.own.location:
            return (
                f"The aliases {found.alias!r} and {other.alias!r} name the same store "
                f"({found.store.location_text()}), so that files of one are unknown to the "
                "other. Give each alias its own location, or use one alias for all models"
            )
    return ""


def _own_site(found: MarkedStore, mark: Mark, *, dry: bool) -> Site | None:
    """Return this site's object in the store, or None.

    A site that the store knows by an earlier key is stored under the current one, too.
    """
    own = digests(mark.uuid, found.using)
    current, *earlier = own
    if site := read_site(found.own, current):
        return site
    if mark.site not in own and not any(read_site(found.own, digest) for digest in earlier):
        return None
    if not dry:
        create_site(found.own, current)
    return Site(current, None)
