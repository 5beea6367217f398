"""Stores in migrations and in tasks: a reference to an alias, or the class and its options."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import django
import pytest
from django.core.files.storage import (
    FileSystemStorage,
    InvalidStorageError,
    default_storage,
    storages,
)
from django.db import migrations, models
from django.db.migrations.autodetector import MigrationAutodetector
from django.db.migrations.state import ModelState, ProjectState
from django.db.migrations.writer import MigrationWriter
from django.utils.module_loading import import_string

from devilry_storage.storages import DeliveryStoreMixin, FsDeliveryStore, FsHierDeliveryStore
from devilry_storage.testing import MemoryDeliveryStore

SECRET = "secret-of-the-site"


class OwnStore(DeliveryStoreMixin, FileSystemStorage):
    secret_options = frozenset({"account_key"})

    def __init__(self, *, account_key: str = "", **options: Any) -> None:
        super().__init__(**options)


def callable_store() -> Any:
    return storages["deliveries"]


def options_of(folder: Path) -> dict[str, dict[str, Any]]:
    """Return options of each class, all with secrets that it may have."""
    found: dict[str, dict[str, Any]] = {
        "devilry_storage.storages.FsDeliveryStore": {"location": str(folder), "durable": False},
        "devilry_storage.storages.FsHierDeliveryStore": {"location": str(folder), "interval": 7},
        "devilry_storage.testing.MemoryDeliveryStore": {"interval": 7},
        f"{__name__}.OwnStore": {"location": str(folder), "account_key": SECRET},
    }
    try:
        from botocore.config import Config

        from ..harness import cloudfront
    except ImportError:
        return found
    found["devilry_storage.storages.S3DeliveryStore"] = {
        "bucket_name": "handins",
        "location": "below",
        "access_key": SECRET,
        "secret_key": SECRET,
        "security_token": SECRET,
        "proxies": {"http": f"http://user:{SECRET}@127.0.0.1:9"},
        "client_config": Config(user_agent_extra=SECRET),
        "object_parameters": {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": SECRET},
        "custom_domain": "files.example.com",
        "cloudfront_key_id": SECRET,
        "cloudfront_key": cloudfront.pem(),
    }
    return found


def _check_secrets(text: str) -> None:
    assert SECRET not in text
    assert "PRIVATE KEY" not in text


def rebuilt(store: Any) -> Any:
    """Return the store as a task makes it again, which gets its arguments as JSON."""
    deconstructed = store.deconstruct()
    path, args, kwargs = json.loads(json.dumps(deconstructed))
    _check_secrets(repr(deconstructed))
    return import_string(path)(*args, **kwargs)


def state(**fields: models.Field[Any, Any]) -> ProjectState:
    project = ProjectState()
    project.add_model(
        ModelState(
            "papers", "Paper", [("id", models.AutoField(primary_key=True)), *fields.items()]
        )
    )
    return project


def migrated(project: ProjectState) -> ProjectState:
    """Return the state after the migration that makes the model, as written and read again."""
    fields = list(project.models["papers", "paper"].fields.items())
    operation = migrations.CreateModel(name="Paper", fields=fields)
    migration = type("Migration", (migrations.Migration,), {"operations": [operation]})
    text = MigrationWriter(migration("0001_initial", "papers")).as_string()
    _check_secrets(text)
    scope: dict[str, Any] = {}
    exec(text, scope)  # our own migration
    read: migrations.Migration = scope["Migration"]("0001_initial", "papers")
    return read.mutate_state(ProjectState())


def changes(before: ProjectState, after: ProjectState) -> Any:
    return MigrationAutodetector(before, after)._detect_changes()  # type: ignore[attr-defined]


@pytest.mark.skipif(
    django.VERSION < (5, 0), reason="overridden STORAGES lose the options of default on Django 4.2"
)
def test_store_of_an_alias_is_rebuilt_as_this_very_store(
    settings: Any, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    """So a task, which may run in another process, has the store's credentials."""
    for path, options in options_of(tmp_path).items():
        entry = {"BACKEND": path, "OPTIONS": options}
        settings.STORAGES = {"broken": {"BACKEND": "no.Such"}, "default": entry, "handins": entry}
        for alias in ("default", "handins"):
            with subtests.test(path, alias=alias):
                store = storages[alias]
                assert rebuilt(store) is store
                field = state(file=models.FileField(storage=store))
                assert changes(migrated(field), field) == {}
    field = state(file=models.FileField(storage=storages["handins"]))
    other = state(file=models.FileField(storage=storages["default"]))
    assert changes(field, other)
    path, args, _ = storages["handins"].deconstruct()  # type: ignore[attr-defined]
    lazy: Any = default_storage
    assert lazy.deconstruct() == (path, ("default",), {})
    settings.STORAGES = {"default": entry}
    with pytest.raises(InvalidStorageError, match="handins"):
        import_string(path)(*args)


def test_store_without_alias_is_rebuilt_without_secrets(
    tmp_path: Path, subtests: pytest.Subtests
) -> None:
    """Its options are compared, so that a changed one needs a migration."""
    for path, options in options_of(tmp_path).items():
        with subtests.test(path):
            store = import_string(path)(**options)
            again = rebuilt(store)
            assert store.deconstruct()[0] == path
            assert type(again) is type(store)
            assert again.deconstruct() == store.deconstruct()
            assert again.layout == store.layout
            _check_secrets(repr(store.configuration()))
            field = state(file=models.FileField(storage=store))
            assert changes(migrated(field), field) == {}
            shown = {"location": "other"} if "location" in options else {"interval": 8}
            other = import_string(path)(**{**options, **shown})
            assert changes(field, state(file=models.FileField(storage=other)))


def test_callable_and_positional_options_need_no_migration(tmp_path: Path) -> None:
    for storage in (
        callable_store,
        FsDeliveryStore(str(tmp_path)),
        FsHierDeliveryStore(tmp_path),
        MemoryDeliveryStore(),
    ):
        field = state(file=models.FileField(storage=storage))
        assert changes(migrated(field), field) == {}
