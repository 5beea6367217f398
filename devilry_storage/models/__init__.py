"""The abstract models of a file and a delivery, tombstones, and an index for searches."""

from .browsed import StoreBrowser
from .delivery import AbstractDelivery
from .filemeta import AbstractFileMeta, FileMetaQuerySet
from .indexes import PrefixIndex
from .monthly import MonthlySum
from .storemark import StoreMark
from .tombstone import Tombstone
from .visibility import DeliveryQuerySet

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
