"""Unusual contents, in a store whose ``_create()`` uses read() or chunks()."""

from __future__ import annotations

import gzip
import itertools
import os
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.files import File
from django.core.files.base import ContentFile
from django.core.files.storage import InMemoryStorage
from django.core.files.uploadedfile import SimpleUploadedFile

from devilry_storage.storages import DeliveryStoreMixin
from devilry_storage.storages.chunks import AnyFile

ALTERNATIVES = [f"alternative{number}" for number in range(1, 9)]


class OwnStore(DeliveryStoreMixin, InMemoryStorage):
    """A store that reads the content before it checks the name, as network clients do."""

    by_read = True
    failing = 0

    def __init__(self) -> None:
        super().__init__()
        self.stored: dict[str, bytes] = {}
        self.types: list[Any] = []
        self.alternatives = iter(ALTERNATIVES)

    def get_alternative_name(self, file_root: str, file_ext: str) -> str:
        return next(self.alternatives)

    def _create(self, name: str, content: File[Any]) -> str:
        self.types.append(getattr(content, "content_type", None))
        for attempt in range(2):
            try:
                data = content.read() if self.by_read else b"".join(content.chunks())
                break
            except TimeoutError:
                if attempt:
                    raise
        if name in self.stored:
            raise FileExistsError(name)
        self.stored[name] = data
        return name


@pytest.fixture(params=[True, False], ids=["read()", "chunks()"])
def store(request: pytest.FixtureRequest) -> OwnStore:
    store = OwnStore()
    store.by_read = request.param
    return store


class Decrypting(AnyFile):
    """A file whose bytes differ from those of its underlying file."""

    file: Any

    def chunks(self, chunk_size: int | None = None) -> Iterator[bytes]:
        self.seek(0)
        yield self.file.read().upper()

    def read(self, size: int = -1) -> bytes:
        return bytes(self.file.read(size).upper())


class Duck:
    """The minimum that save() requires: chunks and a name."""

    name = "duck.txt"

    def chunks(self, chunk_size: int | None = None) -> Iterator[bytes]:
        yield b"quack"


def decrypting() -> Any:
    return Decrypting(ContentFile(b"secret"), "d.txt")


def body() -> Any:
    given: Any = SimpleNamespace(read=ContentFile(b"body").read, closed=False)
    return File(given, "b.txt")


class Streamed(AnyFile):
    """A file whose chunks can be read once; its underlying file is empty."""

    def __init__(self) -> None:
        super().__init__(ContentFile(b""), "s.txt")
        self._pieces = iter([b"str", b"eam"])

    def chunks(self, chunk_size: int | None = None) -> Iterator[bytes]:
        yield from self._pieces


CONTENTS: dict[bytes, Callable[[], Any]] = {
    b"SECRET": decrypting,
    b"quack": Duck,
    b"body": body,
    b"stream": Streamed,
    b"plain": lambda: ContentFile(b"plain"),
    b"upload": lambda: SimpleUploadedFile("u.txt", b"upload"),
}


def test_every_content_is_stored_whole(subtests: pytest.Subtests) -> None:
    """Under the first name or the fourth, by read() or by chunks()."""
    for data, taken, by_read in itertools.product(CONTENTS, (0, 1, 3), (True, False)):
        with subtests.test(data=data, taken=taken, by_read=by_read):
            store = OwnStore()
            store.by_read = by_read
            occupied = ["a", *ALTERNATIVES][:taken]
            store.stored = dict.fromkeys(occupied, b"taken")
            name = store.save("a", CONTENTS[data]())
            assert store.stored.pop(name) == data
            assert store.stored == dict.fromkeys(occupied, b"taken")


def test_file_that_is_not_really_seekable_is_stored_whole(store: OwnStore) -> None:
    """A compressed file in a pipe, under an alternative name."""
    ours, theirs = os.pipe()
    os.write(theirs, gzip.compress(b"data"))
    os.close(theirs)
    store.stored = {"a.txt": b"taken"}
    with os.fdopen(ours, "rb") as pipe, gzip.open(pipe) as file:
        content: Any = file
        name = store.save("a.txt", File(content))
    assert store.stored == {"a.txt": b"taken", name: b"data"}


def test_content_type_of_an_upload_is_kept() -> None:
    """Even if its bytes are spooled."""

    class Odd(SimpleUploadedFile):
        def chunks(self, chunk_size: int | None = None) -> Iterator[bytes]:
            yield b"odd"

    store = OwnStore()
    store.save("a", Odd("o.txt", b"odd", content_type="text/x-odd"))
    assert store.types == ["text/x-odd"]


def test_second_attempt_at_a_broken_source_fails(store: OwnStore) -> None:
    """It must not take the first chunks for the whole file."""

    class Breaking:
        name = "b.txt"

        def chunks(self, chunk_size: int | None = None) -> Iterator[bytes]:
            yield b"the beginning"
            raise TimeoutError("the pipe")

    with pytest.raises(TimeoutError, match="the pipe"):
        store.save("a", Breaking())
    assert store.stored == {}
