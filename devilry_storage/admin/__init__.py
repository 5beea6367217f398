"""Admin classes for any model of deliveries or files, and the admin of this app's own models.

"Your own models" in the manual (``admin.rst``) shows how to use them.

Import this module only from admin modules. Django's autodiscovery imports it, and it registers
deleted files, the store browser and the dashboard.
"""

from .base import StoreAdmin
from .dashboard import DashboardAdmin
from .deliveries import DeliveryAdmin
from .files import FileMetaAdmin, FileMetaInline, NewFileMetaInline
from .filters import PeriodFilter, ReferenceFilter, StoredFilter
from .forms import FileMetaForm
from .store_browser import DeliveryStoreAdmin
from .tombstones import TombstoneAdmin

__all__ = [
    "DashboardAdmin",
    "DeliveryAdmin",
    "DeliveryStoreAdmin",
    "FileMetaAdmin",
    "FileMetaForm",
    "FileMetaInline",
    "NewFileMetaInline",
    "PeriodFilter",
    "ReferenceFilter",
    "StoreAdmin",
    "StoredFilter",
    "TombstoneAdmin",
]
