"""Whose groups are whose, and what was delivered in them."""

from __future__ import annotations

from typing import Any

from django.db.models import Count, Max, Q, QuerySet, Sum

from devilry_storage.deliveries.models import AssignmentGroup, Delivery


def delivering(user: Any) -> QuerySet[Any]:
    """Return the groups in which the user delivers."""
    return _groups(candidates=user)


def examining(user: Any) -> QuerySet[Any]:
    """Return the groups that the user examines; all of them for staff who may see deliveries."""
    if user.has_perm("devilry_deliveries.view_delivery"):
        return _groups()
    return _groups(examiners=user)


def _groups(**of: Any) -> QuerySet[Any]:
    groups: QuerySet[Any] = AssignmentGroup.objects.filter(**of).order_by("name", "pk")
    return groups


def counted(groups: QuerySet[Any]) -> QuerySet[Any]:
    """Return the groups with how many deliveries are ``finished``, and when the ``last`` was."""
    finished = Q(deliveries__successful=True)
    found: QuerySet[Any] = groups.annotate(
        finished=Count("deliveries", filter=finished),
        last=Max("deliveries__time_of_delivery", filter=finished),
    )
    return found


def deliveries(user: Any) -> QuerySet[Any]:
    """Return the finished deliveries that the user may see, with their files counted.

    Candidates would also see those that were begun: they are being stored, or were left behind
    when that was killed, and nothing of them is delivered.
    """
    seen = Delivery.objects.visible_to(user).filter(successful=True)
    found: QuerySet[Any] = (
        seen.select_related("assignment_group", "delivered_by")
        .annotate(
            # Of those that were deleted since, only the content is gone.
            file_count=Count("filemetas", filter=Q(filemetas__content__isnull=False)),
            total_size=Sum("filemetas__size"),
        )
        .order_by("-number", "-pk")
    )
    return found
