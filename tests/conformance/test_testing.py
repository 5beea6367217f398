"""The public helpers for tests restore what they change, and import Django late."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.test import SimpleTestCase, override_settings

from devilry_storage import testing
from devilry_storage.deliveries.models import FileMeta
from devilry_storage.resolving import store_for
from devilry_storage.storages import DeliveryStoreMixin, FsHierDeliveryStore
from devilry_storage.testing import (
    MemoryDeliveryStore,
    PlainFileMeta,
    override_deliverystore,
    plugin,
)

from ..testapp.models import Note, ProxyFile

# override_deliverystore


def test_store_is_overridden_and_restored() -> None:
    """The defaults are FileMeta and a new MemoryDeliveryStore."""
    own = store_for(FileMeta)
    with override_deliverystore() as store:
        assert isinstance(store, MemoryDeliveryStore)
        assert store_for(FileMeta) is store
    assert store_for(FileMeta) is own
    assert "deliverystore" not in vars(FileMeta)


def test_each_use_has_a_new_store() -> None:
    """A test does not see the files of another one."""
    override = override_deliverystore()
    with override as first:
        pass
    with override as second:
        assert second is not first


def test_nested_overrides_are_restored_after_an_error() -> None:
    """Each override restores the store that it replaced."""
    one, other = MemoryDeliveryStore(), MemoryDeliveryStore()
    with override_deliverystore(one):
        with pytest.raises(LookupError), override_deliverystore(other):
            assert store_for(FileMeta) is other
            raise LookupError
        assert store_for(FileMeta) is one
    assert "deliverystore" not in vars(FileMeta)


def test_override_can_be_entered_twice() -> None:
    """A decorated function may call itself."""
    own = store_for(FileMeta)
    override = override_deliverystore()
    with override as outer:
        with override as inner:
            assert store_for(FileMeta) is inner
        assert store_for(FileMeta) is outer
    assert store_for(FileMeta) is own


def test_store_can_be_an_alias() -> None:
    """An alias of STORAGES is accepted, as in the model's attribute."""
    with override_deliverystore("deliveries"):
        assert store_for(FileMeta) is storages["deliveries"]


def test_override_of_another_model() -> None:
    """FileMeta keeps its store."""
    own = store_for(FileMeta)
    with override_deliverystore(model=Note) as store:
        assert store_for(Note) is store
        assert store_for(FileMeta) is own
    assert store_for(Note) is not store


def test_override_of_a_proxy_affects_its_concrete_model() -> None:
    """The store is looked up on the model that declares the field."""
    with override_deliverystore(model=ProxyFile) as store:
        assert store_for(ProxyFile) is store
        assert store_for(FileMeta) is store
    assert "deliverystore" not in vars(FileMeta)
    assert "deliverystore" not in vars(ProxyFile)


def test_override_without_the_app_needs_a_model() -> None:
    """The message shows how to pass one."""
    apps = [app for app in settings.INSTALLED_APPS if app != "devilry_storage.deliveries"]
    apps.remove("tests.testapp")
    with (
        override_settings(INSTALLED_APPS=apps),
        pytest.raises(ImproperlyConfigured, match="model=Handin"),
        override_deliverystore(),
    ):
        pass


def test_decorated_function_gets_the_store() -> None:
    """It is passed as the argument ``kwarg_name``."""

    @override_deliverystore(kwarg_name="given")
    def work(given: MemoryDeliveryStore | None = None) -> None:
        assert store_for(FileMeta) is given

    work()
    assert "deliverystore" not in vars(FileMeta)


@override_deliverystore(attr_name="deliveries")
class TestDecoratedClass(SimpleTestCase):
    deliveries: MemoryDeliveryStore

    def test_decorated_class_gets_the_store(self) -> None:
        """It is set as the attribute ``attr_name`` for every test."""
        assert store_for(FileMeta) is self.deliveries


# The pytest plugin


def test_delivery_store_fixture_installs_the_store(
    delivery_store: FsHierDeliveryStore, tmp_path: Path
) -> None:
    """It becomes STORAGES["deliveries"], which models without their own store use."""
    assert isinstance(delivery_store, FsHierDeliveryStore)
    assert storages["deliveries"] is delivery_store
    assert store_for(FileMeta) is delivery_store
    delivery_store.save("0/0/1/1", ContentFile(b"data"))
    assert (tmp_path / "deliveries/0/0/1/1").read_bytes() == b"data"


def test_memory_delivery_store_fixture_installs_the_store(
    memory_delivery_store: MemoryDeliveryStore,
) -> None:
    """It becomes STORAGES["deliveries"] and is empty."""
    assert isinstance(memory_delivery_store, MemoryDeliveryStore)
    assert storages["deliveries"] is memory_delivery_store
    assert list(memory_delivery_store.scan()) == []


def test_fixtures_restore_settings_and_storages(tmp_path: Path) -> None:
    """Other aliases of STORAGES stay available."""
    before, own = settings.STORAGES, storages["deliveries"]
    with plugin._installed("storages.FsHierDeliveryStore", location=str(tmp_path)) as store:
        assert storages["deliveries"] is store is not own
        assert set(settings.STORAGES) == set(before)
    assert settings.STORAGES is before
    restored = storages["deliveries"]
    assert isinstance(restored, DeliveryStoreMixin)
    assert type(own) is type(restored)
    assert restored.configuration() == own.configuration()


# Imports


@pytest.mark.parametrize(
    ("imported", "absent"),
    [
        ("devilry_storage.testing", "pytest django.db django.core.files"),
        ("devilry_storage.testing.plugin", "django"),
    ],
)
def test_import_loads_no_optional_modules(imported: str, absent: str) -> None:
    """The plugin is loaded in every run of pytest, before settings, and without Django."""
    code = f"import sys, {imported}; print(set({absent.split()}) & set(sys.modules))"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True
    )
    assert found.stdout.strip() == "set()"


def test_public_names_can_be_imported() -> None:
    """They are imported at first use; other names raise AttributeError."""
    assert set(testing.__all__) <= set(dir(testing))
    for name in testing.__all__:
        assert getattr(testing, name).__name__ == name
    with pytest.raises(AttributeError, match="'no_such_name'"):
        testing.no_such_name  # noqa: B018


# PlainFileMeta


def test_plain_filemeta_deletes_replaced_files() -> None:
    """It has no tombstones, so the store has only the current file."""
    store = MemoryDeliveryStore()
    filemeta = PlainFileMeta(store, 1, 1)
    for data in (b"first", b"second"):
        with store.write_open(filemeta) as writer:
            writer.write(data)
    assert [entry.name for entry in store.scan()] == [filemeta.content]
    assert filemeta.size == 6
    store.remove(filemeta)
    assert list(store.scan()) == []
    assert (filemeta.content, filemeta.size, filemeta.sha256) == (None, 0, "")
    assert repr(filemeta) == "<PlainFileMeta: 1/1>"
