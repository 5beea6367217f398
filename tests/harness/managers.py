"""Base managers and default managers of a site, and code that runs when an instance is created."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import models
from django.db.models import signals
from django.db.models.query import ModelIterable

from ..testapp.models import MarkedFile


class HidingManager(models.Manager[Any]):
    """Hides all rows."""

    def get_queryset(self) -> Any:
        return super().get_queryset().none()


class JoiningManager(models.Manager[Any]):
    """Selects rows of a nullable relation, too."""

    def get_queryset(self) -> Any:
        return super().get_queryset().select_related("delivered_by")


class _ChildIterable(ModelIterable):  # type: ignore[type-arg]
    def __iter__(self) -> Iterator[Any]:
        for row in super().__iter__():
            yield MarkedFile.objects.filter(pk=row.pk).first() or row


class ChildManager(models.Manager[Any]):
    """Returns instances of the multi-table child, as django-polymorphic does."""

    def get_queryset(self) -> models.QuerySet[Any]:
        rows = super().get_queryset()
        rows._iterable_class = _ChildIterable
        return rows


def set_manager(
    monkeypatch: pytest.MonkeyPatch,
    model: type[models.Model],
    manager: models.Manager[Any],
    kind: str = "base_manager",
) -> None:
    """Exchange the base manager or default manager of a model during a test."""
    manager.model, manager.name = model, "objects"
    monkeypatch.setitem(vars(model._meta), kind, manager)


@contextmanager
def no_instance_is_loaded(*senders: type[models.Model]) -> Iterator[None]:
    """Fail, like an ImageField whose file is missing, if an instance of a row is created."""

    def fail(instance: models.Model, **kwargs: Any) -> None:
        if instance.pk is not None:
            raise FileNotFoundError(f"{instance!r} was loaded.")

    for sender in senders:
        signals.post_init.connect(fail, sender=sender)
    try:
        yield
    finally:
        for sender in senders:
            signals.post_init.disconnect(fail, sender=sender)
