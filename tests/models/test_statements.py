"""The number of statements that writes send, and the number of rows that these read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.db import IntegrityError, connection, models, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from devilry_storage.deliveries.models import Delivery, FileMeta
from devilry_storage.exceptions import DeliveryFinished
from devilry_storage.fields import StoredName
from devilry_storage.models import Tombstone
from devilry_storage.registry import label, store_label
from devilry_storage.resolving import store_for

from ..slow import database_state as state
from ..slow.explaining import recorded
from .test_transactions import after_each_creation, undone

pytestmark = pytest.mark.django_db(transaction=True)

NEW = b"new"
MANY = 5_000
"""The number of other rows and tombstones."""


def create(delivery: Any) -> None:
    content = ContentFile(NEW, "new.txt")
    FileMeta.objects.create(delivery=delivery, filename="new.txt", content=content)


def take_over(delivery: Any) -> None:
    delivery.add_file("late.txt", NEW)


def replace(delivery: Any) -> None:
    row = delivery.files.get(filename="0.txt")
    row.content = ContentFile(NEW, "new.txt")
    row.save()


def remove(delivery: Any) -> None:
    delivery.files.get(filename="0.txt").content.delete()


def delete(delivery: Any) -> None:
    delivery.files.get(filename="0.txt").delete()


def finish(delivery: Any) -> None:
    delivery.files.filter(content=None).delete()
    delivery.finish()


def copy(delivery: Any) -> None:
    finish(delivery)
    delivery.copy(state.group("other"))


def check(delivery: Any) -> None:
    """Validate a row as the form of the admin does."""
    FileMeta(delivery_id=delivery.pk, content=ContentFile(NEW, "new.txt")).full_clean()


@pytest.fixture
def delivery() -> Any:
    """Return an unfinished delivery with two files and an abandoned row."""
    delivery = state.deliveries(1, files=2)[0]
    FileMeta.objects.create(delivery=delivery, filename="late.txt", created=state.LONG_AGO)
    return Delivery.objects.get(pk=delivery.pk)


@pytest.mark.parametrize(
    ("act", "postgres", "sqlite"),
    [
        (lambda delivery: delivery.add_file("new.txt", NEW), 2, 2),
        (create, 2, 2),
        (take_over, 7, 7),
        # The look for the row counts, too.
        (replace, 1 + 7, 1 + 8),
        (remove, 1 + 5, 1 + 6),
        (delete, 1 + 6, 1 + 8),
    ],
    ids=["add_file", "create", "take over", "replace", "remove", "delete"],
)
def test_writes_send_few_statements(
    delivery: Any, act: Callable[[Any], None], postgres: int, sqlite: int
) -> None:
    """BEGIN and COMMIT count, statements for the multi-table child of the tests do not."""
    with CaptureQueriesContext(connection) as captured:
        act(delivery)
    sent = [query["sql"] for query in captured if "testapp_" not in query["sql"]]
    assert len(sent) <= {"postgresql": postgres, "sqlite": sqlite}[connection.vendor], sent


@pytest.mark.parametrize("act", [delete, finish])
def test_statements_do_not_depend_on_tombstones(delivery: Any, act: Callable[[Any], None]) -> None:
    """Also if they are of the same delivery."""
    other = Delivery.begin(delivery.assignment_group)
    counts = []
    for current, number in ((delivery, 1), (other, 20)):
        for position in range(number):
            current.add_file(f"old {position}.txt", NEW).delete()
        current.files.filter(filename="0.txt").delete()
        current.add_file("0.txt", NEW)
        with CaptureQueriesContext(connection) as captured:
            act(current)
        counts.append(len(captured))
    assert counts[0] >= counts[1]


@pytest.mark.postgres
@pytest.mark.parametrize(
    "act",
    [
        lambda delivery: delivery.add_file("new.txt", NEW),
        lambda delivery: delivery.add_files({"new.txt": NEW, "newer.txt": NEW}),
        create, take_over, replace, remove, delete, finish, copy, check,
    ],
    ids=[
        "add_file", "add_files",
        "create", "take over", "replace", "remove", "delete", "finish", "copy", "check",
    ],
)  # fmt: skip
def test_no_statement_of_a_write_scans_a_table(delivery: Any, act: Callable[[Any], None]) -> None:
    """Each reads few rows, whatever the number of rows and tombstones."""
    fill(delivery)
    with recorded() as queries:
        act(delivery)
    assert len(queries.sent) > 1
    assert queries.scans(100, ("SELECT", "UPDATE", "DELETE")) == []


@pytest.mark.postgres
def test_scan_of_tombstones_is_found(delivery: Any) -> None:
    """Without the index on their names."""
    fill(delivery)
    with undone(), recorded() as queries:
        with connection.cursor() as cursor:
            cursor.execute(
                "ALTER TABLE devilry_storage_tombstone"
                " DROP CONSTRAINT devilry_storage_tombstone_name"
            )
        delivery.add_file("new.txt", NEW)
        assert queries.scans(100, ("UPDATE",)) != []


# -- The record of new content --


def test_finished_delivery_takes_no_file(delivery: Any) -> None:
    """It was finished during the upload, perhaps by an UPDATE of the site."""

    def source() -> Iterator[bytes]:
        yield NEW
        Delivery.objects.filter(pk=delivery.pk).update(successful=True)

    with pytest.raises(DeliveryFinished):
        delivery.add_file("new.txt", source())
    assert not delivery.files.filter(filename="new.txt").exists()


def test_own_refuse_finished_is_called(delivery: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a delivery that closes during the upload."""
    closed: list[bool] = []

    def refuse_finished(self: Any) -> None:
        if closed:
            raise DeliveryFinished("It is closed.")

    def source() -> Iterator[bytes]:
        yield NEW
        closed.append(True)

    monkeypatch.setattr(Delivery, "refuse_finished", refuse_finished)
    with pytest.raises(DeliveryFinished, match="closed"):
        delivery.add_file("new.txt", source())


def test_content_stored_meanwhile_is_buried(delivery: Any) -> None:
    """The row of a writer got content after it was loaded."""
    stale = FileMeta.objects.get(filename="late.txt")
    delivery.add_file("late.txt", b"first")
    with store_for(stale).write_open(stale) as writer:
        writer.write(NEW)
    assert state.stored(stale) == NEW
    assert len(state.left()) == 1
    assert state.orphans() == set()


def test_late_tombstone_gives_a_replacement_another_name(delivery: Any) -> None:
    names: list[str] = []

    def bury_the_first(name: str) -> None:
        names.append(name)
        if len(names) == 1:
            bury_name(name, label(FileMeta), store_label(FileMeta))

    with after_each_creation(bury_the_first):
        replace(delivery)
    assert len(names) == 2
    assert delivery.files.get(filename="0.txt").content.name == names[1]


@pytest.mark.parametrize("act", [create, replace])
def test_tombstone_of_another_store_does_not_matter(
    delivery: Any, act: Callable[[Any], None]
) -> None:
    names: list[str] = []

    def bury_elsewhere(name: str) -> None:
        names.append(name)
        bury_name(name, "testapp.handout", "testapp.handout")

    with after_each_creation(bury_elsewhere):
        act(delivery)
    assert FileMeta.objects.filter(content__in=names).count() == len(names) == 1


def bury_name(name: str, model: str, alias: str) -> None:
    Tombstone.objects.create(model=model, alias=alias, name=name, due=timezone.now())


def test_failed_record_leaves_the_transaction_usable(delivery: Any) -> None:
    """The name is that of another row."""
    other = FileMeta.objects.get(filename="0.txt")

    def name_it_there(name: str) -> None:
        models.QuerySet(FileMeta).filter(pk=other.pk).update(content=StoredName(name))

    with transaction.atomic():
        with after_each_creation(name_it_there), pytest.raises(IntegrityError):
            create(delivery)
        assert delivery.files.filter(filename="0.txt").exists()
        transaction.set_rollback(True)


# -- Clashes of filenames --


def test_other_integrity_errors_reach_the_caller(delivery: Any) -> None:
    """The delivery was deleted."""
    Delivery.objects.get(pk=delivery.pk).delete()
    with CaptureQueriesContext(connection) as captured, pytest.raises(IntegrityError):
        delivery.add_file("new.txt", NEW)
    assert sum(query["sql"].startswith("INSERT") for query in captured) == 2


def test_integrity_error_of_the_record_is_final(delivery: Any) -> None:
    """The content was read: a second attempt could not read it, or would store it again."""
    first = delivery.add_file("new.txt", NEW)
    index = f"ON {FileMeta._meta.db_table} (sha256) WHERE sha256 <> '' AND id >= {first.pk}"
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE UNIQUE INDEX delivered_once {index}")
    try:
        for content in (iter([NEW]), NEW):
            with CaptureQueriesContext(connection) as captured, pytest.raises(IntegrityError):
                delivery.add_file("same.txt", content)
            assert sum(query["sql"].startswith("INSERT INTO") for query in captured) == 1
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP INDEX delivered_once")
    assert not delivery.files.filter(filename="same.txt").exists()


def test_filename_is_looked_up_without_a_constraint(
    delivery: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FileMeta._meta, "constraints", [])
    monkeypatch.delitem(FileMeta._meta.__dict__, "total_unique_constraints", raising=False)
    with CaptureQueriesContext(connection) as captured:
        delivery.add_file("new.txt", NEW)
    assert captured.captured_queries[0]["sql"].startswith("SELECT")
    monkeypatch.undo()
    del FileMeta._meta.__dict__["total_unique_constraints"]


def fill(delivery: Any) -> None:
    """Insert rows and tombstones, of the same model and store."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO devilry_deliveries_delivery"
            " (assignment_group_id, number, time_of_delivery, successful)"
            " SELECT %s, n, now(), true FROM generate_series(1000, 999 + %s) n RETURNING id",
            [delivery.assignment_group_id, MANY],
        )
        first = cursor.fetchone()[0]
        cursor.execute(
            "INSERT INTO devilry_deliveries_filemeta"
            " (delivery_id, filename, content, size, sha256, created)"
            " SELECT %s + n, 'new.txt', 'x/' || n, 3, '', now() FROM generate_series(0, %s) n",
            [first, MANY - 1],
        )
        cursor.execute(
            "INSERT INTO devilry_storage_tombstone (model, alias, name, size, sha256, rows,"
            " filename, file_id, delivery_id, created, due, attempts, last_error)"
            " SELECT %s, %s, 'y/' || n, 3, '', '[]', '', -n, -n, now(), now(), 0, ''"
            " FROM generate_series(1, %s) n",
            [label(FileMeta), store_label(FileMeta), MANY],
        )
        cursor.execute("ANALYZE")
