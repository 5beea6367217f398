"""Files: their own pages, and inlines for the pages of deliveries."""

from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.utils import quote
from django.db import models
from django.db.models import Q
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.translation import gettext_lazy as _

from ..models import AbstractDelivery
from ..schema import DELIVERY, has_column
from .base import StoreAdmin, ViewPermissionMixin, denied
from .columns import EMPTY_VALUE, FileColumns, store_state
from .filters import PeriodFilter, ReferenceFilter, StoredFilter
from .forms import FileMetaForm, StoredFormSet
from .previews import Previews
from .utils import admin_url, download_url, report_deleted, storing


class FileMetaInline(FileColumns, ViewPermissionMixin, admin.TabularInline):  # type: ignore[type-arg]
    """The stored files of a row, which can be deleted. The parent needs a :class:`StoreAdmin`.

    For a model with editable fields, add them to ``fields`` and override
    ``has_change_permission``.
    """

    #: Omits the inline on the page of a new row.
    stored = True
    formset = StoredFormSet
    fields: ClassVar[Any] = ("key", "human_size", "digest")
    readonly_fields = ("key", "human_size", "digest")
    extra = 0
    max_num = 0
    show_change_link = True
    has_add_permission = has_change_permission = denied


class NewFileMetaInline(admin.StackedInline):  # type: ignore[type-arg]
    """Uploads of new files. The parent needs a :class:`StoreAdmin`."""

    form = FileMetaForm
    fields: ClassVar[Any] = (("content", "filename"),)
    extra = 3
    verbose_name = _("new file")
    verbose_name_plural = _("new files")
    has_view_permission = denied  # it shows only new files
    has_change_permission = has_delete_permission = denied

    def has_add_permission(self, request: HttpRequest, obj: Any) -> bool:  # type: ignore[override]
        if isinstance(obj, AbstractDelivery) and obj.successful:
            return False
        parent = self.admin_site._registry.get(self.parent_model)
        if obj is not None and parent and not parent.has_change_permission(request, obj):
            return False
        return super().has_add_permission(request, obj)


class FileMetaAdmin(FileColumns, ViewPermissionMixin, Previews, StoreAdmin):
    """Files of any subclass of AbstractFileMeta: they can be uploaded, viewed and deleted.

    For a model with editable fields, override ``has_change_permission``.
    """

    form = FileMetaForm
    list_display: Any = ("filename", "human_size", "media_type", "key", "created")
    list_filter: ClassVar[Any] = (StoredFilter, ("created", PeriodFilter))
    ordering: ClassVar[Any] = ("-created",)
    sortable_by: ClassVar[Any] = ("created",)
    prefix_fields = ("filename",)
    search_help_text = _("The id of a file or delivery, or the beginning of a filename.")
    has_change_permission = denied

    def get_list_filter(self, request: HttpRequest) -> Any:
        given = super().get_list_filter(request)
        return [*given, (DELIVERY, ReferenceFilter)] if has_column(self.model, DELIVERY) else given

    def get_exclude(self, request: HttpRequest, obj: Any = None) -> list[str]:
        excluded = [*(super().get_exclude(request, obj) or ())]
        return excluded if obj is None else [*excluded, "content"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        given = [*super().get_readonly_fields(request, obj)]
        if obj is None:
            return given
        delivery = [DELIVERY] if has_column(self.model, DELIVERY) else []
        stored = (
            "filename",
            "links",
            "media_type",
            "human_size",
            "digest",
            "key",
            "state",
            "created",
            "verified_at",
        )
        return [*given, *delivery, *stored]

    @admin.display(description=_("content"))
    def links(self, filemeta: Any) -> str:
        """Link to the preview, and to the download if the site has one."""
        if not filemeta.content:
            return EMPTY_VALUE
        preview_url = admin_url(self.admin_site, self.model, "preview", quote(filemeta.pk))
        links = [(preview_url, _("Preview"))]
        if url := download_url(filemeta):
            links.append((url, _("Download")))
        return format_html_join(" · ", '<a href="{}">{}</a>', links)

    @admin.display(description=_("state in the store"))
    def state(self, filemeta: Any) -> str:
        """Ask the store for the state; for the page of a file, not for lists."""
        return store_state(filemeta).description

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        order = {"delivery": 0, "filename": 1, "content": 2}
        return sorted(super().get_fields(request, obj), key=lambda name: order.get(name, 3))

    def id_query(self, number: int) -> Q:
        query = super().id_query(number)
        return query | Q(delivery__pk=number) if has_column(self.model, DELIVERY) else query

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        with storing():
            super().save_model(request, obj, form, change)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        count = int(bool(obj.content))
        super().delete_model(request, obj)
        report_deleted(self, request, count)

    def delete_queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> None:
        count = queryset.filter(content__isnull=False).count()
        super().delete_queryset(request, queryset)
        report_deleted(self, request, count)
