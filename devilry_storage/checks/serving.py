"""Checks of the ways to serve files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.core.exceptions import ImproperlyConfigured

from ..conf import conf, way_of
from ..registry import ConfiguredStore, FileModel, configured_stores
from ..storages.base import DeliveryStoreMixin


@register("devilry_storage")
def check_serving(**kwargs: Any) -> list[CheckMessage]:
    """Report stores that do not support the configured way to serve files."""
    try:
        serve = conf.serve
    except ImproperlyConfigured:
        return []  # reported by check_settings
    messages: list[CheckMessage] = []
    if not isinstance(serve, str):
        messages += [
            Warning(
                f"DELIVERY_STORE_SERVE names the store {alias!r}, which is not in STORAGES.",
                hint="Use aliases of STORAGES. Files of all other stores are streamed.",
                id="devilry_storage.W062",
            )
            for alias in serve
            if alias not in settings.STORAGES
        ]
    for configured in configured_stores():
        messages += _unsupported(configured)
    return messages


def _unsupported(configured: ConfiguredStore) -> Iterator[CheckMessage]:
    store, model = configured.store, configured.models[0]
    way = way_of(configured.alias)
    if way == "redirect" and type(store).signed_url is DeliveryStoreMixin.signed_url:
        yield Error(
            f"{type(store).__name__} does not sign URLs: 'redirect' cannot serve its files.",
            hint="Set DELIVERY_STORE_SERVE to 'stream' for it, or override its signed_url().",
            obj=model,
            id="devilry_storage.E060",
        )
    elif way == "sendfile":
        path = _path(store)
        if path is None:
            yield Error(
                f"{type(store).__name__} has no paths: 'sendfile' cannot serve its files.",
                hint="Set DELIVERY_STORE_SERVE to 'stream' for it, or to 'redirect' on S3.",
                obj=model,
                id="devilry_storage.E060",
            )
        else:
            yield from _sendfile(model, path)


def _path(store: DeliveryStoreMixin) -> str | None:
    """Return the folder of the store, or None if it is not on disk."""
    try:
        return os.path.dirname(store.path("name"))
    except (NotImplementedError, ImproperlyConfigured):
        return None


def _sendfile(model: FileModel, folder: str) -> Iterator[CheckMessage]:
    root = getattr(settings, "SENDFILE_ROOT", None)
    if find_spec("django_sendfile") is None:
        problem = "django-sendfile2 is not installed"
        hint = "Run pip install 'devilry-storage[sendfile]'."
    elif not getattr(settings, "SENDFILE_BACKEND", None):
        problem = "SENDFILE_BACKEND is not set"
        hint = "Set it to 'django_sendfile.backends.nginx', or to the one for your web server."
    elif root is None or not Path(folder).is_relative_to(os.path.abspath(root)):
        problem = f"The store's location {folder!r} is outside of SENDFILE_ROOT {root!r}"
        hint = "Set SENDFILE_ROOT to the location of the store."
    else:
        return
    yield Error(
        f"{problem}: 'sendfile' cannot serve files.",
        hint=hint,
        obj=model,
        id="devilry_storage.E061",
    )
