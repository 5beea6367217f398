"""Checks of the models of deliveries and files, and of their managers."""

import inspect
import os
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

from django.apps import apps
from django.core.checks import CheckMessage, Error, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.core.files.storage import FileSystemStorage
from django.db import connections, models, router
from django.db.models.query import ModelIterable

from ..abstract_models.querysets import VisibleQuerySet
from ..fields import DeliveryFileField
from ..models import AbstractDelivery, AbstractFileMeta, FileMetaQuerySet, Tombstone
from ..registry import FileModel, file_models, model_stores
from ..resolving import resolve
from ..schema import DELIVERY, GROUP, declaring_model, field_named, foreign_key, related_model
from ..storages.base import DeliveryStoreMixin


@register("devilry_storage")
def check_models(**kwargs: Any) -> list[CheckMessage]:
    """Report models whose files cannot have keys, or whose store has no effect."""
    return [
        *_fields(),
        *_store_on_child(),
        *(message for model in file_models() for message in _integer_keys(model)),
        *(message for model in file_models() for message in _database_cascades(model)),
        *_shared_keys(),
        *_files_of_deliveries(),
    ]


@register("devilry_storage", deploy=True)
def check_database_engine(**kwargs: Any) -> list[CheckMessage]:
    """Warn of SQLite in production."""
    aliases = {router.db_for_write(model) for model in file_models()}
    return [
        Warning(
            f"Deliveries are recorded in the SQLite database {alias!r}, which lets one process "
            "write at a time: under load others get 'database is locked'.",
            hint="Use PostgreSQL in production.",
            id="devilry_storage.W026",
        )
        for alias in sorted(aliases)
        if connections[alias].vendor == "sqlite"
    ]


@register("devilry_storage")
def check_database_vendors(
    *, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Report databases that are not supported, without a connection.

    These are the databases to which rows are written, and the one in which ``migrate`` would
    create tables.
    """
    own = [
        model
        for model in apps.get_models()
        if model._meta.app_label == "devilry_storage"
        or issubclass(model, (AbstractDelivery, AbstractFileMeta))
    ]
    aliases = {router.db_for_write(model) for model in own}
    # migrate passes one database. check passes all from Django 6.1 on, and a site may keep
    # other data in some of them, without a router.
    if databases is not None and len(databases) == 1:
        (alias,) = databases
        if any(router.allow_migrate_model(alias, model) for model in own):
            aliases.add(alias)
    return [
        Error(
            f"Deliveries cannot be recorded in the database {alias!r} "
            f"({connections[alias].vendor}): only PostgreSQL and SQLite are supported.",
            hint=(
                "Use one of them; or write a database router that sends the models of "
                "devilry_storage, your deliveries and their files to another database, and does "
                "not allow to migrate them in this one."
            ),
            id="devilry_storage.E030",
        )
        for alias in sorted(aliases)
        if connections[alias].vendor not in {"postgresql", "sqlite"}
    ]


def _fields() -> Iterator[CheckMessage]:
    for model in apps.get_models():
        if model._meta.proxy:
            continue
        is_filemeta = issubclass(model, AbstractFileMeta)
        for field in model._meta.local_fields:
            is_content = is_filemeta and field.name == "content"
            if is_content and isinstance(field, DeliveryFileField):
                yield from _options(field)
            elif is_content:
                yield Error(
                    f"The content of {model._meta.label} is a {type(field).__name__}, so save() "
                    "cannot store it.",
                    hint="Use devilry_storage.fields.DeliveryFileField.",
                    obj=field,
                    id="devilry_storage.E023",
                )
            elif isinstance(field, DeliveryFileField):
                yield Error(
                    "DeliveryFileField works only as the field 'content' of AbstractFileMeta, "
                    "whose save() stores the bytes.",
                    hint=(
                        "Move the field to a model of its own, which inherits from "
                        "devilry_storage.models.AbstractFileMeta."
                        if is_filemeta
                        else "Let the model inherit from devilry_storage.models.AbstractFileMeta."
                    ),
                    obj=field,
                    id="devilry_storage.E023",
                )


def _options(field: DeliveryFileField) -> Iterator[CheckMessage]:
    shortest = _key_length(field)
    name: Any = Tombstone._meta.get_field("name")
    default = None if callable(field.default) else field.get_default()
    problems = {
        "null=False": (not field.null, "rows are inserted before their files are stored"),
        "unique=False": (not field.unique, "two rows could then have one file"),
        f"max_length={field.max_length}": (
            not shortest <= (field.max_length or 0) <= name.max_length,
            f"it must be {shortest} to {name.max_length}, so that each name can be recorded",
        ),
        f"default={default!r}": (
            bool(default),
            "it is the same for each row: use a function that returns a File",
        ),
        "db_default": (
            getattr(field, "db_default", models.NOT_PROVIDED) is not models.NOT_PROVIDED,
            "the database cannot store a file",
        ),
    }
    for option, (is_wrong, reason) in problems.items():
        if is_wrong:
            yield Error(
                f"DeliveryFileField cannot have {option}, because {reason}.",
                hint="Remove the option.",
                obj=field,
                id="devilry_storage.E032",
            )


def _key_length(field: DeliveryFileField) -> int:
    """Return the length of the longest name that the store gives to files with integer ids."""
    try:
        store = resolve(field.model).store
    except ImproperlyConfigured:
        return 0  # reported by check_stores
    largest = models.BigIntegerField.MAX_BIGINT
    return len(store.get_alternative_name(store.layout.key(largest, largest), ""))


def _store_on_child() -> Iterator[CheckMessage]:
    for model in apps.get_models():
        if not issubclass(model, AbstractFileMeta) or "deliverystore" not in model.__dict__:
            continue
        declaring = declaring_model(model)
        if declaring is not model:
            yield Error(
                f"deliverystore has no effect on {model._meta.label}: its files are stored as "
                f"those of {declaring._meta.label}.",
                hint=f"Set it on {declaring._meta.label}.",
                obj=model,
                id="devilry_storage.E022",
            )


def _integer_keys(model: FileModel) -> Iterator[CheckMessage]:
    if not issubclass(model, AbstractFileMeta) or model.key_ids is not AbstractFileMeta.key_ids:
        return
    hint = "Override key_ids() to return two non-negative integers that never change."
    fields: list[Any] = [model._meta.pk]
    if (delivery := field_named(model, DELIVERY)) is not None:
        fields.append(delivery)
    else:
        yield Error(
            f"{model._meta.label} has no foreign key 'delivery', which is part of the keys.",
            hint=hint,
            obj=model,
            id="devilry_storage.E020",
        )
    for field in fields:
        target = field
        while target.is_relation:
            target = target.target_field
        if not isinstance(target, models.IntegerField):
            yield Error(
                f"Keys are made of integers, but {target.model._meta.label}.{target.name} is a "
                f"{type(target).__name__}.",
                hint=hint,
                obj=field,
                id="devilry_storage.E020",
            )


def _database_cascades(model: FileModel) -> Iterator[CheckMessage]:
    """Yield a warning for each foreign key with Django 6.1's ``DB_CASCADE``."""
    for field in model._meta.concrete_fields:
        on_delete = getattr(field.remote_field, "on_delete", None)
        if on_delete is not None and on_delete is getattr(models, "DB_CASCADE", None):
            yield Warning(
                f"The database deletes rows of {model._meta.label} itself when a row that "
                f"{field.name!r} refers to is deleted: no tombstones are written, and the files "
                "become orphans.",
                hint="Use on_delete=models.CASCADE, which is carried out by Django.",
                obj=field,
                id="devilry_storage.W024",
            )


def _shared_keys() -> Iterator[CheckMessage]:
    for (other, other_store), (model, store) in combinations(model_stores(), 2):
        if _is_same_location(store, other_store):
            yield Error(
                f"{model._meta.label} and {other._meta.label} use the same store: rows with the "
                "same ids would have the same keys.",
                hint=(
                    "Give one of them a store of its own: content = DeliveryFileField("
                    'storage="an alias of STORAGES").'
                ),
                obj=model,
                id="devilry_storage.E021",
            )


def _is_same_location(store: DeliveryStoreMixin, other: DeliveryStoreMixin) -> bool:
    """Return whether two stores are the same, or one is in the folder of the other."""
    if isinstance(store, FileSystemStorage) and isinstance(other, FileSystemStorage):
        paths = [os.path.realpath(location) for location in (store.location, other.location)]
        return os.path.commonpath(paths) in paths
    return store is other


def _files_of_deliveries() -> Iterator[CheckMessage]:
    for model in apps.get_models():
        if issubclass(model, AbstractDelivery) and model is model._meta.concrete_model:
            try:
                model.filemeta_model()
            except ImproperlyConfigured as exception:
                yield Error(
                    str(exception),
                    hint=(
                        "Give one model of files a foreign key 'delivery' to it, or override the "
                        "class method filemeta_model() to return the right one."
                    ),
                    obj=model,
                    id="devilry_storage.E027",
                )


# -- Managers --


@register("devilry_storage")
def check_managers(**kwargs: Any) -> list[CheckMessage]:
    """Report managers with which Django cannot delete rows, or that lack the methods for files."""
    return [*_base_managers(), *_missing_methods(), *_rules_on_children()]


def _base_managers() -> Iterator[CheckMessage]:
    """Check the managers of files and deliveries, and of models they refer to or inherit from."""
    related = {
        other
        for model in file_models()
        for other in (related_model(model, DELIVERY), *model._meta.get_parent_list())
    }
    for model in apps.get_models():
        if model not in related and not issubclass(model, (AbstractDelivery, AbstractFileMeta)):
            continue
        rows: Any = model._base_manager.get_queryset()
        # Django documents that a base manager must not filter rows away.
        if rows.query.where or rows.query.is_sliced:
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
        if rows._iterable_class is not ModelIterable:
            yield from _mixed_cascades(model)


def _mixed_cascades(model: type[models.Model]) -> Iterator[CheckMessage]:
    for field in (foreign_key(model, name) for name in (DELIVERY, GROUP)):
        if field is None or field.model is not model:
            continue
        if field.remote_field.on_delete is models.CASCADE:
            yield Warning(
                f"The base manager of {model._meta.label} may return instances of several "
                "classes. Django cannot delete them together when the row that "
                f"{field.name!r} refers to is deleted: the delete may raise IntegrityError.",
                hint=(
                    "Write an on_delete function that calls models.CASCADE with a queryset of "
                    "plain instances, such as sub_objs.non_polymorphic()."
                ),
                obj=field,
                id="devilry_storage.W031",
            )


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
