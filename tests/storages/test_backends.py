"""Third-party storages with the mixin: it adapts their behaviour to Django's contract."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from django.core.files import File
from django.core.files.base import ContentFile
from django.core.files.storage import InMemoryStorage

from devilry_storage.storages import DeliveryStoreMixin
from devilry_storage.testing import MemoryDeliveryStore, PlainFileMeta

from .test_contents import Streamed


class ServiceError(Exception):
    """The only error that the client of a service raises."""


class Service(InMemoryStorage):
    """A storage with its own errors, which calls read() and overwrites files."""

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
    """The service as a delivery store."""


def test_error_of_a_missing_file_is_translated() -> None:
    with pytest.raises(FileNotFoundError) as caught:
        ServiceStore().size("a.txt")
    assert caught.value.filename == "a.txt"
    assert isinstance(caught.value.__cause__, ServiceError)


def test_error_of_a_stored_file_is_not_translated() -> None:
    """The file would seem lost because of a failing service."""
    store: Any = ServiceStore()
    store.save("a.txt", ContentFile(b"data"))
    store.failing = True
    with pytest.raises(ServiceError):
        store.size("a.txt")


def test_get_available_name_never_returns_a_taken_name() -> None:
    """Although the backend overwrites files."""
    store = ServiceStore()
    store.save("a.txt", ContentFile(b"data"))
    assert store.get_available_name("a.txt") != "a.txt"


def test_empty_store_is_unavailable() -> None:
    """An unmounted disk looks like a store without files."""
    store = ServiceStore()
    assert store.unavailable_reason() == "the store is empty"
    store.save("a/b.txt", ContentFile(b"data"))
    assert store.unavailable_reason() == ""


def test_delete_many_returns_the_errors_of_the_backend() -> None:
    """It continues after any error."""
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
def test_backend_gets_seekable_bytes(content: Any) -> None:
    """One-time chunks and text are spooled."""
    store = ServiceStore()
    store.save("a.txt", content)
    with store.open("a.txt") as file:
        assert file.read() == b"stream"


def test_write_open_does_not_use_names_of_tombstones() -> None:
    """Their bytes may be removed at any time."""
    store = MemoryDeliveryStore()
    row: Any = PlainFileMeta(store, 1005, 17)
    row.is_buried = lambda name: name == "0/1/1005/17"
    with store.write_open(row) as writer:
        writer.write(b"data")
    assert row.content != "0/1/1005/17"
    assert store.layout.parse(row.content) == (1005, 17)
