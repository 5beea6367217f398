"""Checks of the values of the settings."""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Error, register
from django.core.exceptions import ImproperlyConfigured

from ..conf import conf

_PROPERTIES = {
    "delivery_store_backend": "devilry_storage.E040",
    "delivery_store_root": "devilry_storage.E041",
    "fshierdeliverystore_root": "devilry_storage.E042",
    "fshierdeliverystore_interval": "devilry_storage.E043",
    "retention": "devilry_storage.E044",
    "grace": "devilry_storage.E045",
    "serve": "devilry_storage.E046",
    "redirect_seconds": "devilry_storage.E047",
    "redirect_min_bytes": "devilry_storage.E048",
    "inline_types": "devilry_storage.E049",
    "upload_max_files": "devilry_storage.E050",
    "upload_max_bytes": "devilry_storage.E051",
    "upload_max_total_bytes": "devilry_storage.E052",
    "archive_max_files": "devilry_storage.E053",
    "archive_max_bytes": "devilry_storage.E054",
    "delivery_store_site": "devilry_storage.E055",
}


@register("devilry_storage")
def check_settings(**kwargs: Any) -> list[CheckMessage]:
    """Report settings with invalid values."""
    messages: list[CheckMessage] = []
    for name, id_ in _PROPERTIES.items():
        try:
            getattr(conf, name)
        except ImproperlyConfigured as exception:
            messages.append(Error(str(exception), hint="Correct or remove the setting.", id=id_))
    return messages
