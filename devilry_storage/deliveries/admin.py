"""Registers groups, deliveries and files."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from .. import admin as bases
from .models import AssignmentGroup, Delivery, FileMeta


@admin.register(AssignmentGroup)
class AssignmentGroupAdmin(bases.StoreAdmin):
    """Groups, with their candidates and examiners."""

    search_fields = ("name",)
    search_help_text = _("An id, or a part of the name.")


class FileMetaInline(bases.FileMetaInline):
    """The stored files of a delivery."""

    model = FileMeta


class NewFileMetaInline(bases.NewFileMetaInline):
    """Uploads to a delivery."""

    model = FileMeta


@admin.register(Delivery)
class DeliveryAdmin(bases.DeliveryAdmin):
    """Deliveries, with their files."""

    inlines = (FileMetaInline, NewFileMetaInline)
    list_display: Any = (
        "__str__",
        "assignment_group",
        "number",
        "successful",
        "file_count",
        "total_size",
        "time_of_delivery",
        "delivered_by",
    )


@admin.register(FileMeta)
class FileMetaAdmin(bases.FileMetaAdmin):
    """Files of all deliveries."""

    list_display: Any = ("filename", "delivery", "human_size", "key", "created")
    list_filter: ClassVar[Any] = (bases.StoredFilter, "delivery__successful", "created")
