"""Every store, configured in every way, with the same life of a delivery."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.management import call_command
from django.test import override_settings

from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.layout import FlatLayout, HierLayout
from devilry_storage.resolving import store_for
from devilry_storage.storages import FsDeliveryStore, FsHierDeliveryStore
from devilry_storage.testing import MemoryDeliveryStore
from tests.testapp.pictures import buried, stored

pytestmark = pytest.mark.django_db

STORES = (FsDeliveryStore, FsHierDeliveryStore, MemoryDeliveryStore)
PATHS = {store.__name__: f"devilry_storage.storages.{store.__name__}" for store in STORES}
PATHS["MemoryDeliveryStore"] = "devilry_storage.testing.MemoryDeliveryStore"
OTHERS = {key: value for key, value in settings.STORAGES.items() if key != "deliveries"}


def by_alias(store: str, folder: Path) -> dict[str, Any]:
    options = {} if store.startswith("Memory") else {"location": str(folder)}
    backend = {"BACKEND": PATHS[store], "OPTIONS": options}
    return {"STORAGES": {**OTHERS, "deliveries": backend}}


def by_backend(store: str, folder: Path) -> dict[str, Any]:
    return {
        "STORAGES": OTHERS,
        "DELIVERY_STORE_BACKEND": PATHS[store],
        "DELIVERY_STORE_ROOT": folder,
    }


def by_own_root(store: str, folder: Path) -> dict[str, Any]:
    return {
        **by_backend(store, folder),
        "DELIVERY_STORE_ROOT": str(folder / "unused" if "Hier" in store else folder),
        "DEVILRY_FSHIERDELIVERYSTORE_ROOT": folder,
    }


def by_default(store: str, folder: Path) -> dict[str, Any]:
    return {"STORAGES": {**OTHERS, "default": {"BACKEND": PATHS[store]}}, "MEDIA_ROOT": folder}


WAYS = (by_alias, by_backend, by_own_root, by_default)


@pytest.fixture(params=WAYS, ids=lambda way: way.__name__)
def way(request: Any) -> Any:
    return request.param


@pytest.fixture(params=STORES, ids=lambda store: store.__name__)
def store(request: Any, way: Any, tmp_path: Path) -> Iterator[Any]:
    (tmp_path / "store").mkdir()
    with override_settings(**way(request.param.__name__, tmp_path / "store")):
        yield store_for(FileMeta)


def test_field_uses_the_configured_store(store: Any, request: Any, tmp_path: Path) -> None:
    field: Any = FileMeta._meta.get_field("content")
    row = FileMeta(filename="a.txt")
    assert field.storage is row.content.storage is store_for(row) is store
    assert type(store).__name__ in request.node.name
    flat = type(store) is FsDeliveryStore
    assert store.layout == (FlatLayout() if flat else HierLayout(1000))
    if isinstance(store, FsDeliveryStore):
        assert store.location == str(tmp_path / "store")


def test_life_of_a_delivery(store: Any, tmp_path: Path) -> None:
    """Stored, replaced, finished, copied and deleted."""
    group = AssignmentGroup.objects.create(name="group")
    delivery = Delivery.begin(group)
    row = delivery.add_file("hello.txt", ["hello", "world"])
    rows = delivery.add_files({"a.bin": b"\x00" * 70_000, "empty": b""})
    rows[0].content.save("again.bin", ContentFile(b"again"))
    delivery.finish()
    twin = delivery.copy(group)
    for finished in (delivery, twin):
        files = Delivery.objects.get(pk=finished.pk).files
        assert {file.filename: file.content.read() for file in files} == {
            "hello.txt": b"helloworld",
            "a.bin": b"again",
            "empty": b"",
        }
        for file in files:
            assert store.layout.parse(file.content.name) == (finished.pk, file.pk)
            assert file.content.size == file.size
            file.content.close()
    assert row.content.name == store.layout.key(delivery.pk, row.pk)
    if not isinstance(store, MemoryDeliveryStore):
        assert Path(row.content.path) == tmp_path / "store" / row.content.name
    names = [file.content.name for file in delivery.files]
    delivery.delete()
    assert {*names} < {*buried()} < {*stored(store)}


@pytest.mark.parametrize("way", [by_alias], indirect=True, ids=["by_alias"])
def test_another_store_needs_no_migration(store: Any) -> None:
    output = io.StringIO()
    call_command("makemigrations", check=True, dry_run=True, stdout=output)
    assert output.getvalue() == "No changes detected\n"


def test_files_of_another_layout_are_read(tmp_path: Path) -> None:
    """The stored name counts, not the key of the current layout."""
    delivery = Delivery.begin(AssignmentGroup.objects.create(name="group"))
    stores: list[tuple[str, dict[str, Any]]] = [
        ("FsHierDeliveryStore", {"interval": 1000}),
        ("FsHierDeliveryStore", {"interval": 2}),
        ("FsDeliveryStore", {}),
    ]
    for number, (store, options) in enumerate(stores):
        backend = {"BACKEND": PATHS[store], "OPTIONS": {"location": str(tmp_path), **options}}
        with override_settings(STORAGES={**OTHERS, "deliveries": backend}):
            delivery.add_file(f"{number}.txt", f"{number}")
            for row in delivery.files:
                with row.content.open() as file:
                    assert file.read() == row.filename[:1].encode()
    with override_settings(STORAGES={**OTHERS, "deliveries": backend}):
        delivery.finish()
