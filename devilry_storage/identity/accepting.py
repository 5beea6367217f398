"""Let this site remove files from a store whose mark another site has made."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.utils import timezone

from ..exceptions import StoreInUse, StoreNotRecognised
from ..registry import FileModel
from ..tables import StoreMark
from .marks import create_site, read_sites
from .permission import current_time
from .recognition import doubt, make_mark, newest_files, read_identity
from .sites import digests
from .stores import MarkedStore, marked

#: How long a site cannot be accepted after another site has removed files.
IN_USE = timedelta(days=7)


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
