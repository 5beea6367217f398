"""Compare the mark in a store with the mark that the database remembers, and create both."""

import logging
from typing import NamedTuple
from uuid import UUID, uuid4

from ..db.rows import stored_rows
from ..db.transactions import has_transaction
from ..exceptions import StoreFailure, StoreNotRecognised
from ..registry import sharing
from ..tables import StoreMark
from .marks import Mark, create_mark, create_site, read_mark
from .stores import MarkedStore, digests

logger = logging.getLogger("devilry_storage")

#: Number of the newest rows of each model that are looked up in a store that is not recognised.
NEWEST = 10

_REMEDY = (
    "Mount the disk or correct the settings. If the files were left behind on purpose, run "
    "manage.py deliverystore_identity --accept --force --store {}"
)


class Identity(NamedTuple):
    """The mark in the store, and the mark that the database remembers; None for none."""

    mark: Mark | None
    remembered: StoreMark | None

    @property
    def matches(self) -> bool:
        """Whether the two marks are the same."""
        mark, remembered = self
        return mark is not None and remembered is not None and mark.uuid == remembered.uuid


class FoundFiles(NamedTuple):
    """The number of newest rows that were looked up, and how many of them have their file."""

    looked_up: int
    there: int

    @property
    def most_are_missing(self) -> bool:
        """Whether fewer than half of the files are there."""
        return 2 * self.there < self.looked_up


def read_identity(found: MarkedStore) -> Identity:
    """Return the mark in the store and the mark that the database remembers.

    The database is read first: a new mark is stored before it is remembered, so that a mark which
    another process is just making never seems lost.
    """
    remembered = found.remembered()
    return Identity(read_mark(found.own), remembered)


def settle(found: MarkedStore, *, removing: bool = False, dry: bool = False) -> Identity:
    """Return both marks, after making or remembering the mark if the rows permit it.

    In a caller's transaction, and if ``dry``, the marks are only compared. Raises
    StoreNotRecognised if the rows show that it is another store, OSError if the store fails.
    """
    identity = read_identity(found)
    if identity.matches:
        return identity
    mark, remembered = identity
    files = newest_files(found)
    unmarked = mark is None and not files.looked_up
    # Without rows, a mark that was there and is missing now means that this is another store.
    lost = unmarked and remembered is not None
    doubtful = unmarked and removing and next(found.store.scan(), None) is None
    if files.most_are_missing or lost or doubtful:
        raise StoreNotRecognised(doubt(found, identity, files))
    if dry or has_transaction(found.using):
        return identity
    if mark is None:
        mark = make_mark(found, remembered)
    if remembered is None:
        remembered = _remember(found, mark.uuid)
    elif remembered.uuid != mark.uuid:
        logger.warning(
            "%s; the rows' files are there.", difference(found, Identity(mark, remembered))
        )
    return Identity(mark, remembered)


def newest_files(found: MarkedStore) -> FoundFiles:
    """Look up the files of the newest stored rows of each model."""
    looked_up = there = 0
    for model in sharing(found.model, found.store, strict=False):
        rows = stored_rows(model, found.using).filter(content__isnull=False)
        for name in rows.order_by("-pk").values_list("content", flat=True)[:NEWEST]:
            looked_up += 1
            there += found.store.exists(name)
    return FoundFiles(looked_up, there)


def make_mark(found: MarkedStore, remembered: StoreMark | None) -> Mark:
    """Make the store's mark, and return it or the one that another site has just made."""
    uuid = uuid4() if remembered is None else remembered.uuid
    site = digests(uuid, found.using)[0]
    if mark := create_mark(found.own, uuid, found.store.layout, site):
        create_site(found.own, site)
    elif (mark := read_mark(found.own)) is None:
        raise StoreFailure(f"{found.name} lost its mark while it was made.")
    return mark


def _remember(found: MarkedStore, uuid: UUID) -> StoreMark:
    """Remember the UUID, unless another process has just done so."""
    mark = StoreMark(alias=found.alias, location=found.store.location_text(), uuid=uuid)
    StoreMark.objects.using(found.using).bulk_create([mark], ignore_conflicts=True)
    return found.remembered() or mark


def difference(found: MarkedStore, identity: Identity) -> str:
    """Return how the two marks differ, as the start of a sentence."""
    mark, remembered = identity
    if mark is None:
        return f"{found.name} has no mark"
    if remembered is None:
        return f"{found.name} has the mark '{mark.uuid}', which this database does not know"
    return (
        f"{found.name} has the mark '{mark.uuid}', but this database remembers '{remembered.uuid}'"
    )


def doubt(found: MarkedStore, identity: Identity, files: FoundFiles) -> str:
    """Return why the store seems to be the wrong one, and the remedy."""
    counted = f"only {files.there}" if files.there else "none"
    missing = (
        f"{counted} of the newest {files.looked_up} files that the database records are there"
        if files.looked_up
        else "no file that the database records is there"
    )
    reason = found.store.unavailable_reason()
    detail = f" ({reason})" if reason else ""
    return f"{difference(found, identity)}, and {missing}{detail}. {_REMEDY.format(found.alias)}"
