"""Downloads of single files: by the id of a row, or by their name in the store."""

import logging
from contextlib import nullcontext
from typing import Any

from django.apps import apps
from django.core.exceptions import PermissionDenied
from django.db import connections, router, transaction
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponseBase

from ..abstract_models.querysets import may_view
from ..names import is_storage_name
from ..registry import file_models, ordinary_fields
from ..serving import serve, serve_ordinary
from .base import RowView

logger = logging.getLogger("devilry_storage")

#: Maximum number of rows of one name for which a backend is asked about each.
_ROWS = 100


class DownloadView(RowView):
    """Serve the file of one row of any subclass of AbstractFileMeta.

    The URL argument ``pk`` is the id of the row. ``model`` is the label of its model, unless the
    attribute ``model`` is set. With ``?inline`` browsers may display files of safe types.
    """

    def models(self) -> list[type[Model]]:
        return file_models()

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        return serve(request, self.object, inline="inline" in request.GET)


class StoredView(RowView):
    """Serve a file that a row of a site's own model names in a FileField.

    The URL arguments are ``alias``, that of the store, and ``name``. With ``?inline`` browsers may
    display files of safe types. A name that no row has which the user may see is not found.
    """

    def get_object(self) -> str:
        """Return the label and id of a row that names the file and that the user may see."""
        name = self.kwargs["name"]
        fields = [
            ordinary.field
            for ordinary in ordinary_fields()
            if ordinary.alias == self.kwargs["alias"] and is_storage_name(name)
        ]
        for model in apps.get_models():
            for field in fields:
                # Proxies and children have permissions and managers of their own.
                if field in model._meta.concrete_fields:
                    pk = self._find(model, field.name, name)
                    if pk is not None:
                        return f"{model._meta.label_lower}:{pk}"
        raise Http404("No such row.")

    def _find(self, model: type[Model], field: str, name: str) -> Any:
        """Return what ``find()`` returns, None if it fails: files of other models are served."""
        using = router.db_for_read(model)
        # A savepoint, because PostgreSQL aborts the transaction of a query that fails.
        savepoint = connections[using].in_atomic_block
        try:
            with transaction.atomic(using) if savepoint else nullcontext():
                return self.find(model, field, name)
        except (Http404, PermissionDenied):
            raise
        except Exception:  # a site's own manager, or a table that is missing
            logger.exception("Rows of %s cannot be looked up.", model._meta.label)
            return None

    def find(self, model: type[Model], field: str, name: str) -> Any:
        """Return the id of a row whose field has this name and that the user may see, or None.

        These are the rows of ``visible_to(user)`` if the model's default manager has this method.
        Otherwise they are the rows of the manager for which the user has the permission to view.
        Override it for rules of your own.
        """
        user = self.request.user
        manager: Any = model._default_manager
        if hasattr(manager, "visible_to"):
            rows = manager.visible_to(user)
        else:
            rows = manager.all()
            if not may_view(user, model):
                # Without the columns of files: an ImageField with width_field reads its file.
                found = rows.filter(**{field: name}).select_related(None).only("pk")[:_ROWS]
                return next((row.pk for row in found if may_view(user, model, row)), None)
        return rows.filter(**{field: name}).values_list("pk", flat=True).first()

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        alias, name = self.kwargs["alias"], self.kwargs["name"]
        return serve_ordinary(request, alias, name, self.object, inline="inline" in request.GET)
