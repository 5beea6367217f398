"""Sites and stores for tests of identity, and changes of a site between two actions."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.color import no_style
from django.db import connection
from django.test.utils import override_settings

from devilry_storage.deletion import purge
from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.identity import forget
from devilry_storage.identity.marks import read_mark, read_sites
from devilry_storage.models import StoreMark, Tombstone
from devilry_storage.resolving import store_for
from devilry_storage.storages.protocols import OwnObjects

from . import s3servers
from .purging import delivered, past_due

HIER = "devilry_storage.storages.FsHierDeliveryStore"
S3 = "devilry_storage.storages.S3DeliveryStore"

PRODUCTION, STAGING = "production's key", "staging's key"


def entry_of(kind: str, tmp_path: Path, **more: Any) -> dict[str, Any]:
    """Return an entry of ``STORAGES`` for an empty store on disk, moto or seaweedfs."""
    if kind == "disk":
        location = {"location": str(tmp_path / uuid.uuid4().hex), "durable": False}
        return {"BACKEND": HIER, "OPTIONS": {**location, **more}}
    server = s3servers.need(kind)
    options = {**server.options(server.bucket()), "deadline": 1}
    return {"BACKEND": S3, "OPTIONS": {**options, **more}}


def stored_in(entry: dict[str, Any], **aliases: dict[str, Any]) -> AbstractContextManager[Any]:
    """Use a store for all models inside the block."""
    return override_settings(STORAGES={**settings.STORAGES, "deliveries": entry, **aliases})


@contextmanager
def site(key: str = PRODUCTION, **more: Any) -> Iterator[None]:
    """Be a site with this SECRET_KEY, in a process that has not recognised a store yet."""
    restart()
    with override_settings(SECRET_KEY=key, **more):
        yield
    restart()


def restart() -> None:
    """Forget what this process has seen of stores."""
    forget(using="default")


def empty_database() -> None:
    """Remove all rows and forget recognised stores, as in a new database; keep the files."""
    for model in (FileMeta, Delivery, Tombstone, AssignmentGroup, StoreMark):
        rows = model._base_manager.all()
        rows._raw_delete(rows.db)


def restored_elsewhere() -> None:
    """Give the tombstone table another OID, as after a dump and restore."""
    tombstones = list(Tombstone.objects.all())
    with connection.schema_editor() as editor:
        editor.delete_model(Tombstone)
        editor.create_model(Tombstone)
    Tombstone.objects.bulk_create(tombstones)
    with connection.cursor() as cursor:
        for statement in connection.ops.sequence_reset_sql(no_style(), [Tombstone]):
            cursor.execute(statement)


def own() -> OwnObjects:
    found = store_for(FileMeta).own_objects
    assert found is not None
    return found


def mark_uuid() -> uuid.UUID | None:
    mark = read_mark(own())
    return None if mark is None else mark.uuid


def sites() -> int:
    """Return the number of sites that have marked the store."""
    return len(list(read_sites(own())))


def files() -> set[str]:
    return {found.name for found in store_for(FileMeta).scan()}


def delete_one() -> None:
    """Delete a file whose retention ends at once."""
    FileMeta.objects.order_by("pk")[0].delete()
    past_due()


def assert_removes() -> None:
    """Assert that a purge removes a file that is due."""
    before = len(files())
    delete_one()
    events = list(purge())
    assert [event.result for event in events] == ["removed"], events
    assert len(files()) == before - 1


def assert_keeps(*words: str) -> None:
    """Assert that a purge removes nothing, and that its message has these words and a remedy."""
    before = files()
    if not Tombstone.objects.exists():
        delete_one()
    events = list(purge())
    assert files() == before
    assert {event.result for event in events} == {"refused"}, events
    for word in words:
        assert word in events[0].reason, events[0].reason


def store_one() -> Delivery:
    return delivered(**{f"{uuid.uuid4().hex}.txt": b"data"})
