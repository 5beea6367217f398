"""Deliveries, with their files inline."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, ClassVar, cast
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.db import connections, models, router
from django.db.models import Count, OuterRef, Q, Subquery, Sum
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from ..exceptions import DeliveryStateError
from ..models.locking import lock_row
from .base import StoreAdmin
from .failures import reason, storing
from .forms import StoredFormSet
from .references import possible_id
from .shown import tell_kept

logger = logging.getLogger("devilry_storage")

#: So many deliveries that cannot be finished are told of one by one.
TOLD = 10


class DeliveryAdmin(StoreAdmin):
    """Deliveries of any subclass of AbstractDelivery.

    ``inlines`` are subclasses of FileMetaInline and NewFileMetaInline for the model of its files.
    """

    actions: Any = ("finish",)
    list_display: Any = (
        "__str__",
        "number",
        "successful",
        "file_count",
        "total_size",
        "time_of_delivery",
    )
    list_filter: ClassVar[Any] = ("successful", "time_of_delivery")
    search_fields = ("pk",)
    search_help_text = gettext_lazy(
        "An id of a delivery or file, or the beginning of a filename in it."
    )
    #: Fields that a finished delivery keeps as they are, where the model has them.
    kept_when_finished: Sequence[str] = ("assignment_group", "delivered_by")

    # -- What is shown --

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Any]:
        files = self._files().filter(delivery=OuterRef("pk")).order_by().values("delivery")
        counted = files.annotate(_files=Count("pk")).values("_files")
        summed = files.annotate(_bytes=Sum("size")).values("_bytes")
        rows = super().get_queryset(request)
        totals = {
            "_files": Coalesce(Subquery(counted), 0),
            "_bytes": Coalesce(Subquery(summed), 0),
        }
        return cast(models.QuerySet[Any], rows.annotate(**totals))

    def _files(self) -> models.QuerySet[Any]:
        files: models.QuerySet[Any] = self.model.filemeta_model()._base_manager.all()
        return files

    @admin.display(description=gettext_lazy("files"))
    def file_count(self, delivery: Any) -> int:
        count: int = delivery._files  # our annotation
        return count

    @admin.display(description=gettext_lazy("size"))
    def total_size(self, delivery: Any) -> str:
        return filesizeformat(delivery._bytes)

    @admin.display(description=gettext_lazy("files"))
    def all_files(self, delivery: Any) -> str:
        """The files as a whole, and the way to the list of them."""
        count = self.file_count(delivery)
        text = ngettext("%(count)d file, %(size)s", "%(count)d files, %(size)s", count)
        if count > StoredFormSet.max_shown:
            text = _("%(count)d files, %(size)s, the first %(shown)d of them below")
        shown = StoredFormSet.max_shown
        text %= {"count": count, "size": self.total_size(delivery), "shown": shown}
        meta = self.model.filemeta_model()._meta
        name = f"admin:{meta.app_label}_{meta.model_name}_changelist"
        try:
            url = reverse(name, current_app=self.admin_site.name)
        except NoReverseMatch:
            return text
        narrowed = urlencode({f"delivery__{self.opts.pk.name}__exact": delivery.pk})
        return format_html('<a href="{}?{}">{}</a>', url, narrowed, text)

    def get_exclude(self, request: HttpRequest, obj: Any = None) -> list[str]:
        excluded = [*(super().get_exclude(request, obj) or ())]
        return [*excluded, "time_of_delivery"] if obj is None else excluded

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        given = [*super().get_readonly_fields(request, obj)]
        if obj is None:
            return given
        names = {field.name for field in self.opts.concrete_fields}
        kept = self.kept_when_finished if obj.successful else ()
        shown = (*kept, "number", "successful", "time_of_delivery", "copy_of", "all_files")
        return [*given, *(name for name in shown if name in {*names, "all_files"})]

    def id_query(self, number: int) -> Q:
        of_file = self._files().filter(pk=number).values("delivery")
        return super().id_query(number) | Q(pk__in=of_file)

    def text_query(self, text: str) -> Q:
        return Q(pk__in=self._files().filter(filename__istartswith=text).values("delivery"))

    # -- What is done --

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Any:
        """Return the delivery; in the transaction of a POST locked, so that it stays as it is."""
        using = router.db_for_write(self.model)
        if request.method == "POST" and connections[using].in_atomic_block and not from_field:
            pk = possible_id(self.model, object_id)
            if pk is not None:
                lock_row(self.model, pk, using)
        return super().get_object(request, object_id, from_field)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if change and request.FILES:
            # The page was made before the delivery was finished; else there are no file inputs.
            with storing():
                obj.refuse_finished()
        super().save_model(request, obj, form, change)

    @admin.action(
        permissions=["change"], description=gettext_lazy("Finish selected %(verbose_name_plural)s")
    )
    def finish(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> None:
        """Finish each delivery that can be, and tell of the others why not."""
        finished, refused = 0, []
        for delivery in queryset.order_by("pk"):
            try:
                delivery.finish()
            except DeliveryStateError as exception:
                refused.append(str(exception))
            except Exception as exception:
                logger.exception("Delivery %s cannot be finished.", delivery.pk)
                refused.append(f"{delivery}: {reason(exception)}.")
            else:
                finished += 1
                self.log_change(request, delivery, _("Finished."))
        if finished:
            text = ngettext(
                "%(count)d delivery was finished.", "%(count)d deliveries were finished.", finished
            )
            self.message_user(request, text % {"count": finished}, messages.SUCCESS)
        for text in refused[:TOLD]:
            self.message_user(request, text, messages.ERROR)
        if more := len(refused[TOLD:]):
            text = ngettext("So cannot %(count)d other.", "So cannot %(count)d others.", more)
            self.message_user(request, text % {"count": more}, messages.ERROR)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        count = obj.files.filter(content__isnull=False).count()
        super().delete_model(request, obj)
        tell_kept(self, request, count)

    def delete_queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> None:
        files = self._files().filter(content__isnull=False, delivery__in=queryset.values("pk"))
        count = files.count()
        super().delete_queryset(request, queryset)
        tell_kept(self, request, count)
