"""pytest fixtures. Django is imported only when a test uses one of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from devilry_storage.storages import FsHierDeliveryStore
    from devilry_storage.testing import MemoryDeliveryStore


@contextmanager
def _installed(backend: str, **options: Any) -> Iterator[Any]:
    """Set STORAGES["deliveries"] to a new store inside the block."""
    from django.conf import settings
    from django.core.files.storage import storages
    from django.test import override_settings

    definition = {"BACKEND": f"devilry_storage.{backend}", "OPTIONS": options}
    with override_settings(STORAGES={**settings.STORAGES, "deliveries": definition}):
        yield storages["deliveries"]


@pytest.fixture
def delivery_store(tmp_path: Path) -> Iterator[FsHierDeliveryStore]:
    """Install an empty FsHierDeliveryStore in a temporary folder as STORAGES["deliveries"]."""
    with _installed(
        "storages.FsHierDeliveryStore", location=str(tmp_path / "deliveries")
    ) as store:
        yield store


@pytest.fixture
def memory_delivery_store() -> Iterator[MemoryDeliveryStore]:
    """Install an empty MemoryDeliveryStore as STORAGES["deliveries"]."""
    with _installed("testing.MemoryDeliveryStore") as store:
        yield store
