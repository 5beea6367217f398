"""Fixtures for tests of rows and files: a store that can fail, a delivery, a stored row.

Test modules load them with ``pytest_plugins = ["tests.testapp.fixtures"]``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from devilry_storage.deliveries.models import Delivery, FileMeta

from .models import Handout, Note, Paper
from .stores import OLD_BYTES, FailingStore, close_opened


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[FailingStore]:
    """Return an empty store that all file models use."""
    made = FailingStore()
    for model in (FileMeta, Handout, Note, Paper):
        monkeypatch.setattr(model, "deliverystore", made)
    yield made
    close_opened()


@pytest.fixture
def delivery(store: FailingStore, group: Any) -> Delivery:
    """Return an unfinished delivery."""
    return Delivery.begin(group)


@pytest.fixture
def row(delivery: Delivery) -> Any:
    """Return a row with ``OLD_BYTES`` in the store."""
    return delivery.add_file("old.txt", OLD_BYTES)
