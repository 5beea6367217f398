"""Fixtures of the admin's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.test import Client

from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from tests.harness.users import make_superuser
from tests.testapp.stores import HookedStore, close_opened


@pytest.fixture
def browser(db: None) -> Client:
    """Return the client of a superuser."""
    client = Client()
    client.force_login(make_superuser())
    return client


@pytest.fixture
def group(db: None) -> AssignmentGroup:
    group: AssignmentGroup = AssignmentGroup.objects.create(name="the group")
    return group


@pytest.fixture
def delivery(group: AssignmentGroup) -> Delivery:
    return Delivery.begin(group)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[HookedStore]:
    """Use a store with hooks for FileMeta."""
    store = HookedStore()
    monkeypatch.setattr(FileMeta, "deliverystore", store)
    yield store
    close_opened()
