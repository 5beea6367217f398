"""Signals: sent after COMMIT only, and errors of receivers are logged."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.db import connection, transaction
from django.db.models.signals import pre_save
from django.dispatch import Signal

from devilry_storage.deliveries.models import Delivery, FileMeta
from devilry_storage.models import Tombstone
from devilry_storage.signals import delivery_finished, file_removed, file_stored
from tests.testapp.pictures import stored
from tests.testapp.stores import FailingStore

pytest_plugins = ["tests.testapp.fixtures"]
pytestmark = pytest.mark.django_db(transaction=True)

SIGNALS = {"stored": file_stored, "removed": file_removed, "finished": delivery_finished}


class Sent(list[Any]):
    """Records the kind, instance and arguments of each signal."""

    def receiver(self, kind: str) -> Any:
        def receive(signal: Signal, sender: Any, instance: Any, **arguments: Any) -> None:
            assert not connection.in_atomic_block, "sent before COMMIT"
            assert sender is type(instance)
            self.append((kind, instance, arguments))

        return receive

    def kinds(self) -> list[str]:
        kinds = [kind for kind, _, _ in self]
        self.clear()
        return kinds


@pytest.fixture
def sent() -> Iterator[Sent]:
    sent = Sent()
    receivers = {kind: sent.receiver(kind) for kind in SIGNALS}
    for kind, receiver in receivers.items():
        SIGNALS[kind].connect(receiver)
    yield sent
    for kind, receiver in receivers.items():
        SIGNALS[kind].disconnect(receiver)


def upload(data: bytes = b"upload") -> ContentFile[bytes]:
    return ContentFile(data, "upload.txt")


def test_receiver_gets_the_committed_instance(sent: Sent, delivery: Delivery) -> None:
    """Up to date with the database, and with readable bytes."""
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
        assert sent == [("stored", row, {"name": row.content.name, "size": 6})]
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


def test_each_change_sends_one_signal(sent: Sent, store: FailingStore, delivery: Delivery) -> None:
    row = delivery.add_file("a.txt", b"a")
    assert sent.kinds() == ["stored"]
    delivery.add_files({"b.txt": b"b", "c.txt": b"c"})
    assert sent.kinds() == ["stored", "stored"]
    row.content = upload()
    row.save()
    assert sorted(sent.kinds()) == ["removed", "stored"]
    row.filename = "renamed.txt"
    row.save()
    assert sent.kinds() == []
    delivery.finish()
    assert sent.kinds() == ["finished"]
    twin = delivery.copy(delivery.assignment_group)
    assert sent.kinds() == ["stored", "stored", "stored", "finished"]
    row.content.delete()
    assert sent.kinds() == ["removed"]
    row.delete()
    assert sent.kinds() == []
    twin.delete()
    assert sent.kinds() == ["removed", "removed", "removed"]
    store.save("adopted.txt", upload())
    other = Delivery.begin(delivery.assignment_group)
    FileMeta.objects.adopt("adopted.txt", delivery=other)
    assert sent.kinds() == ["stored"]


def test_file_removed_has_name_size_and_row(sent: Sent, delivery: Delivery) -> None:
    row = delivery.add_file("a.txt", b"upload")
    pk, name = row.pk, row.content.name
    sent.clear()
    row.delete()
    ((kind, instance, arguments),) = sent
    assert (kind, instance.pk, instance.filename) == ("removed", pk, "a.txt")
    assert arguments == {"name": name, "size": 6}


def test_rolled_back_and_failed_changes_send_no_signal(
    sent: Sent, store: FailingStore, delivery: Delivery
) -> None:
    """An outer transaction that commits sends its own."""
    row = delivery.add_file("a.txt", b"a")
    sent.clear()

    def change() -> None:
        fresh = FileMeta.objects.get(pk=row.pk)
        fresh.content.save("b.txt", upload())
        fresh.delivery.add_files({"c.txt": b"c"})
        fresh.delivery.finish()
        fresh.delete()
        assert sent == []

    with pytest.raises(RuntimeError), transaction.atomic():
        change()
        raise RuntimeError
    assert sent == []
    with transaction.atomic():
        with pytest.raises(RuntimeError), transaction.atomic():
            change()
            raise RuntimeError
        delivery.add_file("d.txt", b"d")
        assert sent == []
    assert sent.kinds() == ["stored"]
    with transaction.atomic():
        change()
    assert sorted(sent.kinds()) == ["finished", "removed", "removed", "stored", "stored"]
    store.full = True
    with pytest.raises(OSError, match="No space"):
        Delivery.begin(delivery.assignment_group).add_file("a.txt", b"a")
    assert sent == []


def test_error_of_a_receiver_is_logged(
    sent: Sent, store: FailingStore, delivery: Delivery, caplog: pytest.LogCaptureFixture
) -> None:
    """The other receivers are called, and the caller's work is done."""

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
    assert sorted(sent.kinds()) == ["finished", "removed", "removed", "stored", "stored", "stored"]
    assert [record.exc_info is not None for record in caplog.records] == [True] * 6
    assert not FileMeta.objects.filter(pk=row.pk or 0).exists()
    assert len(stored(store)) == 3


def test_receiver_can_delete_the_file(delivery: Delivery) -> None:
    """It runs after the transaction."""

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
