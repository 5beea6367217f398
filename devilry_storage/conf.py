"""The package's settings. They are read at every access, so ``override_settings`` works."""

import os
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from typing import Any, Generic, TypeVar

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from .layout import DEFAULT_INTERVAL

T = TypeVar("T")

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


class Setting(Generic[T]):
    """A setting, which is read and validated at each access.

    ``parse`` returns its value. For an invalid value it raises ValueError with the end of the
    message.
    """

    def __init__(self, name: str, default: Any, parse: Callable[[Any], T]) -> None:
        self.name, self.default, self.parse = name, default, parse

    def __get__(self, instance: object, owner: type) -> T:
        value = getattr(settings, self.name, None)
        if value is None:
            value = self.default
        try:
            return self.parse(value)
        except ValueError as exception:
            raise ImproperlyConfigured(f"{self.name} {value!r} is {exception}.") from exception


def _dotted_path(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, str) and "." in value and all(map(str.isidentifier, value.split("."))):
        return value
    raise ValueError(
        "not a dotted path: set it to one such as 'devilry_storage.storages.FsHierDeliveryStore'"
    )


def _path(value: Any) -> str | None:
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if path is None or (isinstance(path, str) and "\0" not in path):
        return path or None
    raise ValueError("not a path: set it to the folder of the store as a string or Path")


def _secret(value: Any) -> str | None:
    if value is None or (isinstance(value, str) and value):
        return value
    raise ValueError("not a secret: set it to text that is not empty")


def _period(unit: str) -> Callable[[Any], timedelta]:
    def parse(value: Any) -> timedelta:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e6:
            return timedelta(**{unit: value})
        raise ValueError(f"not a number of {unit}: set it to 0 or more, below 1,000,000")

    return parse


def _whole(unit: str, least: int) -> Callable[[Any], int]:
    def parse(value: Any) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and least <= value < 2**63:
            return value
        raise ValueError(f"not a whole number of {unit}: set it to {least} or more")

    return parse


def _ways(value: Any) -> str | Mapping[str, str]:
    if isinstance(value, str) and value in WAYS:
        return value
    if isinstance(value, dict) and all(
        isinstance(alias, str) and way in WAYS for alias, way in value.items()
    ):
        return value
    raise ValueError(
        f"not a way to serve files: set it to one of {', '.join(map(repr, WAYS))}, or to a dict "
        "of them by alias of STORAGES"
    )


def _safe_types(value: Any) -> Collection[str]:
    if isinstance(value, (list, tuple, set, frozenset)) and all(
        isinstance(media_type, str) and media_type in SAFE_TYPES for media_type in value
    ):
        return frozenset(value)
    raise ValueError(
        "not a list of media types that are safe to show: set it to some of "
        f"{', '.join(map(repr, sorted(SAFE_TYPES)))}"
    )


class Settings:
    """The settings by name in lower case.

    Raises ImproperlyConfigured for invalid values.
    """

    #: ``DELIVERY_STORE_BACKEND: str | None = None``: dotted path of the store's class.
    delivery_store_backend = Setting("DELIVERY_STORE_BACKEND", None, _dotted_path)
    #: ``DELIVERY_STORE_ROOT: str | Path | None = None``: root folder of the stores on disk.
    delivery_store_root = Setting("DELIVERY_STORE_ROOT", None, _path)
    #: ``DEVILRY_FSHIERDELIVERYSTORE_ROOT: str | Path | None = None``: root folder of the
    #: hierarchical store on disk. It takes precedence over ``DELIVERY_STORE_ROOT``.
    fshierdeliverystore_root = Setting("DEVILRY_FSHIERDELIVERYSTORE_ROOT", None, _path)
    #: ``DEVILRY_FSHIERDELIVERYSTORE_INTERVAL: int = 1000``: interval of every hierarchical store.
    fshierdeliverystore_interval = Setting(
        "DEVILRY_FSHIERDELIVERYSTORE_INTERVAL", DEFAULT_INTERVAL, _whole("folders", 2)
    )
    #: ``DELIVERY_STORE_SITE: str | None = None``: a secret by which stores recognise this site,
    #: instead of ``SECRET_KEY``.
    delivery_store_site = Setting("DELIVERY_STORE_SITE", None, _secret)
    #: ``DELIVERY_STORE_RETENTION_DAYS: float = 30``: number of days for which deleted files can be
    #: restored; with 0 they are removed right after COMMIT.
    retention = Setting("DELIVERY_STORE_RETENTION_DAYS", 30, _period("days"))
    #: ``DELIVERY_STORE_GRACE_HOURS: float = 24``: number of hours that an upload may take before
    #: its row and bytes count as abandoned.
    grace = Setting("DELIVERY_STORE_GRACE_HOURS", 24, _period("hours"))
    #: ``DELIVERY_STORE_SERVE: str | dict[str, str] = "stream"``: how files are served:
    #: ``"stream"``, ``"sendfile"`` or ``"redirect"``, or a dict of these by alias of ``STORAGES``.
    serve = Setting("DELIVERY_STORE_SERVE", "stream", _ways)
    #: ``DELIVERY_STORE_REDIRECT_SECONDS: int = 60``: number of seconds after which the URL of a
    #: redirect expires.
    redirect_seconds = Setting("DELIVERY_STORE_REDIRECT_SECONDS", 60, _whole("seconds", 1))
    #: ``DELIVERY_STORE_REDIRECT_MIN_BYTES: int = 1048576``: files below this size are streamed
    #: instead of redirected.
    redirect_min_bytes = Setting("DELIVERY_STORE_REDIRECT_MIN_BYTES", 1024**2, _whole("bytes", 0))
    #: ``DELIVERY_STORE_INLINE_TYPES: list[str] = [...]``: media types that browsers may display
    #: instead of saving them; by default all safe types except PDF.
    inline_types = Setting("DELIVERY_STORE_INLINE_TYPES", SAFE_TYPES - {PDF}, _safe_types)
    #: ``DELIVERY_STORE_UPLOAD_MAX_FILES: int = 100``: maximum number of files.
    upload_max_files = Setting("DELIVERY_STORE_UPLOAD_MAX_FILES", 100, _whole("files", 1))
    #: ``DELIVERY_STORE_UPLOAD_MAX_BYTES: int = 104857600``: maximum size of each file.
    upload_max_bytes = Setting(
        "DELIVERY_STORE_UPLOAD_MAX_BYTES", 100 * 1024**2, _whole("bytes", 0)
    )
    #: ``DELIVERY_STORE_UPLOAD_MAX_TOTAL_BYTES: int = 524288000``: maximum total size of the files
    #: of an upload.
    upload_max_total_bytes = Setting(
        "DELIVERY_STORE_UPLOAD_MAX_TOTAL_BYTES", 500 * 1024**2, _whole("bytes", 0)
    )
    #: ``DELIVERY_STORE_ARCHIVE_MAX_FILES: int = 100000``: maximum number of files.
    archive_max_files = Setting("DELIVERY_STORE_ARCHIVE_MAX_FILES", 100_000, _whole("files", 1))
    #: ``DELIVERY_STORE_ARCHIVE_MAX_BYTES: int = 107374182400``: maximum total size of the files of
    #: an archive.
    archive_max_bytes = Setting(
        "DELIVERY_STORE_ARCHIVE_MAX_BYTES", 100 * 1024**3, _whole("bytes", 0)
    )


conf = Settings()


def way_of(alias: str) -> str:
    """Return how to serve the files of a store, by its alias (``""`` for a store without one)."""
    serve = conf.serve
    return serve if isinstance(serve, str) else serve.get(alias, "stream")
