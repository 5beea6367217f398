"""Checks of the identity of stores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage, Tags, Warning, register
from django.db import connections

from ..identity import marked, summary
from ..registry import configured_stores
from ..tables import StoreMark


@register("devilry_storage", deploy=True)
def check_identity(**kwargs: Any) -> list[CheckMessage]:
    """Report stores without a mark."""
    return [
        Warning(
            f"{type(store).__name__} ({store.location_text()}) has no identity. If another site "
            "uses it, such as a copy of this one, files may be removed by either. If its disk is "
            "not mounted, new files may be stored in the wrong folder.",
            hint=(
                "Remove the option identity=False; or deny all other sites access to the store, "
                "and silence this check."
            ),
            obj=models[0],
            id="devilry_storage.W013",
        )
        for store, _alias, models in configured_stores()
        if marked(models[0], "default") is None
    ]


@register(Tags.database, "devilry_storage", deploy=True)
def check_recognised(
    *, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Report stores from which this site does not remove files."""
    return [
        Warning(
            f"This site removes no files from the store of {model._meta.label}: {known.problem}.",
            hint="Run manage.py deliverystore_identity for details.",
            obj=model,
            id="devilry_storage.W014",
        )
        for alias in databases or ()
        if StoreMark._meta.db_table in connections[alias].introspection.table_names()
        for model in (configured.models[0] for configured in configured_stores())
        if (known := summary(model, alias)) is not None and known.problem
    ]
