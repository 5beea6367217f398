"""Many files as one zip, streamed: see :class:`Archive`."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator
from datetime import datetime
from typing import Any

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db import models
from django.db.models import OuterRef, Subquery

from .._compat import batched
from ..models import AbstractDelivery
from ..names import is_storage_name
from ..resolving import store_for
from ..schema import group_model
from ..storages.base import DeliveryStoreMixin
from .entries import (
    UNKNOWN,
    Counted,
    Member,
    Owners,
    date_of,
    in_order,
    local_date,
    looked_up,
)
from .paths import Folders
from .zipping import MISSING, SUMS, Archive

__all__ = ["Archive", "Member", "latest_deliveries", "of_deliveries", "of_files", "of_folder"]

#: So many names of a folder are asked for at once.
_AT_ONCE = 1000


def of_files(files: models.QuerySet[Any]) -> Archive:
    """Return the archive of rows of files: ``<group>/<number>/<filename>``, where they have them.

    All is looked up now, so that its length is known. Raises ArchiveTooLarge, and what the store
    raises that cannot be asked.
    """
    store = store_for(files.model)
    counted = Counted()

    def members() -> Iterator[Member]:
        folders, owners = Folders([SUMS, MISSING]), Owners(files.model)
        last: list[Any] = []
        date: tuple[int, ...] = ()
        for row in in_order(files).iterator():
            counted.add(row.size or 0)
            size = UNKNOWN if row.size is None else row.size
            place = owners.of(row)
            # Files of a delivery come together: one date for all, and one folder at a time.
            if place != last or not place:
                date = date_of(row)
            if last and place != last:
                folders.forget(last)
            last = place
            path = folders.file(place, row.filename)
            yield Member(path, row.content.name, size, row.sha256, date)

    return Archive(store, *looked_up(store, members(), counted))


def of_deliveries(
    deliveries: models.QuerySet[Any], files: models.QuerySet[Any] | None = None
) -> Archive:
    """Return the archive of the files of deliveries; as :func:`of_files`.

    Of ``files``, such as those that are visible to somebody, or of all.
    """
    rows = deliveries.model.filemeta_model()._base_manager.using(deliveries.db)
    rows = rows.filter(delivery__in=deliveries.order_by().values("pk"))
    if files is not None:
        # By their ids: whatever joins or defers columns there has no part in what is read here.
        rows = rows.filter(pk__in=files.order_by().values("pk"))
    return of_files(rows)


def of_folder(
    store: DeliveryStoreMixin,
    prefix: str,
    without: Callable[[Iterable[str]], Container[str]] | None = None,
) -> Archive:
    """Return the archive of all that lies below a folder of a store, under the names it has there.

    Those whose names no store takes are told of as missing. ``without`` says which of some names
    are to be left out; it is asked several times. Raises ArchiveTooLarge, InvalidName.
    """
    folders, counted = Folders([SUMS, MISSING]), Counted()
    found, missing = [], []
    for entries in batched(store.scan(prefix), _AT_ONCE):
        # Others may have put files of any name beside ours.
        readable = {entry.name for entry in entries if is_storage_name(entry.name)}
        left_out = without(readable) if without is not None else ()
        for entry in entries:
            if entry.name in left_out:
                continue
            counted.add(entry.size)
            *above, leaf = entry.name.removeprefix(f"{prefix}/").split("/")
            path = folders.file([(folder, folder) for folder in above], leaf)
            if entry.name in readable:
                date = local_date(entry.modified)
                found.append(Member(path, entry.name, entry.size, "", date))
            else:
                missing.append(path)
    return Archive(store, sorted(found), sorted(missing))


def latest_deliveries(
    groups: models.QuerySet[Any],
    since: datetime | None = None,
    until: datetime | None = None,
    *,
    model: type[AbstractDelivery] | None = None,
) -> models.QuerySet[Any]:
    """Return the last delivery that each group has finished, in one query.

    Only those from ``since`` on and before ``until`` count. ``model`` is that of the deliveries,
    which must be given where several lead to the groups' model (else ImproperlyConfigured).
    """
    model = model or _delivery_model(groups.model)
    deliveries = model._base_manager.using(groups.db).filter(
        assignment_group__in=groups.order_by().values("pk")
    )
    return latest_of(deliveries, since, until)


def latest_of(
    deliveries: models.QuerySet[Any], since: datetime | None = None, until: datetime | None = None
) -> models.QuerySet[Any]:
    """Return of deliveries the last finished one of each group, in one query."""
    finished = deliveries.filter(successful=True)
    if since is not None:
        finished = finished.filter(time_of_delivery__gte=since)
    if until is not None:
        finished = finished.filter(time_of_delivery__lt=until)
    of_group = finished.filter(assignment_group=OuterRef("assignment_group"))
    last = of_group.order_by("-time_of_delivery", "-pk").values("pk")[:1]
    latest: models.QuerySet[Any] = finished.filter(pk=Subquery(last))
    return latest


def _delivery_model(group: type[models.Model]) -> type[AbstractDelivery]:
    found = [
        model
        for model in apps.get_models()
        if issubclass(model, AbstractDelivery)
        and not model._meta.proxy
        and group_model(model) is group
    ]
    if len(found) == 1:
        return found[0]
    labels = ", ".join(sorted(model._meta.label for model in found)) or "none"
    raise ImproperlyConfigured(
        f"{group._meta.label} needs one model of deliveries with a foreign key 'assignment_group' "
        f"to it (found: {labels}): give model=."
    )
