"""The admin of groups, deliveries and files."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from .. import admin as bases
from ..abstract_models.querysets import may_view
from ..admin.utils import list_link
from .models import AssignmentGroup, Delivery, FileMeta


@admin.register(AssignmentGroup)
class AssignmentGroupAdmin(bases.StoreAdmin):
    """Groups with their candidates and examiners."""

    prefix_fields = ("name",)
    max_matches = 200
    search_help_text = _("The id or the beginning of the name.")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        given = [*super().get_readonly_fields(request, obj)]
        if obj is None:
            return given
        # The members of a group may read its files.
        members = () if may_view(request.user, FileMeta) else ("candidates", "examiners")
        return [*given, *members, "all_deliveries"]

    @admin.display(description=_("deliveries"))
    def all_deliveries(self, group: AssignmentGroup) -> str:
        """Link to the list of the group's deliveries; they are not counted."""
        query = {"assignment_group__id__exact": group.pk}
        return list_link(self.admin_site, Delivery, query, str(_("Deliveries of this group")))


class FileMetaInline(bases.FileMetaInline):
    """The stored files of a delivery."""

    model = FileMeta


class NewFileMetaInline(bases.NewFileMetaInline):
    """Uploads to a delivery."""

    model = FileMeta


@admin.register(Delivery)
class DeliveryAdmin(bases.DeliveryAdmin):
    """Deliveries with their files."""

    inlines = (FileMetaInline, NewFileMetaInline)
    list_display = (
        "__str__",
        "assignment_group",
        *bases.DeliveryAdmin.list_display[1:],
        "delivered_by",
    )


@admin.register(FileMeta)
class FileMetaAdmin(bases.FileMetaAdmin):
    """Files of all deliveries."""

    list_display: Any = ("filename", "delivery", "human_size", "media_type", "key", "created")
