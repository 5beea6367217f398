"""Fixtures: files in each kind of store, and a site on each kind of server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devilry_storage.deliveries.models import Delivery
from devilry_storage.storages import DeliveryStoreMixin, FsHierDeliveryStore, S3DeliveryStore
from devilry_storage.testing import MemoryDeliveryStore, override_deliverystore

from ..harness import s3servers
from ..harness.http_servers import KINDS, Site, serving
from ..harness.users import make_user

#: All middleware of Django that reads or changes a response.
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.gzip.GZipMiddleware",
    "django.middleware.http.ConditionalGetMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]


def make_store(kind: str, folder: Path) -> DeliveryStoreMixin:
    """Return a store of the given kind with its own location."""
    if kind == "disk":
        return FsHierDeliveryStore(location=folder, durable=False)
    if kind == "memory":
        return MemoryDeliveryStore()
    server = s3servers.need(kind)
    return S3DeliveryStore(**server.options(server.bucket()))


@pytest.fixture(params=["disk", "memory", pytest.param("moto", marks=pytest.mark.servers)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DeliveryStoreMixin]:
    """The store of the package's own model of files, for each kind of store."""
    with override_deliverystore(make_store(request.param, tmp_path / "store")) as store:
        yield store


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[FsHierDeliveryStore]:
    """The store of the package's own model of files, on disk."""
    with override_deliverystore(make_store("disk", tmp_path / "store")) as store:
        yield store


@pytest.fixture
def candidate(transactional_db: None, group: Any) -> Any:
    user = make_user("candidate")
    group.candidates.add(user)
    return user


def deliver(group: Any, **files: bytes) -> dict[str, Any]:
    """Deliver files with these names and contents, and return their rows by name."""
    delivery = Delivery.begin(group)
    rows = {name: delivery.add_file(f"{name}.txt", data) for name, data in files.items()}
    delivery.finish()
    return rows


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest) -> str:
    """The kind of the server."""
    return str(request.param)


@pytest.fixture
def site(server: str, candidate: Any, settings: Any) -> Iterator[Site]:
    """A running site, with the session of the group's candidate."""
    settings.MIDDLEWARE = MIDDLEWARE
    with serving(server) as running:
        yield running.logged_in(candidate)
