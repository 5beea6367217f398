"""Checks of ordinary FileFields in delivery stores, and the command that shows their stores."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from django.apps import apps
from django.core.checks import CheckMessage, registry
from django.core.files.storage import default_storage, storages
from django.core.management import CommandError, call_command
from django.db import models
from django.test.utils import isolate_apps

from devilry_storage import registry as model_registry
from devilry_storage.checks.serving import check_ordinary_fields
from devilry_storage.storages import DeliveryStoreMixin
from devilry_storage.testing import MemoryDeliveryStore

from .conftest import fields

pytestmark = pytest.mark.django_db


def found() -> dict[str, CheckMessage]:
    """Return the messages of the check, by the field that they name."""
    return {str(message.obj): message for message in check_ordinary_fields()}


def test_check_is_registered() -> None:
    assert check_ordinary_fields in registry.registry.registered_checks


def test_field_that_the_view_looks_up_needs_an_index(disk: DeliveryStoreMixin) -> None:
    """W064, on the one field of these that has none."""
    messages = found()
    assert list(messages) == ["ordinary.Scan.scan"]
    message = messages["ordinary.Scan.scan"]
    assert message.id == "devilry_storage.W064"
    assert "db_index=True" in str(message.hint)


@pytest.mark.usefixtures("without_downloads")
def test_fields_without_a_url_are_a_warning(store: DeliveryStoreMixin) -> None:
    """W063 names each field once, and the remedies. Files on S3 have presigned URLs."""
    messages = found()
    assert set(messages) == {str(field) for field in fields()}
    assert {message.id for message in messages.values()} == {"devilry_storage.W063"}
    message = messages["ordinary.Badge.image"]
    assert "ordinary.Badge.image" in message.msg
    assert 'include("devilry_storage.urls")' in str(message.hint)
    on_s3 = "S3" in type(store).__name__
    assert ("presigned URLs" in message.msg) == on_s3
    assert ("base_url" in str(message.hint)) == (not on_s3)
    assert "STORAGES" not in str(message.hint)


def test_store_without_an_alias_is_a_warning(
    disk: DeliveryStoreMixin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hint says to add it to STORAGES."""
    (field,) = (field for field in fields() if str(field) == "ordinary.Scan.scan")
    monkeypatch.setattr(field, "storage", MemoryDeliveryStore())
    message = found()["ordinary.Scan.scan"]
    assert message.id == "devilry_storage.W063"
    assert "Add the store to STORAGES" in str(message.hint)


@pytest.mark.usefixtures("without_downloads")
def test_default_storage_without_views_is_a_warning(settings: Any) -> None:
    """Fields without the option ``storage`` have its lazy object."""
    memory = {"BACKEND": "devilry_storage.testing.MemoryDeliveryStore"}
    settings.STORAGES = {"default": memory, "deliveries": memory}
    assert fields()[0].storage is default_storage
    assert "have no URL" in found()[str(fields()[0])].msg


def test_public_and_other_storages_have_no_messages(
    tmp_path: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor has a default storage that cannot be created, which other checks report."""
    assert found() == {}
    option = {"location": str(tmp_path), "base_url": "/public/"}
    backend = "devilry_storage.storages.FsHierDeliveryStore"
    settings.STORAGES = {**settings.STORAGES, "public": {"BACKEND": backend, "OPTIONS": option}}
    for field in fields():
        monkeypatch.setattr(field, "storage", storages["public"])
    assert found() == {}
    monkeypatch.undo()
    settings.STORAGES = {**settings.STORAGES, "default": {"BACKEND": "no.such.Storage"}}
    assert found() == {}


def _index(name: str, *names: str, **options: Any) -> models.Index:
    return models.Index(*names, name=name, **options)


@pytest.mark.parametrize(
    ("option", "meta", "is_reported"),
    [
        ({}, {}, True),
        ({"db_index": True}, {}, False),
        ({"unique": True}, {}, False),
        ({}, {"indexes": [_index("one", fields=["file", "other"])]}, False),
        ({}, {"indexes": [_index("two", fields=["-file"])]}, False),
        ({}, {"indexes": [_index("three", fields=["other", "file"])]}, True),
        ({}, {"indexes": [_index("four", fields=["file"], condition=models.Q(other=1))]}, True),
        ({}, {"indexes": [models.Index("other", name="five")]}, True),
    ],
)
def test_any_index_that_begins_with_the_field_is_enough(
    disk: DeliveryStoreMixin,
    monkeypatch: pytest.MonkeyPatch,
    option: dict[str, Any],
    meta: dict[str, Any],
    is_reported: bool,
) -> None:
    """The storage is a function. Names of fields of abstract models are those of the models."""
    with isolate_apps("tests.ordinary") as isolated:

        class Base(models.Model):
            file = models.FileField(storage=lambda: storages["files"], **option)

            class Meta:
                abstract = True
                app_label = "ordinary"

        type(
            "Paper",
            (Base,),
            {
                "__module__": __name__,
                "other": models.IntegerField(),
                "Meta": type("Meta", (), {"app_label": "ordinary", **meta}),
            },
        )
        monkeypatch.setattr(model_registry, "apps", isolated)
        assert list(found()) == (["ordinary.Paper.file"] if is_reported else [])


# -- deliverystore_info --


def _info(**options: Any) -> list[str]:
    out = StringIO()
    call_command("deliverystore_info", stdout=out, **options)
    return out.getvalue().split("\n\n")


def test_info_shows_stores_that_only_ordinary_fields_use(store: DeliveryStoreMixin) -> None:
    """Once, with the fields. A store that a model of files uses has its fields beside it."""
    texts = [text for text in _info() if "ordinary." in text]
    assert len(texts) == 1
    first, alias, backend, location = texts[0].strip().splitlines()[:4]
    assert sorted(first.split(", ")) == sorted(str(field) for field in fields())
    assert alias.split() == ["alias", "files"]
    assert backend.endswith(type(store).__name__)
    assert store.location_text() in location


def test_info_probes_stores_of_ordinary_fields(disk: DeliveryStoreMixin) -> None:
    (text,) = [text for text in _info(probe=True) if "ordinary." in text]
    assert "yes  all uploads of other processes are finished or recent" in text


@pytest.mark.parametrize("method", ["probe", "configuration"])
def test_info_goes_on_after_a_store_that_raises(
    method: str, disk: DeliveryStoreMixin, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: object) -> None:
        raise ValueError("no probe")

    broken = type("Broken", (MemoryDeliveryStore,), {method: fail})()
    monkeypatch.setattr(fields()[0], "storage", broken)
    out = StringIO()
    with pytest.raises(CommandError, match="1 problem found"):
        call_command("deliverystore_info", probe=True, stdout=out)
    failed, passed = out.getvalue().split("The store cannot be checked (Broken): no probe")
    assert (str(fields()[0]) in failed) == (method == "probe")
    assert str(fields()[-1]) in passed


def test_info_shows_fields_beside_models(monkeypatch: pytest.MonkeyPatch) -> None:
    for field in fields():
        monkeypatch.setattr(field, "storage", storages["deliveries"])
    (text,) = [text for text in _info() if "ordinary." in text]
    assert "devilry_deliveries.FileMeta" in text
    assert "ordinary.Badge.image" in text.splitlines()[0]


def test_models_have_all_kinds_of_fields() -> None:
    """A field is inherited by proxies and children, and counted once."""
    assert len(fields()) == 4
    assert len(list(apps.get_app_config("ordinary").get_models())) == 6
