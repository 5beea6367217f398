"""Report the identity of a store to commands, checks and the admin."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from ..exceptions import StoreNotRecognised
from ..registry import FileModel
from ..tables import StoreMark
from .marks import Mark, Site, read_sites
from .permission import permit
from .recognition import newest_files, read_identity, settle
from .sites import digests
from .stores import marked


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
