"""Tombstones: looked at, restored, or carried out before their time."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import partial
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.db import DEFAULT_DB_ALIAS, transaction
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.defaultfilters import filesizeformat
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from ..db.clock import DatabaseNow
from ..db.transactions import is_in_transaction
from ..deletion import remove_now
from ..exceptions import NotRestorable
from ..models import Tombstone
from ..registry import file_models
from ..restoring import restore, take_back
from ..tables.tombstone import TombstoneState
from .base import StoreAdmin
from .failures import reason
from .permissions import LookedAt
from .shown import NOTHING

#: So many are restored or removed at a time, and told of one by one.
AT_ONCE = 100


STATES = {
    TombstoneState.DELETED: gettext_lazy("Deleted"),
    TombstoneState.RESTORED: gettext_lazy("Restored under another name"),
    TombstoneState.ORPHAN: gettext_lazy("Unrecorded file"),
    TombstoneState.REMOVAL: gettext_lazy("Being removed"),
    TombstoneState.REMOVED: gettext_lazy("Removed"),
}


class DueFilter(admin.SimpleListFilter):
    """By whether the retention of the bytes is over."""

    title = gettext_lazy("due")
    parameter_name = "due"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("yes", _("Due now")), ("no", _("Not yet"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        lookup = {"yes": "due__lte", "no": "due__gt"}.get(str(self.value()))
        return queryset.filter(**{lookup: DatabaseNow()}) if lookup else queryset


class ModelFilter(admin.SimpleListFilter):
    """By the model of the files; to ask the tombstones for theirs would be to read all."""

    title = gettext_lazy("model")
    parameter_name = "model"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [
            (model._meta.label_lower, model._meta.verbose_name_plural) for model in file_models()
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(model=self.value()) if self.value() else queryset


@admin.register(Tombstone)
class TombstoneAdmin(LookedAt, StoreAdmin):
    """What was deleted, and until when its bytes are kept.

    ``restore_tombstone`` permits to restore, ``purge_tombstone`` to remove before the time.
    """

    actions: Any = ("restore_selected", "remove_selected")
    change_form_template = "admin/devilry_storage/tombstone/change_form.html"
    confirmation_template = "admin/devilry_storage/tombstone/remove_confirmation.html"
    list_display: Any = ("name", "filename", "human_size", "state", "due", "model", "attempts")
    list_filter: ClassVar[Any] = (DueFilter, ModelFilter)
    # What was deleted last comes first, as the retention is the same for all.
    ordering: ClassVar[Any] = ("-due", "-pk")
    prefix_fields = ("name", "filename")
    sortable_by: ClassVar[Any] = ("due",)
    search_help_text = gettext_lazy(
        "An id of a delivery or file, or the beginning of a filename or key."
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
        "due",
        "claimed",
        "attempts",
        "last_error",
        "kept_rows",
    )

    # -- Permissions --

    def has_restore_permission(self, request: HttpRequest) -> bool:
        return self._permits(request, "restore_tombstone") and self.has_view_permission(request)

    def has_carry_out_permission(self, request: HttpRequest) -> bool:
        return self._permits(request, "purge_tombstone") and self.has_view_permission(request)

    # -- What is shown --

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        queryset: QuerySet[Any] = super().get_queryset(request).filter(done=None)
        return queryset

    @admin.display(description=gettext_lazy("state"))
    def state(self, tombstone: Tombstone) -> str:
        return str(STATES[tombstone.state])

    @admin.display(description=gettext_lazy("size"), ordering="size")
    def human_size(self, tombstone: Tombstone) -> str:
        return NOTHING if tombstone.size is None else filesizeformat(tombstone.size)

    @admin.display(description=gettext_lazy("rows"))
    def kept_rows(self, tombstone: Tombstone) -> str:
        text = json.dumps(tombstone.rows, indent=2, ensure_ascii=False)
        return format_html('<pre class="devilry-rows">{}</pre>', text)

    def id_query(self, number: int) -> Q:
        return Q(file_id=number) | Q(delivery_id=number)

    # -- What is done --

    def get_urls(self) -> list[Any]:
        def url(route: str, view: Any, name: str) -> Any:
            wrapped = self.admin_site.admin_view(view)
            return path(
                route, wrapped, name=f"{self.opts.app_label}_{self.opts.model_name}_{name}"
            )

        return [
            url("<path:object_id>/restore/", self.restore_view, "restore"),
            url("<path:object_id>/remove/", self.remove_view, "remove"),
            *super().get_urls(),
        ]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        state = context["original"].state
        context["may_restore"] = (
            state in {TombstoneState.DELETED, TombstoneState.ORPHAN}
        ) and self.has_restore_permission(request)
        context["may_carry_out"] = self.has_carry_out_permission(request)
        return super().render_change_form(request, context, *args, **kwargs)

    def restore_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Restore one; by POST alone."""
        tombstone = self._asked_for(request, object_id, self.has_restore_permission)
        if request.method != "POST":
            return HttpResponseRedirect(self._url("change", tombstone.pk))
        return self._tell_failure(request, partial(self._restored, request, tombstone))

    def remove_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask whether to remove one for good, and do it by POST."""
        tombstone = self._asked_for(request, object_id, self.has_carry_out_permission)
        if request.method != "POST":
            return self._confirmation(request, [tombstone], action="")
        self._remove(request, [tombstone])
        return HttpResponseRedirect(self._url("changelist"))

    def _asked_for(self, request: HttpRequest, object_id: str, permitted: Any) -> Any:
        if not permitted(request):
            raise PermissionDenied
        tombstone = self.get_object(request, object_id)
        if tombstone is None:
            raise Http404(_("This tombstone is gone: it was restored or removed meanwhile."))
        return tombstone

    def _url(self, page: str, *args: Any) -> str:
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_{page}"
        return reverse(name, args=args, current_app=self.admin_site.name)

    def _restored(self, request: HttpRequest, tombstone: Any) -> HttpResponse:
        page = self._url("change", tombstone.pk)
        is_gone = self._restore(request, [tombstone]) == 1
        return HttpResponseRedirect(self._url("changelist") if is_gone else page)

    @admin.action(
        permissions=["restore"],
        description=gettext_lazy("Restore selected files, with rows and ids"),
    )
    def restore_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Restore each that can be, and tell of the others why not."""
        # The oldest first: of two deletes of one delivery it has the rows of both.
        self._restore(request, queryset.order_by("pk")[:AT_ONCE])

    @admin.action(
        permissions=["carry_out"], description=gettext_lazy("Remove selected files for good, now")
    )
    def remove_selected(
        self, request: HttpRequest, queryset: QuerySet[Any]
    ) -> HttpResponse | None:
        """Remove the bytes of each now, after a page that asks."""
        chosen = list(queryset.order_by("pk")[:AT_ONCE])
        if "confirmed" not in request.POST:
            return self._confirmation(request, chosen, action="remove_selected")
        self._remove(request, chosen)
        return None

    def _restore(self, request: HttpRequest, tombstones: Iterable[Tombstone]) -> int:
        """Restore them, report the result of each, and return how many could be."""
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
            self.log_change(request, row, _("Restored from a tombstone."))
        if restored:
            text = ngettext(
                "%(count)d file was restored.", "%(count)d files were restored.", restored
            )
            self.message_user(request, text % {"count": restored}, messages.SUCCESS)
        return done

    def _take_back(self, request: HttpRequest, tombstone: Tombstone) -> None:
        name = take_back(tombstone)
        text = _("%(old)s is stored as '%(name)s' now and can be adopted by that name.")
        text = text % {"old": tombstone, "name": name}
        self.message_user(request, text, messages.SUCCESS)
        self.log_change(request, tombstone, text)

    def _remove(self, request: HttpRequest, tombstones: list[Tombstone]) -> None:
        """Remove the bytes once the request's transaction, if there is one, is committed."""
        if not tombstones:
            return
        using = tombstones[0]._state.db or DEFAULT_DB_ALIAS

        def remove_committed() -> None:
            self._remove_committed(request, tombstones, using)

        if is_in_transaction(using):  # ATOMIC_REQUESTS
            transaction.on_commit(remove_committed, using=using)
        else:
            remove_committed()

    def _remove_committed(
        self, request: HttpRequest, tombstones: list[Tombstone], using: str
    ) -> None:
        removed = 0
        for event in remove_now(tombstones, using=using):
            if event.result == "removed":
                removed += 1
                # Not by its name: files in other stores may have the same.
                self.log_change(request, event.tombstone, _("Removed for good."))
            else:
                self.message_user(request, f"{event.subject}: {event.reason}.", messages.ERROR)
        if removed:
            text = ngettext(
                "%(count)d file was removed for good.",
                "%(count)d files were removed for good.",
                removed,
            )
            self.message_user(request, text % {"count": removed}, messages.SUCCESS)

    def _confirmation(
        self, request: HttpRequest, tombstones: list[Tombstone], action: str
    ) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": _("Remove for good"),
            "opts": self.opts,
            "media": self.media,
            "tombstones": tombstones,
            "total": sum(tombstone.size or 0 for tombstone in tombstones),
            "action": action,
            "action_checkbox_name": ACTION_CHECKBOX_NAME,
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, self.confirmation_template, context)
