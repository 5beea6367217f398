"""Somebody logged in, a delivery, and a store that does what a test wants."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.storages import MemoryDeliveryStore
from tests.users import make_superuser


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


class HookedStore(MemoryDeliveryStore):
    """A store that calls ``before`` with the name of each file that it is about to create."""

    before: Callable[[str], object] = staticmethod(lambda name: None)

    def _create(self, name: str, content: Any) -> str:
        self.before(name)
        return super()._create(name, content)

    def fill_up(self, room_for: int = 0) -> None:
        """Let the disk be full after so many files."""
        room = iter(range(room_for))

        def before(name: str) -> None:
            if next(room, None) is None:
                raise OSError(errno.ENOSPC, "No space left on device")

        self.before = before


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> HookedStore:
    """The store of the test's files, for as long as it lasts."""
    made = HookedStore()
    monkeypatch.setattr(FileMeta, "deliverystore", made)
    return made
