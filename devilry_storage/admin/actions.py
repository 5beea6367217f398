"""What can be done with several deliveries of a list at once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db import models
from django.http import HttpRequest, HttpResponseBase
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from ..abstract_models.querysets import may_view
from ..archive import of_deliveries
from ..exceptions import ArchiveTooLarge, DeliveryStateError
from ..integrity import State, Verdict
from ..integrity import verify as verified
from ..views.archives import archive_response
from .base import StoreAdmin
from .failures import reason
from .forms import GroupForm

logger = logging.getLogger("devilry_storage")

#: So many deliveries that something cannot be done with are told of one by one.
TOLD = 10

#: So many deliveries are verified or copied at once: those of a page of the list.
AT_ONCE = 100

#: So many faults that were found are shown.
MOST_FAULTS = 1000


class Fault(NamedTuple):
    """What is not as it should be: a file of a delivery, its key in the store, and in words."""

    delivery: Any
    filename: str
    key: str
    words: str


class DeliveryActions(StoreAdmin):
    """The actions of :class:`DeliveryAdmin`."""

    actions: Any = ("finish", "download", "verify", "copy")
    copy_template = "admin/devilry_storage/copy.html"
    verified_template = "admin/devilry_storage/verified.html"

    def has_view_files_permission(self, request: HttpRequest) -> bool:
        """Tell whether the user may read the files of deliveries, not only their names."""
        return may_view(request.user, self.model.filemeta_model())

    def has_copy_permission(self, request: HttpRequest) -> bool:
        """Tell whether the user may copy, and deliveries have a group to copy to.

        A copy shows the files to whom the user chooses, so that it takes the permission to view
        them, beside those to add deliveries and files.
        """
        if "assignment_group" not in {field.name for field in self.opts.concrete_fields}:
            return False
        files = self.model.filemeta_model()._meta
        return (
            self.has_add_permission(request)
            and self.has_view_files_permission(request)
            and request.user.has_perm(f"{files.app_label}.add_{files.model_name}")
        )

    @admin.action(
        permissions=["change"], description=gettext_lazy("Finish selected %(verbose_name_plural)s")
    )
    def finish(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> None:
        """Finish each delivery that can be, and tell of the others why not."""

        def act(delivery: Any) -> None:
            delivery.finish()
            self.log_change(request, delivery, _("Finished."))

        finished = self._with_each(request, queryset.order_by("pk"), act)
        if finished:
            text = ngettext(
                "%(count)d delivery was finished.", "%(count)d deliveries were finished.", finished
            )
            self.message_user(request, text % {"count": finished}, messages.SUCCESS)

    @admin.action(
        permissions=["view_files"],
        description=gettext_lazy("Download selected %(verbose_name_plural)s as a zip"),
    )
    def download(
        self, request: HttpRequest, queryset: models.QuerySet[Any]
    ) -> HttpResponseBase | None:
        """Answer with a zip of all files that the user may see, or tell why there is none."""
        files = self.model.filemeta_model()._default_manager.db_manager(queryset.db)
        try:
            archive = of_deliveries(queryset, files.visible_to(request.user))
        except ArchiveTooLarge as exception:
            self.message_user(request, str(exception), messages.ERROR)
            return None
        except Exception as exception:
            logger.exception("Deliveries cannot be archived.")
            self.message_user(request, f"{reason(exception)}.", messages.ERROR)
            return None
        return archive_response(request, lambda: archive, f"{self.opts.verbose_name_plural}.zip")

    @admin.action(
        permissions=["view"],
        description=gettext_lazy("Verify selected %(verbose_name_plural)s against the store"),
    )
    def verify(
        self, request: HttpRequest, queryset: models.QuerySet[Any]
    ) -> HttpResponseBase | None:
        """Look whether the store has each file with its size, and show what it has not.

        Contents are not read. What is whole is noted as verified at this time.
        """
        chosen = self._few(request, queryset)
        if chosen is None:
            return None
        faults = [
            Fault(row.delivery, row.filename, "", _("not stored (yet)"))
            for row in self._unstored(chosen)
        ]
        whole = 0

        def act(delivery: Any) -> None:
            nonlocal whole
            found = list(verified(delivery))
            rows = [each.row for each in found if _is_of(delivery, each, State.WHOLE)]
            _note_verified(rows)
            whole += len(rows)
            bad = [fault for each in found if (fault := _fault(delivery, each))]
            faults.extend(bad)
            text = _("Verified against the store: %(whole)d files are whole, %(bad)d faults.")
            self.log_change(request, delivery, text % {"whole": len(rows), "bad": len(bad)})

        count = self._with_each(request, chosen, act)
        context = {
            "title": _("Verified against the store"),
            "whole": whole,
            "count": count,
            "faults": faults[:MOST_FAULTS],
            "more": len(faults[MOST_FAULTS:]),
        }
        return self._page(request, self.verified_template, context)

    def _unstored(self, deliveries: list[Any]) -> Iterable[Any]:
        files: models.QuerySet[Any] = self.model.filemeta_model()._base_manager.all()
        files = files.filter(delivery__in=deliveries, content__isnull=True)
        files = files.select_related("delivery").order_by("pk")
        return files

    @admin.action(
        permissions=["copy"],
        description=gettext_lazy("Copy selected %(verbose_name_plural)s to a group"),
    )
    def copy(
        self, request: HttpRequest, queryset: models.QuerySet[Any]
    ) -> HttpResponseBase | None:
        """Ask for the group, and copy each delivery that can be; tell of the others why not."""
        chosen = self._few(request, queryset)
        if chosen is None:
            return None
        form = GroupForm(request, self)
        if "copy" in request.POST and form.is_valid():
            self._copy(request, chosen, form.cleaned_data["group"])
            return None
        context = {
            "title": _("Copy to a group"),
            "form": form,
            "deliveries": chosen,
            "action_checkbox_name": ACTION_CHECKBOX_NAME,
        }
        return self._page(request, self.copy_template, context)

    def _copy(self, request: HttpRequest, deliveries: list[Any], group: Any) -> None:
        def act(delivery: Any) -> None:
            twin = delivery.copy(group)
            text = _("Copied from %(delivery)s.") % {"delivery": delivery}
            self.log_addition(request, twin, text)

        copied = self._with_each(request, deliveries, act)
        if copied:
            text = ngettext(
                "%(count)d delivery was copied to “%(group)s”.",
                "%(count)d deliveries were copied to “%(group)s”.",
                copied,
            )
            shown = {"count": copied, "group": group}
            self.message_user(request, text % shown, messages.SUCCESS)

    # -- Their parts --

    def _few(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> list[Any] | None:
        """Return the deliveries, oldest first; None, and tell, if they are too many at once."""
        chosen = list(queryset.order_by("pk")[: AT_ONCE + 1])
        if len(chosen) <= AT_ONCE:
            return chosen
        text = _("Nothing was done: choose at most %(most)d at once.")
        self.message_user(request, text % {"most": AT_ONCE}, messages.ERROR)
        return None

    def _with_each(
        self, request: HttpRequest, deliveries: Iterable[Any], act: Callable[[Any], None]
    ) -> int:
        """Do something with each, tell of those with which it cannot be done, count the others."""
        done, refused = 0, []
        for delivery in deliveries:
            try:
                act(delivery)
            except DeliveryStateError as exception:
                refused.append(str(exception))
            except Exception as exception:
                logger.exception("%s failed for delivery %s.", request.path, delivery.pk)
                refused.append(f"{delivery}: {reason(exception)}.")
            else:
                done += 1
        for text in refused[:TOLD]:
            self.message_user(request, text, messages.ERROR)
        if more := len(refused[TOLD:]):
            text = ngettext("So cannot %(count)d other.", "So cannot %(count)d others.", more)
            self.message_user(request, text % {"count": more}, messages.ERROR)
        return done

    def _page(
        self, request: HttpRequest, template: str, context: dict[str, Any]
    ) -> TemplateResponse:
        request.current_app = self.admin_site.name
        around = {**self.admin_site.each_context(request), "opts": self.opts, "media": self.media}
        return TemplateResponse(request, template, {**around, **context})


def _is_of(delivery: Any, verdict: Verdict, *states: State) -> bool:
    row = verdict.row
    return row is not None and row.delivery_id == delivery.pk and verdict.state in states


def _fault(delivery: Any, verdict: Verdict) -> Fault | None:
    size = verdict.entry.size if verdict.entry is not None else 0
    if _is_of(delivery, verdict, State.MISSING):
        words = _("missing: the store has no such file")
    elif _is_of(delivery, verdict, State.WRONG_SIZE):
        words = _("wrong size: %(size)d bytes in the store, not %(recorded)d")
        words %= {"size": size, "recorded": verdict.row.size}
    elif verdict.state in {State.ORPHAN, State.FOREIGN}:
        words = _("%(size)d bytes in the delivery's folder that no file is recorded for")
        words %= {"size": size}
    else:
        return None
    filename = verdict.row.filename if verdict.row is not None else ""
    return Fault(delivery, filename, verdict.name, words)


def _note_verified(rows: list[Any]) -> None:
    """Note in the rows that they were found whole just now, unless they have other bytes since."""
    names = {row.pk: row.content.name for row in rows}
    for model in {type(row) for row in rows}:
        model._base_manager.filter(pk__in=names.keys(), content__in=names.values()).update(
            verified_at=timezone.now()
        )
