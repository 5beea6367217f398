"""Checks of the marks by which stores are recognised."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.core.checks import CheckMessage, Tags, Warning, register
from django.db import connections

from ..identity import marked, summary
from ..registry import FileModel, configured_stores
from ..resolving import resolve
from ..tables.store_mark import StoreMark
from . import ids


@register("devilry_storage", deploy=True)
def check_identity(**kwargs: Any) -> list[CheckMessage]:
    """Report stores that have no mark by which a site recognises them."""
    models = [configured.models[0] for configured in configured_stores()]
    return [message for model in models for message in _without_mark(model)]


def _without_mark(model: FileModel) -> Iterator[CheckMessage]:
    if marked(model, "default") is not None:
        return
    store = resolve(model).store
    yield Warning(
        f"{type(store).__name__} ({store.location_text()}) has no identity: another site that "
        "uses it, such as a copy of this one, is not noticed before it removes files, and an "
        "unmounted disk is not noticed before files are stored.",
        hint=(
            "Remove the option identity=False; or keep all other sites away from the store by "
            "its permissions, and silence this check."
        ),
        obj=model,
        id=ids.NO_IDENTITY,
    )


@register(Tags.database, "devilry_storage", deploy=True)
def check_recognised(
    *, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Report stores from which this site may not remove files."""
    return [
        message
        for alias in databases or ()
        if StoreMark._meta.db_table in connections[alias].introspection.table_names()
        for configured in configured_stores()
        for message in _unrecognised(configured.models[0], alias)
    ]


def _unrecognised(model: FileModel, alias: str) -> Iterator[CheckMessage]:
    known = summary(model, alias)
    if known is not None and known.problem:
        yield Warning(
            f"This site removes no files from the store of {model._meta.label}: {known.problem}.",
            hint="Run manage.py deliverystore_identity, which shows what is known.",
            obj=model,
            id=ids.NOT_RECOGNISED,
        )
