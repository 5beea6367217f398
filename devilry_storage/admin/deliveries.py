"""Deliveries, with inlines for their files."""

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
from ..schema import DELIVERY, GROUP, has_column, target_name
from ..views.base import parse_value
from .actions import DeliveryActions
from .filters import PeriodFilter, ReferenceFilter
from .forms import StoredFormSet
from .lists import Matches, PrefixSearchAdmin
from .utils import list_link, report_deleted, storing

#: The maximum number of groups, and of users, whose names match a text.
MAX_NAMES = 100


class DeliveryAdmin(DeliveryActions):
    """Deliveries of any subclass of AbstractDelivery.

    ``inlines`` should have subclasses of FileMetaInline and NewFileMetaInline for its files.
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
        "The id of a delivery or file, or the beginning of a filename, a group name or a login "
        "name."
    )
    searches_prefixes = True
    #: Fields that are read-only once a delivery is finished, if the model has them.
    kept_when_finished: Sequence[str] = ("assignment_group", "delivered_by")

    # -- Fields and columns --

    def with_totals(self, rows: models.QuerySet[Any]) -> models.QuerySet[Any]:
        files = self._files().filter(delivery=OuterRef(self._key())).order_by().values("delivery")
        count = Subquery(files.annotate(_files=Count("pk")).values("_files"))
        size = Subquery(files.annotate(_bytes=Sum("size")).values("_bytes"))
        totals = {"_files": Coalesce(count, 0), "_bytes": Coalesce(size, 0)}
        return cast("models.QuerySet[Any]", rows.annotate(**totals))

    def _files(self) -> models.QuerySet[Any]:
        files: models.QuerySet[Any] = self.model.filemeta_model()._base_manager.all()
        return files

    def _key(self) -> str:
        """Return the name of the field to which files refer, normally that of the primary key."""
        return target_name(self.model.filemeta_model(), DELIVERY)

    @admin.display(description=gettext_lazy("files"))
    def file_count(self, delivery: Any) -> int:
        return int(delivery._files)  # from with_totals()

    @admin.display(description=gettext_lazy("size"))
    def total_size(self, delivery: Any) -> str:
        return filesizeformat(delivery._bytes)

    @admin.display(description=gettext_lazy("files"))
    def all_files(self, delivery: Any) -> str:
        """Show number and size of the files, with a link to their list."""
        delivery = self.with_totals(self.model._base_manager.filter(pk=delivery.pk)).get()
        count = self.file_count(delivery)
        text = ngettext("%(count)d file, %(size)s", "%(count)d files, %(size)s", count)
        if count > StoredFormSet.max_shown:
            text = _("%(count)d files, %(size)s (below are the first %(shown)d)")
        shown = StoredFormSet.max_shown
        text %= {"count": count, "size": self.total_size(delivery), "shown": shown}
        query = {f"delivery__{self.opts.pk.name}__exact": delivery.pk}
        return list_link(self.admin_site, self.model.filemeta_model(), query, text)

    def get_list_filter(self, request: HttpRequest) -> Any:
        given = super().get_list_filter(request)
        return [*given, (GROUP, ReferenceFilter)] if has_column(self.model, GROUP) else given

    def get_exclude(self, request: HttpRequest, obj: Any = None) -> list[str]:
        excluded = [*(super().get_exclude(request, obj) or ())]
        return [*excluded, "time_of_delivery"] if obj is None else excluded

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        given = [*super().get_readonly_fields(request, obj)]
        if obj is None:
            return given
        names = {field.name for field in self.opts.concrete_fields}
        kept = self.kept_when_finished if obj.successful else ()
        if not self.has_view_files_permission(request):
            kept = (*kept, GROUP)  # to move a delivery makes its files visible, as a copy does
        fields = (*kept, "number", "successful", "time_of_delivery", "copy_of", "all_files")
        return [*given, *(name for name in fields if name in {*names, "all_files"})]

    # -- Search --

    def id_query(self, number: int) -> Q:
        # As a subquery it would make the database read all deliveries.
        of_file = self._files().filter(pk=number).values_list("delivery__pk", flat=True)
        return super().id_query(number) | Q(pk__in=list(of_file))

    def matches(
        self, request: HttpRequest, text: str, among: Collection[Any] | None = None
    ) -> Matches:
        matches = super().matches(request, text, among)
        matches.search(self._files(), "filename__istartswith", text, among, "delivery__pk")
        for name, lookup in self._name_lookups():
            self._add_by_name(matches, name, lookup, text, among)
        return matches

    def _add_by_name(
        self, matches: Matches, name: str, lookup: str, text: str, among: Collection[Any] | None
    ) -> None:
        """Add the deliveries whose group or user has a name that begins with the text."""
        related: Any = self.opts.get_field(name).related_model
        rows = self.model._base_manager.all()
        keys = None
        if among is not None:
            rows = rows.filter(pk__in=among)
            keys = set(rows.values_list(f"{name}__pk", flat=True))
        named = Matches(MAX_NAMES)
        named.search(related._base_manager.all(), lookup, text, keys)
        found = rows.filter(**{f"{name}__pk__in": named.pks}).values_list("pk", flat=True)
        matches.add(list(found[: self.max_matches + 1]))
        matches.complete &= named.complete

    def _name_lookups(self) -> Iterator[tuple[str, str]]:
        """Yield the foreign keys to users and groups, each with the lookup of its name.

        The name of a user is the login name. Groups have the ``prefix_fields`` of their admin.
        """
        for field in self.opts.concrete_fields:
            if field.name not in self.kept_when_finished or not field.is_relation:
                continue
            related: Any = field.related_model
            other = self.admin_site._registry.get(related)
            if related is get_user_model():
                login = related._meta.get_field(related.USERNAME_FIELD)
                if isinstance(login, models.CharField):  # no prefixes of numbers
                    yield field.name, f"{login.name}__startswith"
            elif isinstance(other, PrefixSearchAdmin):
                for prefix in other.prefix_fields:
                    yield field.name, f"{prefix}__istartswith"

    # -- Saving and deleting --

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Any:
        """Return the delivery; lock it in the transaction of a POST against concurrent changes."""
        using = router.db_for_write(self.model)
        may_write = self.has_change_permission(request) or self.has_delete_permission(request)
        is_atomic = connections[using].in_atomic_block
        if request.method == "POST" and may_write and is_atomic and not from_field:
            pk = parse_value(self.opts.pk, object_id)
            if pk is not None:
                lock_row(self.model, pk, using, ())
        return super().get_object(request, object_id, from_field)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if change and request.FILES:
            # Only a page from before the delivery was finished has file inputs.
            with storing():
                obj.refuse_finished()
        super().save_model(request, obj, form, change)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        count = obj.files.filter(content__isnull=False).count()
        super().delete_model(request, obj)
        report_deleted(self, request, count)

    def delete_queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> None:
        files = self._files().using(queryset.db).filter(content__isnull=False)
        count = files.filter(delivery__in=queryset.values(self._key())).count()
        super().delete_queryset(request, queryset)
        report_deleted(self, request, count)
