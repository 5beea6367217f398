"""Functions that create the archive of rows, deliveries or a folder."""

from collections.abc import Callable, Container, Iterable
from datetime import datetime
from typing import Any

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db import models
from django.db.models import OuterRef, Subquery

from .._compat import batched
from ..db.rows import stored_rows
from ..models import AbstractDelivery
from ..names import is_storage_name
from ..resolving import store_for
from ..schema import DELIVERY, GROUP, related_model, target_name
from ..storages.base import DeliveryStoreMixin
from .entries import MISSING, LimitCounter, Member, find_members, local_date, row_members
from .paths import ArchivePaths
from .zipping import REPORT, SUMS, Archive

#: Number of names that are passed to ``without`` of of_folder() at once.
_BATCH_SIZE = 1000


def of_files(files: models.QuerySet[Any]) -> Archive:
    """Return the archive of the files of rows, with paths ``<group>/<number>/<filename>``.

    Rows without a group or delivery have shorter paths. All files are looked up immediately, so
    that the length of the archive is known. Raises ArchiveTooLarge, or the store's exception if a
    lookup fails.
    """
    store = store_for(files.model).with_fixed_location()
    counter = LimitCounter()
    members = row_members(files, ArchivePaths([SUMS, REPORT]), counter)
    return Archive(store, find_members(store, members, counter))


def of_deliveries(
    deliveries: models.QuerySet[Any], files: models.QuerySet[Any] | None = None
) -> Archive:
    """Return the archive of the files of deliveries, as :func:`of_files` does.

    It contains all files, or only those in ``files``, for example the files visible to a user.
    """
    rows = stored_rows(deliveries.model.filemeta_model(), deliveries.db)
    rows = rows.filter(
        delivery__in=deliveries.order_by().values(target_name(rows.model, DELIVERY))
    )
    if files is not None:
        # By id, so that joins and deferred columns of that queryset do not affect this one.
        rows = rows.filter(pk__in=files.order_by().values("pk"))
    return of_files(rows)


def of_folder(
    store: DeliveryStoreMixin,
    prefix: str,
    without: Callable[[Iterable[str]], Container[str]] = lambda _names: (),
) -> Archive:
    """Return the archive of all files below a folder of a store, with their names in the store.

    Files with invalid storage names are listed as missing. ``without`` returns which of the given
    names to leave out; it is called once per batch of names. Raises ArchiveTooLarge, InvalidName.
    """
    store = store.with_fixed_location()
    paths, counter = ArchivePaths([SUMS, REPORT]), LimitCounter()
    members: list[Member] = []
    for entries in batched(store.scan(prefix), _BATCH_SIZE):
        # The folder may contain foreign files with arbitrary names.
        readable = {entry.name for entry in entries if is_storage_name(entry.name)}
        left_out = without(readable)
        for entry in entries:
            if entry.name in left_out:
                continue
            counter.add(entry.size)
            *above, leaf = entry.name.removeprefix(f"{prefix}/").split("/")
            path = paths.add_file([(folder, folder) for folder in above], leaf)
            date = local_date(entry.modified)
            size = entry.size if entry.name in readable else MISSING
            members.append(Member(path, entry.name, size, "", date))
    return Archive(store, sorted(members))


def latest_deliveries(
    groups: models.QuerySet[Any],
    since: datetime | None = None,
    until: datetime | None = None,
    *,
    model: type[AbstractDelivery] | None = None,
) -> models.QuerySet[Any]:
    """Return the last finished delivery of each group, in one query.

    Only deliveries from ``since`` on and before ``until`` count. ``model`` is the model of the
    deliveries. It is required if several models of deliveries refer to the groups' model;
    otherwise ImproperlyConfigured is raised.
    """
    model = model or _delivery_model(groups.model)
    deliveries = model._base_manager.using(groups.db).filter(
        assignment_group__in=groups.order_by().values(target_name(model, GROUP))
    )
    return latest_of(deliveries, since, until)


def latest_of(
    deliveries: models.QuerySet[Any], since: datetime | None = None, until: datetime | None = None
) -> models.QuerySet[Any]:
    """Return the last finished delivery of each group among the deliveries, in one query."""
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
        and related_model(model, GROUP) is group
    ]
    if len(found) == 1:
        return found[0]
    labels = ", ".join(sorted(model._meta.label for model in found)) or "none"
    raise ImproperlyConfigured(
        f"{group._meta.label} needs one model of deliveries with a foreign key 'assignment_group' "
        f"to it (found: {labels}): pass model=."
    )
