"""Whether a store is the one in which the rows' files are stored, and who may remove them.

Writing asks for the files: it is refused only where the store's mark is missing or another
store's, and the files of the newest rows are missing, too. Removing asks for the mark: it needs
the UUID that the database remembers, and the object of this site in the store.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Hashable
from datetime import datetime, timedelta
from datetime import timezone as dt_timezone
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone

from ..db.transactions import has_transaction, is_in_test_case
from ..exceptions import StoreFailure, StoreInUse, StoreNotRecognised
from ..registry import FileModel, file_models, sharing
from ..resolving import resolve
from ..schema import declaring_model
from ..storages.base import DeliveryStoreMixin
from ..storages.protocols import OwnObjects
from ..tables.store_mark import StoreMark
from .marks import (
    Mark,
    Site,
    create_mark,
    create_site,
    new_mark,
    note_site,
    read_mark,
    read_site,
    read_sites,
)
from .sites import digests

logger = logging.getLogger("devilry_storage")

#: How many of the newest rows of each model are looked up in a store that is not recognised.
NEWEST = 10

#: For how long a store that could not be asked is not asked again by writers, and a permission
#: to remove files counts for a delete without retention, in seconds.
PAUSE = 300

#: How long the last removing run of another site keeps this one from being accepted.
IN_USE = timedelta(days=7)

_NOTED_EVERY = timedelta(days=1)

_REMEDY = "If it is the right store, run manage.py deliverystore_identity --accept --store {}"

_DOUBT_REMEDY = (
    "Mount the disk, or correct the settings of store and database. Only if the files were left "
    "behind on purpose, run manage.py deliverystore_identity --accept --force --store {}"
)


class Marked(NamedTuple):
    """A store that can have a mark, as a model uses it with the rows of one database."""

    model: FileModel
    using: str
    store: DeliveryStoreMixin
    own: OwnObjects
    given_alias: str

    @property
    def alias(self) -> str:
        """The store's alias, or the label of the first model that uses it where it has none."""
        return self.given_alias or min(
            model._meta.label_lower for model in sharing(self.model, self.store, strict=False)
        )

    @property
    def key(self) -> Hashable:
        """What this process remembers the store by."""
        return self.own.location, self.model, self.using

    @property
    def name(self) -> str:
        """Alias and location, as the start of a sentence."""
        return f"The store {self.alias!r} ({self.store.location_text()})"

    def remembered(self) -> StoreMark | None:
        """Return what the database remembers of the mark at this location."""
        marks = StoreMark.objects.using(self.using)
        mark: StoreMark | None = marks.filter(
            alias=self.alias, location=self.store.location_text()
        ).first()
        return mark


class Status(NamedTuple):
    """What is known of a store's identity.

    ``problem`` says why this site may not remove files, ``""`` if it may; ``own`` are the digests
    of this site among ``sites``.
    """

    alias: str
    location: str
    mark: Mark | None
    remembered: StoreMark | None
    sites: list[Site]
    own: list[str]
    problem: str


class Summary(NamedTuple):
    """The UUID that is remembered of a store, None for none; ``problem`` as in `Status`."""

    uuid: UUID | None
    problem: str


class _Look(NamedTuple):
    mark: Mark | None
    remembered: StoreMark | None


class _Seen(NamedTuple):
    """The last look of a writer: what it saw, until when it counts, and whether it is complete."""

    own: OwnObjects
    volume: Hashable
    until: float
    is_settled: bool


_seen: dict[Hashable, _Seen] = {}


class _Permitted(NamedTuple):
    """Until when a permission to remove counts, by the monotonic clock, and for which disk."""

    until: float
    volume: Hashable
    site: Site


_permitted: dict[Hashable, _Permitted] = {}


def marked(model: FileModel, using: str) -> Marked | None:
    """Return the model's store as one with a mark, None where it has none.

    A store that the class attribute ``deliverystore`` names, as tests do, has none.
    """
    declaring = declaring_model(model)
    if getattr(declaring, "deliverystore", None) is not None:
        return None
    store, alias = resolve(model)
    own = store.own_objects
    return None if own is None else Marked(declaring, using, store, own, alias)


def forget(*, using: str, **kwargs: Any) -> None:
    """Forget what was seen: the tables of a database were made or emptied."""
    _permitted.clear()
    for key, seen in list(_seen.items()):
        seen.own.expect(known=False)
        _seen.pop(key, None)


# -- Writing --


def check_writing(model: FileModel, using: str) -> None:
    """Raise StoreNotRecognised where the store seems not to be that of the model's rows.

    The store's mark is made, and remembered, where that is due. A store that cannot be asked is
    only logged. In a test case that rolls back, nothing is asked or made.
    """
    found = marked(model, using)
    if found is None:
        return
    if is_in_test_case(using):
        found.own.expect(known=False)
        return
    if not _is_fresh(_seen.get(found.key), found.own, using):
        _seen[found.key] = _looked(found)


def _is_fresh(seen: _Seen | None, own: OwnObjects, using: str) -> bool:
    if seen is None:
        return False
    if seen.until:
        return time.monotonic() < seen.until
    return own.volume() == seen.volume and (seen.is_settled or has_transaction(using))


def _looked(found: Marked) -> _Seen:
    """Look at the store before something is written."""
    try:
        look = _settle(found)
        found.own.expect(known=look.mark is not None)
    except StoreNotRecognised:
        raise
    except OSError as exception:
        logger.warning(
            "%s cannot be recognised, and files are stored all the same: %s",
            found.name,
            exception,
        )
        return _Seen(found.own, None, time.monotonic() + PAUSE, is_settled=False)
    is_settled = look.mark is not None and look.remembered is not None
    return _Seen(found.own, found.own.volume(), 0, is_settled)


# -- Recognising --


def _look_at(found: Marked) -> _Look:
    """Read the memory first: a mark is made before it is remembered, so it cannot seem lost."""
    remembered = found.remembered()
    return _Look(read_mark(found.own), remembered)


def _settle(found: Marked, *, removing: bool = False, dry: bool = False) -> _Look:
    """Return mark and memory, after making or remembering the mark where the rows permit it.

    In a caller's transaction, and if ``dry``, they are only compared. Raises StoreNotRecognised
    where the rows say that it is another store, OSError where it cannot be asked.
    """
    mark, remembered = _look_at(found)
    if mark is not None and remembered is not None and mark.uuid == remembered.uuid:
        return _Look(mark, remembered)
    looked, there = _newest_rows(found)
    # No row speaks for or against it: then a mark that was there says that it is another place.
    lost = mark is None and not looked and remembered is not None
    doubtful = removing and mark is None and not looked and not _is_new(found)
    if 2 * there < looked or lost or doubtful:
        raise StoreNotRecognised(_doubt(found, mark, remembered, looked, there))
    if dry or has_transaction(found.using):
        return _Look(mark, remembered)
    if mark is None:
        mark = _make(found, remembered)
    if remembered is None:
        remembered = _remember(found, mark.uuid)
    elif remembered.uuid != mark.uuid:
        logger.warning("%s; the rows' files are there.", _difference(found, mark, remembered))
    return _Look(mark, remembered)


def _newest_rows(found: Marked) -> tuple[int, int]:
    """Return how many of the newest stored rows were looked up, and how many have their file."""
    looked = there = 0
    for model in sharing(found.model, found.store, strict=False):
        rows = model._base_manager.using(found.using).filter(content__isnull=False)
        for name in rows.order_by("-pk").values_list("content", flat=True)[:NEWEST]:
            looked += 1
            there += found.store.exists(name)
    return looked, there


def _is_new(found: Marked) -> bool:
    """Return whether a store that never had a mark has files."""
    return next(found.store.scan(), None) is not None


def _make(found: Marked, remembered: StoreMark | None) -> Mark:
    """Return the store's mark, made by this site unless another has just made it."""
    uuid = uuid4() if remembered is None else remembered.uuid
    site = digests(uuid, found.using)[0]
    mark = new_mark(uuid, found.store.layout, site)
    if create_mark(found.own, mark):
        create_site(found.own, site)
        return mark
    made = read_mark(found.own)
    if made is None:
        raise StoreFailure(f"{found.name} loses its mark while it is made.")
    return made


def _remember(found: Marked, uuid: UUID) -> StoreMark:
    """Remember the UUID in a transaction of its own; another process may have done so first."""
    mark = StoreMark(alias=found.alias, location=found.store.location_text(), uuid=uuid)
    StoreMark.objects.using(found.using).bulk_create([mark], ignore_conflicts=True)
    return found.remembered() or mark


def _difference(found: Marked, mark: Mark | None, remembered: StoreMark | None) -> str:
    """Return how the mark differs from the one that is remembered, as the start of a sentence."""
    subject = found.name
    if mark is None:
        return f"{subject} has no mark"
    if remembered is None:
        return f"{subject} has the mark '{mark.uuid}', which this database does not know"
    return f"{subject} has the mark '{mark.uuid}', but this database remembers '{remembered.uuid}'"


def _doubt(
    found: Marked, mark: Mark | None, remembered: StoreMark | None, looked: int, there: int
) -> str:
    files = (
        f"{f'only {there}' if there else 'none'} of the newest {looked} files that the database "
        "records are there"
        if looked
        else "no file that the database records is there"
    )
    reason = found.store.unavailable_reason()
    seen = f"{files} ({reason})" if reason else files
    return (
        f"{_difference(found, mark, remembered)}, and {seen}. {_DOUBT_REMEDY.format(found.alias)}"
    )


# -- Removing --


def removal_problem(model: FileModel, using: str, *, dry: bool = False) -> str:
    """Return why this site may not remove files from the model's store, ``""`` if it may.

    The store's mark is made and remembered where a write would do so, unless ``dry``.
    """
    found = marked(model, using)
    if found is None or is_in_test_case(using):
        return ""
    return _removing(found, dry=dry)[0]


class Permission(NamedTuple):
    """Whether files may be removed from a store.

    ``problem`` says why not, ``""`` if they may. ``is_recognised`` is False where the store has no
    identity, so that nothing but its files says that it is the right one.
    """

    problem: str
    is_recognised: bool


def before_removing(
    model: FileModel, using: str, *, dry: bool = False, lately: bool = False
) -> Permission:
    """Return whether this site may remove files.

    If ``dry``, nothing is written. With ``lately`` a permission of the last `PAUSE` seconds is
    enough, as long as the same disk is there.
    """
    found = marked(model, using)
    if found is None or is_in_test_case(using):
        return Permission("", is_recognised=False)
    seen = _permitted.get(found.key) if lately else None
    if seen and time.monotonic() < seen.until and found.own.volume() == seen.volume:
        return Permission("", is_recognised=True)
    problem, site = _removing(found, dry=dry)
    _permitted.pop(found.key, None)
    if site is not None:
        _permitted[found.key] = _Permitted(time.monotonic() + PAUSE, found.own.volume(), site)
    return Permission(problem, is_recognised=True)


def is_same_disk(model: FileModel, using: str) -> bool:
    """Return whether the model's store is where it was when removing was last permitted."""
    found = marked(model, using)
    if found is None:
        return True
    seen = _permitted.get(found.key)
    return seen is None or found.own.volume() == seen.volume


def note_removal(model: FileModel, using: str) -> None:
    """Note in the store, once a day, that this site has removed files."""
    found = marked(model, using)
    if found is None:
        return
    if (seen := _permitted.get(found.key)) is not None:
        _permitted[found.key] = seen._replace(site=_note(found, seen.site))


def _note(found: Marked, site: Site) -> Site:
    now = _now()
    if site.removed is not None and site.removed > now - _NOTED_EVERY:
        return site
    try:
        note_site(found.own, site.digest, now)
    except OSError as exception:
        # Removing goes on: it may be what makes room on a full disk.
        logger.warning(
            "%s cannot note that this site removes files: %s",
            found.name,
            exception,
        )
    return site._replace(removed=now)


def _now() -> datetime:
    """Return the time with a zone, whatever USE_TZ says: sites may differ in that."""
    return datetime.now(tz=dt_timezone.utc)


def _removing(found: Marked, *, dry: bool) -> tuple[str, Site | None]:
    """Return why this site may not remove files, or its object in the store."""
    try:
        look = _settle(found, removing=True, dry=dry)
        if dry and look.mark is None:
            return "", None  # a removal would make the mark
        problem = _unknown(found, look, dry=dry) or _two_aliases(found, look)
        if problem:
            return problem, None
        assert look.mark is not None
        site = _own_site(found, look.mark, dry=dry)
    except StoreNotRecognised as exception:
        return str(exception), None
    except OSError as exception:
        return f"the store cannot be asked ({exception})", None
    if site is not None:
        return "", site
    return (
        f"{found.name} does not know this site, and only "
        "sites that a store knows remove files from it: its mark was made by another site, or by "
        "this one with another SECRET_KEY or database. If this site shall remove files, too, run "
        f"manage.py deliverystore_identity --accept --store {found.alias}"
    ), None


def _unknown(found: Marked, look: _Look, *, dry: bool) -> str:
    mark, remembered = look
    if mark is not None and remembered is not None and mark.uuid == remembered.uuid:
        return ""
    if mark is not None and remembered is None and dry:
        return ""  # a removal would remember it
    if mark is not None and remembered is not None:
        return f"{_difference(found, mark, remembered)}. {_REMEDY.format(found.alias)}"
    # Nothing speaks against it, but nothing may be written now.
    return (
        f"{_difference(found, mark, remembered)} yet: the next file that is stored outside of a "
        "transaction makes and remembers it, and so does manage.py purge_deliveries"
    )


def _two_aliases(found: Marked, look: _Look) -> str:
    """Return why two stores of the settings are one place, ``""`` if they are not."""
    assert look.mark is not None
    for model in file_models():
        try:
            other = marked(model, found.using)
        except ImproperlyConfigured:
            continue
        if other is None or other.alias == found.alias:
            continue
        memory = other.remembered()
        known = memory is not None and memory.uuid == look.mark.uuid
        if known or other.own.location == found.own.location:
            return (
                f"The stores {found.alias!r} and {other.alias!r} are one place "
                f"({found.store.location_text()}): files of one would be removed as unknown to "
                "the other. Give each a location of its own, or their models one alias"
            )
    return ""


def _own_site(found: Marked, mark: Mark, *, dry: bool) -> Site | None:
    """Return this site's object in the store; one known by an earlier key is stored again."""
    ours = digests(mark.uuid, found.using)
    current, *earlier = ours
    if site := read_site(found.own, current):
        return site
    if mark.site not in ours and not any(read_site(found.own, each) for each in earlier):
        return None
    if not dry:
        create_site(found.own, current)
    return Site(current, None)


# -- Accepting --


def accept(model: FileModel, using: str, *, force: bool = False) -> StoreMark:
    """Let this site remove files from the model's store, and remember the store's mark.

    A missing mark is made. No other site loses anything. Unless ``force``, raises
    StoreNotRecognised where the files of the newest rows are not in the store, and StoreInUse
    where another site removed files in the last 7 days. Raises ValueError for a store without
    identity, and what the store raises that cannot be asked.
    """
    found = marked(model, using)
    if found is None:
        raise ValueError(f"The store of {model._meta.label} has no identity to accept.")
    mark, remembered = _look_at(found)
    if not force:
        looked, there = _newest_rows(found)
        if 2 * there < looked:
            raise StoreNotRecognised(_doubt(found, mark, remembered, looked, there))
        known = mark or remembered
        _refuse_in_use(found, [] if known is None else digests(known.uuid, using))
    if mark is None:
        mark = _make(found, remembered)
    create_site(found.own, digests(mark.uuid, using)[0])
    now = timezone.now()
    accepted: StoreMark
    accepted, _created = StoreMark.objects.using(using).update_or_create(
        alias=found.alias,
        location=found.store.location_text(),
        defaults={"uuid": mark.uuid, "remembered": now, "accepted": now},
    )
    return accepted


def _refuse_in_use(found: Marked, ours: list[str]) -> None:
    since = _now() - IN_USE
    for site in read_sites(found.own):
        if site.digest not in ours and site.removed is not None and site.removed > since:
            raise StoreInUse(
                f"{found.name} is in use: site {site.digest[:8]} removed files on "
                f"{site.removed:%Y-%m-%d}, less than {IN_USE.days} days ago, so this site is not "
                "accepted. If that was this site with another SECRET_KEY or database, or if both "
                "shall remove files, run the command with --accept --force."
            )


def accepted_at(model: FileModel, using: str) -> datetime | None:
    """Return when this site was accepted for the model's store, None if it never was."""
    found = marked(model, using)
    remembered = None if found is None else found.remembered()
    return None if remembered is None else remembered.accepted


# -- Showing --


def status(model: FileModel, using: str) -> Status | None:
    """Return what is known of the identity of the model's store, None where it has none.

    Nothing is written. Raises OSError where the store cannot be asked.
    """
    found = marked(model, using)
    if found is None:
        return None
    mark, remembered = _look_at(found)
    known = mark or remembered
    is_new = known is None and not _newest_rows(found)[0]
    return Status(
        found.alias,
        found.store.location_text(),
        mark,
        remembered,
        list(read_sites(found.own)),
        [] if known is None else digests(known.uuid, using),
        "" if is_new else _removing(found, dry=True)[0],
    )


def summary(model: FileModel, using: str) -> Summary | None:
    """Return what is remembered of the model's store and whether this site may remove files.

    None where nothing is remembered and no row has its file elsewhere. Nothing is written.
    """
    found = marked(model, using)
    if found is None:
        return None
    remembered = found.remembered()
    if remembered is not None:
        return Summary(remembered.uuid, _removing(found, dry=True)[0])
    try:
        _settle(found, dry=True)
    except StoreNotRecognised as exception:
        return Summary(None, str(exception))
    except OSError:
        return None  # other checks ask the store
    return None
