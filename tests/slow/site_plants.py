"""Faults to plant in a worker. Each breaks one rule that protects files in use from removal."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

from django.db import models, transaction

from devilry_storage import restoring
from devilry_storage.abstract_models import filemeta
from devilry_storage.conf import conf
from devilry_storage.db.clock import DatabaseNow
from devilry_storage.deletion import purging, removal
from devilry_storage.models import Tombstone
from devilry_storage.resolving import store_for
from devilry_storage.tables import TombstoneQuerySet


def nothing() -> None:
    """Plant no fault."""


def restore_under_the_same_name() -> None:
    """Let a restore reuse the old name of the row and delete the tombstone."""
    reinserted, give_back = restoring._reinsert, restoring._set_content

    def keep_name(kept: Tombstone, *others: Any) -> str:
        assert store_for(others[0]).exists(kept.name)
        return kept.name

    def reinsert(kept: Tombstone, *others: Any) -> Any:
        Tombstone.objects.filter(pk=kept.pk).delete()
        return reinserted(kept, *others)

    def give(row: Any, kept: Tombstone, *others: Any) -> None:
        Tombstone.objects.filter(pk=kept.pk).delete()
        give_back(row, kept, *others)

    patch.object(restoring, "_duplicate", keep_name).start()
    patch.object(restoring, "_reinsert", reinsert).start()
    patch.object(restoring, "_set_content", give).start()


def claim_what_rows_name() -> None:
    """Let claims include names that rows refer to, and reserve no names."""

    def claim(model: Any, tombstones: TombstoneQuerySet) -> int:
        claimed: int = _claimable(tombstones).update(claimed=DatabaseNow(), rows=[])
        return claimed

    _patch_claim(claim)
    patch.object(filemeta, "reserve", lambda *args, **kwargs: None).start()


def remove_before_the_claim() -> None:
    """Remove bytes before their tombstones are claimed."""
    whole = removal.claim

    def claim(model: Any, tombstones: TombstoneQuerySet) -> int:
        store_for(model).delete_many(_claimable(tombstones).values_list("name", flat=True))
        return whole(model, tombstones)

    _patch_claim(claim)


def _claimable(tombstones: models.QuerySet[Tombstone]) -> models.QuerySet[Tombstone]:
    orphans: dict[str, Any] = {"file_id": None, "delivery_id": None, "rows": []}
    young = DatabaseNow() - conf.grace
    found: models.QuerySet[Tombstone] = tombstones.filter(claimed=None)
    found = found.exclude(**orphans, created__gt=young)
    return found


def _patch_claim(claim: Any) -> None:
    patch.object(purging, "claim", claim).start()
    patch.object(removal, "claim", claim).start()


def claim_without_flush() -> None:
    """Commit claims without a flush, so that a crash of the database can lose them."""
    patch.object(removal, "durable_transaction", transaction.atomic).start()
