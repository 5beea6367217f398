"""The package's settings. They are read at every access, so ``override_settings`` works."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from .layout import DEFAULT_INTERVAL

#: The ways to serve files.
WAYS = ("stream", "sendfile", "redirect")

PDF = "application/pdf"

#: Media types that browsers never execute. They display PDF files in a separate viewer.
SAFE_TYPES = frozenset(
    {
        "text/plain",
        "image/avif",
        "image/bmp",
        "image/gif",
        "image/jpeg",
        "image/png",
        "image/webp",
        PDF,
    }
)


def _setting(name: str, default: Any) -> Any:
    value = getattr(settings, name, None)
    return default if value is None else value


def _path(name: str) -> str | None:
    value = _setting(name, None)
    if value is None:
        return None
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if isinstance(path, str) and "\0" not in path:
        return path or None
    raise ImproperlyConfigured(
        f"{name} {value!r} is not a path: set it to the folder of the store as a string or Path."
    )


def _number(name: str, default: float, unit: str) -> float:
    value = _setting(name, default)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e6:
        return value
    raise ImproperlyConfigured(
        f"{name} {value!r} is not a number of {unit}: set it to 0 or more, below 1,000,000."
    )


def _whole(name: str, default: int, unit: str, least: int) -> int:
    value = _setting(name, default)
    if isinstance(value, int) and not isinstance(value, bool) and least <= value < 2**63:
        return value
    raise ImproperlyConfigured(
        f"{name} {value!r} is not a whole number of {unit}: set it to {least} or more."
    )


def _is_dotted_path(value: str) -> bool:
    return "." in value and all(part.isidentifier() for part in value.split("."))


class Settings:
    """The settings by name in lower case.

    Raises ImproperlyConfigured for invalid values.
    """

    @property
    def delivery_store_backend(self) -> str | None:
        """``DELIVERY_STORE_BACKEND: str | None = None``: dotted path of the store's class."""
        value = _setting("DELIVERY_STORE_BACKEND", None)
        if value is None or (isinstance(value, str) and _is_dotted_path(value)):
            return value
        raise ImproperlyConfigured(
            f"DELIVERY_STORE_BACKEND {value!r} is not a dotted path: set it to one such as "
            "'devilry_storage.storages.FsHierDeliveryStore'."
        )

    @property
    def delivery_store_root(self) -> str | None:
        """``DELIVERY_STORE_ROOT: str | Path | None = None``: root folder of the stores on disk."""
        return _path("DELIVERY_STORE_ROOT")

    @property
    def fshierdeliverystore_root(self) -> str | None:
        """``DEVILRY_FSHIERDELIVERYSTORE_ROOT: str | Path | None = None``: root
        folder of the hierarchical store on disk. It takes precedence over
        ``DELIVERY_STORE_ROOT``.
        """
        return _path("DEVILRY_FSHIERDELIVERYSTORE_ROOT")

    @property
    def fshierdeliverystore_interval(self) -> int:
        """``DEVILRY_FSHIERDELIVERYSTORE_INTERVAL: int = 1000``: interval of every hierarchical
        store.
        """
        return _whole("DEVILRY_FSHIERDELIVERYSTORE_INTERVAL", DEFAULT_INTERVAL, "folders", 2)

    @property
    def delivery_store_site(self) -> str | None:
        """``DELIVERY_STORE_SITE: str | None = None``: a secret by which stores recognise this
        site, instead of ``SECRET_KEY``.
        """
        value = _setting("DELIVERY_STORE_SITE", None)
        if value is None or (isinstance(value, str) and value):
            return value
        raise ImproperlyConfigured(
            f"DELIVERY_STORE_SITE {value!r} is not a secret: set it to text that is not empty."
        )

    @property
    def retention(self) -> timedelta:
        """``DELIVERY_STORE_RETENTION_DAYS: float = 30``: number of days for which deleted files
        can be restored; with 0 they are removed right after COMMIT.
        """
        return timedelta(days=_number("DELIVERY_STORE_RETENTION_DAYS", 30, "days"))

    @property
    def grace(self) -> timedelta:
        """``DELIVERY_STORE_GRACE_HOURS: float = 24``: number of hours that an upload may take
        before its row and bytes count as abandoned.
        """
        return timedelta(hours=_number("DELIVERY_STORE_GRACE_HOURS", 24, "hours"))

    @property
    def serve(self) -> str | Mapping[str, str]:
        """``DELIVERY_STORE_SERVE: str | dict[str, str] = "stream"``: how files are served:
        ``"stream"``, ``"sendfile"`` or ``"redirect"``, or a dict of these by alias of
        ``STORAGES``.
        """
        value = _setting("DELIVERY_STORE_SERVE", "stream")
        if isinstance(value, str) and value in WAYS:
            return value
        if isinstance(value, dict) and all(
            isinstance(alias, str) and way in WAYS for alias, way in value.items()
        ):
            return value
        raise ImproperlyConfigured(
            f"DELIVERY_STORE_SERVE {value!r} is not a way to serve files: set it to one of "
            f"{', '.join(map(repr, WAYS))}, or to a dict of them by alias of STORAGES."
        )

    @property
    def redirect_seconds(self) -> int:
        """``DELIVERY_STORE_REDIRECT_SECONDS: int = 60``: number of seconds after which the URL of
        a redirect expires.
        """
        return _whole("DELIVERY_STORE_REDIRECT_SECONDS", 60, "seconds", 1)

    @property
    def redirect_min_bytes(self) -> int:
        """``DELIVERY_STORE_REDIRECT_MIN_BYTES: int = 1048576``: files below this size
        are streamed instead of redirected.
        """
        return _whole("DELIVERY_STORE_REDIRECT_MIN_BYTES", 1024**2, "bytes", 0)

    @property
    def inline_types(self) -> Collection[str]:
        """``DELIVERY_STORE_INLINE_TYPES: list[str] = [...]``: media types that browsers may
        display instead of saving them; by default all safe types except PDF.
        """
        value = _setting("DELIVERY_STORE_INLINE_TYPES", sorted(SAFE_TYPES - {PDF}))
        if isinstance(value, (list, tuple, set, frozenset)) and all(
            isinstance(media_type, str) and media_type in SAFE_TYPES for media_type in value
        ):
            return frozenset(value)
        raise ImproperlyConfigured(
            f"DELIVERY_STORE_INLINE_TYPES {value!r} is not a list of media types that are safe to "
            f"show: set it to some of {', '.join(map(repr, sorted(SAFE_TYPES)))}."
        )

    @property
    def upload_max_files(self) -> int:
        """``DELIVERY_STORE_UPLOAD_MAX_FILES: int = 100``: maximum number of files."""
        return _whole("DELIVERY_STORE_UPLOAD_MAX_FILES", 100, "files", 1)

    @property
    def upload_max_bytes(self) -> int:
        """``DELIVERY_STORE_UPLOAD_MAX_BYTES: int = 104857600``: maximum size of each file."""
        return _whole("DELIVERY_STORE_UPLOAD_MAX_BYTES", 100 * 1024**2, "bytes", 0)

    @property
    def upload_max_total_bytes(self) -> int:
        """``DELIVERY_STORE_UPLOAD_MAX_TOTAL_BYTES: int = 524288000``: maximum total size of
        the files of an upload.
        """
        return _whole("DELIVERY_STORE_UPLOAD_MAX_TOTAL_BYTES", 500 * 1024**2, "bytes", 0)

    @property
    def archive_max_files(self) -> int:
        """``DELIVERY_STORE_ARCHIVE_MAX_FILES: int = 100000``: maximum number of files."""
        return _whole("DELIVERY_STORE_ARCHIVE_MAX_FILES", 100_000, "files", 1)

    @property
    def archive_max_bytes(self) -> int:
        """``DELIVERY_STORE_ARCHIVE_MAX_BYTES: int = 107374182400``: maximum total size of the
        files of an archive.
        """
        return _whole("DELIVERY_STORE_ARCHIVE_MAX_BYTES", 100 * 1024**3, "bytes", 0)


conf = Settings()


def way_of(alias: str) -> str:
    """Return how to serve the files of a store, by its alias (``""`` for a store without one)."""
    serve = conf.serve
    return serve if isinstance(serve, str) else serve.get(alias, "stream")
