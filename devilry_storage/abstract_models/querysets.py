"""Who may see which rows; overridable, and the one place that downloads and archives ask."""

from __future__ import annotations

from typing import Any, TypeVar

from django.db import models

from ..schema import GROUP, group_model, related_model

Q = TypeVar("Q", bound="VisibleQuerySet")


class VisibleQuerySet(models.QuerySet[Any]):
    """A queryset that knows whose eyes its rows are for."""

    #: How the delivery is reached from the model: ``""`` is the model itself.
    delivery_path = ""

    def visible_to(self: Q, user: Any) -> Q:
        """Return the rows that the user may see.

        Holders of ``view_<model>`` see all. Where the group of the delivery has ``candidates`` and
        ``examiners``, candidates see those of their groups, examiners the finished ones of
        theirs. Anonymous and inactive users see none.
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
        # Subqueries, not joins: a user who is both would see rows twice.
        prefix = f"{self.delivery_path}__" if self.delivery_path else ""
        groups = group._base_manager.using(self.db)
        mine = models.Q(**{f"{prefix}{GROUP}__in": groups.filter(candidates=user).values("pk")})
        if "successful" in _names(delivery):
            examined = groups.filter(examiners=user).values("pk")
            mine |= models.Q(**{f"{prefix}{GROUP}__in": examined, f"{prefix}successful": True})
        visible = self.filter(mine)
        return visible


class DeliveryQuerySet(VisibleQuerySet):
    """Deliveries."""


DeliveryManager = models.Manager.from_queryset(DeliveryQuerySet)


def may_view(user: Any, model: type[models.Model]) -> bool:
    """Tell whether the user may view all rows of a model."""
    meta = model._meta
    allowed: bool = user.has_perm(f"{meta.app_label}.view_{meta.model_name}")
    return allowed


def _names(model: type[models.Model]) -> set[str]:
    return {field.name for field in model._meta.get_fields()}
