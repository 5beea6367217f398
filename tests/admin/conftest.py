"""Somebody logged in, a delivery, and a store that does what a test wants."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.test import Client

from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from tests.harness.users import make_superuser
from tests.testapp.stores import HookedStore, close_opened


@pytest.fixture
def browser(db: None) -> Client:
    """A browser in which a superuser is logged in."""
    client = Client()
    client.force_login(make_superuser())
    return client


@pytest.fixture
def group(db: None) -> AssignmentGroup:
    made: AssignmentGroup = AssignmentGroup.objects.create(name="the group")
    return made


@pytest.fixture
def delivery(group: AssignmentGroup) -> Delivery:
    return Delivery.begin(group)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[HookedStore]:
    """The store of the test's files, for as long as it lasts."""
    made = HookedStore()
    monkeypatch.setattr(FileMeta, "deliverystore", made)
    yield made
    close_opened()
