"""The store that a model uses: the ways to configure it and their order."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import django
import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.db import models
from django.test import TestCase, override_settings
from django.test.utils import isolate_apps

from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.fields import DeliveryFileField
from devilry_storage.models import AbstractFileMeta, Tombstone
from devilry_storage.resolving import NoStore, WrongStore, resolve, store_for
from devilry_storage.storages import FsDeliveryStore
from devilry_storage.testing import MemoryDeliveryStore, override_deliverystore
from tests.harness.users import make_user
from tests.testapp.models import MarkedFile, Note, ProxyFile
from tests.testapp.pictures import stored
from tests.testapp.stores import Source, notes_store

MEMORY = {"BACKEND": "devilry_storage.testing.MemoryDeliveryStore"}
DJANGOS = {"BACKEND": "django.core.files.storage.InMemoryStorage"}
STATIC = settings.STORAGES["staticfiles"]


def configured(**backends: Any) -> Any:
    return override_settings(STORAGES={"default": DJANGOS, "staticfiles": STATIC, **backends})


# -- The order --


@isolate_apps("tests.testapp")
def test_stores_are_resolved_in_order() -> None:
    """Class attribute, field, "deliveries", DELIVERY_STORE_BACKEND, default storage."""
    of_field = MemoryDeliveryStore()

    class Own(AbstractFileMeta):
        content = DeliveryFileField(storage=of_field)

        class Meta:
            app_label = "testapp"

    class Plain(AbstractFileMeta):
        class Meta:
            app_label = "testapp"

    backend = override_settings(DELIVERY_STORE_BACKEND="devilry_storage.storages.FsDeliveryStore")
    with backend, configured(default=MEMORY, deliveries=MEMORY, other=MEMORY):
        Own.deliverystore = of_class = MemoryDeliveryStore()
        assert resolve(Own) == (of_class, "")
        Own.deliverystore = "other"
        assert resolve(Own) == (storages["other"], "other")
        Own.deliverystore = None
        assert resolve(Own) == (of_field, "")
        assert resolve(Plain) == (storages["deliveries"], "deliveries")
    with backend, configured(default=MEMORY):
        assert isinstance(store_for(Plain), FsDeliveryStore)
        assert store_for(Plain) is store_for(Plain)
        assert resolve(Plain).alias == ""
    with configured(default=MEMORY):
        assert resolve(Plain) == (storages["default"], "default")
    with (
        configured(),
        pytest.raises(NoStore, match=r"testapp\.Plain\.content.*Add this") as caught,
    ):
        store_for(Plain)
    assert isinstance(caught.value, ImproperlyConfigured)
    assert '"deliveries": {' in str(caught.value)


@isolate_apps("tests.testapp")
def test_field_accepts_an_alias_or_a_callable() -> None:
    """Resolved at each use, not when models are imported. Migrations contain the alias."""
    stores: list[MemoryDeliveryStore] = []

    def create() -> MemoryDeliveryStore:
        stores.append(MemoryDeliveryStore())
        return stores[-1]

    class ByAlias(AbstractFileMeta):
        content = DeliveryFileField(storage="handins")

        class Meta:
            app_label = "testapp"

    class ByCallable(AbstractFileMeta):
        content = DeliveryFileField(storage=create)

        class Meta:
            app_label = "testapp"

    assert stores == []
    assert store_for(ByCallable) is stores[-1]
    with configured(handins=MEMORY):
        assert store_for(ByAlias) is storages["handins"]
    with configured(handins={"BACKEND": "devilry_storage.storages.FsDeliveryStore"}):
        assert isinstance(store_for(ByAlias), FsDeliveryStore)
    for model, alias in ((ByAlias, "handins"), (ByCallable, None)):
        field: Any = model._meta.get_field("content")
        assert field.deconstruct()[3].get("storage") == alias
        assert field.clone().deconstruct()[3].get("storage") == alias


@pytest.mark.parametrize("way", ["alias", "attribute", "backend"])
def test_other_storages_are_rejected(way: str, monkeypatch: Any) -> None:
    """The error names the storage and where it is configured."""
    path = "django.core.files.storage.InMemoryStorage"
    with configured(**({"deliveries": DJANGOS} if way == "alias" else {})):
        if way == "attribute":
            monkeypatch.setattr(FileMeta, "deliverystore", "default")
        backend = path if way == "backend" else None
        setting = override_settings(DELIVERY_STORE_BACKEND=backend)
        with setting, pytest.raises(WrongStore, match="InMemoryStorage', which is not a delivery"):
            store_for(FileMeta)


def test_backend_that_cannot_be_imported_is_rejected() -> None:
    path = "devilry.apps.core.deliverystore.FsDeliveryStore"
    setting = override_settings(DELIVERY_STORE_BACKEND=path)
    error = pytest.raises(WrongStore, match=rf"DELIVERY_STORE_BACKEND '{path}' cannot be imp")
    with configured(), setting, error:
        store_for(FileMeta)


def test_proxy_and_child_use_the_store_of_their_parent(monkeypatch: Any) -> None:
    """The model that declares the field decides."""
    monkeypatch.setattr(FileMeta, "deliverystore", MemoryDeliveryStore())
    monkeypatch.setattr(ProxyFile, "deliverystore", MemoryDeliveryStore())
    monkeypatch.setattr(MarkedFile, "deliverystore", MemoryDeliveryStore())
    assert store_for(ProxyFile) is store_for(MarkedFile) is store_for(FileMeta)
    assert store_for(FileMeta) is FileMeta.deliverystore


@pytest.mark.django_db
def test_model_uses_the_store_of_its_field() -> None:
    """The deliveries' store does not have its files."""
    assert store_for(Note) is notes_store()
    note = Note.objects.create(filename="a.txt", content=Source(b"note"))
    name = note.content.name
    assert b"".join(notes_store().stream(name)) == b"note"
    assert not storages["deliveries"].exists(name)
    note.delete()
    assert Tombstone.objects.get().alias == "testapp.note"


# -- Settings --


def test_settings_are_read_at_each_use() -> None:
    with override_settings(DEVILRY_FSHIERDELIVERYSTORE_INTERVAL=10):
        assert store_for(FileMeta).layout.key(210, 5) == "2/1/210/5"
    assert store_for(FileMeta).layout.key(210, 5) == "0/0/210/5"


@pytest.mark.usefixtures("without_downloads")
@pytest.mark.django_db
def test_store_can_be_the_default_storage(tmp_path: Path) -> None:
    """It has a URL, and stores ordinary names."""
    backend = {"BACKEND": "devilry_storage.storages.FsHierDeliveryStore"}
    with configured(default=backend), override_settings(MEDIA_ROOT=tmp_path, MEDIA_URL="/m/"):
        delivery = Delivery.begin(AssignmentGroup.objects.create(name="group"))
        row = delivery.add_file("a.txt", b"a")
        name = storages["default"].save("avatars/me.png", ContentFile(b"png"))
        assert storages["default"].url(name) == "/m/avatars/me.png"
        assert (tmp_path / row.content.name).read_bytes() == b"a"
        assert row.content.url == f"/m/{row.content.name}"


@pytest.mark.skipif(django.VERSION >= (5, 1), reason="the setting is gone")
def test_default_file_storage_setting_names_the_store(tmp_path: Path) -> None:
    """Django 4.2 without STORAGES."""
    script = """
        import django
        from django.conf import settings

        settings.configure(
            DEFAULT_FILE_STORAGE="devilry_storage.storages.FsHierDeliveryStore",
            MEDIA_ROOT="{folder}",
            DATABASES={{
                "default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
            }},
            INSTALLED_APPS=[
                "django.contrib.auth",
                "django.contrib.contenttypes",
                "devilry_storage",
                "devilry_storage.deliveries",
            ],
            USE_TZ=True,
        )
        django.setup()

        from django.core.management import call_command
        from devilry_storage.deliveries.models import AssignmentGroup, Delivery
        from devilry_storage.resolving import resolve

        call_command("migrate", verbosity=0)
        delivery = Delivery.begin(AssignmentGroup.objects.create(name="group"))
        row = delivery.add_file("a.txt", b"data")
        delivery.finish()
        print(resolve(row).alias, type(row.content.storage).__name__, row.content.path)
    """
    script = dedent(script).format(folder=tmp_path)
    ignored = "ignore:The DEFAULT_FILE_STORAGE setting is deprecated"
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-W", ignored, "-c", script],
        cwd=Path(__file__).parents[2],
        env={key: value for key, value in os.environ.items() if not key.startswith("DJANGO")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"default FsHierDeliveryStore {tmp_path}/0/0/1/1\n"


# -- In tests --


@pytest.mark.django_db
def test_override_deliverystore_restores_the_store() -> None:
    before = store_for(FileMeta)
    with override_deliverystore() as store:
        assert store_for(FileMeta) is store
        delivery = Delivery.begin(AssignmentGroup.objects.create(name="group"))
        row = delivery.add_file("a.txt", b"a")
        assert isinstance(store, MemoryDeliveryStore)
        assert stored(store) == {row.content.name: b"a"}
    assert store_for(FileMeta) is before


# From Devilry's manual (devilry.apps.core.deliverystore), with other import paths.
EXAMPLE = """
    from django.test import TestCase
    from devilry_storage.deliveries.models import FileMeta, Delivery
    from devilry_storage.testing import MemoryDeliveryStore

    class MyTest(TestCase):
        def test_something(self):
            FileMeta.deliverystore = MemoryDeliveryStore()
            delivery = Delivery.begin(assignmentgroup, user)
            delivery.add_file('hello.txt', ['hello', 'world'])
            delivery.finish()
"""


@pytest.mark.django_db
def test_example_of_devilrys_manual_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FileMeta, "deliverystore", None)  # undoes the assignment of the example
    user = make_user("user")
    group = AssignmentGroup.objects.create(name="assignmentgroup")
    names: dict[str, Any] = {"assignmentgroup": group, "user": user, "__name__": __name__}
    exec(dedent(EXAMPLE), names)
    example = names["MyTest"]("test_something")
    assert isinstance(example, TestCase)
    example.test_something()  # type: ignore[attr-defined]
    delivery = Delivery.objects.get()
    assert (delivery.successful, delivery.number, delivery.delivered_by) == (True, 1, user)
    row = delivery.files.get()
    assert (row.filename, row.content.read()) == ("hello.txt", b"helloworld")
    assert stored(FileMeta.deliverystore) == {row.content.name: b"helloworld"}


# -- Models and fields --


@isolate_apps("tests.testapp")
def test_key_ids_need_a_delivery() -> None:
    """The error names the missing attribute."""

    class Loose(AbstractFileMeta):
        class Meta:
            app_label = "testapp"

    with pytest.raises(AttributeError, match="delivery_id"):
        Loose(pk=1).key_ids()


@isolate_apps("tests.testapp")
def test_field_is_a_file_field_with_its_own_defaults() -> None:
    """Options of the model override them."""

    class Short(AbstractFileMeta):
        content = DeliveryFileField("file", max_length=100)

        class Meta:
            app_label = "testapp"

    field: Any = Short._meta.get_field("content")
    assert isinstance(field, models.FileField)
    assert (field.null, field.unique, field.blank, field.max_length) == (True, True, False, 100)
    assert field.verbose_name == "file"
    assert field.check() == []
