"""Files that a row of an ordinary field names are not removed, whatever names they have."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.db import connection
from django.db.models import Value
from django.test import Client
from django.test.utils import CaptureQueriesContext, override_settings

from devilry_storage import registry
from devilry_storage.admin.store_listing import find_file
from devilry_storage.db.routing import databases_with
from devilry_storage.deletion import bury_orphan, purge, purging, removal, remove_now
from devilry_storage.deliveries.models import FileMeta
from devilry_storage.exceptions import NotAnOrphan
from devilry_storage.integrity import State, verify
from devilry_storage.models import Tombstone

from ..admin.pages import staff, url_for
from ..harness.purging import delivered, left, past_due
from .conftest import PACKAGE, fields
from .models import LongReport, Report, Scan

pytestmark = pytest.mark.django_db(transaction=True)

ROWS: dict[str, Callable[[str], Any]] = {
    "a row": lambda name: Report.objects.create(file=name),
    "a row that the manager hides": lambda name: Report.objects.create(
        file=name, is_archived=True
    ),
    "a child": lambda name: LongReport.objects.create(file=name),
    "a row of another model": lambda name: Scan.objects.create(scan=name),
}


LAYOUTS = pytest.mark.parametrize(
    "store", ["FsDeliveryStore", "FsHierDeliveryStore"], indirect=True
)


@pytest.fixture
def store(
    request: pytest.FixtureRequest, tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """The store of the file models and of the ordinary fields of this app."""
    location = {"location": str(tmp_path / "store"), "durable": False}
    layout = getattr(request, "param", "FsDeliveryStore")
    entry = {"BACKEND": f"{PACKAGE}{layout}", "OPTIONS": location}
    settings.STORAGES = {**settings.STORAGES, "deliveries": entry, "second": entry}
    settings.DELIVERY_STORE_GRACE_HOURS = 0
    for field in fields():
        monkeypatch.setattr(field, "storage", storages["deliveries"])
    return storages["deliveries"]


def buried(store: Any, **files: bytes) -> list[Tombstone]:
    """Return the tombstones of files that are due; the file of another delivery is stored."""
    delivery, _ = delivered(**files), delivered(z=b"another")
    delivery.delete()
    past_due()
    return list(Tombstone.objects.order_by("pk"))


def through_action(client: Client, tombstone: Tombstone) -> list[str]:
    """Remove the file with the admin's action and return the messages."""
    data = {"action": "remove_selected", "_selected_action": [tombstone.pk], "confirmed": "yes"}
    response = client.post(url_for(Tombstone), data, follow=True)
    return [str(message) for message in response.context["messages"]]


@LAYOUTS
def test_file_of_an_ordinary_row_is_not_an_orphan(store: Any, subtests: Any) -> None:
    """Neither for a burial nor for an integrity check nor in the store browser."""
    delivery, _ = delivered(a=b"1"), delivered(b=b"2")
    name = f"{delivery.files.get().content.name}_aB3dE6g"
    store.save(name, ContentFile(b"report"))
    os.utime(store.path(name), (1, 1))
    (configured,) = (found for found in registry.configured_stores() if found.store is store)
    for label, create in ROWS.items():
        with subtests.test(label):
            row = create(name)
            with pytest.raises(NotAnOrphan, match="is kept: a row of another model names it"):
                bury_orphan(FileMeta, name, using="default")
            found = find_file(configured, name, "default")
            assert found is not None
            assert found.state is State.ORDINARY
            (state,) = (found.state for found in verify(delivery) if found.name == name)
            assert state is State.ORDINARY
            row.delete()
    assert bury_orphan(FileMeta, name, using="default").name == name


@LAYOUTS
def test_tombstone_whose_name_an_ordinary_row_has_is_kept(store: Any, subtests: Any) -> None:
    """Its neighbour's file is removed. Without the row, it is removed as well."""
    tombstone, _ = buried(store, a=b"1", b=b"22")
    client = staff("view_tombstone", "purge_tombstone")
    for label, create in ROWS.items():
        with subtests.test(label):
            row = create(tombstone.name)
            (kept,) = [event for event in purge() if event.result == "kept"]
            assert kept.subject == tombstone.name
            (left_over,) = left()
            assert (left_over.pk, left_over.claimed) == (tombstone.pk, None)
            assert left_over.rows
            assert "a row names it in the field ordinary." in left_over.last_error == kept.reason
            assert [event.result for event in remove_now([tombstone])] == ["kept"]
            (message,) = through_action(client, tombstone)
            assert message == f"{tombstone.name}: {kept.reason}."
            assert store.exists(tombstone.name)
            row.delete()
    assert [event.result for event in purge()] == ["removed"]
    assert not left()


def test_file_of_an_ordinary_row_is_kept_after_commit(store: Any) -> None:
    """Without retention files are removed right after COMMIT."""
    delivery, _ = delivered(a=b"1", b=b"22"), delivered(z=b"another")
    first, second = (row.content.name for row in delivery.files)
    Report.objects.create(file=first)
    with override_settings(DELIVERY_STORE_RETENTION_DAYS=0):
        delivery.delete()
    assert [tombstone.name for tombstone in left()] == [first]
    assert store.exists(first)
    assert not store.exists(second)


def test_ordinary_row_written_after_the_claim_keeps_the_file(store: Any) -> None:
    """The removal stays, with the reason, whatever names are to be removed."""
    (tombstone,) = buried(store, a=b"1")
    assert removal.claim(FileMeta, Tombstone.objects.all()) == 1
    Report.objects.create(file=tombstone.name)
    (event,) = purge(also=[tombstone.name])
    assert (event.result, store.exists(tombstone.name)) == ("kept", True)
    (left_over,) = left()
    assert left_over.last_error == event.reason


def test_row_of_a_file_that_is_written_before_the_claim_keeps_it(store: Any) -> None:
    """The names of ordinary fields are looked up earlier than those of files."""
    (tombstone,) = buried(store, a=b"1")

    def rename_first(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith(f'UPDATE "{Tombstone._meta.db_table}"'):
            FileMeta.objects.update(content=Value(tombstone.name))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(rename_first):
        assert removal.claim(FileMeta, Tombstone.objects.all()) == 0


def test_row_of_a_field_with_a_store_at_the_same_location_counts(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has another alias, so that it is another instance."""
    assert storages["second"] is not store
    for field in fields():
        monkeypatch.setattr(field, "storage", storages["second"])
    (tombstone,) = buried(store, a=b"1")
    Report.objects.create(file=tombstone.name)
    assert [event.result for event in purge()] == ["kept"]


def test_kept_tombstones_do_not_stop_the_purge_of_others(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first ones, which a claim would take, are all kept."""
    monkeypatch.setattr(removal, "CLAIMED_AT_ONCE", 2)
    monkeypatch.setattr(purging, "CLAIMED_AT_ONCE", 2)
    names = [tombstone.name for tombstone in buried(store, **dict.fromkeys("abcdefghi", b"1"))]
    for name in [*names[:3], names[5]]:
        Report.objects.create(file=name)
    results = [(event.result, event.subject) for event in purge()]
    assert [name for result, name in results if result == "kept"] == [*names[:3], names[5]]
    assert len(results) == len(names)


def test_purge_sends_one_query_for_each_field_if_there_are_any(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the claim and before the removal. Then the tombstones are read two times more."""
    counts = []
    for ordinary in ([], [], fields()[:1], fields()):
        for field in fields():
            monkeypatch.setattr(field, "storage", store if field in ordinary else None)
        buried(store, a=b"1")
        with CaptureQueriesContext(connection) as sent:
            assert [event.result for event in purge()] == ["removed"]
        asked = sum("ordinary_" in query["sql"] for query in sent)
        counts.append((asked, len(sent) - asked))
    _, (none, without), *others = counts
    assert none == 0
    assert others == [(2, without + 2), (2 * len(fields()), without + 2)]


def test_databases_with_rows_of_a_field(settings: Any) -> None:
    """The one to which rows are written, and that of the tombstones if it may have the table."""

    class Router:
        def db_for_write(self, model: Any, **hints: Any) -> str | None:
            return "reports" if model is Report else None

        def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
            return False if hints["model_name"] == "report" and db == "default" else None

    assert databases_with(Report, "default") == {"default"}
    settings.DATABASE_ROUTERS = [Router()]
    assert databases_with(Report, "default") == {"reports"}
    assert databases_with(Report, "tenant") == {"reports", "tenant"}
    assert databases_with(Scan, "tenant") == {"default", "tenant"}
