"""The delivery stores, and the mixin that makes one of any Django storage."""

from .base import DeliveryStoreMixin, Entry, FileMetaLike
from .filesystem import FsDeliveryStore, FsHierDeliveryStore
from .memory import MemoryDeliveryStore

__all__ = [
    "DeliveryStoreMixin",
    "Entry",
    "FileMetaLike",
    "FsDeliveryStore",
    "FsHierDeliveryStore",
    "MemoryDeliveryStore",
]
