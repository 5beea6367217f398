"""Tombstones, to be read only: they go when their bytes go."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import Q
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from ..models import Tombstone
from .base import StoreAdmin
from .shown import NOTHING


@admin.register(Tombstone)
class TombstoneAdmin(StoreAdmin):
    """What was deleted, and until when its bytes are kept."""

    list_display: Any = ("name", "filename", "human_size", "due", "attempts", "model")
    list_filter: ClassVar[Any] = ("model", "due")
    search_fields = ("name",)
    search_help_text = _("An id of a delivery or file, or the beginning of a filename or key.")
    fields: ClassVar[Any] = (
        "filename",
        "model",
        "alias",
        "name",
        "human_size",
        "sha256",
        "created",
        "due",
        "attempts",
        "last_error",
        "kept_rows",
    )

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description=_("filename"))
    def filename(self, tombstone: Tombstone) -> str:
        fields = [row["fields"] for row in tombstone.rows]
        named = [each["filename"] for each in fields if "filename" in each]
        return named[-1] if named else NOTHING

    @admin.display(description=_("size"), ordering="size")
    def human_size(self, tombstone: Tombstone) -> str:
        return NOTHING if tombstone.size is None else filesizeformat(tombstone.size)

    @admin.display(description=_("rows"))
    def kept_rows(self, tombstone: Tombstone) -> str:
        return format_html(
            "<pre>{}</pre>", json.dumps(tombstone.rows, indent=2, ensure_ascii=False)
        )

    def id_query(self, number: int) -> Q:
        return _of_a_row("pk", number)

    def text_query(self, text: str) -> Q:
        return Q(name__startswith=text) | _of_a_row("fields__filename__istartswith", text)


def _of_a_row(lookup: str, value: object) -> Q:
    """Return the condition for one of the kept rows: the delivery's, the file's or a parent's."""
    query = Q()
    for place in range(4):
        query |= Q(**{f"rows__{place}__{lookup}": value})
    return query
