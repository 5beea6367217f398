"""The abstract models of a file and a delivery, and tombstones."""

from .delivery import AbstractDelivery
from .filemeta import AbstractFileMeta, FileMetaQuerySet
from .tombstone import Tombstone
from .visibility import DeliveryQuerySet

__all__ = [
    "AbstractDelivery",
    "AbstractFileMeta",
    "DeliveryQuerySet",
    "FileMetaQuerySet",
    "Tombstone",
]
