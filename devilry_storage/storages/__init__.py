"""Delivery stores, and the mixin that makes a delivery store of any Django storage."""

from typing import TYPE_CHECKING, Any

from .base import DeliveryStoreMixin
from .filesystem import FsDeliveryStore, FsHierDeliveryStore
from .protocols import Entry, FileMetaLike, Finding, Page

if TYPE_CHECKING:
    from .s3 import S3DeliveryStore

__all__ = [
    "DeliveryStoreMixin",
    "Entry",
    "FileMetaLike",
    "Finding",
    "FsDeliveryStore",
    "FsHierDeliveryStore",
    "Page",
    "S3DeliveryStore",
]


def __getattr__(name: str) -> Any:
    # Imported on first use: the other stores need neither boto3 nor django-storages.
    if name == "S3DeliveryStore":
        from .s3 import S3DeliveryStore

        return S3DeliveryStore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
