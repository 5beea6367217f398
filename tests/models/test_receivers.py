"""Receivers of pre_save and post_save: what they see, read, replace, refuse and save again."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import django
import pytest
from django.core.files.base import ContentFile
from django.core.files.uploadedfile import SimpleUploadedFile, TemporaryUploadedFile
from django.db import IntegrityError, models, transaction
from django.db.models.signals import post_save, pre_save

from devilry_storage.abstract_models.filemeta import CONTENT_FIELDS
from devilry_storage.deliveries.models import Delivery, FileMeta
from devilry_storage.exceptions import DeliveryFinished
from devilry_storage.models import Tombstone
from devilry_storage.resolving import store_for
from devilry_storage.restoring import restore
from devilry_storage.storages.spool import Spool
from devilry_storage.storages.writer import SpoolSink
from tests.testapp.models import MarkedFile, ProxyFile
from tests.testapp.pictures import buried, picture, stored
from tests.testapp.stores import FailingStore, taken_back

pytest_plugins = ["tests.testapp.fixtures"]
pytestmark = pytest.mark.django_db

DATA = b"upload\r\n"


#: Temporary files, which have to be closed.
OPEN: list[Any] = []


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().close()


class Infected(Exception):
    """A receiver refuses a file."""


@contextmanager
def receiving(*pairs: tuple[Any, Callable[..., None]]) -> Iterator[None]:
    for signal, receiver in pairs:
        signal.connect(receiver)
    try:
        yield
    finally:
        for signal, receiver in pairs:
            signal.disconnect(receiver)


def of_files(receiver: Callable[..., None]) -> Callable[..., None]:
    """Call the receiver for files only."""

    def receive(instance: Any, **kwargs: Any) -> None:
        if isinstance(instance, FileMeta):
            receiver(instance, **kwargs)

    return receive


def read_to_its_end() -> Any:
    file = SimpleUploadedFile("a.txt", DATA)
    file.read()
    return file


def on_disk() -> Any:
    file = TemporaryUploadedFile("a.txt", "text/plain", 3, None)
    file.write(DATA)
    OPEN.append(file)
    return file


class OneShot:
    """A file that can be read only once, such as a pipe."""

    def __init__(self) -> None:
        self.read = io.BytesIO(DATA).read


CONTENTS: dict[str, Callable[[], Any]] = {
    "content file": lambda: ContentFile(DATA, "a.txt"),
    "read to its end": read_to_its_end,
    "on disk": on_disk,
    "one shot": OneShot,
}

#: Ways to store content: each takes the delivery and the content, and returns the row.
WAYS: dict[str, Callable[[Delivery, Any], Any]] = {
    "create": lambda delivery, content: FileMeta.objects.create(
        delivery=delivery, filename="new.txt", content=content
    ),
    "create a proxy": lambda delivery, content: ProxyFile.objects.create(
        delivery=delivery, filename="new.txt", content=content
    ),
    "create a child": lambda delivery, content: MarkedFile.objects.create(
        delivery=delivery, filename="new.txt", content=content
    ),
    "add_file": lambda delivery, content: delivery.add_file("new.txt", content),
    "add_files": lambda delivery, content: delivery.add_files({"new.txt": content})[0],
    "replace": lambda delivery, content: assigned(delivery.add_file("a", b"old"), content),
    "replace of a child": lambda delivery, content: assigned(
        MarkedFile.objects.create(delivery=delivery, content=ContentFile(b"old", "a")), content
    ),
    "save of the FieldFile": lambda delivery, content: by_field_file(
        delivery.add_file("a", b"old"), content
    ),
}


def assigned(row: Any, content: Any) -> Any:
    row.content = content
    row.save()
    return row


def by_field_file(row: Any, content: Any) -> Any:
    row.content.save("b.txt", content)
    return row


def pending(instance: Any) -> bool:
    return bool(instance.content.is_pending_file)


def test_receivers_read_the_file_before_it_is_stored(
    store: FailingStore, delivery: Delivery, subtests: pytest.Subtests
) -> None:
    """From its beginning, whatever kind of file it is, and all of it is stored afterwards."""
    for way, save in WAYS.items():
        for kind, content in CONTENTS.items():
            seen: list[tuple[Any, ...]] = []

            def look(instance: Any, **kwargs: Any) -> None:
                if pending(instance) and instance.content.name != "a":
                    before = len(stored(store))
                    seen.append((instance.content.read(), before))  # noqa: B023

            with subtests.test(f"{way}, {kind}"), taken_back(store):
                objects = 0 if way.startswith(("create", "add")) else 1
                with receiving((pre_save, of_files(look))):
                    row = save(delivery, content())
                assert [data for data, before in seen if data != b"old"] == [DATA]
                assert seen[-1] == (DATA, objects)
                assert stored(store)[row.content.name] == DATA
                assert row.size == len(DATA)


def test_receivers_that_refuse_leave_nothing(
    store: FailingStore, delivery: Delivery, subtests: pytest.Subtests
) -> None:
    """Neither row, bytes nor tombstone. The instance can be saved again."""

    def refuse(instance: Any, **kwargs: Any) -> None:
        if pending(instance) and b"upload" in instance.content.read():
            raise Infected

    for way, save in WAYS.items():
        for kind, content in CONTENTS.items():
            with subtests.test(f"{way}, {kind}"), taken_back(store):
                before = picture(store)
                with receiving((pre_save, of_files(refuse))), pytest.raises(Infected):
                    save(delivery, content())
                if way.startswith(("create", "add")):
                    assert picture(store) == before
                else:
                    assert list(stored(store).values()) == [b"old"]
                    assert FileMeta.objects.get().content.read() == b"old"
                assert buried() == []
    row: Any = FileMeta(delivery=delivery, content=ContentFile(DATA, "a.txt"))
    with receiving((pre_save, of_files(refuse))), pytest.raises(Infected):
        row.save()
    row.save()
    assert stored(store)[row.content.name] == DATA


def test_pipe_that_a_receiver_read_is_not_saved_again(
    store: FailingStore, delivery: Delivery
) -> None:
    """Its rest, which is nothing, would be stored as the whole."""

    def refuse(instance: Any, **kwargs: Any) -> None:
        instance.content.read()
        raise Infected

    row = FileMeta(delivery=delivery, filename="a.txt", content=OneShot())
    with receiving((pre_save, of_files(refuse))), pytest.raises(Infected):
        row.save()
    with pytest.raises(ValueError, match="a second time"):
        row.save()
    assert stored(store) == {}
    assert not FileMeta.objects.exists()


def test_file_that_a_receiver_assigns_is_stored(
    store: FailingStore, delivery: Delivery, subtests: pytest.Subtests
) -> None:
    def convert(instance: Any, **kwargs: Any) -> None:
        if pending(instance):
            data = instance.content.read()
            instance.content = ContentFile(data.replace(b"\r\n", b"\n"), "converted.txt")

    def always(instance: Any, **kwargs: Any) -> None:
        """Convert stored content as well, which is not stored again."""
        if instance.content:
            instance.content = ContentFile(instance.content.read().replace(b"\r\n", b"\n"), "c")

    for way, save in WAYS.items():
        for receiver in (convert, always):
            with subtests.test(f"{way}, {receiver.__name__}"), taken_back(store):
                with receiving((pre_save, of_files(receiver))):
                    row = save(delivery, ContentFile(DATA, "a.txt"))
                fresh = FileMeta.objects.get()
                assert (row.content.name, row.size, row.sha256) == (
                    fresh.content.name,
                    fresh.size,
                    fresh.sha256,
                )
                assert fresh.size == len(DATA) - 1
                assert not pending(row)
                assert stored(store)[fresh.content.name] == b"upload\n"
                assert {*stored(store)} == {fresh.content.name, *buried()}


def test_receivers_may_give_and_take_content(store: FailingStore, delivery: Delivery) -> None:
    """A row without content gets some, new content is dropped."""

    def give(instance: Any, **kwargs: Any) -> None:
        if not instance.content and instance.filename == "empty.txt":
            instance.content = ContentFile(b"nothing was delivered", "n.txt")

    def take(instance: Any, **kwargs: Any) -> None:
        if pending(instance):
            instance.content = None

    with receiving((pre_save, of_files(give))):
        row = FileMeta.objects.create(delivery=delivery, filename="empty.txt")
    assert stored(store) == {row.content.name: b"nothing was delivered"}
    other = FileMeta.objects.create(delivery=delivery, filename="other.txt")
    with receiving((pre_save, of_files(give))):
        other.filename = "empty.txt"
        FileMeta.objects.filter(pk=row.pk).delete()
        other.save()
    assert stored(store)[FileMeta.objects.get().content.name] == b"nothing was delivered"
    with receiving((pre_save, of_files(take))):
        assigned(other, ContentFile(DATA, "a.txt"))
        third = delivery.add_file("third.txt", DATA)
    assert [row.content.name for row in FileMeta.objects.all()] == [None, None]
    assert not third.content
    assert sorted(stored(store)) == buried()


#: Saves by a receiver.
NESTED: dict[str, Callable[[Any], Any]] = {
    "all columns": lambda instance: instance.save(),
    "some columns": lambda instance: instance.save(update_fields=["verified_at"]),
    "content": lambda instance: instance.save(update_fields=["content", "verified_at"]),
    "another instance": lambda instance: FileMeta.objects.get(pk=instance.pk).save(),
}


def test_nested_saves_store_the_content_once(
    store: FailingStore, delivery: Delivery, subtests: pytest.Subtests
) -> None:
    for way, save in WAYS.items():
        for signal in (pre_save, post_save):
            for kind, nested in NESTED.items():
                depth = [0]

                def receive(instance: Any, **kwargs: Any) -> None:
                    # Saving a new row in its own pre_save would insert it twice.
                    if depth[0] or instance._state.adding:  # noqa: B023
                        return
                    depth[0] += 1  # noqa: B023
                    nested(instance)  # noqa: B023
                    depth[0] -= 1  # noqa: B023

                name = f"{way}, {signal is pre_save}, {kind}"
                with subtests.test(name), taken_back(store):
                    with receiving((signal, of_files(receive))):
                        row = save(delivery, ContentFile(DATA, "a.txt"))
                    fresh = FileMeta.objects.get()
                    assert row.content.name == fresh.content.name
                    assert stored(store)[fresh.content.name] == DATA
                    assert {*stored(store)} == {fresh.content.name, *buried()}
                    assert len(buried()) == ("replace" in way or "Field" in way)


def test_receiver_that_replaces_stored_content_is_obeyed(
    store: FailingStore, delivery: Delivery, subtests: pytest.Subtests
) -> None:
    """By an own save of other content in post_save; each earlier object is buried."""
    for way, save in WAYS.items():

        def watermark(instance: Any, **kwargs: Any) -> None:
            if instance.content and not pending(instance) and instance.size == len(DATA):
                instance.content = ContentFile(b"watermarked", "w.txt")
                instance.save()

        with subtests.test(way), taken_back(store):
            with receiving((post_save, of_files(watermark))):
                row = save(delivery, ContentFile(DATA, "a.txt"))
            fresh = FileMeta.objects.get()
            assert (row.content.name, row.size) == (fresh.content.name, fresh.size)
            assert stored(store)[fresh.content.name] == b"watermarked"
            assert {*stored(store)} == {fresh.content.name, *buried()}


def test_signals_show_the_content(store: FailingStore, delivery: Delivery) -> None:
    """Before it is stored and afterwards, for each way to store and to remove it."""
    seen: list[tuple[Any, ...]] = []

    def before(instance: Any, update_fields: Any, **kwargs: Any) -> None:
        seen.append(("pre", instance.content.name, content_in(update_fields)))

    def after(instance: Any, created: bool, update_fields: Any, **kwargs: Any) -> None:
        kind = "created" if created else "post"
        seen.append((kind, instance.content.name, content_in(update_fields)))

    def content_in(update_fields: Any) -> bool:
        return bool(update_fields is None or update_fields >= CONTENT_FIELDS)

    def sent() -> list[tuple[Any, ...]]:
        shown = list(seen)
        seen.clear()
        return shown

    with receiving((pre_save, of_files(before)), (post_save, of_files(after))):
        row = FileMeta.objects.create(delivery=delivery, content=ContentFile(b"1", "a.txt"))
        first = row.content.name
        assert sent() == [
            ("pre", "a.txt", True),
            ("created", "a.txt", True),
            ("pre", first, True),
            ("post", first, True),
        ]
        row.content = ContentFile(b"2", "b.txt")
        row.save()
        second = row.content.name
        assert sent() == [("pre", "b.txt", True), ("pre", second, True), ("post", second, True)]
        with store_for(row).write_open(row) as writer:
            writer.write(b"3")
        assert sent() == [("pre", row.content.name, True), ("post", row.content.name, True)]
        row.content.delete()
        assert sent() == [("pre", None, True), ("pre", None, True), ("post", None, True)]
        row.filename = "c.txt"
        row.save()
        assert sent() == [("pre", None, False), ("post", None, False)]


def test_content_that_no_receiver_reads_is_not_kept(
    store: FailingStore, delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipe goes to the store without a copy."""
    added: list[bytes] = []
    monkeypatch.setattr(SpoolSink, "write", Spool.write)  # of some stores
    monkeypatch.setattr(Spool, "write", lambda self, data: added.append(data))
    row = delivery.add_file("a.txt", (chunk for chunk in [b"up", b"load"]))
    assert stored(store)[row.content.name] == b"upload"
    assert added == []


def test_values_that_django_sets_on_deferred_content_remove_nothing(
    store: FailingStore, delivery: Delivery, subtests: pytest.Subtests
) -> None:
    """The column may have other content by now."""
    FileMeta.objects.create(delivery=delivery, filename="empty.txt")
    row = FileMeta.objects.create(delivery=delivery, filename="late.txt")
    files: Any = FileMeta.objects.order_by("pk").defer("content")

    def set_to(value: Any) -> Callable[[Any], None]:
        return lambda instance: setattr(instance, "content", value)

    def loaded(instance: Any) -> None:
        instance.content = FileMeta.objects.get(pk=row.pk).content

    ways: dict[str, Callable[[Any], object]] = {
        "None": set_to(None),
        "empty": set_to(""),
        "name": set_to("0/0/1/1"),
        "FieldFile": loaded,
        "refresh": lambda instance: instance.refresh_from_db(fields=["content"]),
        "access": lambda instance: bool(instance.content),
        "peers": lambda instance: None,
    }
    for way, load in ways.items():
        with subtests.test(way), taken_back(store):
            if way == "peers":
                if django.VERSION < (6, 1):
                    continue
                peer, deferred = files.fetch_mode(models.FETCH_PEERS)  # type: ignore[attr-defined,unused-ignore]
                assert not peer.content
                assert "content" in deferred.__dict__
            else:
                deferred = files.get(pk=row.pk)
                load(deferred)
            assigned(FileMeta.objects.get(pk=row.pk), ContentFile(b"the only copy", "late.txt"))
            deferred.filename = "renamed.txt"
            deferred.save()
            fresh = FileMeta.objects.get(pk=row.pk)
            assert (fresh.filename, fresh.content.read()) == ("renamed.txt", b"the only copy")
            assert buried() == []
    # What a user does is done.
    with taken_back(store):
        assigned(FileMeta.objects.get(pk=row.pk), ContentFile(b"first", "late.txt"))
        deferred = FileMeta.objects.defer("content").get(pk=row.pk)
        assigned(deferred, ContentFile(b"second", "late.txt"))
        assert FileMeta.objects.get(pk=row.pk).content.read() == b"second"
        FileMeta.objects.defer("content").get(pk=row.pk).content.delete()
        assert FileMeta.objects.get(pk=row.pk).content.name is None
        assert sorted(stored(store)) == buried()


def test_row_of_an_earlier_time_is_saved_or_refused(
    store: FailingStore, delivery: Delivery
) -> None:
    """As a history gives it: an instance of the id and the values, with names as plain strings."""
    row = delivery.add_file("a.txt", b"first")
    pk, first = row.pk, row.content.name

    def earlier(**changed: Any) -> Any:
        values = {"id": pk, "delivery": delivery, "filename": "then.txt", "content": first}
        return FileMeta(**{**values, **changed})

    earlier().save()
    assert FileMeta.objects.values_list("filename", "content").get() == ("then.txt", first)
    assigned(row, ContentFile(b"second", "b.txt"))
    with pytest.raises(ValueError, match=r"because the stored row has '0/.*tombstone"):
        earlier().save()
    assert FileMeta.objects.get().content.read() == b"second"
    row.delete()
    # The row is made again, with bytes of its own.
    earlier().save()
    again = FileMeta.objects.get()
    assert again.content.read() == b"first"
    assert again.content.name not in buried()
    # The name of another row's file is not enough to copy it.
    other = delivery.add_file("secret.txt", b"secret")
    for name in ("no/such/file", other.content.name):
        with pytest.raises(ValueError, match="not a key of this row"):
            earlier(id=pk + 9, filename="b", content=name).save()
    assert Tombstone.objects.count() == 2


def test_receivers_that_reload_the_row_change_nothing(
    store: FailingStore, delivery: Delivery, subtests: pytest.Subtests
) -> None:
    """Neither what is stored nor what is removed."""

    def reload(instance: Any, **kwargs: Any) -> None:
        if not instance._state.adding:
            instance.refresh_from_db()

    def remove(delivery: Delivery, content: Any) -> Any:
        row = delivery.add_file("a", DATA)
        row.content.delete()
        return row

    def take_over(delivery: Delivery, content: Any) -> Any:
        row = FileMeta.objects.create(delivery=delivery, filename="new.txt")
        FileMeta.objects.filter(pk=row.pk).update(created=row.created - timedelta(days=9))
        return delivery.add_file("new.txt", content)

    for way, save in {**WAYS, "remove": remove, "take over": take_over}.items():
        for signal in (pre_save, post_save):
            with subtests.test(f"{way}, {signal is pre_save}"), taken_back(store):
                with receiving((signal, of_files(reload))):
                    row = save(delivery, ContentFile(DATA, "a.txt"))
                fresh = FileMeta.objects.get()
                assert bool(fresh.content) is (way != "remove")
                assert (row.content.name, row.size, row.sha256) == (
                    fresh.content.name,
                    fresh.size,
                    fresh.sha256,
                )
                if way != "remove":
                    assert stored(store)[fresh.content.name] == DATA
                assert {*stored(store)} - {fresh.content.name} == {*buried()}


def test_receiver_that_puts_the_stored_file_back_keeps_it(
    store: FailingStore, delivery: Delivery
) -> None:
    """In place of new content, and of none."""
    row = delivery.add_file("a.txt", b"first")

    def put_back(instance: Any, **kwargs: Any) -> None:
        instance.content = FileMeta.objects.get(pk=instance.pk).content

    with receiving((pre_save, of_files(put_back))):
        row.filename = "b.txt"
        assigned(row, ContentFile(b"second", "b.txt"))
        assert FileMeta.objects.values_list("filename", "size").get() == ("b.txt", 5)
        assert row.content.read() == b"first"
        row.content.delete()
    assert FileMeta.objects.get().content.read() == b"first"
    assert buried() == []
    assert len(stored(store)) == 1


def test_receiver_gives_a_file_in_place_of_a_removed_one(
    store: FailingStore, delivery: Delivery
) -> None:
    row = delivery.add_file("a.txt", b"first")

    def default(instance: Any, **kwargs: Any) -> None:
        if not instance.content:
            instance.content = ContentFile(b"default", "d.txt")

    with receiving((pre_save, of_files(default))):
        row.content.delete()
    assert FileMeta.objects.get().content.read() == b"default"
    assert {*stored(store)} - {row.content.name} == {*buried()}


@pytest.mark.django_db(transaction=True)
def test_hook_after_commit_that_raises_ends_a_save(
    store: FailingStore, delivery: Delivery
) -> None:
    """Even with the exception by which a store learns that a name is taken."""
    calls: list[None] = []

    def fail() -> None:
        calls.append(None)
        raise FileExistsError("The hook's own.")

    def later(instance: Any, **kwargs: Any) -> None:
        if instance.size:
            transaction.on_commit(fail)

    row = delivery.add_file("a.txt", b"first")
    with receiving((post_save, of_files(later))):
        with pytest.raises(FileExistsError, match="own"):
            assigned(row, ContentFile(b"second", "b.txt"))
        with pytest.raises(FileExistsError, match="own"):
            delivery.add_file("b.txt", b"new")
    assert len(calls) == 2
    assert sorted(stored(store).values()) == [b"first", b"new", b"second"]
    assert {row.content.read() for row in FileMeta.objects.all()} == {b"new", b"second"}
    assert len(buried()) == 1


@pytest.mark.django_db(transaction=True)
def test_hook_after_commit_that_raises_ends_a_restore(
    store: FailingStore, delivery: Delivery
) -> None:
    """The file is restored, so the exception is not about the restore."""
    delivery.add_file("a.txt", b"first").delete()

    def later(instance: Any, **kwargs: Any) -> None:
        def fail() -> None:
            raise IntegrityError("The hook's own.")

        transaction.on_commit(fail)

    with receiving((post_save, of_files(later))), pytest.raises(IntegrityError, match="own"):
        restore(Tombstone.objects.get())
    assert FileMeta.objects.get().content.read() == b"first"


def test_own_file_can_be_saved_again(store: FailingStore, delivery: Delivery) -> None:
    """Under another name, as people rename the files of a FileField."""
    row = delivery.add_file("a.txt", DATA)
    first = row.content.name
    row.content.save("b.txt", row.content)
    assert FileMeta.objects.get().content.read() == DATA
    assert buried() == [first]
    pending = FileMeta(delivery=delivery, filename="c.txt", content=ContentFile(DATA, "c.txt"))
    pending.content.save("d.txt", pending.content)
    assert sorted(stored(store).values()) == [DATA, DATA, DATA]


def test_update_fields_may_name_columns(store: FailingStore, delivery: Delivery) -> None:
    """A file cannot be moved into a finished delivery by the name of the column."""
    row = delivery.add_file("a.txt", DATA)
    finished = Delivery.begin(delivery.assignment_group)
    finished.add_file("b.txt", b"b")
    finished.finish()
    row.delivery = finished
    for name in ("delivery", "delivery_id"):
        with pytest.raises(DeliveryFinished):
            row.save(update_fields=[name])
