"""The abstract models of a file and a delivery, tombstones, and an index for searches."""

from .abstract_models.delivery import AbstractDelivery
from .abstract_models.filemeta import AbstractFileMeta, FileMetaQuerySet
from .abstract_models.querysets import DeliveryQuerySet
from .db.indexes import PrefixIndex
from .tables.monthly_sum import MonthlySum
from .tables.store_browser import StoreBrowser
from .tables.store_mark import StoreMark
from .tables.tombstone import Tombstone

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
