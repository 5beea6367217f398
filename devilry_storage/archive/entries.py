"""The members of an archive, which are looked up before its first byte is sent."""

from collections.abc import Hashable, Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

from django.core.exceptions import SuspiciousFileOperation
from django.db import models
from django.utils import timezone

from .._compat import batched
from ..conf import conf
from ..exceptions import ArchiveTooLarge, StoreDenied, StoreFailure
from ..models import AbstractDelivery
from ..schema import DELIVERY, GROUP, foreign_key, related_model
from ..storages.base import DeliveryStoreMixin
from ..storages.pools import Pool
from .paths import ArchivePaths

# Exceptions because of one name or folder, which do not concern the rest of the store.
_UNREACHABLE = (FileNotFoundError, NotADirectoryError, SuspiciousFileOperation)
# Exceptions that concern the store.
_UNAVAILABLE = (ConnectionError, TimeoutError, StoreDenied, StoreFailure)

#: The size of a member whose size is not recorded in the database.
UNKNOWN = -1

#: The size of a member that the store does not have.
MISSING = -2


class Member(NamedTuple):
    """A file of an archive.

    - ``path`` is its path in the archive, ``name`` its name in the store.
    - ``size`` is in bytes, UNKNOWN until it is looked up, or MISSING.
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


def row_members(
    files: models.QuerySet[Any], paths: ArchivePaths, counter: LimitCounter
) -> Iterator[Member]:
    """Yield the members of rows, by group and delivery.

    All are read in one query. Instances are made of deliveries and groups, and not of files.
    """
    deliveries = _Deliveries(files.model, files.db)
    columns = ("content", "filename", "size", "sha256", "created", *deliveries.columns)
    files = files.filter(content__isnull=False).prefetch_related(None)
    rows = files.order_by(*deliveries.order, "pk").values_list(*columns)
    previous: list[Any] = []
    folders, date = deliveries.of(previous)
    for name, filename, size, sha256, created, *values in rows.iterator():
        if not name:  # in a table of another application
            continue
        counter.add(size or 0)
        if values[:1] != previous:
            previous = values[:1]
            folders, date = deliveries.of(values)
            paths.close_folders_beside(folders)
        path = paths.add_file(folders, filename)
        known = UNKNOWN if size is None else size
        yield Member(path, name, known, sha256, date or local_date(created))


class _Deliveries:
    """Instances of deliveries and groups, made of ``columns`` of the rows of their files."""

    def __init__(self, model: type[models.Model], using: str) -> None:
        self._using = using
        self.columns: list[str] = []
        self.order: list[str] = []
        self._delivery: Any = related_model(model, DELIVERY)
        self._group: Any = self._delivery and related_model(self._delivery, GROUP)
        # The last group with its id and name. Kept, because str(group) may query the database.
        self._last: tuple[Any, Any, str] = (None, None, "")
        if self._delivery:
            self.columns += ["delivery__pk", *_columns("delivery", self._delivery)]
            if self._group:
                self.order.append("delivery__assignment_group_id")
                self.columns += _columns("delivery__assignment_group", self._group)
            if issubclass(self._delivery, AbstractDelivery):
                self.order.append("delivery__number")
            self.order.append("delivery_id")

    def of(self, values: list[Any]) -> tuple[list[tuple[Hashable, str]], tuple[int, ...]]:
        """Return the folders and the local time of the delivery; [] and () if there is none.

        Each folder is given by its id and name, top folder first.
        """
        if values[:1] in ([], [None]):
            return [], ()
        count = 1 + len(self._delivery._meta.concrete_fields)
        delivery = self._instance(self._delivery, values[1:count])
        folders: list[tuple[Hashable, str]] = []
        group_id = delivery.assignment_group_id if self._group else None
        if group_id is not None:
            if group_id != self._last[0]:
                group = self._instance(self._group, values[count:])
                self._last = group_id, group, str(group)
            # Not by assignment, which asks the site's routers.
            foreign_key(self._delivery, GROUP).set_cached_value(delivery, self._last[1])
            folders.append((group_id, self._last[2]))
        if not isinstance(delivery, AbstractDelivery):
            return [*folders, (delivery.pk, str(delivery))], ()
        number = delivery.number
        name = str(number) if number is not None else f"unfinished {delivery.pk}"
        return [*folders, (delivery.pk, name)], local_date(delivery.time_of_delivery)

    def _instance(self, model: Any, values: list[Any]) -> Any:
        names = [field.attname for field in model._meta.concrete_fields]
        return model.from_db(self._using, names, values)


def _columns(path: str, model: type[models.Model]) -> list[str]:
    return [f"{path}__{field.attname}" for field in model._meta.concrete_fields]


def local_date(value: datetime) -> tuple[int, ...]:
    """Convert a datetime to local time, as a tuple from year to second."""
    with suppress(OverflowError):  # in the first or last hours that a datetime can have
        value = timezone.localtime(value) if timezone.is_aware(value) else value
    return tuple(value.timetuple())[:6]


# -- Stored files --


def find_members(
    store: DeliveryStoreMixin, members: Iterable[Member], counter: LimitCounter
) -> Iterator[Member]:
    """Look up the members in the store, and yield them, with the size MISSING if it lacks them.

    Other sizes are not compared. A folder with several members is listed once. Several folders
    are read concurrently. Sizes that were unknown are added to the counter.
    """
    folders = (list(together) for _folder_name, together in groupby(members, _folder))
    with Pool(store.parallel_reads) as pool:
        for batch in batched(folders, 4 * store.parallel_reads):
            for folder, sizes in zip(batch, pool.map(partial(_sizes, store), batch), strict=True):
                for member in folder:
                    size = sizes.get(member.name, MISSING)
                    if size != MISSING and member.size != UNKNOWN:
                        yield member
                        continue
                    counter.add(max(size, 0), files=0)
                    yield member._replace(size=size)


def _folder(member: Member) -> str:
    return member.name.rpartition("/")[0]


def _sizes(store: DeliveryStoreMixin, folder: list[Member]) -> dict[str, int]:
    """Return the sizes of those members that the store has.

    If the disk fails, they are the recorded ones: the members are read then, and reported as
    damaged.
    """
    recorded = {member.name: member.size for member in folder}
    above = _folder(folder[0])
    # Only folders of a layout are listed. Others, such as those of adopted files, may be huge.
    is_listed = len(recorded) > 1 and above and store.is_key(folder[0].name)
    sizes: dict[str, int] = {}
    for names in [[*recorded]] if is_listed else [[name] for name in recorded]:
        try:
            if is_listed:
                entries = store.scan(above)
                sizes |= {entry.name: entry.size for entry in entries if entry.name in recorded}
            else:
                sizes[names[0]] = store.size(names[0])
        except _UNREACHABLE:
            continue
        except _UNAVAILABLE:
            raise
        except OSError:
            sizes |= {name: recorded[name] for name in names if recorded[name] != UNKNOWN}
    return sizes
