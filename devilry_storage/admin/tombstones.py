"""Deleted files: their list, and buttons to restore them or to remove them permanently."""

import json
from collections.abc import Sequence
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from ..dates import format_datetime
from ..db.clock import DatabaseNow
from ..db.routing import database_of
from ..db.transactions import is_in_transaction
from ..deletion import remove_now
from ..exceptions import NotRestorable
from ..models import Tombstone
from ..registry import file_models
from ..restoring import restore, take_back
from ..tables import TombstoneState
from .base import ReadOnlyAdmin, StoreAdmin
from .columns import EMPTY_VALUE, FileColumns
from .utils import admin_path, admin_url, reason, render

#: The maximum number of files to restore or to remove at once.
MAX_FILES = 100

STATES = {
    TombstoneState.DELETED: gettext_lazy("Deleted"),
    TombstoneState.RESTORED: gettext_lazy("Restored under another name"),
    TombstoneState.ORPHAN: gettext_lazy("Unrecorded file"),
    TombstoneState.REMOVAL: gettext_lazy("Being removed"),
    TombstoneState.REMOVED: gettext_lazy("Removed"),
}


class DueFilter(admin.SimpleListFilter):
    """Filter by whether files are due to be removed."""

    title = gettext_lazy("due")
    parameter_name = "due"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("yes", _("Due now")), ("no", _("Not yet"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        lookup = {"yes": "due__lte", "no": "due__gt"}.get(str(self.value()))
        return queryset.filter(**{lookup: DatabaseNow()}) if lookup else queryset


class ModelFilter(admin.SimpleListFilter):
    """Filter by the model of the files; the choices do not come from the tombstones' table."""

    title = gettext_lazy("model")
    parameter_name = "model"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [
            (model._meta.label_lower, model._meta.verbose_name_plural) for model in file_models()
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(model=self.value()) if self.value() else queryset


@admin.register(Tombstone)
class TombstoneAdmin(ReadOnlyAdmin, StoreAdmin):
    """Show deleted files until their bytes are removed.

    Users with the permission ``restore_tombstone`` may restore them. Users with the permission
    ``purge_tombstone`` may remove them permanently before they are due.
    """

    actions: Any = ("restore_selected", "remove_selected")
    change_form_template = "admin/devilry_storage/tombstone/change_form.html"
    confirmation_template = "admin/devilry_storage/tombstone/remove_confirmation.html"
    list_display: Any = (
        "name",
        "filename",
        "human_size",
        "state",
        "restorable_until",
        "model",
        "attempts",
    )
    list_filter: ClassVar[Any] = (DueFilter, ModelFilter)
    # The latest deletions first, as all files have the same retention.
    ordering: ClassVar[Any] = ("-due", "-pk")
    prefix_fields = ("name", "filename")
    sortable_by: ClassVar[Any] = ("restorable_until",)
    search_help_text = gettext_lazy(
        "The id of a delivery or file, or the beginning of a filename or key."
    )
    fields: ClassVar[Any] = (
        "filename",
        "model",
        "alias",
        "name",
        "human_size",
        "sha256",
        "state",
        "created",
        "restorable_until",
        "claimed",
        "attempts",
        "last_error",
        "kept_rows",
    )

    # -- Permissions --

    def has_restore_permission(self, request: HttpRequest) -> bool:
        return self._has_perm(request, "restore_tombstone") and self.has_view_permission(request)

    def has_purge_permission(self, request: HttpRequest) -> bool:
        return self._has_perm(request, "purge_tombstone") and self.has_view_permission(request)

    # -- Fields and columns --

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        queryset: QuerySet[Any] = super().get_queryset(request).filter(done=None)
        return queryset

    @admin.display(description=gettext_lazy("state"))
    def state(self, tombstone: Tombstone) -> str:
        return str(STATES[tombstone.state])

    human_size = FileColumns.human_size

    @admin.display(description=gettext_lazy("restorable until"), ordering="due")
    def restorable_until(self, tombstone: Tombstone) -> str:
        # As text: readonly fields do not format the values of methods.
        return format_datetime(tombstone.due) if tombstone.is_restorable else EMPTY_VALUE

    @admin.display(description=gettext_lazy("rows"))
    def kept_rows(self, tombstone: Tombstone) -> str:
        text = json.dumps(tombstone.rows, indent=2, ensure_ascii=False)
        return format_html('<pre class="devilry-rows">{}</pre>', text)

    def id_query(self, number: int) -> Q:
        return Q(file_id=number) | Q(delivery_id=number)

    # -- Pages --

    def get_urls(self) -> list[Any]:
        return [
            admin_path(self, "<path:object_id>/restore/", self.restore_view, "restore"),
            admin_path(self, "<path:object_id>/remove/", self.remove_view, "remove"),
            *super().get_urls(),
        ]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        may_restore = self.has_restore_permission(request)
        context["may_restore"] = may_restore and context["original"].is_restorable
        context["may_purge"] = self.has_purge_permission(request)
        return super().render_change_form(request, context, *args, **kwargs)

    def restore_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Restore a file on POST; redirect other requests to its page."""
        tombstone = self._get_tombstone(request, object_id, self.has_restore_permission)
        if request.method != "POST":
            return HttpResponseRedirect(self._url("change", tombstone.pk))
        return self._report_failure(self._restore_one, request, tombstone)

    def remove_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask whether to remove a file permanently; remove it on POST."""
        tombstone = self._get_tombstone(request, object_id, self.has_purge_permission)
        if request.method != "POST":
            return self._confirmation(request, [tombstone], action="")
        self._remove(request, [tombstone])
        return HttpResponseRedirect(self._url("changelist"))

    def _get_tombstone(self, request: HttpRequest, object_id: str, has_permission: Any) -> Any:
        if not has_permission(request):
            raise PermissionDenied
        tombstone = self.get_object(request, object_id)
        if tombstone is None:
            raise Http404(_("This file was restored or removed in the meantime."))
        return tombstone

    def _confirmation(
        self, request: HttpRequest, tombstones: list[Tombstone], action: str
    ) -> HttpResponse:
        context = {
            "title": _("Remove permanently"),
            "tombstones": tombstones,
            "total": sum(tombstone.size or 0 for tombstone in tombstones),
            "action": action,
            "action_checkbox_name": ACTION_CHECKBOX_NAME,
        }
        return render(self, request, self.confirmation_template, context)

    def _url(self, page: str, *args: Any) -> str:
        return admin_url(self.admin_site, self.model, page, *args)

    # -- Actions --

    @admin.action(
        permissions=["restore"],
        description=gettext_lazy("Restore selected %(verbose_name_plural)s"),
    )
    def restore_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Restore the files; report those that cannot be restored."""
        self._restore(request, self._limited(request, queryset))

    @admin.action(
        permissions=["purge"],
        description=gettext_lazy("Remove selected %(verbose_name_plural)s permanently"),
    )
    def remove_selected(
        self, request: HttpRequest, queryset: QuerySet[Any]
    ) -> HttpResponse | None:
        """Remove the files permanently, after a confirmation page."""
        tombstones = self._limited(request, queryset)
        if "confirmed" not in request.POST:
            return self._confirmation(request, tombstones, action="remove_selected")
        self._remove(request, tombstones)
        return None

    def _limited(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Tombstone]:
        """Return the first files of an action, and report how many are left out."""
        # The oldest first: the first of two deletes of one delivery has the rows of both.
        tombstones = list(queryset.order_by("pk")[:MAX_FILES])
        if (left_out := queryset.count() - len(tombstones)) > 0:
            text = ngettext(
                "At most %(limit)d files are processed at once: %(count)d file was left out.",
                "At most %(limit)d files are processed at once: %(count)d files were left out.",
                left_out,
            )
            values = {"limit": MAX_FILES, "count": left_out}
            self.message_user(request, text % values, messages.WARNING)
        return tombstones

    # -- Restoring --

    def _restore_one(self, request: HttpRequest, tombstone: Tombstone) -> HttpResponse:
        page_url = self._url("change", tombstone.pk)
        is_restored = self._restore(request, [tombstone]) == 1
        return HttpResponseRedirect(self._url("changelist") if is_restored else page_url)

    def _restore(self, request: HttpRequest, tombstones: Sequence[Tombstone]) -> int:
        """Restore the files, report the results, and return how many were restored."""
        done = restored = 0
        for tombstone in tombstones:
            try:
                if tombstone.state is TombstoneState.ORPHAN:
                    self._take_back(request, tombstone)
                    done += 1
                    continue
                row = restore(tombstone)
            except (NotRestorable, OSError, ImproperlyConfigured) as exception:
                self.message_user(request, f"{reason(exception)}.", messages.ERROR)
                continue
            done += 1
            restored += 1
            text = _("Restored %(name)s as %(row)s.") % {"name": tombstone, "row": row}
            self.log_change(request, tombstone, text)
            self.log_change(request, row, _("Restored."))
        if restored:
            text = ngettext(
                "%(count)d file was restored.", "%(count)d files were restored.", restored
            )
            self.message_user(request, text % {"count": restored}, messages.SUCCESS)
        return done

    def _take_back(self, request: HttpRequest, tombstone: Tombstone) -> None:
        """Restore an unrecorded file under another name, and report this name."""
        name = take_back(tombstone)
        text = _(
            "The file was restored as “%(name)s”. It does not belong to a delivery yet: a "
            "developer can record it with adopt()."
        )
        text = text % {"name": name}
        self.message_user(request, text, messages.SUCCESS)
        self.log_change(request, tombstone, text)

    # -- Removing --

    def _remove(self, request: HttpRequest, tombstones: Sequence[Tombstone]) -> None:
        """Remove the bytes, with ATOMIC_REQUESTS after the COMMIT of the request."""
        if not tombstones:
            return
        using = database_of(tombstones[0])

        def remove_committed() -> None:
            removed = 0
            for event in remove_now(tombstones, using=using):
                if event.result == "removed":
                    removed += 1
                    # The tombstone, because files in different stores can have the same name.
                    self.log_change(request, event.tombstone, _("Removed permanently."))
                else:
                    text = f"{event.subject}: {event.reason}."
                    self.message_user(request, text, messages.ERROR)
            if removed:
                text = ngettext(
                    "%(count)d file was removed permanently.",
                    "%(count)d files were removed permanently.",
                    removed,
                )
                self.message_user(request, text % {"count": removed}, messages.SUCCESS)

        if is_in_transaction(using):  # ATOMIC_REQUESTS
            transaction.on_commit(remove_committed, using=using)
        else:
            remove_committed()
