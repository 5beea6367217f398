"""Read and write the mark of a store, and the objects of the sites that may remove files."""

import json
import re
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from ..exceptions import StoreFailure
from ..layout import Layout
from ..storages.protocols import LONGEST_OWN, OwnObjects

MARK = "store.json"
SITES = "sites"

_VERSION = 1
_DIGEST = re.compile("[0-9a-f]{64}")

T = TypeVar("T")


class Mark(NamedTuple):
    """The mark of a store. ``site`` is the digest of the site that made it."""

    uuid: UUID
    created: datetime
    site: str


class Site(NamedTuple):
    """A site that may remove files, and when it last did so, None for never."""

    digest: str
    removed: datetime | None


def read_mark(own: OwnObjects) -> Mark | None:
    """Return the store's mark, or None if it is missing. Raises StoreFailure if it is invalid."""
    return _read(own, MARK, _parse_mark)


def create_mark(own: OwnObjects, uuid: UUID, layout: Layout, site: str) -> Mark | None:
    """Make the store's mark, and return it, or None if there already is one."""
    mark = Mark(uuid, datetime.now(timezone.utc), site)
    fields = {
        "uuid": str(uuid),
        # For people who read the mark.
        "layout": type(layout).__name__,
        "interval": getattr(layout, "interval", None),
        "created": mark.created.isoformat(),
        "site": site,
    }
    return mark if own.create(MARK, _serialised(fields)) else None


def read_site(own: OwnObjects, digest: str) -> Site | None:
    """Return the object of a site, or None. Raises StoreFailure if it is invalid."""
    return _read(own, f"{SITES}/{digest}", lambda fields: Site(digest, _removed(fields)))


def read_sites(own: OwnObjects) -> Iterator[Site]:
    """Yield the sites that may remove files from the store."""
    for name in own.names(SITES):
        if _DIGEST.fullmatch(name) and (site := read_site(own, name)):
            yield site


def create_site(own: OwnObjects, digest: str) -> None:
    """Store the object of a site, unless it exists."""
    own.create(f"{SITES}/{digest}", _serialised({"removed": None}))


def note_site(own: OwnObjects, digest: str, removed: datetime) -> None:
    """Record when a site last removed files."""
    own.replace(f"{SITES}/{digest}", _serialised({"removed": removed.isoformat()}))


def _serialised(fields: dict[str, Any]) -> bytes:
    return json.dumps({"version": _VERSION, **fields}).encode()


def _read(own: OwnObjects, path: str, parse: Callable[[dict[str, Any]], T]) -> T | None:
    data = own.read(path)
    if data is None:
        return None
    try:
        if len(data) > LONGEST_OWN:
            raise ValueError(f"it is longer than {LONGEST_OWN} bytes")
        fields = json.loads(data)
        if not isinstance(fields, dict) or fields.get("version") != _VERSION:
            raise ValueError(f"its version is not {_VERSION}")
        return parse(fields)
    # AttributeError: a UUID that is not text. RecursionError: nested lists.
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exception:
        raise StoreFailure(
            f"The store's own object '.devilry-storage/{path}' cannot be used ({exception}). If "
            "it is damaged, remove it, then run manage.py deliverystore_identity --accept."
        ) from exception


def _parse_mark(fields: dict[str, Any]) -> Mark:
    if not _DIGEST.fullmatch(fields["site"]):
        raise ValueError("its site is not a digest")
    return Mark(UUID(fields["uuid"]), _time(fields["created"]), fields["site"])


def _removed(fields: dict[str, Any]) -> datetime | None:
    return None if fields["removed"] is None else _time(fields["removed"])


def _time(value: str) -> datetime:
    time = datetime.fromisoformat(value)
    if time.tzinfo is None:
        raise ValueError(f"the time {value!r} has no time zone")
    return time
