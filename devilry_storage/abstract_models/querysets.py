"""Which rows a user may see: used by downloads, archives and the admin."""

from typing import Any, TypeVar, cast

from django.db import models

from ..db.rows import stored_rows
from ..fields import DeliveryFileField
from ..schema import DELIVERY, GROUP, field_named, related_model, target_name

Q = TypeVar("Q", bound="VisibleQuerySet")


class VisibleQuerySet(models.QuerySet[Any]):
    """A queryset that can be limited to the rows that a user may see."""

    def visible_to(self: Q, user: Any) -> Q:
        """Return the rows that the user may see.

        Users with the permission ``view_<model>`` see all rows. If the model of groups has
        ``candidates`` and ``examiners``, candidates see the rows of their groups, and examiners
        the rows of finished deliveries of their groups. Anonymous and inactive users see none.
        """
        return cast(Q, _visible(self, user))


class DeliveryQuerySet(VisibleQuerySet):
    """A queryset of deliveries."""


DeliveryManager = models.Manager.from_queryset(DeliveryQuerySet)


def visible_rows(
    model: type[models.Model], user: Any, using: str | None = None, *, by_permission: bool = True
) -> Any:
    """Return the rows of a model of files or deliveries that the user may see.

    These are rows of the default manager. If it has no method ``visible_to()``, the rules of
    :meth:`VisibleQuerySet.visible_to` apply. Unless ``by_permission``, these rules do not look up
    the user's permissions, and leave out the rows that need one.
    """
    manager: Any = model._default_manager.db_manager(using)
    rows = manager.all()
    for rule in (getattr(type(found), "visible_to", None) for found in (manager, rows)):
        if rule and getattr(rule, "__wrapped__", rule) is not VisibleQuerySet.visible_to:
            return manager.visible_to(user)
    return _visible(rows, user, by_permission=by_permission)


def _visible(rows: Any, user: Any, *, by_permission: bool = True) -> Any:
    if not user.is_active or not user.is_authenticated:
        return rows.none()
    # The permissions of a superuser are not looked up.
    asks = by_permission or getattr(user, "is_superuser", False)
    if asks and may_view(user, rows.model):
        return rows.all()
    is_file = isinstance(field_named(rows.model, "content"), DeliveryFileField)
    delivery = related_model(rows.model, DELIVERY) if is_file else rows.model
    group = None if delivery is None else related_model(delivery, GROUP)
    if delivery is None or group is None or not {"candidates", "examiners"} <= _names(group):
        return rows.none()
    # Subqueries: joins would return a row twice for a user who is both.
    prefix = f"{DELIVERY}__" if is_file else ""
    # Of no database in particular: the query may become a write, to another one.
    groups = stored_rows(group, rows._db)
    key = target_name(delivery, GROUP)
    mine = models.Q(**{f"{prefix}{GROUP}__in": groups.filter(candidates=user).values(key)})
    if "successful" in _names(delivery):
        examined = groups.filter(examiners=user).values(key)
        mine |= models.Q(**{f"{prefix}{GROUP}__in": examined, f"{prefix}successful": True})
    return rows.filter(mine)


def may_view(user: Any, model: type[models.Model], row: models.Model | None = None) -> bool:
    """Return whether the user may view all rows of a model, or this row of it."""
    meta = model._meta
    return bool(user.has_perm(f"{meta.app_label}.view_{meta.model_name}", row))


def _names(model: type[models.Model]) -> set[str]:
    return {field.name for field in model._meta.get_fields()}
