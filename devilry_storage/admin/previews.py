"""Previews of files.

Content that a browser could execute, such as HTML, SVG and scripts, is shown as text.
"""

import codecs
import logging
import re
import unicodedata
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from django.contrib import admin
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.templatetags.static import static
from django.utils.html import escape, format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from ..conf import PDF, SAFE_TYPES
from ..media_types import media_type
from ..resolving import store_for
from ..serving import COMPLETE, FAILED, recorder, sent_type, serve
from .columns import store_state
from .utils import admin_path, admin_url, download_url, reason, render

logger = logging.getLogger("devilry_storage")

#: The maximum number of bytes of a text to show.
TEXT_BYTES = 64 * 1024

#: The maximum size of an image to show; larger ones can exhaust the memory of a browser.
IMAGE_BYTES = 20 * 1024**2

RASTER_TYPES = frozenset(name for name in SAFE_TYPES if name.startswith("image/"))

# Media types of texts, also of those that downloads send with another type for safety.
_TEXTS = re.compile(r"text/.*|application/(json|javascript|sql|x-sh|x-tex|xml)|.*\+(json|xml)")

# Control characters that are rare in texts; backspace, white space and escape are not.
_BINARY = re.compile(r"[\x00-\x07\x0e-\x1a\x1c-\x1f]")

_INVISIBLE = frozenset({"Cc", "Cf", "Co", "Cs", "Zl", "Zp"})


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


# -- Kinds and texts --


class Text(NamedTuple):
    """The beginning of a text: its lines as HTML, its encoding, and whether this is all of it."""

    lines: list[SafeString]
    encoding: str
    is_whole: bool


def kind_of(filemeta: Any) -> str:
    """Return how to preview a file by its name and size: "image", "pdf", "text", or "" for none.

    The bytes of a "text" may turn out not to be text.
    """
    if not filemeta.content:
        return ""
    sent_as = sent_type(filemeta.filename)
    if sent_as in RASTER_TYPES:
        return "image" if (filemeta.size or 0) <= IMAGE_BYTES else ""
    return "pdf" if sent_as == PDF else "text"


def text_of(filemeta: Any) -> Text | None:
    """Read the beginning of a file; return None if it is not a text. Raise errors of the store."""
    name = filemeta.content.name
    # One more byte shows whether this is the whole file.
    data = b"".join(store_for(filemeta).stream(name, 0, TEXT_BYTES + 1))
    is_whole = len(data) <= TEXT_BYTES
    media = media_type(filemeta.filename)
    has_text_name = sent_type(filemeta.filename) == "text/plain" or bool(_TEXTS.fullmatch(media))
    decoded = _decode(data[:TEXT_BYTES], is_whole, has_text_name)
    if decoded is None:
        return None
    text, encoding = decoded
    lines = re.split(r"\r\n|\r|\n", text)
    if not lines[-1]:
        del lines[-1]
    return Text([visible(line) for line in lines], encoding, is_whole)


def _decode(data: bytes, is_whole: bool, has_text_name: bool) -> tuple[str, str] | None:
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(data, final=is_whole)
    except UnicodeDecodeError:
        return (data.decode("latin-1"), "ISO 8859-1 (Latin-1)") if has_text_name else None
    if _BINARY.search(text) and not has_text_name:
        return None
    return text, "UTF-8"


def visible(line: str) -> SafeString:
    """Return a line of text as HTML, with a visible mark for each invisible character.

    These are control characters, and characters that change the direction of text, join or hide
    their neighbours.
    """
    # Most lines do not need any mark.
    if line.isprintable() or not any(map(_is_invisible, line)):
        return escape(line)
    parts = (_mark(char) if _is_invisible(char) else escape(char) for char in line)
    return mark_safe("".join(parts))  # noqa: S308  # each part is escaped


def _is_invisible(character: str) -> bool:
    return character != "\t" and unicodedata.category(character) in _INVISIBLE


def _mark(character: str) -> SafeString:
    code = ord(character)
    # The Unicode block "Control Pictures" begins at U+2400.
    picture = chr(0x2400 + code) if code < 0x20 else chr(0x2421) if code == 0x7F else ""
    shown = picture or f"U+{code:04X}"
    name = unicodedata.name(character, f"U+{code:04X}")
    return format_html('<mark title="{}">{}</mark>', name, shown)
