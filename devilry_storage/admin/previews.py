"""Pages on which a file can be looked at, in the admin."""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import urlsplit

from django.contrib import admin
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.template.response import TemplateResponse
from django.templatetags.static import static
from django.urls import path, reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from ..media_types import media_type
from ..serving import COMPLETE, FAILED, recorder, serve
from .columns import state_of
from .failures import reason
from .preview_text import TEXT_BYTES, kind_of, text_of

logger = logging.getLogger("devilry_storage")


class Previews(admin.ModelAdmin):  # type: ignore[type-arg]
    """The pages of previews of a model's files, for whoever may view them."""

    preview_template = "admin/devilry_storage/preview.html"

    def get_urls(self) -> list[Any]:
        def url(route: str, view: Any, name: str) -> Any:
            wrapped = self.admin_site.admin_view(require_safe(view))
            name = f"{self.opts.app_label}_{self.opts.model_name}_{name}"
            return path(f"<path:object_id>/{route}/", wrapped, name=name)

        return [
            url("preview", self.preview_view, "preview"),
            url("preview/shown", self.preview_shown_view, "preview_shown"),
            *super().get_urls(),
        ]

    def preview_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show what can be shown of a file, and in words what its state in the store is."""
        row = self._previewed(request, object_id)
        state = state_of(row)
        kind = kind_of(row) if state.is_there else ""
        request.current_app = self.admin_site.name
        context = {
            **self.admin_site.each_context(request),
            "title": _("Preview of %(name)s") % {"name": row},
            "opts": self.opts,
            "media": self.media,
            "row": row,
            "media_type": media_type(row.filename),
            "state": state,
            "kind": kind,
            "text_bytes": TEXT_BYTES,
            "download_url": row.content.url if row.content else "",
            "shown_url": reverse(
                f"admin:{self.opts.app_label}_{self.opts.model_name}_preview_shown",
                args=[quote(row.pk)],
                current_app=self.admin_site.name,
            ),
        }
        if kind == "text":
            context.update(self._text(request, row))
        answer = TemplateResponse(request, self.preview_template, context)
        answer["Content-Security-Policy"] = _policy()
        return answer

    def preview_shown_view(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        """Answer with the bytes of an image, or of a PDF; with no others."""
        row = self._previewed(request, object_id)
        if kind_of(row) not in {"image", "pdf"}:
            raise Http404(_("There is no preview of this file."))
        # A redirect would lead to where the policy of the page lets no image come from.
        return serve(request, row, inline=True, way="stream")

    def _previewed(self, request: HttpRequest, object_id: str) -> Any:
        # Before it is looked up, so that nobody else learns what exists.
        if not self.has_view_permission(request):
            raise PermissionDenied
        row = self.get_object(request, unquote(object_id))
        if row is None:
            raise Http404(_("There is no such file: perhaps it was deleted."))
        if not self.has_view_permission(request, row):
            raise PermissionDenied
        return row

    def _text(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        record = recorder(request, row, "preview")
        try:
            text = text_of(row)
        except Exception as exception:
            logger.exception("%r cannot be read for a preview.", row.content.name)
            record(0, FAILED)
            return {"trouble": reason(exception)}
        if text is not None:
            record(min(row.size or 0, TEXT_BYTES), COMPLETE)
        return {"text": text}


def _policy() -> str:
    """Return the policy of a page that shows what a student wrote: of it nothing is loaded or run.

    What the admin itself needs comes from where the static files are.
    """
    url = urlsplit(static("devilry_storage/admin.css"))
    origin = f"{url.scheme}://{url.netloc}" if url.netloc else ""
    own = f"'self' {origin}".strip()
    return (
        f"default-src 'none'; script-src {own}; style-src {own}; img-src {own} data:; "
        f"font-src {own}; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
