"""Checks of a site's own FileFields that use a delivery store."""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Warning, register

from ..exceptions import NoURL
from ..registry import OrdinaryField, ordinary_fields
from ..storages.base import DeliveryStoreMixin
from ..storages.view_urls import stored_url


@register("devilry_storage")
def check_ordinary_fields(**kwargs: Any) -> list[CheckMessage]:
    """Report fields whose files have no URL, and those that the view looks up without an index."""
    messages: list[CheckMessage] = []
    for ordinary in ordinary_fields():
        if ordinary.store.has_own_url:
            continue
        try:
            stored_url(ordinary.store, "name")
        except NoURL:
            messages.append(_without_url(ordinary))
            continue
        if not _has_index(ordinary.field):
            text = f"The download view looks up names in {ordinary.label}, which has no index."
            hint = "Set db_index=True on the field. Silence this check if the table is small."
            messages.append(
                Warning(text, hint=hint, obj=ordinary.field, id="devilry_storage.W064")
            )
    return messages


def _without_url(ordinary: OrdinaryField) -> CheckMessage:
    if type(ordinary.store).signed_url is DeliveryStoreMixin.signed_url:
        problem = (
            "have no URL. Forms and read-only pages of the admin show no link to them, and its "
            "lists fail"
        )
        public = "If everybody may read the files, give the store a public URL (base_url) instead."
    else:
        problem = "have presigned URLs: everybody who gets one can read the file until it expires"
        public = "Silence this check if that is intended."
    alias = "" if ordinary.alias else "Add the store to STORAGES and let the field use its alias; "
    include = 'path("files/", include("devilry_storage.urls"))'
    return Warning(
        f"The files of {ordinary.label} {problem}.",
        hint=(
            f"{alias}{'include' if alias else 'Include'} the download views in the URLconf: "
            f"{include}. {public}"
        ),
        obj=ordinary.field,
        id="devilry_storage.W063",
    )


def _has_index(field: Any) -> bool:
    """Return whether an index of its own begins with the column of the field."""
    indexes = [index for index in field.model._meta.indexes if not index.condition]
    # An index may begin with "-name", and one of expressions has no fields.
    first = {index.fields[0].lstrip("-") for index in indexes if index.fields}
    return field.db_index or field.unique or field.name in first
