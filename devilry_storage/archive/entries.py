"""Which files an archive has, looked up before its first byte is sent."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import groupby
from typing import Any, NamedTuple

from django.db import models
from django.utils import timezone

from .._compat import batched
from ..conf import conf
from ..exceptions import ArchiveTooLarge
from ..models import AbstractDelivery
from ..schema import delivery_model, group_model
from ..storages.base import DeliveryStoreMixin

#: The size of a file of which the database does not know it.
UNKNOWN = -1


class Member(NamedTuple):
    """A file of an archive: its path there, and its name, size (bytes) and SHA-256 in the store.

    ``date`` is a local time from year to second. ``sha256`` is ``""`` where nobody knows it, and
    the size UNKNOWN until it is looked up.
    """

    path: str
    name: str
    size: int
    sha256: str
    date: tuple[int, ...]


class Counted:
    """Counts files and bytes, and refuses more than the settings allow."""

    def __init__(self) -> None:
        self._files = self._bytes = 0
        self._most_files, self._most_bytes = conf.archive_max_files, conf.archive_max_bytes

    def add(self, size: int, files: int = 1) -> None:
        self._files += files
        self._bytes += size
        if self._files > self._most_files:
            raise ArchiveTooLarge(
                f"The archive would have more than '{self._most_files}' files: ask for fewer "
                "(DELIVERY_STORE_ARCHIVE_MAX_FILES)."
            )
        if self._bytes > self._most_bytes:
            raise ArchiveTooLarge(
                f"The archive would have more than '{self._most_bytes}' bytes: ask for fewer "
                "files (DELIVERY_STORE_ARCHIVE_MAX_BYTES)."
            )


# -- Where a row's file lies in the archive --


def in_order(files: models.QuerySet[Any]) -> models.QuerySet[Any]:
    """Return the rows of files, those of a group and of a delivery together."""
    model = files.model
    related, order = [], []
    delivery = delivery_model(model)
    if delivery is not None:
        related.append("delivery")
        if group_model(delivery) is not None:
            related.append("delivery__assignment_group")
            order.append("delivery__assignment_group_id")
        if issubclass(delivery, AbstractDelivery):
            order.append("delivery__number")
        order.append("delivery_id")
    files = files.filter(content__isnull=False).order_by(*order, "pk")
    return files.select_related(*related) if related else files


class Owners:
    """Says of a row in which folders its file lies: group, then number of the delivery."""

    def __init__(self, model: type[models.Model]) -> None:
        self._delivery = delivery_model(model)
        self._has_group = self._delivery is not None and (group_model(self._delivery) is not None)
        # Asked once, for it may query the database.
        self._names: dict[Any, str] = {}

    def of(self, row: Any) -> list[tuple[Hashable, str]]:
        """Return owner and name of each folder, from the top; none of a row without delivery."""
        delivery = row.delivery if self._delivery is not None else None
        if delivery is None:
            return []
        owners: list[tuple[Hashable, str]] = []
        if self._has_group and delivery.assignment_group_id is not None:
            group = delivery.assignment_group_id
            if group not in self._names:
                self._names[group] = str(delivery.assignment_group)
            owners.append((("group", group), self._names[group]))
        if isinstance(delivery, AbstractDelivery):
            number = delivery.number
            name = str(number) if number is not None else f"unfinished {delivery.pk}"
        else:
            name = str(delivery)
        owners.append((("delivery", delivery.pk), name))
        return owners


def date_of(row: Any) -> tuple[int, ...]:
    """Return the local time of a row's delivery, or that of the row."""
    delivery = getattr(row, "delivery", None)
    if isinstance(delivery, AbstractDelivery):
        return local_date(delivery.time_of_delivery)
    return local_date(row.created)


def local_date(moment: datetime) -> tuple[int, ...]:
    """Return a local time from year to second."""
    local = timezone.localtime(moment) if timezone.is_aware(moment) else moment
    return tuple(local.timetuple())[:6]


# -- What is there --


def looked_up(
    store: DeliveryStoreMixin, members: Iterable[Member], counted: Counted
) -> tuple[list[Member], list[str]]:
    """Return the members that the store has with their sizes, and the paths of the others.

    A folder with several of them is listed once; several folders at a time. Sizes that were
    unknown are ``counted`` now.
    """
    found: list[Member] = []
    missing: list[str] = []

    def look(folder: list[Member]) -> list[int | None]:
        sizes = _sizes(store, folder)
        return [sizes.get(member.name) for member in folder]

    with ThreadPoolExecutor(store.parallel_reads) as pool:
        for batch in batched(_by_folder(members), 4 * store.parallel_reads):
            for folder, sizes in zip(batch, pool.map(look, batch), strict=True):
                for member, size in zip(folder, sizes, strict=True):
                    if size is not None and member.size == UNKNOWN:
                        counted.add(size, files=0)
                        found.append(member._replace(size=size))
                    elif size == member.size:
                        found.append(member)
                    else:
                        missing.append(member.path)
    return found, missing


def _by_folder(members: Iterable[Member]) -> Iterator[list[Member]]:
    for _folder, together in groupby(members, lambda member: member.name.rpartition("/")[0]):
        yield list(together)


def _sizes(store: DeliveryStoreMixin, folder: list[Member]) -> dict[str, int]:
    first = folder[0].name
    above = first.rpartition("/")[0]
    # Other folders may be of any size: an adopted file's, say.
    if len(folder) > 1 and above and store.is_key(first):
        wanted = {member.name for member in folder}
        return {each.name: each.size for each in store.scan(above) if each.name in wanted}
    sizes = {}
    for member in folder:
        try:
            sizes[member.name] = store.size(member.name)
        except FileNotFoundError:
            continue
    return sizes
