"""Who gets to the rows of a view: whoever ``visible_to`` says, and nobody learns of others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import ValidationError
from django.db import connections, transaction
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponseBase
from django.views.generic import View

#: No database has a larger id.
LARGEST_ID = 2**63 - 1


class RowView(View):
    """A view of one row.

    Whoever is not logged in, or not active, is led to the login page, whether the row exists or
    not; to whoever may not see the row it is as if it did not exist, whatever the method.
    """

    #: The model of the row, where the URL does not name it.
    model: type[Model] | None = None

    http_method_names = ["get", "head", "options"]

    @classmethod
    def as_view(cls, **initkwargs: Any) -> Callable[..., HttpResponseBase]:
        # With ATOMIC_REQUESTS a transaction would last while a store on S3 is asked.
        view = super().as_view(**initkwargs)
        for alias in connections:
            view = transaction.non_atomic_requests(using=alias)(view)
        return view

    def models(self) -> list[type[Model]]:
        """Return the models that a URL may name."""
        raise NotImplementedError

    def get_model(self) -> type[Model]:
        """Return the model of the row; Http404 for a name that is none of :meth:`models`."""
        if self.model is not None:
            return self.model
        for model in self.models():
            if model._meta.label_lower == self.kwargs["model"]:
                return model
        raise Http404("No such row.")

    def get_queryset(self) -> QuerySet[Any]:
        """Return the rows that the user may see; override it for rules of your own."""
        manager: Any = self.get_model()._default_manager
        rows: QuerySet[Any] = manager.visible_to(self.request.user)
        return rows

    def get_object(self) -> Any:
        """Return the row; Http404 where the user may see none of that id."""
        rows = self.get_queryset()
        pk = _id(rows.model, self.kwargs["pk"])
        row = None if pk is None else rows.filter(pk=pk).first()
        if row is None:
            raise Http404("No such row.")
        return row

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        user = request.user
        if not (user.is_authenticated and user.is_active):
            return redirect_to_login(request.get_full_path())
        # Before the method is looked at, which would tell what exists.
        self.object = self.get_object()
        return super().dispatch(request, *args, **kwargs)


def _id(model: type[Model], given: Any) -> Any:
    """Return what a URL gives as an id of the model, None if it can be none.

    Each row has one spelling of it: no zeros before it, no digits of other scripts.
    """
    try:
        pk = model._meta.pk.to_python(given)
    except ValidationError:
        return None
    if str(pk) != str(given) or (isinstance(pk, int) and not 0 <= pk <= LARGEST_ID):
        return None
    return pk
