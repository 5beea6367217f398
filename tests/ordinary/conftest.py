"""Fixtures: the fields of this app on a store of each kind, and users."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.core.files.storage import storages
from django.test import Client
from django.urls import clear_url_caches, path

from devilry_storage.storages import DeliveryStoreMixin
from tests import urls

from ..harness import s3servers
from ..harness.users import make_user
from .models import Badge

PACKAGE = "devilry_storage.storages."


def fields() -> list[Any]:
    """Return the ordinary fields of this app."""
    found = (apps.get_app_config("ordinary").get_models(), ("file", "scan", "image", "text"))
    return [
        field
        for model in found[0]
        for field in model._meta.local_fields
        if field.name in found[1] and not model._meta.proxy
    ]


def use_stores(
    kind: str, folder: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> DeliveryStoreMixin:
    """Let the fields use the store "files" of this kind, beside another of the same kind."""

    def entry(alias: str) -> dict[str, Any]:
        if kind == "disk":
            location = {"location": str(folder / alias), "durable": False}
            return {"BACKEND": f"{PACKAGE}FsHierDeliveryStore", "OPTIONS": location}
        if kind == "memory":
            return {"BACKEND": "devilry_storage.testing.MemoryDeliveryStore"}
        server = s3servers.need(kind)
        options = server.options(server.bucket())
        return {"BACKEND": f"{PACKAGE}S3DeliveryStore", "OPTIONS": options}

    settings.STORAGES = {**settings.STORAGES, "files": entry("files"), "others": entry("others")}
    store: Any = storages["files"]
    for field in fields():
        monkeypatch.setattr(field, "storage", store)
    return store  # type: ignore[no-any-return]


@contextmanager
def badges_in_admin() -> Iterator[None]:
    """Let the admin have pages of the badges, with the image in the list."""

    def refresh() -> None:
        urls.urlpatterns[0] = path("admin/", admin.site.urls)
        clear_url_caches()

    class BadgeAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
        list_display = ("pk", "image")

    admin.site.register(Badge, BadgeAdmin)
    refresh()
    try:
        yield
    finally:
        admin.site.unregister(Badge)
        refresh()


@pytest.fixture(params=["disk", "memory", pytest.param("moto", marks=pytest.mark.servers)])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> DeliveryStoreMixin:
    return use_stores(request.param, tmp_path, settings, monkeypatch)


@pytest.fixture
def disk(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> DeliveryStoreMixin:
    return use_stores("disk", tmp_path, settings, monkeypatch)


@pytest.fixture
def client_with(db: None) -> Callable[..., Client]:
    """Return a function that logs a new user with these permissions in."""

    def log_in(*codenames: str, **attributes: Any) -> Client:
        user = make_user(f"user with {codenames or attributes}", **attributes)
        user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        client = Client()
        client.force_login(user)
        client.user = user  # type: ignore[attr-defined]
        return client

    return log_in
