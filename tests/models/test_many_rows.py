"""Deletes, additions and copies of many files: few statements, and every file is accounted for."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from unittest.mock import patch

import pytest
from django.db import connection, models, transaction
from django.db.models import F, Value
from django.db.models.functions import Cast, Concat
from django.db.models.signals import pre_delete
from django.test.utils import CaptureQueriesContext

from devilry_storage.abstract_models import bulk
from devilry_storage.deletion import deleting
from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.exceptions import DeliveryFinished
from devilry_storage.models import Tombstone
from devilry_storage.signals import file_removed
from devilry_storage.testing import MemoryDeliveryStore
from tests.testapp.models import MarkedFile, Note, ProxyFile, Reading, Station

pytest_plugins = ["tests.testapp.fixtures"]
pytestmark = pytest.mark.django_db

ON_SQLITE = connection.vendor == "sqlite"


def named(model: Any, **fields: Any) -> Any:
    """Record names in rows without content, and return a queryset of the rows."""
    text = Cast("pk", models.TextField())
    rows = model.objects.filter(content=None, **fields)
    rows.update(content=Concat(Value("x/"), text), size=F("pk"), sha256="a" * 64)
    return model.objects.filter(**fields)


def many(number: int, delivery: Any = None) -> Any:
    """Return a queryset of the rows of a delivery with this number of files."""
    delivery = delivery or Delivery.begin(AssignmentGroup.objects.create(name="many"))
    rows = [FileMeta(delivery=delivery, filename=f"{n}.txt") for n in range(number)]
    FileMeta.objects.bulk_create(rows)
    return named(FileMeta, delivery=delivery)


def buried() -> dict[str, tuple[Any, ...]]:
    columns = "file_id", "delivery_id", "size", "sha256", "filename"
    return {
        tombstone.name: tuple(getattr(tombstone, column) for column in columns)
        for tombstone in Tombstone.objects.all()
    }


@contextmanager
def receiving(receiver: Callable[[Any], object], sender: Any = FileMeta) -> Iterator[None]:
    """Call the receiver with each instance before it is deleted."""

    def receive(*, instance: Any, **kwargs: Any) -> None:
        receiver(instance)

    pre_delete.connect(receive, sender=sender)
    try:
        yield
    finally:
        pre_delete.disconnect(receive, sender=sender)


# -- Statements --

DELETES: dict[str, Callable[[Any], object]] = {
    "queryset": lambda rows: rows.delete(),
    "ordered": lambda rows: rows.order_by("-filename").delete(),
    "proxy": lambda rows: ProxyFile.objects.filter(pk__in=rows).delete(),
    "delivery": lambda rows: rows[0].delivery.delete(),
    "deliveries": lambda rows: rows[0].delivery.assignment_group.deliveries.all().delete(),
}


@pytest.mark.parametrize("way", DELETES)
def test_delete_of_many_files_sends_few_statements(way: str) -> None:
    sent = {}
    for number in (10, 300):
        rows = many(number)
        expected = {
            row.content.name: (row.pk, row.delivery_id, row.size, row.sha256, row.filename)
            for row in rows
        }
        Tombstone.objects.all().delete()
        with CaptureQueriesContext(connection) as captured:
            DELETES[way](rows)
        sent[number] = len(captured)
        assert buried() == expected
        assert all(len(tombstone.rows) == 2 for tombstone in Tombstone.objects.all())
    assert sent[10] <= 20
    assert (sent[300] - sent[10]) / 290 <= 0.05


def test_delete_of_one_file_sends_few_statements() -> None:
    """It locks the delivery and the row, inserts the tombstone, and deletes the row."""
    (row,) = many(1)
    with CaptureQueriesContext(connection) as captured:
        row.delete()
    sent = [query["sql"] for query in captured if "testapp_markedfile" not in query["sql"]]
    sent = [sql for sql in sent if not sql.startswith(("SAVEPOINT", "RELEASE"))]
    assert len(sent) <= (6 if ON_SQLITE else 4)


@pytest.mark.parametrize("size", [None, 0, 2**63 - 1])
def test_tombstone_has_the_exact_values_of_the_row(size: int | None) -> None:
    """Which are part of JSON when it is written."""
    (row,) = many(1)
    values = {"filename": "blåbær '\"\\ 😀 %s $.a.txt", "size": size, "sha256": ""}
    FileMeta.objects.filter(pk=row.pk).update(**values)
    name, delivery_id = row.content.name, row.delivery_id
    row.delete()
    (pk, *columns) = buried()[name]
    assert (pk, columns) == (
        Tombstone.objects.get().rows[-1]["pk"],
        [delivery_id, size, "", values["filename"]],
    )
    fields = Tombstone.objects.get().rows[-1]["fields"]
    assert {column: fields[column] for column in values} == values


def test_delivery_is_locked_before_its_files() -> None:
    """Each in the order of the primary keys, so that deletes do not wait for each other."""
    rows = many(2)
    with CaptureQueriesContext(connection) as captured:
        rows.order_by("-pk").delete()
    lock = r'^UPDATE "(\w+)"' if ON_SQLITE else r'ORDER BY "(\w+)"."id" ASC FOR NO KEY UPDATE'
    locked = [found[1] for query in captured if (found := re.search(lock, query["sql"]))]
    assert locked == [Delivery._meta.db_table, FileMeta._meta.db_table]


def test_delete_of_many_deliveries_sends_few_statements() -> None:
    group = AssignmentGroup.objects.create(name="many")
    sent = []
    for number in (2, 20):
        for _ in range(number):
            many(1, Delivery.begin(group))
        with CaptureQueriesContext(connection) as captured:
            group.deliveries.all().delete()
        sent.append(len(captured))
    assert sent[0] == sent[1]
    assert Tombstone.objects.count() == 22


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> MemoryDeliveryStore:
    """Let the files be stored in memory, which is fast."""
    store = MemoryDeliveryStore()
    monkeypatch.setattr(FileMeta, "deliverystore", store)
    return store


def contents(number: int) -> dict[str, bytes]:
    return {f"{n}.txt": b"%d" % n for n in range(number)}


@pytest.mark.parametrize("number", [10, 300])
def test_add_files_and_copy_send_few_statements(
    number: int, memory: MemoryDeliveryStore, group: Any
) -> None:
    delivery = Delivery.begin(group)
    with CaptureQueriesContext(connection) as adding:
        delivery.add_files(contents(number))
    delivery.finish()
    with CaptureQueriesContext(connection) as copying:
        twin = delivery.copy(group)
    assert {row.filename: row.content.read() for row in twin.files} == contents(number)
    # SQLite has a maximum number of parameters: about 100 rows are inserted at once.
    more = number // 60 if ON_SQLITE else 0
    assert len(adding) <= 10 + more
    assert len(copying) <= 20 + more
    columns = "size", "sha256", "verified_at"
    assert [*twin.files.values_list(*columns)] == [*delivery.files.values_list(*columns)]


def test_files_are_copied_concurrently(
    memory: MemoryDeliveryStore, group: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivery = Delivery.begin(group)
    delivery.add_files(contents(8))
    delivery.finish()
    together = threading.Barrier(8, timeout=10)
    copy = memory.copy

    def copy_together(*arguments: Any) -> None:
        together.wait()
        copy(*arguments)

    monkeypatch.setattr(memory, "copy", copy_together)
    assert delivery.copy(group).files.count() == 8


def test_copy_fails_if_it_is_finished_meanwhile(
    memory: MemoryDeliveryStore, group: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivery = Delivery.begin(group)
    delivery.add_files(contents(1))
    delivery.finish()
    copy = memory.copy

    def finish_late(*arguments: Any) -> None:
        copy(*arguments)
        Delivery.objects.exclude(pk=delivery.pk).update(successful=True)

    monkeypatch.setattr(memory, "copy", finish_late)
    with patch.object(bulk, "PARALLEL", 1), pytest.raises(DeliveryFinished):
        delivery.copy(group)
    assert FileMeta.objects.count() == 1
    assert not buried()


def test_overridden_save_of_the_site_is_called_for_copies(
    memory: MemoryDeliveryStore, group: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivery = Delivery.begin(group)
    delivery.add_files(contents(3))
    delivery.finish()
    saved, save = [], FileMeta.save

    def noted(self: Any, *args: Any, **kwargs: Any) -> None:
        saved.append(self.filename)
        save(self, *args, **kwargs)

    monkeypatch.setattr(FileMeta, "save", noted)
    assert delivery.copy(group).files.count() == len(saved) == 3


# -- What changes while rows are deleted --


def test_row_is_buried_as_it_is_in_the_database() -> None:
    """Not as the instances are that Django has collected."""
    rows = many(4)
    delivery = rows[0].delivery
    first, second, third, fourth = sorted(rows.values_list("pk", flat=True))
    other = many(1)[0].delivery

    def change(row: Any) -> None:
        if row.pk == first:
            FileMeta.objects.filter(pk=second).update(content=Value("x/new"))
            FileMeta.objects.filter(pk=third).update(content=Value(None))
            FileMeta.objects.filter(pk=fourth).update(delivery=other)

    with receiving(change):
        rows.delete()
    assert {name: columns[:2] for name, columns in buried().items()} == {
        f"x/{first}": (first, delivery.pk),
        "x/new": (second, delivery.pk),
        f"x/{fourth}": (fourth, other.pk),
    }
    rows_of_fourth = Tombstone.objects.get(file_id=fourth).rows
    assert [row["pk"] for row in rows_of_fourth] == [other.pk, fourth]


def test_deferred_columns_are_not_loaded_row_by_row() -> None:
    rows = many(50)
    with CaptureQueriesContext(connection) as captured:
        rows.only("pk").delete()
    assert len(captured) <= 14
    assert Tombstone.objects.exclude(delivery_id=None).count() == 50


def test_receivers_that_delete_and_query_lose_nothing() -> None:
    rows, others = many(5), iter(many(5))
    names = {row.content.name for row in FileMeta.objects.all()}

    def delete_another(row: Any) -> None:
        if row.filename in {"0.txt", "3.txt"} and (another := next(others, None)):
            another.delete()
        list(Delivery.objects.all())

    with receiving(delete_another):
        rows.delete()
    left = {row.content.name for row in FileMeta.objects.all()}
    assert {*buried()} == names - left
    assert len(left) == 2


class Refused(Exception):
    pass


def refuse(row: Any) -> None:
    raise Refused


@pytest.mark.django_db(transaction=True)
def test_delete_after_one_that_failed_buries_its_row() -> None:
    """No statement is sent between them: the first is rolled back, and notes have no relations."""
    Note.objects.bulk_create([Note(filename="a.txt"), Note(filename="b.txt")])
    first, second = named(Note).order_by("pk")
    name = second.content.name
    with suppress(Refused), receiving(refuse, Note):
        first.delete()
    second.delete()
    assert [*buried()] == [name]


def test_refused_statement_does_not_prevent_burying() -> None:
    """A receiver ignores that its statement is refused, and lets the transaction continue."""
    rows = many(3)

    def continue_(row: Any) -> None:
        transaction.set_rollback(True)
        with suppress(transaction.TransactionManagementError):
            Delivery.objects.first()
        transaction.set_rollback(False)

    with receiving(continue_):
        rows.delete()
    assert len(buried()) == 3


@pytest.mark.parametrize("savepoint", [True, False])
def test_delete_that_fails_buries_nothing_later(savepoint: bool) -> None:
    """Neither a later delete in the same transaction nor another statement buries its rows."""
    rows = many(3)
    kept, deleted = rows[0], rows[1]
    with transaction.atomic():
        with suppress(Refused), receiving(refuse), transaction.atomic(savepoint=savepoint):
            kept.delete()
        if not savepoint:
            transaction.set_rollback(False)
        deleted.delete()
    assert {*buried()} == {deleted.content.name}
    assert rows.filter(pk=kept.pk).exists()
    assert not [one for one in connection.execute_wrappers if isinstance(one, deleting._Burial)]


def test_rolled_back_delete_can_be_repeated() -> None:
    rows = many(3)
    with transaction.atomic():
        with suppress(Refused), transaction.atomic():
            rows.delete()
            raise Refused
        assert not buried()
        rows.delete()
    assert len(buried()) == 3


def test_failure_that_a_receiver_ignores_prevents_the_delete(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rows are buried before its statement, too."""
    rows = many(3)

    def fail(*args: Any) -> None:
        raise Refused

    def ignore(row: Any) -> None:
        with suppress(Refused):
            list(Delivery.objects.all())

    monkeypatch.setattr(deleting, "bury_rows", fail)
    with (
        receiving(ignore),
        pytest.raises(transaction.TransactionManagementError),
        transaction.atomic(),
    ):
        rows.delete()
    assert rows.count() == 3


@pytest.mark.django_db(transaction=True)
def test_wrappers_of_the_site_are_removed_as_usual() -> None:
    """Even if a delete fails within a block of execute_wrapper(), and no statement follows."""
    (row,) = many(1)
    seen: list[str] = []

    def wrapper(execute: Any, sql: str, *args: Any) -> Any:
        seen.append(sql)
        return execute(sql, *args)

    with suppress(Refused), receiving(refuse), connection.execute_wrapper(wrapper):
        row.delete()
    seen.clear()
    assert FileMeta.objects.filter(pk=row.pk).exists()
    assert seen == []


def test_row_that_is_deleted_as_two_classes_is_buried_once() -> None:
    rows = many(2)
    removed: list[str] = []

    def receive(*, name: str, **kwargs: Any) -> None:
        removed.append(name)

    def send_again(row: Any) -> None:
        pre_delete.send(sender=ProxyFile, instance=ProxyFile(pk=row.pk), using="default")

    file_removed.connect(receive)
    try:
        with receiving(send_again), transaction.atomic():
            names = sorted(row.content.name for row in rows)
            rows.delete()
            for send in [hook[1] for hook in connection.run_on_commit]:
                send()
    finally:
        file_removed.disconnect(receive)
    assert sorted(removed) == names == sorted(buried())


@pytest.mark.django_db(transaction=True)
def test_row_is_not_buried_outside_of_a_transaction() -> None:
    (row,) = many(1)
    with pytest.raises(transaction.TransactionManagementError, match=f"'{row.pk}'"):
        pre_delete.send(sender=FileMeta, instance=row, using="default")
    assert not buried()


def test_rows_of_children_are_buried_with_their_files() -> None:
    rows = many(3)
    delivery = rows[0].delivery
    for row in rows:
        MarkedFile(filemeta_ptr=row, mark=f"{row.pk}").save_base(raw=True)
    assert MarkedFile.objects.count() == 3
    MarkedFile.objects.filter(delivery=delivery).delete()
    for tombstone in Tombstone.objects.all():
        *_, child = tombstone.rows
        assert (child["pk"], child["fields"]["mark"]) == (tombstone.file_id, f"{child['pk']}")
    assert Tombstone.objects.count() == 3


def test_rows_are_buried_with_the_row_to_which_another_column_refers() -> None:
    """By ``to_field``; also those that refer to none, and those with NaN."""
    stations = Station.objects.bulk_create([Station(number=7), Station(number=8)])
    for number in (7, 8, None):
        Reading.objects.bulk_create([Reading(delivery_id=number, value=float("nan"))] * 1)
    named(Reading).delete()
    found = Tombstone.objects.order_by("file_id").values_list("delivery_id", "rows")
    assert [pk for pk, _ in found] == [stations[0].pk, stations[1].pk, None]
    assert [len(rows) for _, rows in found] == [2, 2, 1]
    assert found[0][1][-1]["fields"]["value"] in {"NaN", None}
