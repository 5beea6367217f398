"""Which rows a user may see: used by downloads, archives and the admin."""

from __future__ import annotations

from typing import Any, TypeVar

from django.db import models

from ..schema import GROUP, group_model, related_model, target_name

Q = TypeVar("Q", bound="VisibleQuerySet")


class VisibleQuerySet(models.QuerySet[Any]):
    """A queryset that can be limited to the rows that a user may see."""

    #: Lookup path from the model to its delivery; ``""`` for the delivery itself.
    delivery_path = ""

    def visible_to(self: Q, user: Any) -> Q:
        """Return the rows that the user may see.

        Users with the permission ``view_<model>`` see all rows. If the model of groups has
        ``candidates`` and ``examiners``, candidates see the rows of their groups, and examiners
        the rows of finished deliveries of their groups. Anonymous and inactive users see none.
        """
        visible: Q = self.none()
        if not user.is_active or not user.is_authenticated:
            return visible
        if may_view(user, self.model):
            visible = self.all()
            return visible
        delivery = (
            related_model(self.model, self.delivery_path) if self.delivery_path else self.model
        )
        group = None if delivery is None else group_model(delivery)
        if delivery is None or group is None or not {"candidates", "examiners"} <= _names(group):
            return visible
        # Subqueries: joins would return a row twice for a user who is both.
        prefix = f"{self.delivery_path}__" if self.delivery_path else ""
        groups = group._base_manager.using(self._db)  # type: ignore[attr-defined]
        key = target_name(delivery, GROUP)
        mine = models.Q(**{f"{prefix}{GROUP}__in": groups.filter(candidates=user).values(key)})
        if "successful" in _names(delivery):
            examined = groups.filter(examiners=user).values(key)
            mine |= models.Q(**{f"{prefix}{GROUP}__in": examined, f"{prefix}successful": True})
        visible = self.filter(mine)
        return visible


class DeliveryQuerySet(VisibleQuerySet):
    """A queryset of deliveries."""


DeliveryManager = models.Manager.from_queryset(DeliveryQuerySet)


def may_view(user: Any, model: type[models.Model], row: models.Model | None = None) -> bool:
    """Return whether the user may view all rows of a model, or this row of it."""
    meta = model._meta
    allowed: bool = user.has_perm(f"{meta.app_label}.view_{meta.model_name}", row)
    return allowed


def _names(model: type[models.Model]) -> set[str]:
    return {field.name for field in model._meta.get_fields()}
