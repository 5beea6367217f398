"""Previews: text with line numbers and raster images; nothing of what students made runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.translation import gettext as _

from ..conf import PDF
from ..serving import sent_type, serve
from ..store import store_for
from .failures import reason

#: So many bytes of a text are shown.
SHOWN_BYTES = 64 * 1024

# The admin's own scripts and styles, and pictures from here: of nothing else a page could be made.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
)

# What is not seen, or turns the direction of what is (Unicode TR 36); tabs and ends of lines are
# seen.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\U000e0000-\U000e0fff]"
)


class Text(NamedTuple):
    """The beginning of a file as lines; ``encoding`` is how it was read."""

    lines: list[str]
    encoding: str


def text_of(data: bytes, *, whole: bool) -> Text:
    """Return bytes as lines of text in which everything is seen.

    They are read as UTF-8, of which the last character may be cut off unless they are the
    ``whole``, or else as Latin-1, in which every byte is a character.
    """
    try:
        text, encoding = _utf8(data, whole=whole), "UTF-8"
    except UnicodeDecodeError:
        text, encoding = data.decode("latin-1"), "Latin-1"
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    return Text([_seen(line) for line in text.removesuffix("\n").split("\n")], encoding)


def _utf8(data: bytes, *, whole: bool) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as exception:
        if whole or exception.start < len(data) - 3:
            raise
        return data[: exception.start].decode()


def _seen(line: str) -> str:
    return _UNSEEN.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", line)


class ShowsPreviews:
    """Mixed into the admin of files: the page ``preview``, for whoever may view the row."""

    preview_template = "admin/devilry_storage/preview.html"

    def get_urls(self) -> list[Any]:
        admin: Any = self
        name = f"{admin.opts.app_label}_{admin.opts.model_name}_preview"
        view = admin.admin_site.admin_view
        return [
            path("<path:object_id>/preview/", view(self.preview_view), name=name),
            path("<path:object_id>/preview/shown/", view(self.shown_view), name=f"{name}_shown"),
            *super().get_urls(),  # type: ignore[misc]  # ModelAdmin's
        ]

    def preview_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show the beginning of a text, an image, a link to a PDF, or that there is no preview."""
        row, admin = self._previewed(request, object_id), self
        model_admin: Any = admin
        media_type = sent_type(row.filename)
        kind = media_type.partition("/")[0]
        opts = model_admin.opts
        name = f"admin:{opts.app_label}_{opts.model_name}"
        site = model_admin.admin_site
        context: dict[str, Any] = {
            **site.each_context(request),
            "title": _("Preview of %(filename)s") % {"filename": row.filename},
            "opts": opts,
            "row": row,
            "kind": "pdf" if media_type == PDF else kind,
            "change_url": reverse(f"{name}_change", args=[row.pk], current_app=site.name),
            "shown_url": reverse(f"{name}_preview_shown", args=[row.pk], current_app=site.name),
            "download_url": row.content.url if row.content else "",
        }
        if kind == "text":
            context |= self._text(row)
        elif not row.content:
            context["problem"] = _("the file is not stored")
        request.current_app = site.name
        answer = TemplateResponse(request, self.preview_template, context)
        answer["Content-Security-Policy"] = _POLICY
        return answer

    def shown_view(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        """Send the file itself, to be shown if its type is a safe one."""
        return serve(request, self._previewed(request, object_id), inline=True)

    def _previewed(self, request: HttpRequest, object_id: str) -> Any:
        admin: Any = self
        if not admin.has_view_permission(request):
            raise PermissionDenied
        row = admin.get_object(request, object_id)
        if row is None:
            raise Http404(_("There is no such file."))
        return row

    def _text(self, row: Any) -> dict[str, Any]:
        if not row.content:
            return {"problem": _("the file is not stored")}
        try:
            data = b"".join(_beginning(row))
        except OSError as exception:
            return {"problem": reason(exception)}
        whole = len(data) <= SHOWN_BYTES
        text = text_of(data[:SHOWN_BYTES], whole=whole)
        return {"text": text, "shown_bytes": None if whole else SHOWN_BYTES}


def _beginning(row: Any) -> Iterator[bytes]:
    """Yield what is shown, and one byte if there is more."""
    return store_for(row).stream(row.content.name, 0, SHOWN_BYTES + 1)
