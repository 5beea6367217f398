"""How the admin shows a file, and what it says of one that was deleted."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.urls import NoReverseMatch, reverse
from django.utils import formats, timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import mark_safe
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from ..conf import conf
from ..media_types import media_type
from ..resolving import store_for
from .failures import reason

logger = logging.getLogger("devilry_storage")

NOTHING = "-"


class ShowsFiles:
    """Columns for a file; none of them asks the store."""

    @admin.display(description=gettext_lazy("size"))
    def human_size(self, filemeta: Any) -> str:
        return NOTHING if filemeta.size is None else filesizeformat(filemeta.size)

    @admin.display(description=gettext_lazy("type"))
    def media_type(self, filemeta: Any) -> str:
        return media_type(filemeta.filename)

    @admin.display(description=gettext_lazy("SHA-256"))
    def digest(self, filemeta: Any) -> str:
        digest = filemeta.sha256
        if not digest:
            return NOTHING
        # It may be broken where there is little room, and is copied as it is.
        parts = format_html_join(mark_safe("<wbr>"), "{}", ((part,) for part in _eights(digest)))
        return format_html("<code>{}</code>", parts)

    @admin.display(description=gettext_lazy("key"))
    def key(self, filemeta: Any) -> str:
        name = filemeta.content.name
        if not name:
            return _("not stored")
        if url := filemeta.content.url:
            return format_html('<a href="{}">{}</a>', url, name)
        return format_html("<code>{}</code>", name)


class StoreState(NamedTuple):
    """Whether the bytes of a file are there, and in words how it is with them."""

    is_there: bool
    words: str


def state_of(filemeta: Any) -> StoreState:
    """Ask the store for a file, and say what it has; whatever it raises is told, too."""
    name = filemeta.content.name
    if not name:
        return StoreState(False, _("not stored"))
    try:
        size = store_for(filemeta).size(name)
    except FileNotFoundError:
        return StoreState(False, _("missing: the store has no such file"))
    except Exception as exception:
        logger.exception("The store cannot be asked for %r.", name)
        words = _("unreachable: the store cannot be asked (%(reason)s)")
        return StoreState(False, words % {"reason": reason(exception)})
    if filemeta.size not in {None, size}:
        words = _("wrong size: %(size)d bytes in the store, not %(recorded)d")
        return StoreState(True, words % {"size": size, "recorded": filemeta.size})
    return StoreState(True, _("whole: it is in the store, with its size"))


def list_link(admin_site: Any, model: Any, query: dict[str, Any], text: str) -> str:
    """Return the text as a link to a list that is narrowed by ``query``, if there is that list."""
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist"
    try:
        url = reverse(name, current_app=admin_site.name)
    except NoReverseMatch:
        return text
    return format_html('<a href="{}?{}">{}</a>', url, urlencode(query), text)


def _eights(text: str) -> list[str]:
    return [text[start : start + 8] for start in range(0, len(text), 8)]


def tell_kept(model_admin: Any, request: HttpRequest, count: int) -> None:
    """Say until when the bytes of ``count`` files that were just deleted are kept."""
    if not count:
        return
    if not conf.retention:
        text = ngettext(
            "The bytes of %(count)d file are removed from the store now.",
            "The bytes of %(count)d files are removed from the store now.",
            count,
        )
    else:
        text = ngettext(
            "The bytes of %(count)d file are kept in the store until %(due)s, by a tombstone.",
            "The bytes of %(count)d files are kept in the store until %(due)s, by tombstones.",
            count,
        )
    due = timezone.now() + conf.retention
    if timezone.is_aware(due):
        due = timezone.localtime(due)
    shown = {"count": count, "due": formats.date_format(due, "DATETIME_FORMAT")}
    model_admin.message_user(request, text % shown, messages.INFO)
