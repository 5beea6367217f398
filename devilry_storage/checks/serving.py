"""Checks of the ways to serve files, and of the URLs of a site's own FileFields."""

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.core.exceptions import ImproperlyConfigured

from ..conf import conf, way_of
from ..exceptions import NoURL
from ..registry import (
    ConfiguredStore,
    FileModel,
    OrdinaryField,
    configured_stores,
    ordinary_fields,
)
from ..storages.base import DeliveryStoreMixin
from ..storages.view_urls import stored_url


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
    store, way = configured.store, way_of(configured.alias)
    problem = alternative = ""
    if way == "redirect" and type(store).signed_url is DeliveryStoreMixin.signed_url:
        problem, alternative = "does not sign URLs", "override its signed_url()"
    elif way == "sendfile":
        try:
            yield from _sendfile(configured.models[0], os.path.dirname(store.path("name")))
        except (NotImplementedError, ImproperlyConfigured):
            problem, alternative = "has no paths", "to 'redirect' on S3"
    if problem:
        yield Error(
            f"{type(store).__name__} {problem}: {way!r} cannot serve its files.",
            hint=f"Set DELIVERY_STORE_SERVE to 'stream' for it, or {alternative}.",
            obj=configured.models[0],
            id="devilry_storage.E060",
        )


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


@register("devilry_storage")
def check_ordinary_fields(**kwargs: Any) -> list[CheckMessage]:
    """Report fields whose files have no URL, and those that the view looks up without an index."""
    messages: list[CheckMessage] = []
    for ordinary in ordinary_fields():
        if ordinary.store.has_own_url:
            continue
        try:
            stored_url(ordinary.store, "name")
        except NoURL:
            messages.append(_without_url(ordinary))
            continue
        if not _has_index(ordinary.field):
            text = f"The download view looks up names in {ordinary.label}, which has no index."
            hint = "Set db_index=True on the field. Silence this check if the table is small."
            messages.append(
                Warning(text, hint=hint, obj=ordinary.field, id="devilry_storage.W064")
            )
    return messages


def _without_url(ordinary: OrdinaryField) -> CheckMessage:
    if type(ordinary.store).signed_url is DeliveryStoreMixin.signed_url:
        problem = (
            "have no URL. Forms and read-only pages of the admin show no link to them, and its "
            "lists fail"
        )
        public = "If everybody may read the files, give the store a public URL (base_url) instead."
    else:
        problem = "have presigned URLs: everybody who gets one can read the file until it expires"
        public = "Silence this check if that is intended."
    alias = "" if ordinary.alias else "Add the store to STORAGES and let the field use its alias; "
    include = 'path("files/", include("devilry_storage.urls"))'
    return Warning(
        f"The files of {ordinary.label} {problem}.",
        hint=(
            f"{alias}{'include' if alias else 'Include'} the download views in the URLconf: "
            f"{include}. {public}"
        ),
        obj=ordinary.field,
        id="devilry_storage.W063",
    )


def _has_index(field: Any) -> bool:
    """Return whether an index of its own begins with the column of the field."""
    indexes = [index for index in field.model._meta.indexes if not index.condition]
    # An index may begin with "-name", and one of expressions has no fields.
    first = {index.fields[0].lstrip("-") for index in indexes if index.fields}
    return field.db_index or field.unique or field.name in first
