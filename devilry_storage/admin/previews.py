"""Previews of files."""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import urlsplit

from django.contrib import admin
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.templatetags.static import static
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from ..media_types import media_type
from ..serving import COMPLETE, FAILED, recorder, serve
from .columns import store_state
from .failures import reason
from .preview_text import TEXT_BYTES, kind_of, text_of
from .utils import admin_path, admin_url, download_url, render

logger = logging.getLogger("devilry_storage")


class Previews(admin.ModelAdmin):  # type: ignore[type-arg]
    """Add previews of files, for users who may view them."""

    preview_template = "admin/devilry_storage/preview.html"

    def get_urls(self) -> list[Any]:
        preview, shown = require_safe(self.preview_view), require_safe(self.preview_shown_view)
        return [
            admin_path(self, "<path:object_id>/preview/", preview, "preview"),
            admin_path(self, "<path:object_id>/preview/shown/", shown, "preview_shown"),
            *super().get_urls(),
        ]

    def preview_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show the preview of a file and its state in the store."""
        row = self._get_file(request, object_id)
        state = store_state(row)
        kind = kind_of(row) if state.is_stored else ""
        context = {
            "title": _("Preview of %(name)s") % {"name": row},
            "row": row,
            "row_url": admin_url(self.admin_site, row, "change", quote(row.pk)),
            "media_type": media_type(row.filename),
            "state": state,
            "kind": kind,
            "text_bytes": TEXT_BYTES,
            "download_url": download_url(row) if row.content else "",
            "shown_url": admin_url(self.admin_site, row, "preview_shown", quote(row.pk)),
        }
        if kind == "text":
            context.update(self._text(request, row))
        response = render(self, request, self.preview_template, context)
        response["Content-Security-Policy"] = _policy()
        return response

    def preview_shown_view(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        """Send the bytes of an image or of a PDF; raise Http404 for other types."""
        row = self._get_file(request, object_id)
        if kind_of(row) not in {"image", "pdf"}:
            raise Http404(_("This file has no preview."))
        # Not by a redirect: the policy of the page does not allow images of other hosts.
        return serve(request, row, inline=True, way="stream")

    def _get_file(self, request: HttpRequest, object_id: str) -> Any:
        # Before the lookup, so that the response does not depend on whether the row exists.
        if not self.has_view_permission(request):
            raise PermissionDenied
        row = self.get_object(request, unquote(object_id))
        if row is None:
            raise Http404(_("This file does not exist; it may have been deleted."))
        if not self.has_view_permission(request, row):
            raise PermissionDenied
        return row

    def _text(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        record = recorder(request, row, "preview")
        try:
            text = text_of(row)
        except Exception as exception:
            logger.exception("Cannot read %r for a preview.", row.content.name)
            record(0, FAILED)
            return {"problem": reason(exception)}
        if text is not None:
            record(min(row.size or 0, TEXT_BYTES), COMPLETE)
        return {"text": text}


def _policy() -> str:
    """Return the Content-Security-Policy of a preview: allow only the admin's static files."""
    url = urlsplit(static("devilry_storage/admin.css"))
    origin = f"{url.scheme}://{url.netloc}" if url.netloc else ""
    own = f"'self' {origin}".strip()
    return (
        f"default-src 'none'; script-src {own}; style-src {own}; img-src {own} data:; "
        f"font-src {own}; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
