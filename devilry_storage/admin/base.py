"""What all our admin pages have in common: search, references, and failures that are told."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import django
from django import forms
from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db import models
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.formats import number_format
from django.utils.translation import gettext as _

from ..models import AbstractFileMeta
from .changelists import BoundedChangeList, BoundedPaginator
from .columns import tell_kept
from .failures import OF_THE_DATABASE, NotSaved, storing, told_of
from .references import Reference, References, possible_id
from .searching import Searching

logger = logging.getLogger("devilry_storage")


class StoreAdmin(Searching):
    """The admin of a model that has to do with a delivery store; for any host of file inlines.

    Nothing that fails while a form or an action is carried out is an error page: all of it is
    rolled back, logged, and told. References to other models are autocompleted where the other
    model's admin can be searched, and ids otherwise, never a list of everybody. A list counts and
    pages through its first rows only, in an order that should have an index.
    """

    # Autocompletion needs an order, too.
    ordering: ClassVar[Any] = ("-pk",)
    paginator = BoundedPaginator
    show_full_result_count = False
    # To count what each choice of each filter has is to read all rows for each.
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
        # Those that can be autocompleted are, before this is asked.
        self.raw_id_fields = [  # type: ignore[misc]  # depends on the model
            *self.raw_id_fields,
            *(name for name in self._references() if name not in self.raw_id_fields),
        ]

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
        searchable = [name for name in self._references() if self._is_searchable(request, name)]
        return [*super().get_autocomplete_fields(request), *searchable]

    def _is_searchable(self, request: HttpRequest, name: str) -> bool:
        registry: Any = self.admin_site._registry  # get_model_admin is 5.0's
        other = registry.get(self.opts.get_field(name).related_model)
        return other is not None and bool(other.get_search_fields(request))

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name in self.get_autocomplete_fields(request):
            widget = Reference(db_field, self.admin_site, using=kwargs.get("using"))
            kwargs.setdefault("widget", widget)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name in self.get_autocomplete_fields(request):
            widget = References(db_field, self.admin_site, using=kwargs.get("using"))
            kwargs.setdefault("widget", widget)
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    def get_inlines(self, request: HttpRequest, obj: Any) -> list[Any]:
        """Leave out, on the page of something new, the inlines of what is stored."""
        inlines = super().get_inlines(request, obj)
        return [each for each in inlines if obj is not None or not getattr(each, "stored", False)]

    def get_list_select_related(self, request: HttpRequest) -> Any:
        """Follow nullable references, too, which Django would query for each row."""
        if given := super().get_list_select_related(request):
            return given
        shown = self.get_list_display(request)
        return [name for name in self._references_to_one() if name in shown]

    def _references_to_one(self) -> list[str]:
        return [field.name for field in self.opts.concrete_fields if field.is_relation]

    # -- Lists --

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return BoundedChangeList

    def with_totals(self, rows: models.QuerySet[Any]) -> models.QuerySet[Any]:
        """Return the rows of a list's page with what is counted for each, in the same query."""
        return rows

    def response_action(
        self, request: HttpRequest, queryset: models.QuerySet[Any], *args: Any, **kwargs: Any
    ) -> HttpResponse | None:
        """Refuse an action on all of a list that shows only the first of them."""
        everything = forms.BooleanField(required=False).clean(request.POST.get("select_across"))
        paginator = BoundedPaginator(queryset, self.list_per_page)
        if everything and paginator.has_more:
            text = _("Nothing was done: there are more than %(most)s. Search, or filter, first.")
            most = number_format(paginator.most, force_grouping=True)
            self.message_user(request, text % {"most": most}, messages.ERROR)
            return None
        return super().response_action(request, queryset, *args, **kwargs)

    # -- Failures --

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Any:
        if from_field is None and possible_id(self.model, object_id) is None:
            return None
        return super().get_object(request, object_id, from_field)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        view = partial(super().changeform_view, request, object_id, form_url, extra_context)
        return self._tell_failure(request, view)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        # Before the row is looked for, which would tell that there is one.
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        return super().history_view(request, object_id, extra_context)

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        view = partial(super().delete_view, request, object_id, extra_context)
        return self._tell_failure(request, view)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        view = partial(super().changelist_view, request, extra_context)
        return self._tell_failure(request, view)

    def _tell_failure(
        self, request: HttpRequest, view: Callable[[], HttpResponse]
    ) -> HttpResponse:
        # Around the view, so that its transaction has been rolled back.
        try:
            return view()
        except (NotSaved, *OF_THE_DATABASE) as exception:
            if request.method != "POST":
                raise
            logger.exception("%s failed.", request.path)
            for _told in messages.get_messages(request):
                pass  # successes that were told before the transaction failed are not told
            self.message_user(request, told_of(exception), messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        if not issubclass(formset.model, AbstractFileMeta):
            super().save_formset(request, form, formset, change)
            return
        with storing():
            super().save_formset(request, form, formset, change)
        tell_kept(self, request, sum(bool(row.content) for row in formset.deleted_objects))
