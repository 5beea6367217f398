"""Base view: look up a row through visible_to(), and respond with 404 for everything else."""

from collections.abc import Callable
from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import ValidationError
from django.db import connections, transaction
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponseBase
from django.views.generic import View

from ..abstract_models.querysets import may_view, visible_rows
from ..schema import DELIVERY, related_model

#: The largest id that databases support.
LARGEST_ID = 2**63 - 1


class RowView(View):
    """A view of one row.

    - Users who are not logged in, or not active, are redirected to the login page, whether the row
      exists or not.
    - Users who may not see the row get the response for a row that does not exist, for every
      method.
    """

    #: The model of the row, if the URL does not contain it.
    model: type[Model] | None = None

    http_method_names = ["get", "head", "options"]

    _by_permission = True

    @classmethod
    def as_view(cls, **initkwargs: Any) -> Callable[..., HttpResponseBase]:
        # With ATOMIC_REQUESTS a transaction would stay open during requests to S3.
        view = super().as_view(**initkwargs)
        for alias in connections:
            view = transaction.non_atomic_requests(using=alias)(view)
        return view

    def models(self) -> list[type[Model]]:
        """Return the models that the URL may contain."""
        raise NotImplementedError

    def get_model(self) -> type[Model]:
        """Return the model of the row.

        Raises Http404 if the label in the URL is not one of :meth:`models`.
        """
        if self.model is not None:
            return self.model
        for model in self.models():
            if model._meta.label_lower == self.kwargs["model"]:
                return model
        raise Http404("No such row.")

    def get_queryset(self) -> QuerySet[Any]:
        """Return the rows that the user may see. Override it for rules of your own."""
        model, user = self.get_model(), self.request.user
        rows: QuerySet[Any] = visible_rows(model, user, by_permission=self._by_permission)
        return rows

    def get_object(self) -> Any:
        """Return the row. Raises Http404 if the user may not see a row with that id."""
        # Most users see a row by their group, without a look-up of their permissions.
        self._by_permission = False
        row = self._row()
        if row is None and may_view(self.request.user, self.get_model()):
            self._by_permission = True
            row = self._row()
        if row is None:
            raise Http404("No such row.")
        return row

    def _row(self) -> Any:
        """Return the row, with its delivery if it has one, or None."""
        rows = self.get_queryset()
        # The delivery cannot be joined if the queryset defers it.
        if related_model(rows.model, DELIVERY) and not rows.query.deferred_loading[0]:
            rows = rows.select_related(DELIVERY)
        # Each id has exactly one spelling: without leading zeros and digits of other scripts.
        pk = parse_value(rows.model._meta.pk, self.kwargs["pk"])
        return rows.filter(pk=pk).first() if str(pk) == str(self.kwargs["pk"]) else None

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        user = request.user
        if not (user.is_authenticated and user.is_active):
            return redirect_to_login(request.get_full_path())
        # Before the method is checked: the response must not reveal whether the row exists.
        self.object = self.get_object()
        return super().dispatch(request, *args, **kwargs)


def parse_value(field: Any, value: Any) -> Any:
    """Return a value from a request as a value of the field, None if it is invalid."""
    try:
        parsed = field.to_python(value)
    except ValidationError:
        return None
    # Django 4.2 does not check the range of integers.
    return None if isinstance(parsed, int) and abs(parsed) > LARGEST_ID else parsed
