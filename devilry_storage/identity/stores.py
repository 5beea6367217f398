"""Stores that can have a mark."""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

from ..registry import FileModel, sharing
from ..resolving import resolve
from ..schema import declaring_model
from ..storages.base import DeliveryStoreMixin
from ..storages.protocols import OwnObjects
from ..tables import StoreMark


class MarkedStore(NamedTuple):
    """A store that can have a mark, for a model and the rows of one database.

    ``own`` are the store's own objects. ``given_alias`` is ``""`` for a store without an alias.
    """

    model: FileModel
    using: str
    store: DeliveryStoreMixin
    own: OwnObjects
    given_alias: str

    @property
    def alias(self) -> str:
        """The store's alias, or the label of the first model that uses a store without one."""
        return self.given_alias or min(
            model._meta.label_lower for model in sharing(self.model, self.store, strict=False)
        )

    @property
    def key(self) -> Hashable:
        """The key of the store in the caches of this process."""
        return self.own.location, self.model, self.using

    @property
    def name(self) -> str:
        """The store's alias and location, as the start of a sentence."""
        return f"The store {self.alias!r} ({self.store.location_text()})"

    def remembered(self) -> StoreMark | None:
        """Return the mark that the database remembers at this location, or None."""
        marks = StoreMark.objects.using(self.using)
        mark: StoreMark | None = marks.filter(
            alias=self.alias, location=self.store.location_text()
        ).first()
        return mark


def marked(model: FileModel, using: str) -> MarkedStore | None:
    """Return the model's store if it can have a mark, otherwise None.

    A store that the class attribute ``deliverystore`` sets, as tests do, has no mark.
    """
    declaring = declaring_model(model)
    if getattr(declaring, "deliverystore", None) is not None:
        return None
    store, alias = resolve(model)
    own = store.own_objects
    return None if own is None else MarkedStore(declaring, using, store, own, alias)
