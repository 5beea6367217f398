"""Checks of the values of the settings."""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Error, register
from django.core.exceptions import ImproperlyConfigured

from ..conf import conf
from . import ids

_PROPERTIES = {
    "delivery_store_backend": ids.BACKEND,
    "delivery_store_root": ids.ROOT,
    "fshierdeliverystore_root": ids.HIER_ROOT,
    "fshierdeliverystore_interval": ids.INTERVAL,
    "retention": ids.RETENTION,
    "grace": ids.GRACE,
    "serve": ids.SERVE,
    "redirect_seconds": ids.REDIRECT_SECONDS,
    "redirect_min_bytes": ids.REDIRECT_MIN_BYTES,
    "inline_types": ids.INLINE_TYPES,
    "upload_max_files": ids.UPLOAD_MAX_FILES,
    "upload_max_bytes": ids.UPLOAD_MAX_BYTES,
    "upload_max_total_bytes": ids.UPLOAD_MAX_TOTAL_BYTES,
    "archive_max_files": ids.ARCHIVE_MAX_FILES,
    "archive_max_bytes": ids.ARCHIVE_MAX_BYTES,
    "delivery_store_site": ids.SITE,
}


@register("devilry_storage")
def check_settings(**kwargs: Any) -> list[CheckMessage]:
    """Report settings with invalid values."""
    messages: list[CheckMessage] = []
    for name, id_ in _PROPERTIES.items():
        try:
            getattr(conf, name)
        except ImproperlyConfigured as exception:
            messages.append(
                Error(str(exception), hint="Correct the setting, or remove it.", id=id_)
            )
    return messages
