"""Queries for the groups of a user and their deliveries."""

from __future__ import annotations

from typing import Any

from django.db.models import Count, Max, Q, QuerySet, Sum

from devilry_storage.deliveries.models import AssignmentGroup, Delivery


def delivering(user: Any) -> QuerySet[Any]:
    """Return the groups in which the user delivers."""
    return _groups(candidates=user)


def examining(user: Any) -> QuerySet[Any]:
    """Return the groups that the user examines: all groups for staff who may view deliveries."""
    if user.has_perm("devilry_deliveries.view_delivery"):
        return _groups()
    return _groups(examiners=user)


def _groups(**filters: Any) -> QuerySet[Any]:
    groups: QuerySet[Any] = AssignmentGroup.objects.filter(**filters).order_by("name", "pk")
    return groups


def with_counts(groups: QuerySet[Any]) -> QuerySet[Any]:
    """Annotate groups with the number of ``finished`` deliveries and the time of the ``last``."""
    finished = Q(deliveries__successful=True)
    annotated: QuerySet[Any] = groups.annotate(
        finished=Count("deliveries", filter=finished),
        last=Max("deliveries__time_of_delivery", filter=finished),
    )
    return annotated


def deliveries(user: Any) -> QuerySet[Any]:
    """Return the finished deliveries that the user may see, with number and size of files.

    Unfinished deliveries are hidden: they are still being stored, or the upload was interrupted.
    """
    visible = Delivery.objects.visible_to(user).filter(successful=True)
    found: QuerySet[Any] = (
        visible.select_related("assignment_group", "delivered_by")
        .annotate(
            # Rows of deleted files may remain, but without content.
            file_count=Count("filemetas", filter=Q(filemetas__content__isnull=False)),
            total_size=Sum("filemetas__size"),
        )
        .order_by("-number", "-pk")
    )
    return found
