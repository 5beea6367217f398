"""Report the identity of a store, and let this site remove files from it."""

from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from django.utils import timezone

from ..exceptions import StoreInUse, StoreNotRecognised
from ..registry import FileModel
from ..tables import StoreMark
from .marks import Mark, Site, create_site, read_sites
from .permission import current_time, permit
from .recognition import doubt, make_mark, newest_files, read_identity, settle
from .stores import MarkedStore, digests, marked

#: How long a site cannot be accepted after another site has removed files.
IN_USE = timedelta(days=7)


class Status(NamedTuple):
    """The identity of a store.

    ``problem`` is why this site may not remove files, ``""`` if it may. ``own`` are the digests
    of this site; those of ``sites`` that have one of them are this site.
    """

    mark: Mark | None
    remembered: StoreMark | None
    sites: list[Site]
    own: list[str]
    problem: str


class Summary(NamedTuple):
    """The UUID that the database remembers, None for none, and ``problem`` as in `Status`."""

    uuid: UUID | None
    problem: str


def status(model: FileModel, using: str) -> Status | None:
    """Return the identity of the model's store, None if it has none.

    Writes nothing. Errors of the store propagate.
    """
    found = marked(model, using)
    if found is None:
        return None
    mark, remembered = read_identity(found)
    known = mark or remembered
    is_new = known is None and not newest_files(found).looked_up
    return Status(
        mark,
        remembered,
        list(read_sites(found.own)),
        [] if known is None else digests(known.uuid, using),
        "" if is_new else permit(found, dry=True)[0],
    )


def summary(model: FileModel, using: str) -> Summary | None:
    """Return which mark is remembered and whether this site may remove files.

    Returns None if no mark is remembered and no recorded file is missing. Writes nothing.
    """
    found = marked(model, using)
    if found is None:
        return None
    remembered = found.remembered()
    if remembered is not None:
        return Summary(remembered.uuid, permit(found, dry=True)[0])
    try:
        settle(found, dry=True)
    except StoreNotRecognised as exception:
        return Summary(None, str(exception))
    except OSError:
        return None  # other checks report a store that fails
    return None


# -- Accepting --


def accept(model: FileModel, using: str, *, force: bool = False) -> StoreMark:
    """Let this site remove files from the model's store, and remember the store's mark.

    A missing mark is made. Other sites keep their permissions. Unless ``force``, raises:

    - StoreNotRecognised if the files of the newest rows are not in the store;
    - StoreInUse if another site removed files in the last 7 days.

    Raises ValueError for a store without identity. Errors of the store propagate.
    """
    found = marked(model, using)
    if found is None:
        raise ValueError(f"The store of {model._meta.label} has no identity to accept.")
    identity = read_identity(found)
    mark, remembered = identity
    if not force:
        files = newest_files(found)
        if files.most_are_missing:
            raise StoreNotRecognised(doubt(found, identity, files))
        known = mark or remembered
        _refuse_in_use(found, [] if known is None else digests(known.uuid, using))
    if mark is None:
        mark = make_mark(found, remembered)
    create_site(found.own, digests(mark.uuid, using)[0])
    now = timezone.now()
    accepted: StoreMark
    accepted, _created = StoreMark.objects.using(using).update_or_create(
        alias=found.alias,
        location=found.store.location_text(),
        defaults={"uuid": mark.uuid, "remembered": now, "accepted": now},
    )
    return accepted


def _refuse_in_use(found: MarkedStore, own: list[str]) -> None:
    since = current_time() - IN_USE
    for site in read_sites(found.own):
        if site.digest not in own and site.removed is not None and site.removed > since:
            raise StoreInUse(
                f"{found.name} is in use: site {site.digest[:8]} removed files on "
                f"{site.removed:%Y-%m-%d}, less than {IN_USE.days} days ago. If that was this "
                "site with another SECRET_KEY or database, or if both sites should remove files, "
                "run manage.py deliverystore_identity --accept --force."
            )


def accepted_at(model: FileModel, using: str) -> datetime | None:
    """Return when this site was accepted for the model's store, or None."""
    found = marked(model, using)
    remembered = None if found is None else found.remembered()
    return None if remembered is None else remembered.accepted
