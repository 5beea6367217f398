"""Tests with django-cleanup, and with rows in another database than the default."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.files.base import ContentFile
from django.db import transaction
from django.test import override_settings

from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.exceptions import DeliveryFinished
from devilry_storage.models import Tombstone
from devilry_storage.signals import file_removed, file_stored
from tests.testapp.models import MarkedFile, Note
from tests.testapp.pictures import stored
from tests.testapp.stores import FailingStore, Source

pytest_plugins = ["tests.testapp.fixtures"]

VARIED = "tests.testapp.settings_varied"

varied = pytest.mark.skipif(
    "other" not in settings.DATABASES, reason=f"run with {VARIED} by another test"
)


@pytest.mark.skipif(settings.DATABASE != "sqlite", reason="the same on SQLite")
@pytest.mark.skipif("other" in settings.DATABASES, reason="runs itself")
def test_with_django_cleanup_and_a_second_database() -> None:
    """Run this module there, and the tests that commit."""
    folder = Path(__file__).parent
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("PYTEST", "DJANGO", "DEVILRY_STORAGE_PROOF"))
    }
    options = f"-X dev -W error -m pytest --ds {VARIED} -p no:cacheprovider -q".split()
    files = [folder / f"test_filefield_{name}.py" for name in ("rows", "signals", "varied")]
    done = subprocess.run(
        [sys.executable, *options, "-k", "autocommit or each_change or varied", *files],
        cwd=folder.parents[1],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "failed" not in done.stdout
    assert " passed" in done.stdout


@varied
@pytest.mark.django_db(transaction=True)
@override_settings(DELIVERY_STORE_RETENTION_DAYS=30)
def test_django_cleanup_removes_no_delivered_file(
    store: FailingStore, delivery: Delivery, caplog: Any
) -> None:
    """Buried files are kept until they are due. In autocommit django-cleanup works at once."""
    row = delivery.add_file("a.txt", b"first")
    row.content = ContentFile(b"second", "b.txt")
    row.save()
    fresh = FileMeta.objects.get()
    fresh.content = None
    fresh.save()
    fresh.content = ContentFile(b"third", "c.txt")
    fresh.save()
    child = MarkedFile.objects.create(delivery=delivery, filename="d.txt", content=Source(b"d"))
    with transaction.atomic():
        FileMeta.objects.get(pk=fresh.pk).delete()
        child.delete()
    assert sorted(stored(store).values()) == [b"d", b"first", b"second", b"third"]
    assert {*Tombstone.objects.values_list("name", flat=True)} == {*stored(store)}
    assert not caplog.records, "django-cleanup logs what it could not do"


# -- Another database --


@pytest.fixture
def other(store: FailingStore) -> Any:
    """Return an unfinished delivery in the other database."""
    group = AssignmentGroup.objects.using("other").create(name="group")
    return Delivery.begin(group)


@varied
@pytest.mark.django_db(databases=["default", "other"], transaction=True)
def test_delivery_in_another_database_uses_no_other(store: FailingStore, other: Any) -> None:
    """Rows, tombstones and signals."""
    names: list[str] = []

    def receive(instance: Any, name: str, **kwargs: Any) -> None:
        assert FileMeta.objects.using("other").count() or kwargs["signal"] is file_removed
        names.append(name)

    file_stored.connect(receive)
    file_removed.connect(receive)
    try:
        row = other.add_file("a.txt", b"a")
        (second,) = other.add_files({"b.txt": b"b"})
        row.content = ContentFile(b"new", "new.txt")
        row.save()
        new = FileMeta(delivery=other, filename="c.txt", content=ContentFile(b"c"))
        new.save(using="other")
        created = FileMeta.objects.using("other").create(
            delivery=other, filename="d.txt", content=ContentFile(b"d")
        )
        store.save("adopted.txt", ContentFile(b"e"))
        adopted = FileMeta.objects.using("other").adopt("adopted.txt", delivery=other)
        note = Note(filename="n.txt", content=ContentFile(b"n"))
        note.save(using="other")
        for saved in (row, second, new, created, adopted, note):
            assert saved._state.db == "other"
            assert type(saved).objects.using("other").get(pk=saved.pk).content.read()
        with pytest.raises(ValueError, match="saved to 'default'"):
            row.save(using="default")
        other.finish()
        assert Delivery.objects.using("other").get().number == 1
        with pytest.raises(DeliveryFinished):
            other.add_file("f.txt", b"f")
        assert other.copy(other.assignment_group).number == 2
        row.content.delete()
        other.delete()
    finally:
        file_stored.disconnect(receive)
        file_removed.disconnect(receive)
    assert Tombstone.objects.using("other").count() == 6
    assert len(names) == 18
    for model in (AssignmentGroup, Delivery, FileMeta, Note, Tombstone):
        assert not model._base_manager.using("default").exists()


@varied
@pytest.mark.django_db(databases=["default", "other"], transaction=True)
@pytest.mark.parametrize("failure", ["full", "nearly_full"])
def test_failing_store_leaves_no_trace_in_another_database(
    failure: str, store: FailingStore, other: Any
) -> None:
    row = other.add_file("a.txt", b"a")
    before = list(FileMeta.objects.using("other").values())
    setattr(store, failure, True)
    for add in (
        lambda: other.add_file("b.txt", b"b"),
        lambda: other.add_files({"b.txt": b"b"}),
        lambda: FileMeta(delivery=other, filename="b", content=ContentFile(b"b")).save(
            using="other"
        ),
        lambda: row.content.save("b.txt", ContentFile(b"b")),
    ):
        with pytest.raises(OSError, match="No space"):
            add()
    assert list(FileMeta.objects.using("other").values()) == before
    assert stored(store) == {before[0]["content"]: b"a"}
