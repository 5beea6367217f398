"""Methods of Django's storages that a subclass overrides are asked, and nothing is overwritten."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import django
import pytest
from django.core.files import File
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, Storage

from devilry_storage.storages import DeliveryStoreMixin, FsHierDeliveryStore
from devilry_storage.testing import MemoryDeliveryStore

STORES: list[Callable[[Path], Any]] = [
    lambda root: MemoryDeliveryStore,
    lambda root: type("Disk", (FsHierDeliveryStore,), {"_location": root, "__init__": _located}),
]


def _located(store: Any) -> None:
    FsHierDeliveryStore.__init__(store, store._location, durable=False)


def numbered(store: Any, name: str, max_length: int | None = None) -> str:
    number = 1
    while store.exists(f"{number}-{name}"):
        number += 1
    return f"{number}-{name}"


def upper(store: Any, name: str, content: File[Any]) -> str:
    saved: str = super(type(store), store)._save(name, ContentFile(content.read().upper()))
    return saved


def contents(store: Any, names: list[str]) -> list[bytes]:
    return [b"".join(store.stream(name)) for name in names]


class Numbered(Storage):
    """A mixin that may come after the store."""

    get_available_name = numbered


OVERRIDES: dict[str, Any] = {
    "get_available_name": (numbered, ["1-a.txt", "2-a.txt"]),
    "get_alternative_name": (lambda store, root, ext: f"{root}-x{ext}", ["a.txt", "a-x.txt"]),
    "_save": (upper, ["a.txt", None]),
}
if django.VERSION >= (5, 1):
    OVERRIDES["is_name_available"] = (
        lambda store, name, max_length=None: name != "a.txt" and not store.exists(name),
        [None, None],
    )


@pytest.mark.parametrize("make", STORES, ids=["memory", "disk"])
def test_overridden_methods_are_asked(
    make: Callable[[Path], Any], tmp_path: Path, subtests: pytest.Subtests
) -> None:
    """In a subclass, and the choice of a name also in a class after the store."""
    for number, (method, (override, expected)) in enumerate(OVERRIDES.items()):
        with subtests.test(method):
            store = type("Own", (make(tmp_path / str(number)),), {method: override})()
            names = [store.save("a.txt", ContentFile(data)) for data in (b"one", b"two")]
            for name, wanted in zip(names, expected, strict=True):
                assert name == wanted or (wanted is None and name != "a.txt")
            data = contents(store, names)
            assert data == ([b"ONE", b"TWO"] if method == "_save" else [b"one", b"two"])
    with subtests.test("a class after the store"):
        store = type("Own", (make(tmp_path / "after"), Numbered), {})()
        assert store.save("a.txt", ContentFile(b"one")) == "1-a.txt"


@pytest.mark.parametrize("make", STORES, ids=["memory", "disk"])
def test_alternative_is_one_of_the_name_that_an_override_returns(
    make: Callable[[Path], Any], tmp_path: Path, subtests: pytest.Subtests
) -> None:
    """Such as that of a folder in which a site keeps the files of a field."""
    for number, (chosen, folder) in enumerate(
        [("quarantine/a.txt", "quarantine/a_"), ("x.txt", "x_")]
    ):
        with subtests.test(chosen):
            override = {"get_available_name": lambda store, name, max_length=None, to=chosen: to}
            store = type("Own", (make(tmp_path / str(number)),), override)()
            names = [
                store.save("A.txt", ContentFile(data), max_length=len(chosen) + 8)
                for data in (b"one", b"two", b"three")
            ]
            assert names[0] == chosen
            assert all(name.startswith(folder) for name in names[1:])
            assert contents(store, names) == [b"one", b"two", b"three"]


@pytest.mark.parametrize("make", STORES, ids=["memory", "disk"])
def test_save_step_overwrites_nothing(make: Callable[[Path], Any], tmp_path: Path) -> None:
    """Django's ``_save()``, which ManifestFilesMixin calls, creates a file atomically."""
    store = make(tmp_path / "store")()
    names = [store._save("a/b.txt", ContentFile(data)) for data in (b"one", b"two")]
    assert names[0] == "a/b.txt"
    assert contents(store, names) == [b"one", b"two"]


@pytest.mark.parametrize("make", STORES, ids=["memory", "disk"])
def test_save_step_that_fails_leaves_no_part(make: Callable[[Path], Any], tmp_path: Path) -> None:
    class Failing(ContentFile):  # type: ignore[type-arg]
        def chunks(self, chunk_size: int | None = None) -> Iterator[bytes]:
            yield b"a part"
            raise ConnectionResetError("cut")

    store = make(tmp_path / "store")()
    with pytest.raises(ConnectionResetError, match="cut"):
        store._save("a/b.txt", Failing(b""))
    assert list(store.scan()) == []


def test_backend_that_overwrites_is_checked_first(tmp_path: Path) -> None:
    """Its ``_save()`` is the only way to create a file."""

    class Overwriting(DeliveryStoreMixin, FileSystemStorage):
        def get_available_name(self, name: str, max_length: int | None = None) -> str:
            return name

        def _save(self, name: str, content: File[Any]) -> str:
            Path(self.path(name)).write_bytes(content.read())
            return name

    store = Overwriting(tmp_path)
    names = [store.save("a.txt", ContentFile(data)) for data in (b"one", b"two")]
    assert contents(store, names) == [b"one", b"two"]
