"""The migration that gives each tombstone a store."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from devilry_storage.models import Tombstone

pytestmark = pytest.mark.django_db(transaction=True)

BEFORE, AFTER = "0005_delivery_stores", "0006_removals"


def migrated(name: str) -> Any:
    """Migrate to this state, and return its tombstone model."""
    executor = MigrationExecutor(connection)
    executor.migrate([("devilry_storage", name)])
    executor.loader.build_graph()
    apps = executor.loader.project_state([("devilry_storage", name)]).apps
    return apps.get_model("devilry_storage", "Tombstone")


def test_tombstones_without_alias_get_the_label_of_their_model() -> None:
    """Of several tombstones of one name, the one that is due last is kept, with its rows."""
    try:
        model = migrated(BEFORE)
        now = timezone.now()
        for label, alias, name, days in [
            *(("a.file", "", "1", 0), ("b.file", "", "1", 0)),
            *(("a.file", "shared", "2", 1), ("b.file", "shared", "2", 2)),
            *(("a.file", "shared", "3", 3), ("b.file", "shared", "3", 3)),
            *(("a.file", "shared", "4", 0), ("a.file", "other", "4", 1)),
        ]:
            due = now + timedelta(days=days)
            model.objects.create(model=label, alias=alias, name=name, due=due, rows=[{"pk": 1}])
        migrated(AFTER)
        found = Tombstone.objects.order_by("pk").values_list("model", "alias", "name")
        assert list(found) == [
            *(("a.file", "a.file", "1"), ("b.file", "b.file", "1")),
            *(("b.file", "shared", "2"), ("b.file", "shared", "3")),
            *(("a.file", "shared", "4"), ("a.file", "other", "4")),
        ]
        assert all(row.rows == [{"pk": 1}] for row in Tombstone.objects.buried())
        with pytest.raises(IntegrityError), transaction.atomic():
            Tombstone.objects.create(model="c.file", alias="shared", name="2", due=now)
    finally:
        executor = MigrationExecutor(connection)
        executor.migrate(executor.loader.graph.leaf_nodes())
