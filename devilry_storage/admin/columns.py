"""Columns of files, and the state of a file in its store."""

import logging
from typing import Any, NamedTuple

from django.contrib import admin
from django.template.defaultfilters import filesizeformat
from django.utils.html import format_html, format_html_join
from django.utils.safestring import mark_safe
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..media_types import media_type
from ..resolving import store_for
from .utils import download_url, reason

logger = logging.getLogger("devilry_storage")

EMPTY_VALUE = "-"

MISSING = gettext_lazy("Missing: the file is not in the store")


class FileColumns:
    """Columns for lists and pages of files; they send no request to the store."""

    @admin.display(description=gettext_lazy("size"))
    def human_size(self, filemeta: Any) -> str:
        return EMPTY_VALUE if filemeta.size is None else filesizeformat(filemeta.size)

    @admin.display(description=gettext_lazy("type"))
    def media_type(self, filemeta: Any) -> str:
        return media_type(filemeta.filename)

    @admin.display(description=gettext_lazy("SHA-256"))
    def digest(self, filemeta: Any) -> str:
        digest = filemeta.sha256
        if not digest:
            return EMPTY_VALUE
        # Allow line breaks that are not part of copied text.
        groups = ((digest[start : start + 8],) for start in range(0, len(digest), 8))
        return format_html("<code>{}</code>", format_html_join(mark_safe("<wbr>"), "{}", groups))

    @admin.display(description=gettext_lazy("key"))
    def key(self, filemeta: Any) -> str:
        name = filemeta.content.name
        if not name:
            return _("Not stored")
        if url := download_url(filemeta):
            return format_html('<a href="{}">{}</a>', url, name)
        return format_html("<code>{}</code>", name)


class StoreState(NamedTuple):
    """Whether the store has the bytes of a file, and a description of their state."""

    is_stored: bool
    description: str


def store_state(filemeta: Any) -> StoreState:
    """Ask the store for the size of a file and return the file's state; never raise."""
    name = filemeta.content.name
    if not name:
        return StoreState(False, _("Not stored"))
    try:
        size = store_for(filemeta).size(name)
    except FileNotFoundError:
        return StoreState(False, str(MISSING))
    except Exception as exception:
        logger.exception("Cannot get the size of %r from its store.", name)
        description = _("Unknown: %(reason)s")
        return StoreState(False, description % {"reason": reason(exception)})
    if filemeta.size not in {None, size}:
        return StoreState(True, describe_wrong_size(size, filemeta.size))
    return StoreState(True, _("Whole: the file is in the store with its recorded size"))


def describe_wrong_size(size: int, recorded: int) -> str:
    """Describe the state of a file that has another size in the store."""
    text = _("Wrong size: %(size)d bytes in the store, but %(recorded)d bytes are recorded")
    return text % {"size": size, "recorded": recorded}
