"""A table of hostile names (`data/hostile_names.json`), as storage names and as filenames.

A line has the name, what it tries, and two expected results, as ``storage`` and as ``filename``:
``accepted``, ``refused`` or ``{"becomes": ...}``. Two more where they apply: ``saved_as`` is the
name that ``save()``, which turns backslashes into slashes as Django does, makes of a name that is
refused everywhere else; ``disk`` is the errno with which a disk refuses a name that is valid. Long
names are written as ``[[text, times], ...]``.
"""

from __future__ import annotations

import errno
import io
import itertools
import json
import os
import pathlib
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

import pytest
from django.core.files.base import ContentFile, File
from django.core.files.storage import FileSystemStorage

from devilry_storage.exceptions import InvalidFilename, InvalidName
from devilry_storage.names import is_storage_name, validate_filename, validate_storage_name
from devilry_storage.storages import DeliveryStoreMixin, FsDeliveryStore, FsHierDeliveryStore
from devilry_storage.testing import MemoryDeliveryStore, PlainFileMeta


class Hostile(NamedTuple):
    """A line of the table. ``filename`` is the normalised filename, None if it is refused."""

    what: str
    name: str
    accepted: bool
    filename: str | None
    saved_as: str | None
    disk: str | None


def _text(written: str | list[tuple[str, int]]) -> str:
    if isinstance(written, str):
        return written
    return "".join(text * times for text, times in written)


def _line(line: dict[str, Any]) -> Hostile:
    name, filename = _text(line["name"]), line["filename"]
    results = {"accepted": name, "refused": None}
    return Hostile(
        line["what"],
        name,
        {"accepted": True, "refused": False}[line["storage"]],
        results[filename] if isinstance(filename, str) else _text(filename["becomes"]),
        line.get("saved_as"),
        line.get("disk"),
    )


TABLE = [
    _line(line)
    for line in json.loads(
        pathlib.Path(__file__).parents[1].joinpath("data/hostile_names.json").read_text("ascii")
    )
]
REFUSED = [line for line in TABLE if not line.accepted]
ACCEPTED = [line for line in TABLE if line.accepted and not line.disk]
TOO_LONG = [line for line in TABLE if line.disk]


def test_table_has_300_names() -> None:
    """Without duplicates, and with enough names for each result."""
    assert len(TABLE) >= 300
    assert len({line.name for line in TABLE}) == len(TABLE)
    results = Counter((line.accepted, line.filename is not None) for line in TABLE)
    assert min(results.values()) >= 10
    assert len(results) == 4


def test_storage_names_are_validated(subtests: pytest.Subtests) -> None:
    """A valid name is returned unchanged. The error quotes a refused one safely."""
    for line in TABLE:
        with subtests.test(line.what, name=line.name):
            if line.accepted:
                assert validate_storage_name(line.name) == line.name
                continue
            with pytest.raises(InvalidName) as caught:
                pytest.fail(f"accepted: {validate_storage_name(line.name)!a}")
            assert str(caught.value).isprintable()


def test_filenames_are_validated(subtests: pytest.Subtests) -> None:
    """A valid name is returned in NFC. The error quotes a refused one safely."""
    for line in TABLE:
        with subtests.test(line.what, name=line.name):
            if line.filename is None:
                with pytest.raises(InvalidFilename) as caught:
                    pytest.fail(f"accepted: {validate_filename(line.name)!a}")
                assert str(caught.value).isprintable()
                continue
            filename = validate_filename(line.name)
            assert filename == line.filename
            assert validate_filename(filename) == filename


# Refused names. These stores have no location: a store that looks for a file fails the test.


class Touched(Exception):
    """A store accessed its location."""


class Untouchable:
    """Mixin for a store on disk: any access to its location is an error."""

    @property
    def base_location(self) -> NoReturn:
        raise Touched

    location = base_location

    def _is_top(self, path: object) -> bool:
        return path == ""  # without the comparison with the location, which does not access it


class UntouchableFs(Untouchable, FsDeliveryStore):
    """The flat store on disk."""


class UntouchableFsHier(Untouchable, FsHierDeliveryStore):
    """The hierarchical store on disk."""


class UntouchableMixed(Untouchable, DeliveryStoreMixin, FileSystemStorage):
    """The mixin with Django's storage."""


class UntouchableMemory(MemoryDeliveryStore):
    """The store in memory, without its dictionary."""

    @property
    def _blobs(self) -> NoReturn:
        raise Touched

    @_blobs.setter
    def _blobs(self, value: object) -> None:
        pass


Call = Callable[[Any, str], object]


def copy_from(store: DeliveryStoreMixin, name: str) -> None:
    store.copy(PlainFileMeta(store, 1, 1, content=name), PlainFileMeta(store, 1, 2))


CALLS: dict[str, Call] = {
    "open": lambda store, name: store.open(name),
    "open rb": lambda store, name: store.open(name, "rb"),
    "open r": lambda store, name: store.open(name, "r"),
    "open wb": lambda store, name: store.open(name, "wb"),
    "open w": lambda store, name: store.open(name, "w"),
    "delete": lambda store, name: store.delete(name),
    "size": lambda store, name: store.size(name),
    "get_accessed_time": lambda store, name: store.get_accessed_time(name),
    "get_created_time": lambda store, name: store.get_created_time(name),
    "get_modified_time": lambda store, name: store.get_modified_time(name),
    "stream": lambda store, name: store.stream(name),
    "stream a range": lambda store, name: store.stream(name, 1, 2),
}
# For these methods an empty name means the top of the store, or no content.
CALLS_WITH_A_NAME: dict[str, Call] = {
    "exists": lambda store, name: store.exists(name),
    "exists of a FileMeta": lambda store, name: store.exists(PlainFileMeta(store, 1, 1, name)),
    "read_open": lambda store, name: store.read_open(PlainFileMeta(store, 1, 1, name)),
    "remove": lambda store, name: store.remove(PlainFileMeta(store, 1, 1, name)),
    "copy": copy_from,
}
# These accept one slash after the name of a folder.
CALLS_OF_FOLDERS: dict[str, Call] = {
    "listdir": lambda store, name: store.listdir(name),
    "url": lambda store, name: store.url(name),
    "path": lambda store, name: store.path(name),
    "scan": lambda store, name: store.scan(name),
}
SAVES: dict[str, Call] = {
    "save": lambda store, name: store.save(name, ContentFile(b"x")),
    "save within max_length": lambda store, name: store.save(name, ContentFile(b"x"), 5),
    "save under the content's name": lambda store, name: store.save(None, Named(name)),
}


class Named(ContentFile):  # type: ignore[type-arg]  # generic in the stubs only
    """A file with an unchecked name."""

    def __init__(self, name: str) -> None:
        super().__init__(b"x")
        self.name = name

    def chunks(self, chunk_size: int | None = None) -> NoReturn:
        """Fail: content that cannot be stored must not be read."""
        raise Touched


def is_folder(name: str) -> bool:
    return name.endswith("/") and is_storage_name(name.removesuffix("/"))


def calls_of(line: Hostile) -> dict[str, Call]:
    return {
        **CALLS,
        **(CALLS_WITH_A_NAME if line.name else {}),
        **(CALLS_OF_FOLDERS if line.name and not is_folder(line.name) else {}),
        **(SAVES if line.saved_as is None else {}),
    }


UNTOUCHABLE: list[Callable[[], DeliveryStoreMixin]] = [
    *(UntouchableFs, UntouchableFsHier, UntouchableMixed, UntouchableMemory)
]


@pytest.mark.parametrize("store_class", UNTOUCHABLE)
def test_methods_reject_refused_names_before_any_access(
    store_class: Callable[[], DeliveryStoreMixin],
) -> None:
    """With InvalidName, which is a SuspiciousFileOperation and a ValueError."""
    store = store_class()
    failed = []
    for line in REFUSED:
        for what, call in calls_of(line).items():
            try:
                call(store, line.name)
            except InvalidName:
                continue
            except Touched:
                failed.append(f"{what} touched the store before it validated {line.name!a}")
            else:
                failed.append(f"{what} accepted {line.name!a}")
        failures = store.delete_many([line.name])
        if {name: type(error) for name, error in failures.items()} != {line.name: InvalidName}:
            failed.append(f"delete_many returned {failures!a} for {line.name!a}")
    assert failed == []


@pytest.mark.parametrize("store_class", UNTOUCHABLE)
def test_save_rejects_content_without_a_name(
    store_class: Callable[[], DeliveryStoreMixin],
) -> None:
    """Django would store it as "None"."""
    for content in ContentFile(b"x"), File(io.BytesIO(b"x")):
        with pytest.raises(InvalidName, match="it is a NoneType, not text"):
            store_class().save(None, content)


def test_delete_many_deletes_the_valid_names_among_refused_ones() -> None:
    store = MemoryDeliveryStore()
    for name in "x", "a/b":
        store.save(name, ContentFile(b"keep"))
    failures = store.delete_many(["../x", "x", "missing", "a\0b"])
    assert {name: type(failure) for name, failure in failures.items()} == {
        "../x": InvalidName,
        "a\0b": InvalidName,
    }
    assert [entry.name for entry in store.scan()] == ["a/b"]


# Accepted names


STORES: dict[str, Callable[[pathlib.Path], DeliveryStoreMixin]] = {
    "disk": lambda root: FsHierDeliveryStore(root, durable=False, base_url="/files/"),
    "memory": lambda root: MemoryDeliveryStore(),
}
every_store = pytest.mark.parametrize("make_store", STORES.values(), ids=list(STORES))


@every_store
def test_accepted_names_are_stored_found_and_deleted(
    make_store: Callable[[pathlib.Path], DeliveryStoreMixin],
    tmp_path: pathlib.Path,
    subtests: pytest.Subtests,
) -> None:
    """Each method finds it under exactly this name. Memory has no limit of its length."""
    stores_long_names = isinstance(make_store(tmp_path / "store"), MemoryDeliveryStore)
    for number, line in enumerate(ACCEPTED + (TOO_LONG if stores_long_names else [])):
        with subtests.test(line.what, name=line.name):
            store_find_and_delete(make_store(tmp_path / str(number)), line.name)
    assert {path.name for path in tmp_path.iterdir()} <= {str(n) for n in range(len(ACCEPTED))}


def store_find_and_delete(store: DeliveryStoreMixin, name: str) -> None:
    content = name.encode()
    folder, _, leaf = name.rpartition("/")
    assert not store.exists(name)
    assert store.save(name, ContentFile(content)) == name
    assert store.exists(name)
    assert store.size(name) == len(content)
    with store.open(name) as file:
        assert file.read() == content
    assert b"".join(store.stream(name, 1)) == content[1:]
    assert store.listdir(folder) == ([], [leaf])
    assert [(entry.name, entry.size) for entry in store.scan()] == [(name, len(content))]
    assert store.get_modified_time(name) is not None
    if folder:
        assert not store.exists(folder)
        assert store.listdir("") == ([name.partition("/")[0]], [])
    store.delete(name)
    assert not store.exists(name)
    assert list(store.scan()) == []


def test_accepted_names_are_distinct_files(tmp_path: pathlib.Path) -> None:
    """No two names are one file, and each URL is below the base URL."""
    store = FsHierDeliveryStore(tmp_path / "root", durable=False, base_url="/files/")
    # A file cannot also be a folder: leave out names that are the folder of another.
    folders = {
        folder.rstrip("/")
        for line in ACCEPTED
        for folder in itertools.accumulate(f"{part}/" for part in line.name.split("/")[:-1])
    }
    names = [line.name for line in ACCEPTED if line.name not in folders]
    assert len(names) >= 200
    for name in names:
        assert store.save(name, ContentFile(name.encode())) == name
    assert sorted(entry.name for entry in store.scan()) == sorted(names)
    for name in names:
        with store.open(name) as file:
            assert file.read().decode() == name
        assert store.path(name) == f"{tmp_path}/root/{name}"
        url = store.url(name)
        assert url.startswith("/files/")
        assert url.isascii()
        assert not set(url) & set(' "<>\\^`{|}?#')
    assert store.delete_many(names) == {}
    assert list(store.scan()) == []


@every_store
def test_save_converts_backslashes_to_slashes(
    make_store: Callable[[pathlib.Path], DeliveryStoreMixin],
    tmp_path: pathlib.Path,
    subtests: pytest.Subtests,
) -> None:
    """As in Django. The returned name is valid for every other method."""
    for number, line in enumerate(line for line in TABLE if line.saved_as):
        with subtests.test(line.what, name=line.name):
            store = make_store(tmp_path / str(number))
            name = store.save(line.name, ContentFile(b"x"))
            assert name == line.saved_as
            assert store.exists(name)
            assert [entry.name for entry in store.scan()] == [name]


def files_below(folder: pathlib.Path) -> list[str]:
    return [file for _, _, files in os.walk(folder) for file in files]


def test_save_of_a_too_long_name_leaves_nothing(
    tmp_path: pathlib.Path, subtests: pytest.Subtests
) -> None:
    """The system's own OSError is raised. No file and no temp file is left."""
    store = FsHierDeliveryStore(tmp_path / "root", durable=False)
    for line in TOO_LONG:
        with subtests.test(line.what, name=line.name):
            with pytest.raises(OSError, match="File name too long") as caught:
                store.save(line.name, ContentFile(b"x"))
            assert caught.value.errno == getattr(errno, str(line.disk))
            if not store.is_key(line.name):
                writer = store.open(line.name, "wb")
                writer.write(b"x")
                with pytest.raises(OSError, match="File name too long"):
                    writer.close()
            assert files_below(tmp_path) == []
    assert list(store.scan()) == []


def test_too_long_name_is_a_missing_file(
    tmp_path: pathlib.Path, subtests: pytest.Subtests
) -> None:
    store = FsHierDeliveryStore(tmp_path / "root", durable=False)
    store.save("a/b", ContentFile(b"x"))
    for line in TOO_LONG:
        with subtests.test(line.what, name=line.name):
            for call in CALLS["open"], CALLS["size"], CALLS["get_modified_time"]:
                with pytest.raises(FileNotFoundError):
                    call(store, line.name)
            assert not store.exists(line.name)
            store.delete(line.name)
            assert store.delete_many([line.name]) == {}
    assert [entry.name for entry in store.scan()] == ["a/b"]
