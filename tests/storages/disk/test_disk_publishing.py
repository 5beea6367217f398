"""How a file on disk gets its name: temp files, link() and its errors, and races."""

from __future__ import annotations

import errno
import logging
import os
import stat
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile

from devilry_storage.exceptions import UnsafeEntry
from devilry_storage.storages import FsHierDeliveryStore

from ...harness.disk import DATA, KEY, NAME, OTHER, read, store_at, visible

TEMPS = ".devilry-storage/tmp"


def temps(root: Path) -> list[str]:
    return sorted(os.listdir(root / TEMPS))


class Breaking(ContentFile):  # type: ignore[type-arg]  # not generic at run time
    """Content that cannot be read to its end."""

    def chunks(self, chunk_size: int | None = None) -> Iterator[Any]:
        yield b"part"
        raise TimeoutError("the pipe")


@pytest.fixture
def fail_once(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that lets a system call fail once, ``after`` its work or instead."""

    def fail(name: str, number: int, *, after: bool = False) -> None:
        errors, original = [OSError(number, os.strerror(number))], getattr(os, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            if not errors:
                return original(*args, **kwargs)
            if after:
                original(*args, **kwargs)
            raise errors.pop()

        monkeypatch.setattr(os, name, call)

    return fail


# -- Temp files --


def test_save_leaves_no_temp_file(root: Path) -> None:
    """Under a free and a taken name, and when a file is rewritten."""
    store = store_at(root)
    store.save(KEY, ContentFile(DATA))
    store.save(KEY, ContentFile(DATA))
    with store.open(NAME, "wb") as writer:
        writer.write(DATA)
    assert temps(root) == []


def test_failed_save_leaves_no_temp_file(root: Path) -> None:
    """The content broke off, or an exception left the writer."""
    store = store_at(root)
    with pytest.raises(TimeoutError):
        store.save(KEY, Breaking(b""))
    with pytest.raises(TimeoutError), store.open(NAME, "wb") as writer:
        writer.write(DATA)
        raise TimeoutError
    assert temps(root) == []


def test_save_ignores_a_failing_removal_of_its_temp_file(
    root: Path, fail_once: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    """The file has its name already. A purge removes the stale temp file."""
    store = store_at(root)
    fail_once("unlink", errno.EIO)
    with caplog.at_level(logging.WARNING, "devilry_storage"):
        assert store.save(KEY, ContentFile(DATA)) == KEY
    assert read(store, KEY) == DATA
    assert len(temps(root)) == 1
    assert "could not be removed" in caplog.text


def test_short_writes_store_the_whole_content(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """write(2) may write less than it is given."""
    store, data = store_at(root), os.urandom(10_000)
    original = os.write
    monkeypatch.setattr(os, "write", lambda fd, given: original(fd, given[:1000]))
    store.save(KEY, ContentFile(data))
    assert read(store, KEY) == data


def test_stale_temps_skips_files_that_vanish(root: Path) -> None:
    """Another purge removed them, or their writers published them."""
    store = store_at(root)
    store.save(KEY, ContentFile(DATA))
    for number in range(3):
        (root / TEMPS / str(number)).write_bytes(b"half")
    found = store._tree.stale_temps(2.0**40, remove=True)
    next(found)
    for name in temps(root):
        (root / TEMPS / name).unlink()
    assert list(found) == []


def test_failing_close_publishes_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NFS reports write errors when the file is closed."""
    store = store_at(root, durable=False)
    store.save(OTHER, ContentFile(DATA))
    original = os.close
    failed: list[int] = []

    def close(fd: int) -> None:
        is_temp = stat.S_ISREG(os.fstat(fd).st_mode)
        original(fd)
        if is_temp and not failed:
            failed.append(fd)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "close", close)
    with pytest.raises(OSError, match="No space left"):
        store.save(KEY, ContentFile(DATA))
    assert visible(root) == [OTHER]
    assert temps(root) == []


# -- Links --


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
def test_file_system_without_hard_links_is_named_in_the_error(
    root: Path, fail_once: Callable[..., None], number: int
) -> None:
    store = store_at(root)
    fail_once("link", number)
    with pytest.raises(OSError, match="no hard links") as caught:
        store.save(KEY, ContentFile(DATA))
    assert caught.value.errno == number
    assert str(root) in str(caught.value)
    assert visible(root) == temps(root) == []


@pytest.mark.parametrize(
    ("call", "number", "after"),
    [
        # A concurrent delete removes the empty folder.
        ("mkdir", errno.ENOENT, False),
        ("link", errno.ENOENT, False),
        # Another process creates the folder first.
        ("mkdir", errno.EEXIST, True),
        # NFS repeats a link() that succeeded: the existing name is the file itself.
        ("link", errno.EEXIST, True),
    ],
)
def test_save_succeeds_despite_races(
    root: Path, fail_once: Callable[..., None], call: str, number: int, after: bool
) -> None:
    store = store_at(root)
    store.save(NAME, ContentFile(DATA))
    fail_once(call, number, after=after)
    assert store.save(KEY, ContentFile(DATA)) == KEY
    assert visible(root) == [KEY, NAME]
    assert read(store, KEY) == DATA


# -- Concurrent listings and deletes --


def test_folder_is_a_missing_file(root: Path) -> None:
    """It cannot be opened. Deleting it is not an error and removes nothing."""
    store = store_at(root)
    store.save(KEY, ContentFile(DATA))
    for folder in ("0", "0/1/1005"):
        with pytest.raises(FileNotFoundError):
            store.open(folder)
        store.delete(folder)
    assert visible(root) == [KEY]


def test_scan_skips_files_that_vanish(root: Path) -> None:
    """They are deleted after their folder was read. The files after them are not skipped."""
    store = store_at(root)
    for number in range(4):
        store.save(f"0/1/1005/{number}", ContentFile(DATA))
    order = os.listdir(root / "0/1/1005")
    found = store.scan()
    assert next(found).name == f"0/1/1005/{order[0]}"
    (root / "0/1/1005" / order[1]).unlink()
    assert [entry.name for entry in found] == [f"0/1/1005/{name}" for name in order[2:]]


def test_scan_skips_a_folder_that_is_removed_when_it_is_open(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folders after it are scanned."""
    store = store_at(root)
    names = {store.save(f"0/{folder}/file", ContentFile(DATA)) for folder in range(3)}
    gone = os.listdir(root / "0")[0]
    scandir = os.scandir

    def remove_and_scan(fd: int) -> Any:
        if os.path.samestat(os.fstat(fd), os.stat(root / "0" / gone)):
            (root / "0" / gone / "file").unlink()
            (root / "0" / gone).rmdir()
            monkeypatch.setattr(os, "scandir", scandir)
        return scandir(fd)

    monkeypatch.setattr(os, "scandir", remove_and_scan)
    assert {entry.name for entry in store.scan()} == names - {f"0/{gone}/file"}


def test_scan_of_deep_folders_opens_few_at_a_time(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names may have more parts than a process may have descriptors."""
    store = store_at(root)
    names = {"/".join(["d"] * depth) + "/file" for depth in (1, 5, 40)}
    for name in names:
        store.save(name, ContentFile(DATA))
    used, scandir = [], os.scandir

    def recording(fd: int) -> Any:
        used.append(fd)
        return scandir(fd)

    monkeypatch.setattr(os, "scandir", recording)
    assert {entry.name for entry in store.scan()} == names
    assert len(used) == 41
    # Numbers of descriptors are used again; two for each open folder.
    assert len({*used}) < 30


def test_delete_removes_only_empty_folders_of_deliveries(root: Path) -> None:
    """Not those of ordinary names, and none with other files."""
    store = store_at(root)
    for name in (KEY, OTHER, NAME, "top.txt"):
        store.save(name, ContentFile(DATA))
    store.delete(KEY)
    assert (root / OTHER).exists()
    store.delete(OTHER)
    assert not (root / OTHER).parent.exists()
    store.delete(NAME)
    store.delete("top.txt")
    assert (root / NAME).parent.exists()
    assert visible(root) == []


# -- Duplicates --


@pytest.mark.parametrize(("number", "after"), [(errno.ENOENT, False), (errno.EEXIST, True)])
def test_duplicate_succeeds_despite_races(
    root: Path, fail_once: Callable[..., None], number: int, after: bool
) -> None:
    """A concurrent delete removes the empty folder, or NFS repeats the link()."""
    store = store_at(root)
    store.save(NAME, ContentFile(DATA))
    fail_once("link", number, after=after)
    other = store.duplicate(NAME, KEY)
    assert visible(root) == sorted([NAME, other])
    assert read(store, other) == DATA


def test_duplicate_does_not_use_the_name_of_another_file(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_at(root)
    store.save(NAME, ContentFile(DATA))
    store.save(KEY, ContentFile(b"another's"))

    def candidates(self: Any, key: str, *, fresh: bool) -> Iterator[str]:
        yield from (KEY, OTHER)

    monkeypatch.setattr(FsHierDeliveryStore, "_candidates", candidates)
    assert store.duplicate(NAME, KEY) == OTHER
    assert (read(store, KEY), read(store, OTHER)) == (b"another's", DATA)


def test_duplicate_of_a_vanishing_file_fails_at_once(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not try a thousand times."""
    store = store_at(root)
    store.save(NAME, ContentFile(DATA))
    calls = []

    def link(*args: Any, **options: Any) -> None:
        calls.append(args)
        (root / NAME).unlink(missing_ok=True)
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(FileNotFoundError):
        store.duplicate(NAME, KEY)
    assert len(calls) == 1


@pytest.mark.parametrize("when", ["before", "after"])
def test_duplicate_of_an_exchanged_file_fails(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """No file outside of the store gets the name."""
    store = store_at(root)
    store.save(NAME, ContentFile(DATA))
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    original = os.link

    def link(source: str, target: str, **options: Any) -> None:
        if when == "before":
            (root / NAME).unlink()
            (root / NAME).symlink_to(outside)
        original(source, target, **options)
        if when == "after":
            os.unlink(target, dir_fd=options["dst_dir_fd"])
            os.symlink(outside, target, dir_fd=options["dst_dir_fd"])

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(UnsafeEntry, match="belongs to another file"):
        store.duplicate(NAME, KEY)
    assert outside.stat().st_nlink == 1
    assert outside.read_bytes() == b"precious"


def test_current_time_is_that_of_the_file_system(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock of the host may differ from that of the file server."""
    store = store_at(root)
    store.save(NAME, ContentFile(DATA))
    now = datetime.now(timezone.utc)

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return super().now(tz) + timedelta(days=365)

    monkeypatch.setattr("devilry_storage.storages.base.datetime", Clock)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert abs(store.current_time() - now) < timedelta(minutes=1)


def test_current_time_is_that_of_new_files(root: Path) -> None:
    """With nothing stored yet, and with an old temp folder."""
    store = store_at(root)
    assert abs(store.current_time().timestamp() - time.time()) < 60
    store.save(NAME, ContentFile(DATA))
    os.utime(root / TEMPS, (0, 0))
    assert abs(store.current_time().timestamp() - time.time()) < 60
