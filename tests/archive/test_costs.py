"""What an archive costs: statements, system calls and memory for each file."""

from __future__ import annotations

import gc
import hashlib
import io
import os
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from devilry_storage.archive import Archive, Member, of_deliveries, of_files
from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.fields import StoredName
from devilry_storage.resolving import store_for
from devilry_storage.storages import FsHierDeliveryStore

from ..harness import machine
from . import unpacking
from .damaging import DATE, LARGE, Site

#: Functions that make one system call, and need a path or descriptor.
CALLS = ("open", "stat", "fstat", "read", "close", "scandir")


def deliver(deliveries: int, files: int, *, groups: int = 1) -> None:
    """Create finished deliveries with files of one byte, without storing each."""
    store: Any = store_for(FileMeta)
    pk = 0
    for number in range(deliveries):
        group, _is_new = AssignmentGroup.objects.get_or_create(name=f"group {number % groups}")
        delivery = Delivery.objects.create(assignment_group=group, number=number, successful=True)
        rows: list[FileMeta] = []
        for _ in range(files):
            pk += 1
            name = store.layout.key(delivery.pk, pk)
            path = Path(store.path(name))
            if not rows:
                path.parent.mkdir(parents=True)
                first = path
                path.write_bytes(b"x")
            else:
                path.hardlink_to(first)
            rows.append(
                FileMeta(
                    pk=pk,
                    delivery=delivery,
                    filename=f"answer {pk}.txt",
                    content=StoredName(name),
                    size=1,
                    sha256=hashlib.sha256(b"x").hexdigest(),
                )
            )
        FileMeta.objects.bulk_create(rows)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Return how often the functions of CALLS have been called."""
    found: Counter[str] = Counter()

    def counting(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def count(*args: Any, **kwargs: Any) -> Any:
            found[name] += 1
            return original(*args, **kwargs)

        return count

    for name in CALLS:
        monkeypatch.setattr(os, name, counting(name, getattr(os, name)))
    return found


def test_number_of_statements_does_not_depend_on_the_files(db: None) -> None:
    """One reads rows, deliveries and groups."""
    deliver(12, 5, groups=4)
    for deliveries in (Delivery.objects.filter(number=0), Delivery.objects.all()):
        with CaptureQueriesContext(connection) as queries:
            archive = of_deliveries(deliveries)
            assert len(b"".join(archive)) == archive.length
        assert len(queries) == 1


def test_small_file_takes_five_system_calls(calls: Counter[str], tmp_path: Path) -> None:
    """Its folder stays open for the next one, and one read suffices."""
    site = Site(tmp_path, {"a": 5000, "b": 0, **{str(number): 100 for number in range(40)}})
    archive = Archive(site.store, site.members)
    calls.clear()
    found = dict(unpacking.read_forward(b"".join(archive)))
    assert {path: found[path] for path in site.contents} == site.contents
    files = len(site.members)
    assert calls == {
        "open": files + 2,  # the root and the folder
        "close": files + 2,
        "stat": files,  # before it is opened, because opening a device may have effects
        "fstat": files,
        "read": files,
    }


def test_large_file_is_read_in_chunks(calls: Counter[str], tmp_path: Path) -> None:
    site = Site(tmp_path, {"large": 10 * LARGE})
    with site.store.streams() as stream:
        calls.clear()
        sizes = [len(chunk) for chunk in stream("0/0")]
    assert sum(sizes) == 10 * LARGE
    assert max(sizes) <= 1 << 20
    assert calls["read"] == len(sizes)


def test_folder_of_a_delivery_is_listed_once(calls: Counter[str], db: None) -> None:
    """Before the first byte. No file of it is opened or looked up."""
    deliver(6, 10)
    calls.clear()
    archive = of_files(FileMeta.objects.all())
    assert archive.count == 60
    parts = 4  # the root, and the three folders of a key
    assert (calls["scandir"], calls["open"], calls["close"]) == (6, 6 * parts, 6 * parts)


def test_member_takes_little_memory_before_the_first_byte(tmp_path: Path) -> None:
    """Half of what path, name and SHA-256 take as strings in a tuple."""
    sha256 = hashlib.sha256(b"x").hexdigest()
    members = (
        Member(f"group {n // 20}/1/answer {n}.txt", f"0/0/{n // 20}/{n}", n, sha256, DATE)
        for n in range(2000)
    )
    store = FsHierDeliveryStore(str(tmp_path))
    Archive(store, [])  # fills caches
    gc.collect()
    tracemalloc.start()
    try:
        archive = Archive(store, members)
        gc.collect()
        taken, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert archive.count == 2000
    assert taken / archive.count < 200
    assert peak / archive.count < 310


# -- A folder that stays open --


def archived(site: Site, between: Callable[[], object], *, first: str) -> dict[str, bytes]:
    """Return the members of an archive; something happens after the first one was read."""
    archive = site.archive()
    stream, seen = site.store.streams, []

    class Watching:
        def __enter__(self) -> Callable[[str], Iterator[bytes]]:
            self.streams = stream()
            read = self.streams.__enter__()

            def watch(name: str) -> Iterator[bytes]:
                yield from read(name)
                seen.append(name)
                if len(seen) == 1:
                    assert name == site.name_of(first)
                    between()

            return watch

        def __exit__(self, *exception: Any) -> Any:
            return self.streams.__exit__(*exception)

    site.store.streams = Watching
    data = b"".join(archive)
    assert len(data) == archive.length
    return dict(unpacking.read_forward(data))


def test_folder_exchanged_for_a_symlink_is_not_followed(tmp_path: Path) -> None:
    """The file is read from the folder that was opened, or not at all."""
    site = Site(tmp_path / "store", {"a": 10, "b": 10, "large": LARGE})
    outside = tmp_path / "outside"
    outside.mkdir()
    for member in site.members:
        (outside / member.name.rpartition("/")[2]).write_bytes(b"secret" * LARGE)
    folder = tmp_path / "store" / "0"

    def exchange() -> None:
        folder.rename(tmp_path / "elsewhere")
        folder.symlink_to(outside)

    found = archived(site, exchange, first="a")
    assert not any(b"secret" in data for data in found.values())
    assert {path: found[path] for path in site.contents} == site.contents


def test_folder_that_was_made_again_is_entered_again(tmp_path: Path) -> None:
    """A delete removes an empty folder, and a restore makes it again."""
    site = Site(tmp_path, {"a": 10, "b": 20, "gone": 10})
    folder, kept = tmp_path / "0", site.contents["b"]

    def make_again() -> None:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
        folder.mkdir()
        (folder / site.name_of("b").rpartition("/")[2]).write_bytes(kept)

    found = archived(site, make_again, first="a")
    assert found["b"] == kept
    assert "gone.DAMAGED" in found


def test_subclass_that_decodes_what_it_stores_is_asked(tmp_path: Path) -> None:
    """However it does so."""

    def shown(data: bytes) -> bytes:
        return bytes(byte ^ 0x55 for byte in data)

    for method in ("open", "_open", "stream", "_stream"):
        site = Site(tmp_path / method, {"a": 10, "b": 20})
        original = getattr(type(site.store), method)

        def decode(self: Any, *args: Any, original: Any = original, **kwargs: Any) -> Any:
            result = original(self, *args, **kwargs)
            if not hasattr(result, "chunks"):
                return map(shown, result)
            data = shown(result.read())
            result.close()
            result.file = io.BytesIO(data)
            return result

        site.store = type("Decoding", (type(site.store),), {method: decode})(site.store.location)
        for member in site.members:
            path = tmp_path / method / member.name
            path.write_bytes(shown(path.read_bytes()))
        found = dict(unpacking.read_forward(b"".join(site.archive())))
        assert {path: found[path] for path in site.contents} == site.contents


@pytest.mark.parametrize("read", [1, 3, None])
def test_no_descriptor_is_left(read: int | None, tmp_path: Path) -> None:
    """Also if the client has disconnected."""
    machine.need(machine.PROC)
    site = Site(tmp_path, {f"{number}": 100_000 if number % 2 else LARGE for number in range(8)})
    before = os.listdir("/proc/self/fd")
    chunks: Any = iter(site.archive())
    for _ in range(100_000 if read is None else read):
        next(chunks, None)
    chunks.close()
    assert {*os.listdir("/proc/self/fd")} <= {*before}
