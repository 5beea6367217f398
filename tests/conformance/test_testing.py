"""The public helpers for tests: what they set they take back, and they import nothing early."""

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
from devilry_storage.storages import FsHierDeliveryStore, MemoryDeliveryStore
from devilry_storage.testing import PlainFileMeta, override_deliverystore, plugin

from ..testapp.models import Note, ProxyFile

# override_deliverystore


def test_a_model_has_another_store_inside_and_its_own_again_afterwards() -> None:
    """By default FileMeta and a fresh store in memory."""
    own = store_for(FileMeta)
    with override_deliverystore() as store:
        assert isinstance(store, MemoryDeliveryStore)
        assert store_for(FileMeta) is store
    assert store_for(FileMeta) is own
    assert "deliverystore" not in vars(FileMeta)


def test_each_use_gets_a_fresh_store() -> None:
    """Files of one test are not seen by the next."""
    override = override_deliverystore()
    with override as first:
        pass
    with override as second:
        assert second is not first


def test_overrides_nest_and_are_taken_back_one_by_one() -> None:
    """Each takes back what it found, an error on the way included."""
    one, other = MemoryDeliveryStore(), MemoryDeliveryStore()
    with override_deliverystore(one):
        with pytest.raises(LookupError), override_deliverystore(other):
            assert store_for(FileMeta) is other
            raise LookupError
        assert store_for(FileMeta) is one
    assert "deliverystore" not in vars(FileMeta)


def test_one_decorator_may_be_entered_while_it_is_in_force() -> None:
    """As by a decorated function that calls itself."""
    own = store_for(FileMeta)
    override = override_deliverystore()
    with override as outer:
        with override as inner:
            assert store_for(FileMeta) is inner
        assert store_for(FileMeta) is outer
    assert store_for(FileMeta) is own


def test_a_store_may_be_named_by_its_alias() -> None:
    """As the class attribute itself."""
    with override_deliverystore("deliveries"):
        assert store_for(FileMeta) is storages["deliveries"]


def test_another_model_is_named() -> None:
    """FileMeta keeps its store then."""
    own = store_for(FileMeta)
    with override_deliverystore(model=Note) as store:
        assert store_for(Note) is store
        assert store_for(FileMeta) is own
    assert store_for(Note) is not store


def test_a_proxy_means_the_model_that_declares_the_field() -> None:
    """Nobody looks for the attribute on a proxy."""
    with override_deliverystore(model=ProxyFile) as store:
        assert store_for(ProxyFile) is store
        assert store_for(FileMeta) is store
    assert "deliverystore" not in vars(FileMeta)
    assert "deliverystore" not in vars(ProxyFile)


def test_without_the_app_a_model_must_be_named() -> None:
    """The error shows how."""
    apps = [app for app in settings.INSTALLED_APPS if app != "devilry_storage.deliveries"]
    apps.remove("tests.testapp")
    with (
        override_settings(INSTALLED_APPS=apps),
        pytest.raises(ImproperlyConfigured, match="model=Handin"),
        override_deliverystore(),
    ):
        pass


def test_a_function_is_decorated() -> None:
    """And gets the store, if it says under which name."""

    @override_deliverystore(kwarg_name="given")
    def work(given: MemoryDeliveryStore | None = None) -> None:
        assert store_for(FileMeta) is given

    work()
    assert "deliverystore" not in vars(FileMeta)


@override_deliverystore(attr_name="deliveries")
class TestDecoratedClass(SimpleTestCase):
    deliveries: MemoryDeliveryStore

    def test_a_class_is_decorated(self) -> None:
        """For each of its tests."""
        assert store_for(FileMeta) is self.deliveries


# The pytest plugin


def test_the_store_of_the_fixture_is_installed(
    delivery_store: FsHierDeliveryStore, tmp_path: Path
) -> None:
    """As STORAGES["deliveries"], so that every model without a store of its own uses it."""
    assert isinstance(delivery_store, FsHierDeliveryStore)
    assert storages["deliveries"] is delivery_store
    assert store_for(FileMeta) is delivery_store
    delivery_store.save("0/0/1/1", ContentFile(b"data"))
    assert (tmp_path / "deliveries/0/0/1/1").read_bytes() == b"data"


def test_the_store_in_memory_of_the_fixture_is_installed(
    memory_delivery_store: MemoryDeliveryStore,
) -> None:
    """For tests that need no disk."""
    assert isinstance(memory_delivery_store, MemoryDeliveryStore)
    assert storages["deliveries"] is memory_delivery_store
    assert list(memory_delivery_store.scan()) == []


def test_the_fixtures_restore_everything(tmp_path: Path) -> None:
    """Settings, the storages made of them, and the other aliases."""
    before, own = settings.STORAGES, storages["deliveries"]
    with plugin._installed("FsHierDeliveryStore", location=str(tmp_path)) as store:
        assert storages["deliveries"] is store is not own
        assert set(settings.STORAGES) == set(before)
    assert settings.STORAGES is before
    assert storages["deliveries"].deconstruct() == own.deconstruct()  # type: ignore[attr-defined]


# Imports


@pytest.mark.parametrize(
    ("imported", "absent"),
    [
        ("devilry_storage.testing", "pytest django.db django.core.files"),
        ("devilry_storage.testing.plugin", "django"),
    ],
)
def test_nothing_is_imported_early(imported: str, absent: str) -> None:
    """The plugin is loaded in every run of pytest, before settings, in projects without Django."""
    code = f"import sys, {imported}; print(set({absent.split()}) & set(sys.modules))"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True
    )
    assert found.stdout.strip() == "set()"


def test_the_public_names_are_there() -> None:
    """Looked up at first use, yet listed, and nothing else is."""
    assert set(testing.__all__) <= set(dir(testing))
    for name in testing.__all__:
        assert getattr(testing, name).__name__ == name
    with pytest.raises(AttributeError, match="'no_such_name'"):
        testing.no_such_name  # noqa: B018


# PlainFileMeta


def test_a_plain_filemeta_removes_what_is_replaced() -> None:
    """It has no tombstones: the store holds what it names and nothing else."""
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
