from __future__ import annotations

from typing import Any

from django.core.files.storage import default_storage, storages

from devilry_storage.storages import MemoryDeliveryStore
from devilry_storage.storages.aliases import alias_of

MEMORY = {"BACKEND": "devilry_storage.storages.MemoryDeliveryStore"}


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
