"""The abstract models of a file and a delivery, tombstones, and an index for searches."""

from .abstract_models.delivery import AbstractDelivery
from .abstract_models.filemeta import AbstractFileMeta, FileMetaQuerySet
from .abstract_models.querysets import DeliveryQuerySet
from .db.indexes import PrefixIndex
from .tables import MonthlySum, StoreBrowser, StoreMark, Tombstone

__all__ = [
    "AbstractDelivery",
    "AbstractFileMeta",
    "DeliveryQuerySet",
    "FileMetaQuerySet",
    "MonthlySum",
    "PrefixIndex",
    "StoreBrowser",
    "StoreMark",
    "Tombstone",
]
