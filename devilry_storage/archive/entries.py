"""The members of an archive, which are looked up before its first byte is sent."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from itertools import groupby
from typing import Any, NamedTuple

from django.core.exceptions import SuspiciousFileOperation
from django.db import models
from django.utils import timezone

from .._compat import batched
from ..conf import conf
from ..exceptions import ArchiveTooLarge, StoreDenied, StoreFailure
from ..models import AbstractDelivery
from ..schema import DELIVERY, GROUP, related_model
from ..storages.base import DeliveryStoreMixin
from ..storages.pools import Pool

# Exceptions because of one name or folder, which do not concern the rest of the store.
_UNREACHABLE = (FileNotFoundError, NotADirectoryError, SuspiciousFileOperation)
# Exceptions that concern the store.
_UNAVAILABLE = (ConnectionError, TimeoutError, StoreDenied, StoreFailure)

#: The size of a member whose size is not recorded in the database.
UNKNOWN = -1


class Member(NamedTuple):
    """A file of an archive.

    - ``path`` is its path in the archive, ``name`` its name in the store.
    - ``size`` is in bytes, or UNKNOWN until it is looked up.
    - ``sha256`` is hexadecimal, ``""`` if unknown.
    - ``date`` is a local time from year to second.
    """

    path: str
    name: str
    size: int
    sha256: str
    date: tuple[int, ...]


class LimitCounter:
    """Counts files and bytes; raises ArchiveTooLarge above the limits of the settings."""

    def __init__(self) -> None:
        self._files = self._bytes = 0
        self._max_files, self._max_bytes = conf.archive_max_files, conf.archive_max_bytes

    def add(self, size: int, files: int = 1) -> None:
        self._files += files
        self._bytes += size
        if self._files > self._max_files:
            raise ArchiveTooLarge(
                f"The archive would have more than '{self._max_files}' files: request fewer "
                "(DELIVERY_STORE_ARCHIVE_MAX_FILES)."
            )
        if self._bytes > self._max_bytes:
            raise ArchiveTooLarge(
                f"The archive would have more than '{self._max_bytes}' bytes: request fewer "
                "files (DELIVERY_STORE_ARCHIVE_MAX_BYTES)."
            )


# -- Rows --


def sorted_files(files: models.QuerySet[Any]) -> models.QuerySet[Any]:
    """Order the rows of files by group and delivery."""
    model = files.model
    related, order = [], []
    delivery = related_model(model, DELIVERY)
    if delivery is not None:
        related.append("delivery")
        if related_model(delivery, GROUP) is not None:
            related.append("delivery__assignment_group")
            order.append("delivery__assignment_group_id")
        if issubclass(delivery, AbstractDelivery):
            order.append("delivery__number")
        order.append("delivery_id")
    files = files.filter(content__isnull=False).order_by(*order, "pk")
    return files.select_related(*related) if related else files


class RowFolders:
    """Maps a row to the folders of its file: the group, then the number of the delivery."""

    def __init__(self, model: type[models.Model]) -> None:
        self._delivery = related_model(model, DELIVERY)
        self._has_group = (
            self._delivery is not None and related_model(self._delivery, GROUP) is not None
        )
        # Cached, because str(group) may query the database.
        self._group_names: dict[Any, str] = {}

    def of(self, row: Any) -> list[tuple[Hashable, str]]:
        """Return the id and name of each folder, top folder first; [] without a delivery."""
        delivery = row.delivery if self._delivery is not None else None
        if delivery is None:
            return []
        folders: list[tuple[Hashable, str]] = []
        if self._has_group and delivery.assignment_group_id is not None:
            group = delivery.assignment_group_id
            if group not in self._group_names:
                self._group_names[group] = str(delivery.assignment_group)
            folders.append((("group", group), self._group_names[group]))
        if isinstance(delivery, AbstractDelivery):
            number = delivery.number
            name = str(number) if number is not None else f"unfinished {delivery.pk}"
        else:
            name = str(delivery)
        folders.append((("delivery", delivery.pk), name))
        return folders


def row_date(row: Any) -> tuple[int, ...]:
    """Return the local time of the row's delivery, or else of the row itself."""
    delivery = getattr(row, "delivery", None)
    if isinstance(delivery, AbstractDelivery):
        return local_date(delivery.time_of_delivery)
    return local_date(row.created)


def local_date(value: datetime) -> tuple[int, ...]:
    """Convert a datetime to local time, as a tuple from year to second."""
    with suppress(OverflowError):  # in the first or last hours that a datetime can have
        value = timezone.localtime(value) if timezone.is_aware(value) else value
    return tuple(value.timetuple())[:6]


# -- Stored files --


def find_members(
    store: DeliveryStoreMixin, members: Iterable[Member], counter: LimitCounter
) -> tuple[list[Member], list[Member]]:
    """Look up the members in the store.

    Returns those that the store has, of whatever size, and the missing ones. A folder with several
    members is listed once. Several folders are read concurrently. Sizes that were unknown are
    added to the counter.
    """
    found: list[Member] = []
    missing: list[Member] = []

    def folder_sizes(folder: list[Member]) -> list[int | None]:
        sizes = _sizes(store, folder)
        return [sizes.get(member.name) for member in folder]

    with Pool(store.parallel_reads) as pool:
        for batch in batched(_by_folder(members), 4 * store.parallel_reads):
            for folder, sizes in zip(batch, pool.map(folder_sizes, batch), strict=True):
                for member, size in zip(folder, sizes, strict=True):
                    if size is None:
                        missing.append(member)
                    elif member.size == UNKNOWN:
                        counter.add(size, files=0)
                        found.append(member._replace(size=size))
                    else:
                        found.append(member)
    return found, missing


def _by_folder(members: Iterable[Member]) -> Iterator[list[Member]]:
    for _folder, group in groupby(members, lambda member: member.name.rpartition("/")[0]):
        yield list(group)


def _sizes(store: DeliveryStoreMixin, folder: list[Member]) -> dict[str, int]:
    """Return the sizes of those members that the store has.

    If the disk fails, they are the recorded ones: the members are read then, and reported as
    damaged.
    """
    first = folder[0].name
    # Only folders of a layout are listed. Others, such as those of adopted files, may be huge.
    is_listed = len(folder) > 1 and "/" in first and store.is_key(first)
    sizes: dict[str, int] = {}
    for members in [folder] if is_listed else [[member] for member in folder]:
        try:
            sizes |= _look_up(store, members)
        except _UNREACHABLE:
            continue
        except _UNAVAILABLE:
            raise
        except OSError:
            sizes |= {member.name: member.size for member in members if member.size != UNKNOWN}
    return sizes


def _look_up(store: DeliveryStoreMixin, members: list[Member]) -> dict[str, int]:
    """Return the sizes of one member, or of several in one folder, which is listed."""
    names = {member.name for member in members}
    first = members[0].name
    if len(members) == 1:
        return {first: store.size(first)}
    entries = store.scan(first.rpartition("/")[0])
    return {entry.name: entry.size for entry in entries if entry.name in names}
