"""Stores whose location follows the tenant of the current thread."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.core.files.storage import FileSystemStorage

from devilry_storage.storages import FsDeliveryStore, FsHierDeliveryStore

_current = threading.local()


def current() -> str:
    """Return the tenant of this thread; that of other threads is "public"."""
    return getattr(_current, "name", "public")


@contextmanager
def tenant(name: str) -> Iterator[None]:
    """Make this the tenant of the thread."""
    before = current()
    _current.name = name
    try:
        yield
    finally:
        _current.name = before


class LocatedStore(FsDeliveryStore):
    """The location is a property, as in the recipe of django-storages."""

    parallel_reads = 4

    @property
    def location(self) -> str:
        return os.path.join(self.base_location, current())


class BasedStore(FsHierDeliveryStore):
    """The base of the location is a property, as Django has it."""

    @property
    def base_location(self) -> str:
        return os.path.join(super().base_location, current())


class TenantFileSystemStorage(FileSystemStorage):
    """The properties of the class of this name in django-tenants."""

    _location: str | None
    _base_url: str | None

    @property
    def base_location(self) -> str:
        return os.path.join(self._location or str(settings.MEDIA_ROOT), current())

    @property
    def location(self) -> str:
        return os.path.abspath(self.base_location)

    @property
    def base_url(self) -> str:
        return f"{self._base_url or settings.MEDIA_URL}{current()}/"


class TenantStore(TenantFileSystemStorage, FsHierDeliveryStore):  # type: ignore[misc]
    """A store made of both."""


def s3_stores() -> dict[str, Any]:
    """Return the classes of stores on S3, which need boto3."""
    from devilry_storage.storages import S3DeliveryStore

    class LocatedS3(S3DeliveryStore):
        @property
        def location(self) -> str:
            return f"files/{current()}/"

        @location.setter
        def location(self, value: str) -> None:
            """Ignore the option, as the recipe of django-storages does."""

    class ReadOnlyS3(S3DeliveryStore):
        location = property(lambda self: current())

    class OverridingS3(LocatedS3):
        def _create(self, name: str, content: Any) -> str:
            return super()._create(name, content)

    class BucketS3(S3DeliveryStore):
        bucket = ""

        @property
        def bucket_name(self) -> str:
            return f"{self.custom_bucket}-{current()}"

        @bucket_name.setter
        def bucket_name(self, value: str) -> None:
            self.custom_bucket = value

    return {kind.__name__: kind for kind in (LocatedS3, ReadOnlyS3, OverridingS3, BucketS3)}
