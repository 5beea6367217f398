"""Storages of others under the mixin: their answers become those of Django's contract."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from django.core.files import File
from django.core.files.base import ContentFile
from django.core.files.storage import InMemoryStorage

from devilry_storage.storages import DeliveryStoreMixin, MemoryDeliveryStore
from devilry_storage.testing import PlainFileMeta

from .test_contents import Streamed


class ServiceError(Exception):
    """What the client of a service raises, whatever went wrong."""


class Service(InMemoryStorage):
    """A storage with errors of its own; it reads what it stores, and overwrites if it can."""

    failing = False

    def _save(self, name: str, content: File[Any]) -> str:
        content.seek(0)
        read = ContentFile(bytes(content.read()))
        stored: str = super()._save(name, read)  # type: ignore[misc]  # missing in the stubs
        return stored

    def delete(self, name: str) -> None:
        if self.failing:
            raise ServiceError(name)
        super().delete(name)

    def size(self, name: str) -> int:
        if self.failing or not super().exists(name):
            raise ServiceError(name)
        return super().size(name)

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        return name


class ServiceStore(DeliveryStoreMixin, Service):
    """The same as a delivery store."""


def test_error_of_a_backend_about_a_missing_file_says_so() -> None:
    """Whatever the backend raises then, it is a FileNotFoundError."""
    with pytest.raises(FileNotFoundError) as caught:
        ServiceStore().size("a.txt")
    assert caught.value.filename == "a.txt"
    assert isinstance(caught.value.__cause__, ServiceError)


def test_error_of_a_backend_about_a_stored_file_is_kept() -> None:
    """Else a file would be taken for lost because of a service that fails."""
    store: Any = ServiceStore()
    store.save("a.txt", ContentFile(b"data"))
    store.failing = True
    with pytest.raises(ServiceError):
        store.size("a.txt")


def test_available_name_of_a_backend_that_overwrites_is_free() -> None:
    """A form or field that asks for a name does not get a taken one."""
    store = ServiceStore()
    store.save("a.txt", ContentFile(b"data"))
    assert store.get_available_name("a.txt") != "a.txt"


def test_empty_store_is_absent() -> None:
    """A purge asks: an unmounted disk looks like a store without files."""
    store = ServiceStore()
    assert store.unavailable_reason() == "the store is empty"
    store.save("a/b.txt", ContentFile(b"data"))
    assert store.unavailable_reason() == ""


def test_failure_of_a_backend_to_delete_is_told_with_its_name() -> None:
    """Whatever it raises, the others are deleted too."""
    store: Any = ServiceStore()
    store.failing = True
    failures = store.delete_many(["a.txt", "b.txt"])
    assert {name: type(failure) for name, failure in failures.items()} == {
        "a.txt": ServiceError,
        "b.txt": ServiceError,
    }


@pytest.mark.parametrize(
    "content", [Streamed(), ContentFile("stream"), File(StringIO("stream"))], ids=repr
)
def test_backend_that_reads_gets_bytes_that_seek(content: Any) -> None:
    """Chunks that come once, and text, are spooled for it."""
    store = ServiceStore()
    store.save("a.txt", content)
    with store.open("a.txt") as file:
        assert file.read() == b"stream"


def test_name_of_a_tombstone_is_not_used() -> None:
    """The record knows of it; its bytes may be removed at any time."""
    store = MemoryDeliveryStore()
    row: Any = PlainFileMeta(store, 1005, 17)
    row.is_buried = lambda name: name == "0/1/1005/17"
    with store.write_open(row) as writer:
        writer.write(b"data")
    assert row.content != "0/1/1005/17"
    assert store.layout.parse(row.content) == (1005, 17)
