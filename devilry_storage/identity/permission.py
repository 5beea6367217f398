"""Decide whether this site may remove files from a store."""

from __future__ import annotations

import logging
import time
from datetime import datetime, timedelta, timezone
from typing import NamedTuple

from django.core.exceptions import ImproperlyConfigured

from ..db.transactions import is_in_test_case
from ..exceptions import StoreNotRecognised
from ..registry import FileModel, file_models
from .marks import Mark, Site, create_site, note_site, read_site
from .process_cache import PAUSE, Permitted, permitted
from .recognition import Identity, difference, settle
from .sites import digests
from .stores import MarkedStore, marked

logger = logging.getLogger("devilry_storage")

_NOTED_EVERY = timedelta(days=1)

_REMEDY = "If it is the right store, run manage.py deliverystore_identity --accept --store {}"


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
    if found is None:
        return
    if (last := permitted.get(found.key)) is not None:
        permitted[found.key] = last._replace(site=_note(found, last.site))


def _note(found: MarkedStore, site: Site) -> Site:
    now = current_time()
    if site.removed is not None and site.removed > now - _NOTED_EVERY:
        return site
    try:
        note_site(found.own, site.digest, now)
    except OSError as exception:
        # The removal goes on: it may be what frees space on a full disk.
        logger.warning(
            "%s cannot record that this site removes files: %r", found.name, str(exception)
        )
    return site._replace(removed=now)


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
