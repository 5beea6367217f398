"""Actions on selected deliveries: finish, download, integrity check and copy."""

import logging
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from ..abstract_models.querysets import may_view, visible_rows
from ..archive import of_deliveries
from ..db.routing import database_of
from ..exceptions import ArchiveTooLarge, DeliveryStateError
from ..integrity import State, Verdict
from ..integrity import verify as check_delivery
from ..schema import GROUP, belongs_to, has_column
from ..views.archives import archive_response
from .base import StoreAdmin
from .columns import MISSING, describe_wrong_size
from .utils import reason, render

logger = logging.getLogger("devilry_storage")

#: The maximum number of errors to report one by one.
MAX_ERRORS = 10

#: The maximum number of deliveries to check or to copy at once: those of a page of the list.
MAX_DELIVERIES = 100

#: The maximum number of problems to show.
MAX_PROBLEMS = 1000


class Problem(NamedTuple):
    """A problem that the integrity check found with a file of a delivery."""

    delivery: Any
    filename: str
    key: str
    description: str


class DeliveryActions(StoreAdmin):
    """Add actions to the list of deliveries."""

    actions: Any = ("finish", "download", "verify", "copy")
    copy_template = "admin/devilry_storage/copy.html"
    check_template = "admin/devilry_storage/integrity_check.html"

    def has_view_files_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may read the files of deliveries, not only their names."""
        return may_view(request.user, self.model.filemeta_model())

    def has_copy_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may copy deliveries, and deliveries have a group.

        A copy makes the files visible to another group. For this reason it needs the permission to
        view files, in addition to those to add deliveries and files.
        """
        if not has_column(self.model, GROUP):
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
    def finish(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Finish the deliveries; report those that cannot be finished."""

        def act(delivery: Any) -> None:
            delivery.finish()
            self.log_change(request, delivery, _("Finished."))

        finished = self._apply(request, queryset.order_by("pk"), act)
        if finished:
            text = ngettext(
                "%(count)d delivery was finished.", "%(count)d deliveries were finished.", finished
            )
            self.message_user(request, text % {"count": finished}, messages.SUCCESS)

    @admin.action(
        permissions=["view_files"],
        description=gettext_lazy("Download selected %(verbose_name_plural)s as a zip"),
    )
    def download(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponseBase | None:
        """Send a zip of the files that the user may view."""
        files = visible_rows(self.model.filemeta_model(), request.user, queryset.db)
        try:
            archive = of_deliveries(queryset, files)
        except ArchiveTooLarge as exception:
            self.message_user(request, str(exception), messages.ERROR)
            return None
        except Exception as exception:
            logger.exception("Cannot create an archive of the selected deliveries.")
            self.message_user(request, f"{reason(exception)}.", messages.ERROR)
            return None
        filename = f"{self.opts.verbose_name_plural}.zip"
        pks = ",".join(map(str, queryset.order_by("pk").values_list("pk", flat=True)))
        contents = f"{self.opts.label_lower}:{pks}"
        return archive_response(request, lambda: archive, filename, contents)

    @admin.action(
        permissions=["view"],
        description=gettext_lazy("Check the integrity of selected %(verbose_name_plural)s"),
    )
    def verify(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponseBase | None:
        """Check that the store has each file with its size, and show the problems.

        Contents are not read. The time is recorded in ``verified_at`` of each whole file.
        """
        deliveries = self._limited(request, queryset)
        if deliveries is None:
            return None
        problems: list[Problem] = []
        whole = 0

        def act(delivery: Any) -> None:
            nonlocal whole
            unstored = delivery.files.using(database_of(delivery)).filter(content__isnull=True)
            names = unstored.values_list("filename", flat=True)
            problems.extend(Problem(delivery, name, "", _("Not stored")) for name in names)
            verdicts = list(check_delivery(delivery))
            rows = [
                verdict.row for verdict in verdicts if _belongs(delivery, verdict, State.WHOLE)
            ]
            _record_check(rows)
            whole += len(rows)
            found = [*filter(None, (_problem(delivery, verdict) for verdict in verdicts))]
            problems.extend(found)
            text = _("Integrity check: complete files: %(whole)d, problems: %(problems)d.")
            text %= {"whole": len(rows), "problems": len(found)}
            self.log_change(request, delivery, text)

        count = self._apply(request, deliveries, act)
        context = {
            "title": _("Integrity check"),
            "whole": whole,
            "count": count,
            "problems": problems[:MAX_PROBLEMS],
            "more": len(problems[MAX_PROBLEMS:]),
        }
        return render(self, request, self.check_template, context)

    @admin.action(
        permissions=["copy"],
        description=gettext_lazy("Copy selected %(verbose_name_plural)s to a group"),
    )
    def copy(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponseBase | None:
        """Ask for a group and copy the deliveries to it; report those that cannot be copied."""
        deliveries = self._limited(request, queryset)
        if deliveries is None:
            return None
        form = forms.Form(request.POST if "copy" in request.POST else None)
        form.fields["group"] = self._group_field(request)
        if form.is_valid():
            self._copy(request, deliveries, form.cleaned_data["group"])
            return None
        context = {
            "title": _("Copy to a group"),
            "form": form,
            "media": self.media + form.media,
            "deliveries": deliveries,
            "action_checkbox_name": ACTION_CHECKBOX_NAME,
        }
        return render(self, request, self.copy_template, context)

    def _group_field(self, request: HttpRequest) -> forms.Field:
        """Return the field of the delivery's own form, without groups that their admin hides."""
        field: Any = self.formfield_for_foreignkey(self.opts.get_field(GROUP), request)
        groups = self.admin_site._registry.get(field.queryset.model)
        if groups is not None:
            field.queryset = groups.get_queryset(request)
        return field  # type: ignore[no-any-return]

    def _copy(self, request: HttpRequest, deliveries: list[Any], group: Any) -> None:
        def act(delivery: Any) -> None:
            copy = delivery.copy(group)
            text = _("Copied from %(delivery)s.") % {"delivery": delivery}
            self.log_addition(request, copy, text)

        copied = self._apply(request, deliveries, act)
        if copied:
            text = ngettext(
                "%(count)d delivery was copied to “%(group)s”.",
                "%(count)d deliveries were copied to “%(group)s”.",
                copied,
            )
            values = {"count": copied, "group": group}
            self.message_user(request, text % values, messages.SUCCESS)

    def _limited(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any] | None:
        """Return the deliveries, oldest first; if there are too many, report it, return None."""
        deliveries = list(queryset.order_by("pk")[: MAX_DELIVERIES + 1])
        if len(deliveries) <= MAX_DELIVERIES:
            return deliveries
        text = _("Nothing was done: select at most %(limit)d deliveries at once.")
        self.message_user(request, text % {"limit": MAX_DELIVERIES}, messages.ERROR)
        return None

    def _apply(
        self, request: HttpRequest, deliveries: Iterable[Any], act: Callable[[Any], None]
    ) -> int:
        """Call a function with each delivery, report the errors, and return how many succeeded."""
        succeeded, errors = 0, []
        for delivery in deliveries:
            try:
                act(delivery)
            except DeliveryStateError as exception:
                errors.append(str(exception))
            except Exception as exception:
                logger.exception("%r failed for delivery %r.", request.path, delivery.pk)
                errors.append(f"{delivery}: {reason(exception)}.")
            else:
                succeeded += 1
        for text in errors[:MAX_ERRORS]:
            self.message_user(request, text, messages.ERROR)
        if more := len(errors[MAX_ERRORS:]):
            text = _("... and %(count)d more could not be processed.")
            self.message_user(request, text % {"count": more}, messages.ERROR)
        return succeeded


def _belongs(delivery: Any, verdict: Verdict, state: State) -> bool:
    """Return whether a verdict has this state and is about a file of the delivery."""
    row = verdict.row
    return row is not None and belongs_to(row, delivery) and verdict.state is state


def _problem(delivery: Any, verdict: Verdict) -> Problem | None:
    size = verdict.entry.size if verdict.entry is not None else 0
    if _belongs(delivery, verdict, State.MISSING):
        description = str(MISSING)
    elif _belongs(delivery, verdict, State.WRONG_SIZE):
        description = describe_wrong_size(size, verdict.row.size)
    elif verdict.state is State.ORPHAN:
        description = _("Unrecorded file of %(size)d bytes in the delivery's folder")
        description %= {"size": size}
    elif verdict.state is State.FOREIGN:
        description = _("Unknown file of %(size)d bytes in the delivery's folder")
        description %= {"size": size}
    else:
        return None
    filename = verdict.row.filename if verdict.row is not None else ""
    return Problem(delivery, filename, verdict.name, description)


def _record_check(rows: list[Any]) -> None:
    """Record in whole files that they were checked now, unless their bytes changed meanwhile."""
    names = {row.pk: row.content.name for row in rows}
    for model, using in {(type(row), row._state.db) for row in rows}:
        checked = model._base_manager.using(using).filter(pk__in=names, content__in=names.values())
        checked.update(verified_at=timezone.now())
