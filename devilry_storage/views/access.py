"""Who gets to the rows of a view: whoever ``visible_to`` says, and nobody learns of others."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.views import redirect_to_login
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
        pk = self.kwargs["pk"]
        row = self.get_queryset().filter(pk=pk).first() if pk <= LARGEST_ID else None
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
