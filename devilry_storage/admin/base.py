"""Base classes: StoreAdmin for models with files, ReadOnlyAdmin for pages without forms."""

import logging
from collections.abc import Callable
from typing import Any, ClassVar

import django
from django import forms
from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db import models, router
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.formats import number_format
from django.utils.translation import gettext as _

from ..abstract_models.querysets import may_view
from ..models import AbstractFileMeta
from ..views.base import parse_value
from .forms import RelatedId, RelatedMultipleSelect, RelatedSelect
from .lists import BoundedChangeList, BoundedPaginator, PrefixSearchAdmin, related_admin
from .utils import DATABASE_ERRORS, NotSaved, failure_message, report_deleted, storing

logger = logging.getLogger("devilry_storage")


class ViewPermissionMixin:
    """Rows that are shown only with the permission to view them, not with that to change them."""

    def has_view_permission(self: Any, request: HttpRequest, obj: Any = None) -> bool:
        return may_view(request.user, self.model)


def denied(self: Any, request: HttpRequest, obj: Any = None) -> bool:
    """Return False: a permission that no user has."""
    return False


class ReadOnlyAdmin(ViewPermissionMixin, admin.ModelAdmin):  # type: ignore[type-arg]
    """Rows that cannot be added, changed or deleted; other permissions allow special actions."""

    has_add_permission = has_change_permission = has_delete_permission = denied

    def _has_perm(self, request: HttpRequest, codename: str) -> bool:
        """Return whether the user has a permission of the model's app."""
        return request.user.has_perm(f"{self.opts.app_label}.{codename}")


class StoreAdmin(PrefixSearchAdmin):
    """The admin of a model whose pages show or upload files, for example with file inlines.

    - If a form or an action fails, its changes are rolled back and logged, and the page shows the
      reason instead of an error page.
    - References to other models are autocompleted if the other model's admin has a search and the
      user may view its rows. Otherwise their ids are typed in.
    - A list counts and shows only its first rows. Its order should have an index.
    """

    # Autocompletion needs an order, too.
    ordering: ClassVar[Any] = ("-pk",)
    paginator = BoundedPaginator
    show_full_result_count = False
    # Counts beside the choices of a filter would read all rows for each choice.
    if django.VERSION >= (5, 0):
        show_facets = admin.ShowFacets.NEVER

    delete_confirmation_template: ClassVar[Any] = "admin/devilry_storage/delete_confirmation.html"
    delete_selected_confirmation_template: ClassVar[Any] = (
        "admin/devilry_storage/delete_selected_confirmation.html"
    )

    class Media:
        css: ClassVar[Any] = {"all": ["devilry_storage/admin.css"]}

    def __init__(self, model: type[models.Model], admin_site: admin.AdminSite) -> None:
        super().__init__(model, admin_site)
        # They depend on the model. Autocompletion takes precedence where it is possible.
        self.raw_id_fields = sorted({*self.raw_id_fields, *self._references()})  # type: ignore[misc]

    # -- References --

    def _references(self) -> list[str]:
        fields = [*self.opts.concrete_fields, *self.opts.local_many_to_many]
        return [
            field.name
            for field in fields
            if (field.many_to_one or field.many_to_many)
            and field.editable
            and field.name not in self.radio_fields
            and field.name not in {*self.filter_horizontal, *self.filter_vertical}
        ]

    def get_autocomplete_fields(self, request: HttpRequest) -> list[str]:
        searchable = [
            name
            for name in self._references()
            if related_admin(self, self.opts.get_field(name), request) is not None
        ]
        return [*super().get_autocomplete_fields(request), *searchable]

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name in self.get_autocomplete_fields(request):
            self._set_widget(RelatedSelect, db_field, db_field, request, kwargs)
        elif db_field.name in self.raw_id_fields:
            self._set_widget(RelatedId, db_field.remote_field, db_field, request, kwargs)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name in self.get_autocomplete_fields(request):
            self._set_widget(RelatedMultipleSelect, db_field, db_field, request, kwargs)
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    def _set_widget(
        self, cls: Any, relation: Any, db_field: Any, request: HttpRequest, kwargs: dict[str, Any]
    ) -> None:
        """Set a widget that shows the names of those related rows that the user may view."""
        widget = cls(relation, self.admin_site, using=kwargs.get("using"))
        model = db_field.related_model
        related = self.admin_site._registry.get(model)
        if related is None:
            rows, allowed = model._base_manager.all(), may_view(request.user, model)
        else:
            rows, allowed = related.get_queryset(request), related.has_view_permission(request)
        widget.viewable = rows if allowed else rows.none()
        kwargs.setdefault("widget", widget)

    # -- Lists --

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return BoundedChangeList

    def get_list_select_related(self, request: HttpRequest) -> Any:
        """Also follow nullable references, which Django would query for each row."""
        if given := super().get_list_select_related(request):
            return given
        columns = self.get_list_display(request)
        relations = [field.name for field in self.opts.concrete_fields if field.is_relation]
        return [name for name in relations if name in columns]

    def with_totals(self, rows: models.QuerySet[Any]) -> models.QuerySet[Any]:
        """Return the rows of a page of the list, annotated with totals in the same query."""
        return rows

    def response_action(
        self, request: HttpRequest, queryset: models.QuerySet[Any], *args: Any, **kwargs: Any
    ) -> HttpResponse | None:
        """Reject an action on all rows of a list that shows only the first ones."""
        everything = forms.BooleanField(required=False).clean(request.POST.get("select_across"))
        paginator = BoundedPaginator(queryset, self.list_per_page)
        if everything and paginator.has_more:
            text = _(
                "Nothing was done: the list has more than %(count)s rows. Refine your search or "
                "use a filter."
            )
            count = number_format(paginator.max_rows, force_grouping=True)
            self.message_user(request, text % {"count": count}, messages.ERROR)
            return None
        return super().response_action(request, queryset, *args, **kwargs)

    # -- Pages --

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Any]:
        """Read from the database that is written to, if the request changes something."""
        rows: models.QuerySet[Any] = super().get_queryset(request)
        return rows.using(router.db_for_write(self.model)) if request.method == "POST" else rows

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Any:
        if from_field is None and parse_value(self.opts.pk, object_id) is None:
            return None
        return super().get_object(request, object_id, from_field)

    def get_inlines(self, request: HttpRequest, obj: Any) -> list[Any]:
        """Omit the inlines of stored files on the page of a new object."""
        inlines = super().get_inlines(request, obj)
        if obj is not None:
            return list(inlines)
        return [inline for inline in inlines if not getattr(inline, "stored", False)]

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return self._report_failure(super().changeform_view, request, *args, **kwargs)

    def history_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        # Before the lookup, so that the response does not depend on whether the row exists.
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        return super().history_view(request, *args, **kwargs)

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return self._report_failure(super().delete_view, request, *args, **kwargs)

    def changelist_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return self._report_failure(super().changelist_view, request, *args, **kwargs)

    def _report_failure(
        self, view: Callable[..., HttpResponse], request: HttpRequest, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Call a view; if its transaction fails, redirect to the same page with a message."""
        try:
            return view(request, *args, **kwargs)
        except (NotSaved, *DATABASE_ERRORS) as exception:
            if request.method != "POST":
                raise
            logger.exception("%r failed.", request.path)
            # Discard the messages about changes that were rolled back.
            for _message in messages.get_messages(request):
                pass
            self.message_user(request, failure_message(exception), messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())

    # -- Saving --

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        if not issubclass(formset.model, AbstractFileMeta):
            super().save_formset(request, form, formset, change)
            return
        with storing():
            super().save_formset(request, form, formset, change)
        report_deleted(self, request, sum(bool(row.content) for row in formset.deleted_objects))
