"""Signals: sent after COMMIT and never else; a receiver that raises hurts nobody."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.db import IntegrityError, connection, transaction
from django.db.models.signals import pre_save
from django.dispatch import Signal
from django.test import override_settings

from devilry_storage.deliveries.models import Delivery, FileMeta
from devilry_storage.models import Tombstone
from devilry_storage.signals import delivery_finished, file_removed, file_stored
from tests.testapp.pictures import picture, stored
from tests.testapp.stores import FailingStore

pytest_plugins = ["tests.testapp.fixtures"]
pytestmark = pytest.mark.django_db(transaction=True)

SIGNALS = {"stored": file_stored, "removed": file_removed, "finished": delivery_finished}


class Heard(list[Any]):
    """What receivers were told, each with what they saw in the database meanwhile."""

    def receiver(self, kind: str) -> Any:
        def receive(signal: Signal, sender: Any, instance: Any, **told: Any) -> None:
            assert not connection.in_atomic_block, "sent before COMMIT"
            assert sender is type(instance)
            self.append((kind, instance, told))

        return receive

    def kinds(self) -> list[str]:
        heard = [kind for kind, _, _ in self]
        self.clear()
        return heard


@pytest.fixture
def heard() -> Iterator[Heard]:
    made = Heard()
    receivers = {kind: made.receiver(kind) for kind in SIGNALS}
    for kind, receiver in receivers.items():
        SIGNALS[kind].connect(receiver)
    yield made
    for kind, receiver in receivers.items():
        SIGNALS[kind].disconnect(receiver)


def upload(data: bytes = b"upload") -> ContentFile[bytes]:
    return ContentFile(data, "upload.txt")


def test_stored(heard: Heard, delivery: Delivery) -> None:
    """Whoever hears of a file sees its instance as it is in the database, and reads the bytes."""
    row = delivery.add_file("a.txt", b"upload")
    ((kind, instance, told),) = heard
    assert (kind, instance) == ("stored", row)
    assert told == {"name": row.content.name, "size": 6}
    assert heard.kinds() == ["stored"]


def test_what_a_receiver_sees(delivery: Delivery) -> None:
    """In the receiver, the instance is up to date and the row committed."""
    seen: list[Any] = []

    def see(instance: Any, name: str, size: int, **kwargs: Any) -> None:
        fresh = FileMeta.objects.get(pk=instance.pk)
        seen.append((instance.content.name, instance.size, instance.sha256))
        assert seen[-1] == (fresh.content.name, fresh.size, fresh.sha256)
        assert (name, size) == (fresh.content.name, fresh.size)
        assert instance.content.read() == b"upload"

    def see_finished(instance: Any, **kwargs: Any) -> None:
        seen.append((instance.number, instance.successful))
        assert seen[-1] == (1, True)

    file_stored.connect(see)
    delivery_finished.connect(see_finished)
    try:
        row = delivery.add_file("a.txt", b"upload")
        row.content = upload()
        row.save()
        delivery.add_files({"b.txt": b"upload"})
        FileMeta.objects.create(delivery=delivery, filename="c.txt", content=upload())
        assert len(seen) == 4
        delivery.finish()
        assert len(seen) == 5
    finally:
        file_stored.disconnect(see)
        delivery_finished.disconnect(see_finished)


def test_every_change_is_told_once(heard: Heard, store: FailingStore, delivery: Delivery) -> None:
    """One signal for each file that came or went."""
    row = delivery.add_file("a.txt", b"a")
    assert heard.kinds() == ["stored"]
    delivery.add_files({"b.txt": b"b", "c.txt": b"c"})
    assert heard.kinds() == ["stored", "stored"]
    row.content = upload()
    row.save()
    assert sorted(heard.kinds()) == ["removed", "stored"]
    row.filename = "renamed.txt"
    row.save()
    assert heard.kinds() == []
    delivery.finish()
    assert heard.kinds() == ["finished"]
    twin = delivery.copy(delivery.assignment_group)
    assert heard.kinds() == ["stored", "stored", "stored", "finished"]
    row.content.delete()
    assert heard.kinds() == ["removed"]
    row.delete()
    assert heard.kinds() == []
    twin.delete()
    assert heard.kinds() == ["removed", "removed", "removed"]
    store.save("adopted.txt", upload())
    other = Delivery.begin(delivery.assignment_group)
    FileMeta.objects.adopt("adopted.txt", delivery=other)
    assert heard.kinds() == ["stored"]


def test_removed(heard: Heard, delivery: Delivery) -> None:
    """Whoever hears of a removed file is told its name and size, and which row it was."""
    row = delivery.add_file("a.txt", b"upload")
    pk, name = row.pk, row.content.name
    heard.clear()
    row.delete()
    ((kind, instance, told),) = heard
    assert (kind, instance.pk, instance.filename) == ("removed", pk, "a.txt")
    assert told == {"name": name, "size": 6}


def test_nothing_is_told_of_what_is_rolled_back(
    heard: Heard, store: FailingStore, delivery: Delivery
) -> None:
    """A rolled-back transaction or savepoint tells nothing; an outer one that commits does."""
    row = delivery.add_file("a.txt", b"a")
    heard.clear()

    def change() -> None:
        fresh = FileMeta.objects.get(pk=row.pk)
        fresh.content.save("b.txt", upload())
        fresh.delivery.add_files({"c.txt": b"c"})
        fresh.delivery.finish()
        fresh.delete()
        assert heard == []

    with pytest.raises(RuntimeError), transaction.atomic():
        change()
        raise RuntimeError
    assert heard == []
    with transaction.atomic():
        with pytest.raises(RuntimeError), transaction.atomic():
            change()
            raise RuntimeError
        delivery.add_file("d.txt", b"d")
        assert heard == []
    assert heard.kinds() == ["stored"]
    with transaction.atomic():
        change()
    assert sorted(heard.kinds()) == ["finished", "removed", "removed", "stored", "stored"]


def test_nothing_is_told_of_what_failed(
    heard: Heard, store: FailingStore, delivery: Delivery
) -> None:
    """A store that fails tells nothing."""
    store.full = True
    with pytest.raises(OSError, match="No space"):
        delivery.add_file("a.txt", b"a")
    assert heard == []


def test_a_receiver_that_raises_hurts_nobody(
    heard: Heard, store: FailingStore, delivery: Delivery, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged; the others hear, the caller's work is done."""

    def fail(**kwargs: Any) -> None:
        raise RuntimeError("a receiver fails")

    for signal in SIGNALS.values():
        signal.connect(fail)
    try:
        with caplog.at_level(logging.ERROR):
            row = delivery.add_file("a.txt", b"a")
            row.content = upload()
            row.save()
            delivery.add_files({"b.txt": b"b"})
            delivery.finish()
            row.delete()
    finally:
        for signal in SIGNALS.values():
            signal.disconnect(fail)
    assert sorted(heard.kinds()) == [
        "finished",
        "removed",
        "removed",
        "stored",
        "stored",
        "stored",
    ]
    assert [record.exc_info is not None for record in caplog.records] == [True] * 6
    assert not FileMeta.objects.filter(pk=row.pk or 0).exists()
    assert len(stored(store)) == 3


def test_a_receiver_may_work_with_the_store(store: FailingStore, delivery: Delivery) -> None:
    """A receiver runs outside of the transaction: it may store, replace and delete."""

    def scan(instance: Any, **kwargs: Any) -> None:
        if instance.filename == "virus.exe":
            instance.delete()

    file_stored.connect(scan)
    try:
        delivery.add_file("virus.exe", b"virus")
        delivery.add_file("fine.txt", b"fine")
    finally:
        file_stored.disconnect(scan)
    assert [row.filename for row in delivery.files] == ["fine.txt"]
    assert Tombstone.objects.count() == 1


@override_settings(DELIVERY_STORE_RETENTION_DAYS=0)
def test_without_retention_bytes_go_after_commit(
    heard: Heard, store: FailingStore, delivery: Delivery
) -> None:
    """The bytes are there until the COMMIT, and gone after it; a rollback keeps them."""
    row = delivery.add_file("a.txt", b"a")
    keep = delivery.add_file("keep.txt", b"keep")
    with pytest.raises(RuntimeError), transaction.atomic():
        row.content.delete()
        raise RuntimeError
    row.refresh_from_db()
    with transaction.atomic():
        row.delete()
        assert sorted(stored(store).values()) == [b"a", b"keep"]
    assert stored(store) == {keep.content.name: b"keep"}
    assert not Tombstone.objects.filter(done=None).exists()
    heard.clear()


def test_a_delivery_that_is_gone_takes_no_file(store: FailingStore, delivery: Delivery) -> None:
    """The database refuses the row; nothing is stored for it."""
    stale = Delivery.objects.get()
    delivery.delete()
    before = picture(store)
    with pytest.raises(IntegrityError):
        stale.add_file("a.txt", b"a")
    with pytest.raises(IntegrityError):
        stale.add_files({"a.txt": b"a"})
    assert picture(store) == before


def test_receiver_that_raises_file_exists_error_ends_a_replace(
    store: FailingStore, row: FileMeta
) -> None:
    """The error is not about the name, so that no alternative name is tried."""
    calls: list[object] = []

    def refuse(instance: FileMeta, **kwargs: Any) -> None:
        calls.append(instance)
        raise FileExistsError("refused by the site")

    pre_save.connect(refuse, sender=FileMeta)
    try:
        row.content = ContentFile(b"new", "new.txt")
        with pytest.raises(FileExistsError, match="refused by the site"):
            row.save()
    finally:
        pre_save.disconnect(refuse, sender=FileMeta)
    assert len(calls) == 1
