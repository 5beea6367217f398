"""Admin classes for any model of files or deliveries; tombstones and the dashboard, registered.

A site's own models, in an ``admin.py`` of its own::

    from django.contrib import admin

    from devilry_storage.admin import DeliveryAdmin, FileMetaInline, NewFileMetaInline


    class HandinInline(FileMetaInline):
        model = Handin


    class NewHandinInline(NewFileMetaInline):
        model = Handin


    @admin.register(Homework)
    class HomeworkAdmin(DeliveryAdmin):
        inlines = (HandinInline, NewHandinInline)

Only admin modules import this one: it is where Django's autodiscovery looks for the app's own.
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
