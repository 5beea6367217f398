"""How a file on disk gets its name: temp files, link() and its errors, and races beside it."""

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
    """A content that cannot be read to its end."""

    def chunks(self, chunk_size: int | None = None) -> Iterator[Any]:
        yield b"part"
        raise TimeoutError("the pipe")


def once(error: OSError, really: Callable[..., Any], *, first: bool) -> Callable[..., Any]:
    """Return a system call that fails once, then works; ``first``: works before it fails."""
    left = [error]

    def call(*args: Any, **kwargs: Any) -> Any:
        if not left:
            return really(*args, **kwargs)
        if first:
            really(*args, **kwargs)
        raise left.pop()

    return call


# -- Temp files --


def test_save_leaves_no_temp_file(root: Path) -> None:
    """Neither under a free name nor under a taken one, nor a replaced file."""
    store = store_at(root)
    store.save(KEY, ContentFile(DATA))
    store.save(KEY, ContentFile(DATA))
    with store.open(NAME, "wb") as writer:
        writer.write(DATA)
    assert temps(root) == []


def test_failed_save_leaves_no_temp_file(root: Path) -> None:
    """The content broke off, or the writer was left by an exception."""
    store = store_at(root)
    with pytest.raises(TimeoutError):
        store.save(KEY, Breaking(b""))
    with pytest.raises(TimeoutError), store.open(NAME, "wb") as writer:
        writer.write(DATA)
        raise TimeoutError
    assert temps(root) == []


def test_temp_file_that_cannot_be_removed_fails_no_save(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The file has its name already; what stays is removed as a stale temp file."""
    store = store_at(root)
    error = OSError(errno.EIO, os.strerror(errno.EIO))
    monkeypatch.setattr(os, "unlink", once(error, os.unlink, first=False))
    with caplog.at_level(logging.WARNING, "devilry_storage"):
        assert store.save(KEY, ContentFile(DATA)) == KEY
    assert read(store, KEY) == DATA
    assert len(temps(root)) == 1
    assert "could not be removed" in caplog.text


def test_short_writes_store_the_whole_content(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """write(2) may take less than it is given."""
    store, data = store_at(root), os.urandom(10_000)
    really = os.write
    monkeypatch.setattr(os, "write", lambda fd, given: really(fd, given[:1000]))
    store.save(KEY, ContentFile(data))
    assert read(store, KEY) == data


def test_temp_files_that_vanish_are_passed_over(root: Path) -> None:
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


def test_failing_close_without_durability_publishes_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS reports at a close that it could not write: before the file has its name."""
    store = store_at(root, durable=False)
    store.save(OTHER, ContentFile(DATA))
    really = os.close
    failed: list[int] = []

    def close(fd: int) -> None:
        temp = stat.S_ISREG(os.fstat(fd).st_mode)
        really(fd)
        if temp and not failed:
            failed.append(fd)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "close", close)
    with pytest.raises(OSError, match="No space left"):
        store.save(KEY, ContentFile(DATA))
    assert visible(root) == [OTHER]
    assert temps(root) == []


# -- Links --


def test_link_whose_reply_was_lost_keeps_the_name(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS may repeat a link() that was done: the name that exists is the file itself."""
    store = store_at(root)
    error = FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    monkeypatch.setattr(os, "link", once(error, os.link, first=True))
    assert store.save(KEY, ContentFile(DATA)) == KEY
    assert visible(root) == [KEY]
    assert read(store, KEY) == DATA


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
def test_file_system_without_hard_links_is_named(
    root: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The error says what is wrong with the place; nothing is stored."""
    store = store_at(root)
    monkeypatch.setattr(os, "link", once(OSError(number, "planned"), os.link, first=False))
    with pytest.raises(OSError, match="no hard links") as caught:
        store.save(KEY, ContentFile(DATA))
    assert caught.value.errno == number
    assert str(root) in str(caught.value)
    assert visible(root) == temps(root) == []


@pytest.mark.parametrize("call", ["mkdir", "link"])
def test_folder_that_vanishes_during_a_save_is_made_again(
    root: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """A delete empties and removes it before the new file is in it."""
    store = store_at(root)
    store.save(NAME, ContentFile(DATA))
    error = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    monkeypatch.setattr(os, call, once(error, getattr(os, call), first=False))
    assert store.save(KEY, ContentFile(DATA)) == KEY
    assert read(store, KEY) == DATA


def test_folder_that_another_process_made_is_used(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two savers that find no folder the second one finds it made."""
    store = store_at(root)
    store.save(NAME, ContentFile(DATA))
    error = FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    monkeypatch.setattr(os, "mkdir", once(error, os.mkdir, first=True))
    assert store.save(KEY, ContentFile(DATA)) == KEY


# -- Listings and deletes beside each other --


def test_folder_is_a_missing_file(root: Path) -> None:
    """It cannot be opened, and to delete it is no error and removes nothing."""
    store = store_at(root)
    store.save(KEY, ContentFile(DATA))
    for folder in ("0", "0/1/1005"):
        with pytest.raises(FileNotFoundError):
            store.open(folder)
        store.delete(folder)
    assert visible(root) == [KEY]


def test_scan_passes_over_files_that_vanish(root: Path) -> None:
    """They were there when the folder was read, but not when they were looked at."""
    store = store_at(root)
    names = {store.save(f"0/1/1005/{number}", ContentFile(DATA)) for number in range(3)}
    found = store.scan()
    first = next(found).name
    for name in names - {first}:
        (root / name).unlink()
    assert list(found) == []


def test_delete_removes_the_emptied_folder_of_a_delivery_alone(root: Path) -> None:
    """Neither the folder of an ordinary name, nor one that has other files."""
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


# -- Second names --


def test_duplicate_whose_reply_was_lost_keeps_the_name(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a save does: the name that exists is the file itself."""
    store = store_at(root)
    store.save(NAME, ContentFile(DATA))
    error = FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    monkeypatch.setattr(os, "link", once(error, os.link, first=True))
    other = store.duplicate(NAME, KEY)
    assert visible(root) == sorted([NAME, other])


def test_duplicate_takes_no_name_of_another_file(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes the next one."""
    store = store_at(root)
    store.save(NAME, ContentFile(DATA))
    store.save(KEY, ContentFile(b"another's"))

    def candidates(self: Any, key: str, *, fresh: bool) -> Iterator[str]:
        yield from (KEY, OTHER)

    monkeypatch.setattr(FsHierDeliveryStore, "_candidates", candidates)
    assert store.duplicate(NAME, KEY) == OTHER
    assert (read(store, KEY), read(store, OTHER)) == (b"another's", DATA)


def test_duplicate_makes_a_folder_that_vanishes_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A delete empties and removes it before the new name is in it."""
    store = store_at(root)
    store.save(NAME, ContentFile(DATA))
    error = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    monkeypatch.setattr(os, "link", once(error, os.link, first=False))
    assert read(store, store.duplicate(NAME, KEY)) == DATA


def test_duplicate_of_a_file_that_is_removed_meanwhile_ends(
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
    """Neither a file outside of the store nor another's gets the name."""
    store = store_at(root)
    store.save(NAME, ContentFile(DATA))
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    really = os.link

    def link(source: str, target: str, **options: Any) -> None:
        if when == "before":
            (root / NAME).unlink()
            (root / NAME).symlink_to(outside)
        really(source, target, **options)
        if when == "after":
            os.unlink(target, dir_fd=options["dst_dir_fd"])
            os.symlink(outside, target, dir_fd=options["dst_dir_fd"])

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(UnsafeEntry, match="left there"):
        store.duplicate(NAME, KEY)
    assert outside.stat().st_nlink == 1
    assert outside.read_bytes() == b"precious"


def test_time_is_that_of_the_file_system(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of the host, which may not be that of the file server, does not count."""
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


def test_time_is_that_of_new_files(root: Path) -> None:
    """Before anything is stored, and however old the folder of temp files is."""
    store = store_at(root)
    assert abs(store.current_time().timestamp() - time.time()) < 60
    store.save(NAME, ContentFile(DATA))
    os.utime(root / TEMPS, (0, 0))
    assert abs(store.current_time().timestamp() - time.time()) < 60
