"""Deliveries, with their files inline."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, ClassVar, cast

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db import connections, models, router
from django.db.models import Count, OuterRef, Q, Subquery, Sum
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from ..db.rows import lock_row
from .actions import DeliveryActions
from .columns import list_link, tell_kept
from .failures import storing
from .filters import PeriodFilter, ReferenceFilter
from .forms import StoredFormSet
from .references import possible_id
from .searching import Matches, Searching, beginning

#: So many groups, or users, whose name begins with a text are looked up.
MOST_NAMED = 100


class DeliveryAdmin(DeliveryActions):
    """Deliveries of any subclass of AbstractDelivery.

    ``inlines`` are subclasses of FileMetaInline and NewFileMetaInline for the model of its files.
    """

    list_display: Any = (
        "__str__",
        "number",
        "successful",
        "file_count",
        "total_size",
        "time_of_delivery",
    )
    list_filter: ClassVar[Any] = ("successful", ("time_of_delivery", PeriodFilter))
    ordering: ClassVar[Any] = ("-time_of_delivery",)
    sortable_by: ClassVar[Any] = ("time_of_delivery",)
    search_fields = ("pk",)
    search_help_text = gettext_lazy(
        "An id of a delivery or file, or the beginning of a filename in it, of the name of who "
        "delivered, or of their group's."
    )
    #: Fields that a finished delivery keeps as they are, where the model has them.
    kept_when_finished: Sequence[str] = ("assignment_group", "delivered_by")

    # -- What is shown --

    def with_totals(self, rows: models.QuerySet[Any]) -> models.QuerySet[Any]:
        files = self._files().filter(delivery=OuterRef("pk")).order_by().values("delivery")
        counted = files.annotate(_files=Count("pk")).values("_files")
        summed = files.annotate(_bytes=Sum("size")).values("_bytes")
        totals = {
            "_files": Coalesce(Subquery(counted), 0),
            "_bytes": Coalesce(Subquery(summed), 0),
        }
        return cast("models.QuerySet[Any]", rows.annotate(**totals))

    def _files(self) -> models.QuerySet[Any]:
        files: models.QuerySet[Any] = self.model.filemeta_model()._base_manager.all()
        return files

    @admin.display(description=gettext_lazy("files"))
    def file_count(self, delivery: Any) -> int:
        count: int = delivery._files  # of with_totals()
        return count

    @admin.display(description=gettext_lazy("size"))
    def total_size(self, delivery: Any) -> str:
        return filesizeformat(delivery._bytes)

    @admin.display(description=gettext_lazy("files"))
    def all_files(self, delivery: Any) -> str:
        """The files as a whole, and the way to the list of them."""
        delivery = self.with_totals(self.model._base_manager.filter(pk=delivery.pk)).get()
        count = self.file_count(delivery)
        text = ngettext("%(count)d file, %(size)s", "%(count)d files, %(size)s", count)
        if count > StoredFormSet.max_shown:
            text = _("%(count)d files, %(size)s, the first %(shown)d of them below")
        shown = StoredFormSet.max_shown
        text %= {"count": count, "size": self.total_size(delivery), "shown": shown}
        query = {f"delivery__{self.opts.pk.name}__exact": delivery.pk}
        return list_link(self.admin_site, self.model.filemeta_model(), query, text)

    def get_list_filter(self, request: HttpRequest) -> Any:
        given = super().get_list_filter(request)
        has_group = any(field.name == "assignment_group" for field in self.opts.concrete_fields)
        return [*given, ("assignment_group", ReferenceFilter)] if has_group else given

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

    # -- Search --

    @property
    def finds_beginnings(self) -> bool:
        return True

    def id_query(self, number: int) -> Q:
        # Not as a subquery, for which all deliveries would be read.
        of_file = self._files().filter(pk=number).values_list("delivery", flat=True)
        return super().id_query(number) | Q(pk__in=list(of_file))

    def matches(
        self, request: HttpRequest, text: str, among: Collection[Any] | None = None
    ) -> Matches:
        matches = super().matches(request, text, among)
        found = beginning(
            self._files(),
            "filename__istartswith",
            text,
            among=among,
            column="delivery",
            most=self.most_found,
        )
        matches.add(found)
        for name, lookup in self._named():
            self._add_named(matches, name, lookup, text, among)
        return matches

    def _add_named(
        self,
        matches: Matches,
        name: str,
        lookup: str,
        text: str,
        among: Collection[Any] | None,
    ) -> None:
        """Add the deliveries of groups, or by users, whose name begins so."""
        related: Any = self.opts.get_field(name).related_model
        others = related._base_manager.all()
        rows = self.model._base_manager.all()
        keys = None
        if among is not None:
            rows = rows.filter(pk__in=among)
            keys = set(rows.values_list(name, flat=True))
        named = Matches(MOST_NAMED)
        named.add(beginning(others, lookup, text, among=keys, most=MOST_NAMED))
        found = rows.filter(**{f"{name}__in": named.pks}).values_list("pk", flat=True)
        matches.add(list(found[: self.most_found + 1]))
        matches.complete &= named.complete

    def _named(self) -> Iterator[tuple[str, str]]:
        """Yield the references to what has a name, and the lookup of its beginning.

        Users are found by what they log in with, groups by the ``prefix_fields`` of their admin.
        """
        for field in self.opts.concrete_fields:
            if field.name not in self.kept_when_finished or not field.is_relation:
                continue
            related: Any = field.related_model
            other = self.admin_site._registry.get(related)
            if related is get_user_model():
                login = related._meta.get_field(related.USERNAME_FIELD)
                if isinstance(login, models.CharField):  # numbers have no beginnings
                    yield field.name, f"{login.name}__startswith"
            elif isinstance(other, Searching):
                for prefix in other.prefix_fields:
                    yield field.name, f"{prefix}__istartswith"

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

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        count = obj.files.filter(content__isnull=False).count()
        super().delete_model(request, obj)
        tell_kept(self, request, count)

    def delete_queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> None:
        files = self._files().filter(content__isnull=False, delivery__in=queryset.values("pk"))
        count = files.count()
        super().delete_queryset(request, queryset)
        tell_kept(self, request, count)
