from __future__ import annotations

from typing import Any

import pytest
from django.core.files.storage import default_storage, storages

from devilry_storage.deliveries.models import FileMeta
from devilry_storage.registry import configured_stores, ordinary_stores
from devilry_storage.resolving import resolve
from devilry_storage.storages.aliases import alias_of
from devilry_storage.store_info import describe
from devilry_storage.testing import MemoryDeliveryStore

from ..ordinary.conftest import fields

MEMORY = {"BACKEND": "devilry_storage.testing.MemoryDeliveryStore"}


class EqualStore(MemoryDeliveryStore):
    """All stores of this class are equal, so that makemigrations sees no changes."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EqualStore)

    def __hash__(self) -> int:
        return 1


class ComparedStore(MemoryDeliveryStore):
    """Stores with equal options are equal."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ComparedStore) and self.deconstruct() == other.deconstruct()

    def __hash__(self) -> int:
        return 1


@pytest.mark.parametrize("kind", [EqualStore, ComparedStore])
def test_stores_that_are_equal_have_aliases_of_their_own(
    kind: type[MemoryDeliveryStore], settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By an alias, a task may delete a file."""
    own = {"BACKEND": f"{__name__}.{kind.__name__}"}
    settings.STORAGES = {"default": own, "staff": own, "students": own, "deliveries": MEMORY}
    for alias in ("staff", "students"):
        assert alias_of(storages[alias]) == alias
        assert storages[alias].deconstruct()[1] == (alias,)  # type: ignore[attr-defined]
    assert alias_of(default_storage) == "default"
    assert alias_of(kind()) is None
    for field, store in zip(fields(), ("staff", "students", "default", "default"), strict=True):
        monkeypatch.setattr(field, "storage", storages[store])
    found = ordinary_stores()
    assert sorted(configured.alias for configured in found) == ["default", "staff", "students"]
    own_fields = {configured.alias: describe(configured).fields for configured in found}
    assert [len(own_fields[alias]) for alias in ("staff", "students")] == [1, 1]


def test_lazy_default_storage_is_one_store_of_several_users(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.STORAGES = {"default": MEMORY}
    stores = [storages["default"], *[default_storage] * 3]
    for field, store in zip(fields(), stores, strict=True):
        monkeypatch.setattr(field, "storage", store)
    monkeypatch.setattr(FileMeta._meta.get_field("content"), "given_storage", default_storage)
    assert resolve(FileMeta).store is storages["default"]
    assert ordinary_stores() == []
    info = describe(next(found for found in configured_stores() if FileMeta in found.models))
    assert info.backend.endswith(".MemoryDeliveryStore")
    assert {str(field) for field in fields()} <= set(info.fields)


def test_alias_of_a_store_is_found_beside_broken_ones(settings: Any) -> None:
    settings.STORAGES = {
        "broken": {"BACKEND": "no.such.Storage"},
        "default": MEMORY,
        "handins": MEMORY,
    }
    assert alias_of(storages["handins"]) == "handins"
    assert alias_of(storages["default"]) == "default"
    assert default_storage.exists("no/such/file") is False  # the lazy object is in use
    assert alias_of(MemoryDeliveryStore()) is None
