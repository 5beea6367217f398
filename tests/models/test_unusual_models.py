"""Models and sessions that are not as most: what is done by one statement still works."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection, models, transaction
from django.db.models import Deferrable, UniqueConstraint
from django.test.utils import CaptureQueriesContext

from devilry_storage.abstract_models import delivery as deliveries
from devilry_storage.db.rows import row_and_related
from devilry_storage.deletion import burying
from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.models import Tombstone

FIELDS = ["delivery", "filename"]


@pytest.fixture
def delivery(db: None) -> Delivery:
    return Delivery.begin(AssignmentGroup.objects.create(name="group"))


def test_names_of_tables_are_quoted_and_no_aliases(delivery: Delivery) -> None:
    """A site may have a table of any name, such as 'd' or 'Exam-files'."""
    with CaptureQueriesContext(connection) as queries:
        delivery.add_file("a.txt", b"data").delete()
    (update,) = [query["sql"] for query in queries if "NOT EXISTS" in query["sql"]]
    (insert,) = [query["sql"] for query in queries if "ON CONFLICT" in query["sql"]]
    assert insert.startswith(f'INSERT INTO "{Tombstone._meta.db_table}"')
    for model, alias in ((Tombstone, "devilry_t"), (Delivery, "devilry_d")):
        assert f'"{model._meta.db_table}" AS {alias}' in update


def test_delivery_is_of_the_class_that_the_row_refers_to(
    delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy may override methods."""

    class Proxy(Delivery):
        class Meta:
            proxy = True
            app_label = "testapp"

    try:
        row = delivery.add_file("a.txt", b"data")
        field = copy.copy(FileMeta._meta.get_field("delivery"))
        field.__dict__["related_model"] = Proxy
        for lock in (False, True):
            both = row_and_related(field, row.pk, "default", lock=lock)
            assert both is not None
            assert [type(one) for one in both] == [FileMeta, Proxy]
    finally:
        from django.apps import apps

        del apps.all_models["testapp"]["proxy"]
        apps.clear_cache()


def test_tables_in_a_schema_are_locked_one_by_one(
    delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL rejects FOR UPDATE OF a table in a schema."""
    field = FileMeta._meta.get_field("delivery")
    monkeypatch.setattr(FileMeta._meta, "db_table", 'school"."files')
    assert row_and_related(field, 1, "default", lock=True) is None


@pytest.mark.parametrize(
    ("constraint", "is_trusted"),
    [({}, True), ({"deferrable": Deferrable.DEFERRED}, False), ({"include": ["size"]}, False)],
)
def test_only_constraints_of_every_database_are_trusted(
    monkeypatch: pytest.MonkeyPatch, constraint: dict[str, Any], is_trusted: bool
) -> None:
    unique = UniqueConstraint(fields=FIELDS, name="unique", **constraint)
    meta = SimpleNamespace(unique_together=[], total_unique_constraints=[unique], parents={})
    monkeypatch.setattr(deliveries, "has_receivers", lambda model: False)
    assert deliveries._insert_finds_clashes(SimpleNamespace(_meta=meta)) is is_trusted


@pytest.mark.django_db(transaction=True)
def test_file_is_added_without_autocommit() -> None:
    delivery = Delivery.begin(AssignmentGroup.objects.create(name="group"))
    transaction.set_autocommit(False)
    try:
        row = delivery.add_file("a.txt", b"data")
        transaction.commit()
    finally:
        transaction.set_autocommit(True)
    assert FileMeta.objects.get().content.name == row.content.name


def test_large_rows_are_buried_in_several_statements(
    delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each tombstone has a copy of the delivery's row, which may be long."""
    delivery.add_files(dict.fromkeys("abcde", b"data"))
    monkeypatch.setattr(burying, "INSERTED_BYTES", 1000)
    with CaptureQueriesContext(connection) as queries:
        delivery.delete()
    inserts = [query for query in queries if "devilry_storage_tombstone" in query["sql"]]
    assert len([query for query in inserts if query["sql"].startswith("INSERT")]) > 1
    assert Tombstone.objects.count() == 5


class _Id:
    """An id of a Python class of its own, as some packages have."""

    def __init__(self, value: int) -> None:
        self.value = value


def test_ids_of_another_class_are_prepared(
    delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    field: Any = FileMeta._meta.pk
    real = models.BigAutoField.get_db_prep_value

    def prepare(value: Any, connection: Any, prepared: bool = False) -> Any:
        value = value.value if isinstance(value, _Id) else value
        return real(field, value, connection, prepared)

    monkeypatch.setattr(field, "get_db_prep_value", prepare)
    monkeypatch.setattr(field, "get_prep_value", lambda value: getattr(value, "value", value))
    monkeypatch.setattr(field, "from_db_value", lambda value, *args: _Id(value), raising=False)
    monkeypatch.setattr(FileMeta, "key_ids", lambda row: (row.delivery_id, row.pk.value))
    field.__dict__.pop("cached_col", None)
    field.__dict__.pop("_get_default", None)
    for row in delivery.add_files({"a.txt": b"data", "b.txt": b"data"}):
        with row.content.open() as file:
            assert file.read() == b"data"
