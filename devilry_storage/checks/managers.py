"""Checks of the managers of deliveries and files."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.core.checks import CheckMessage, Error, Warning, register
from django.db import models
from django.db.models.query import ModelIterable

from ..abstract_models.querysets import VisibleQuerySet
from ..models import AbstractDelivery, AbstractFileMeta, FileMetaQuerySet
from ..registry import file_models
from ..schema import DELIVERY, GROUP, foreign_key, related_model


@register("devilry_storage")
def check_managers(**kwargs: Any) -> list[CheckMessage]:
    """Report managers with which Django cannot delete rows, or that lack the methods for files."""
    return [*_hidden_rows(), *_mixed_cascades(), *_missing_methods(), *_rules_on_children()]


def _hidden_rows() -> Iterator[CheckMessage]:
    for model in _models():
        # Django documents that a base manager must not filter rows away.
        query = model._base_manager.get_queryset().query
        if query.where or query.is_sliced:
            yield Error(
                f"The base manager of {model._meta.label} hides rows. Django does not find them "
                "when it saves or reloads a row, or deletes a row that they refer to: such a "
                "delete fails, or leaves them.",
                hint=(
                    "Remove base_manager_name from the model's Meta, and hide rows in the default "
                    "manager instead."
                ),
                obj=model,
                id="devilry_storage.E029",
            )


def _mixed_cascades() -> Iterator[CheckMessage]:
    for model in _models():
        rows: Any = model._base_manager.get_queryset()
        if rows._iterable_class is ModelIterable:
            continue
        for field in (foreign_key(model, name) for name in (DELIVERY, GROUP)):
            if field is None or field.model is not model:
                continue
            if field.remote_field.on_delete is models.CASCADE:
                yield Warning(
                    f"The base manager of {model._meta.label} may return instances of several "
                    "classes. Django cannot delete them together when the row that "
                    f"{field.name!r} refers to is deleted: the delete may raise IntegrityError.",
                    hint=(
                        "Write an on_delete function that calls models.CASCADE with a queryset "
                        "of plain instances, such as sub_objs.non_polymorphic()."
                    ),
                    obj=field,
                    id="devilry_storage.W031",
                )


def _models() -> list[type[models.Model]]:
    """Return the models of files and deliveries, and those that files refer to or inherit from."""
    related = {
        other
        for model in file_models()
        for other in (related_model(model, DELIVERY), *model._meta.get_parent_list())
    }
    return [
        model
        for model in apps.get_models()
        if model in related or issubclass(model, (AbstractDelivery, AbstractFileMeta))
    ]


def _missing_methods() -> Iterator[CheckMessage]:
    for model in file_models():
        manager: Any = model._default_manager
        if issubclass(model, AbstractFileMeta) and not isinstance(
            manager.get_queryset(), FileMetaQuerySet
        ):
            yield Warning(
                f"The default manager of {model._meta.label} is not made from FileMetaQuerySet: "
                "it has no adopt() and visible_to(), and its bulk_create() accepts names of "
                "deleted files.",
                hint=(
                    "Inherit from models.Manager.from_queryset(FileMetaQuerySet). A queryset "
                    "class of another package can be combined with FileMetaQuerySet."
                ),
                obj=model,
                id="devilry_storage.W033",
            )


def _rules_on_children() -> Iterator[CheckMessage]:
    """Yield an error for each proxy or child with a ``visible_to()`` that its parents lack."""
    for model in apps.get_models():
        if not issubclass(model, (AbstractDelivery, AbstractFileMeta)):
            continue
        concrete: Any = model._meta.concrete_model
        parents = {*model._meta.get_parent_list(), concrete} - {model}
        rule = _rule(model)
        for parent in sorted(parents, key=str):
            is_asked = issubclass(parent, (AbstractDelivery, AbstractFileMeta))
            if is_asked and rule not in {_rule(parent), VisibleQuerySet.visible_to}:
                yield Error(
                    f"visible_to() of {model._meta.label} does not protect its rows: downloads "
                    f"and archives of {parent._meta.label} ask only that of {parent._meta.label}.",
                    hint=f"Override visible_to() in the default manager of {parent._meta.label}.",
                    obj=model,
                    id="devilry_storage.E034",
                )


def _rule(model: Any) -> Any:
    """Return the function that decides which rows of a model a user may see."""
    method = getattr(type(model._default_manager), "visible_to", VisibleQuerySet.visible_to)
    return inspect.unwrap(method)  # managers wrap the methods of querysets
