"""Real places on disk: full, read-only, missing, planted with traps, with modes and groups."""

from __future__ import annotations

import errno
import os
import signal
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.test import override_settings

from devilry_storage.exceptions import UnsafeEntry
from devilry_storage.storages import FsHierDeliveryStore

from .machine import DEVICES, MOUNTS, PROC, ROOT, ZERO, ZERO_DEVICE, need
from .mounting import remount, tmpfs

KEY = "0/1/1005/17"
OTHER = "0/1/1005/18"
NAME = "avatars/me.png"
DATA = b"what a student delivered"


@contextmanager
def no_hang(seconds: int = 10) -> Iterator[None]:
    """Turn a call that blocks for ever into a failure."""

    def give_up(number: int, frame: object) -> None:
        raise AssertionError(f"it hung for {seconds} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder beside the root, with one file that no store may touch."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "17").write_bytes(b"not yours")
    return folder


def store_at(root: Path, **options: Any) -> FsHierDeliveryStore:
    # What is on disk here is looked at in the page cache; fsync has proofs of its own.
    return FsHierDeliveryStore(location=str(root), **{"durable": False, **options})


def read(store: FsHierDeliveryStore, name: str) -> bytes:
    with store.open(name) as file:
        return bytes(file.read())


def visible(root: Path) -> list[str]:
    """Return the names of all files below the root but the store's own."""
    names = (path.relative_to(root).as_posix() for path in root.rglob("*") if not path.is_dir())
    return sorted(name for name in names if not name.startswith(".devilry-storage"))


def untouched(outside: Path) -> bool:
    return [path.name for path in outside.iterdir()] == ["17"] and (
        outside / "17"
    ).read_bytes() == b"not yours"


def plant(root: Path, name: str) -> Path:
    """Return the path of a name whose folder is made."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


# -- Full, read-only, mounted, missing --


def test_a_full_disk_shows_nothing_and_a_later_save_works(root: Path) -> None:
    """ENOSPC reaches the caller, nothing is visible, the space is free again."""
    need(MOUNTS)
    with tmpfs(root, "256k"):
        store = store_at(root)
        content = ContentFile(bytes(1 << 20))
        with pytest.raises(OSError, match="No space left"):
            store.save(KEY, content)
        assert not content.closed
        assert visible(root) == []
        assert store.save(KEY, ContentFile(bytes(200_000))) == KEY
        assert store.size(KEY) == 200_000


def test_a_full_disk_keeps_what_is_there(root: Path) -> None:
    """A disk that fills up takes nothing from the files that are stored already."""
    need(MOUNTS)
    with tmpfs(root, "256k"):
        store = store_at(root)
        store.save(KEY, ContentFile(DATA))
        store.save(NAME, ContentFile(DATA))
        with pytest.raises(OSError, match="No space left"):
            store.save(KEY, ContentFile(bytes(1 << 20)))
        with (
            pytest.raises(OSError, match="No space left"),
            store.open(NAME, "wb") as writer,
        ):
            writer.write(bytes(1 << 20))
        assert visible(root) == [KEY, NAME]
        assert read(store, KEY) == read(store, NAME) == DATA


def test_a_mount_below_the_root_is_a_clear_error(root: Path) -> None:
    """Another file system below the root cannot be linked into: the error says so."""
    need(MOUNTS)
    with tmpfs(root / "0", "256k"):
        store = store_at(root)
        with pytest.raises(OSError, match="Another file system is mounted") as caught:
            store.save(KEY, ContentFile(DATA))
        assert caught.value.errno == errno.EXDEV
        assert visible(root) == []
        assert store.save("1/0/1000000/1", ContentFile(DATA)) == "1/0/1000000/1"


def test_a_file_in_a_mount_below_the_root_is_not_replaced_halfway(root: Path) -> None:
    """Replacing across file systems fails as clearly, and the old bytes stay."""
    need(MOUNTS)
    with tmpfs(root / "avatars", "256k"):
        store = store_at(root)
        plant(root, NAME).write_bytes(b"old")
        exdev = pytest.raises(OSError, match="Another file system is mounted")
        with exdev as caught, store.open(NAME, "wb") as writer:
            writer.write(DATA)
        assert caught.value.errno == errno.EXDEV
        assert read(store, NAME) == b"old"


def test_a_store_that_is_remounted_read_only_reads_and_refuses_to_write(
    root: Path,
) -> None:
    """EROFS reaches the caller of save and delete, nothing is lost, and writable works again."""
    need(MOUNTS)
    with tmpfs(root, "256k"):
        store = store_at(root)
        store.save(KEY, ContentFile(DATA))
        remount(root, "ro")
        for act in (
            lambda: store.save(OTHER, ContentFile(DATA)),
            lambda: store.delete(KEY),
        ):
            with pytest.raises(OSError, match="Read-only file system"):
                act()
        assert read(store, KEY) == DATA
        assert [entry.name for entry in store.scan()] == [KEY]
        remount(root, "rw")
        assert store.save(OTHER, ContentFile(DATA)) == OTHER


def test_a_missing_root_is_an_empty_store_until_something_is_saved(root: Path) -> None:
    """Reading makes no root; the first save makes it."""
    store = store_at(root / "deep" / "down")
    assert not store.exists(KEY)
    assert store.listdir("") == ([], [])
    assert list(store.scan()) == []
    with pytest.raises(FileNotFoundError):
        store.open(KEY)
    store.delete(KEY)
    assert not root.exists()
    assert store.save(KEY, ContentFile(DATA)) == KEY
    assert read(store, KEY) == DATA


def test_a_root_that_is_a_file_is_an_error_that_leaves_it_alone(root: Path) -> None:
    """The store neither replaces nor reads a file that lies where the root should."""
    root.write_bytes(b"not a folder")
    with pytest.raises(NotADirectoryError):
        store_at(root).save(KEY, ContentFile(DATA))
    assert root.read_bytes() == b"not a folder"


# -- Symlinks, FIFOs, devices --


def test_a_root_that_is_a_symlink_is_resolved_at_each_use(tmp_path: Path) -> None:
    """An administrator may swap the disk under a symlink without a restart."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    link = tmp_path / "root"
    link.symlink_to("first")
    store = store_at(link)
    store.save(KEY, ContentFile(DATA))
    link.unlink()
    link.symlink_to("second")
    assert not store.exists(KEY)
    store.save(OTHER, ContentFile(DATA))
    assert visible(tmp_path / "first") == [KEY]
    assert visible(tmp_path / "second") == [OTHER]


def symlink_to_file(path: Path, outside: Path) -> None:
    path.symlink_to(outside / "17")


def dangling_symlink(path: Path, outside: Path) -> None:
    path.symlink_to(outside / "not-there")


def fifo(path: Path, outside: Path) -> None:
    os.mkfifo(path)


def device(path: Path, outside: Path) -> None:
    need(DEVICES)
    os.mknod(path, ZERO, ZERO_DEVICE)


TRAPS = pytest.mark.parametrize("trap", [symlink_to_file, dangling_symlink, fifo, device])
READS: dict[str, Callable[[FsHierDeliveryStore], object]] = {
    "open": lambda store: store.open(KEY),
    "stream": lambda store: list(store.stream(KEY)),
    "size": lambda store: store.size(KEY),
    "get_modified_time": lambda store: store.get_modified_time(KEY),
    "get_created_time": lambda store: store.get_created_time(KEY),
    "get_accessed_time": lambda store: store.get_accessed_time(KEY),
}


@TRAPS
@pytest.mark.parametrize("act", READS)
def test_a_planted_entry_is_not_read(
    root: Path, outside: Path, trap: Callable[[Path, Path], None], act: str
) -> None:
    """A symlink, FIFO or device in place of a stored file is refused, at once."""
    trap(plant(root, KEY), outside)
    with no_hang(), pytest.raises(UnsafeEntry):
        READS[act](store_at(root))


@TRAPS
def test_a_planted_entry_is_in_no_listing(
    root: Path, outside: Path, trap: Callable[[Path, Path], None]
) -> None:
    """Listings name stored files only, and what is no stored file does not exist."""
    store = store_at(root)
    store.save(OTHER, ContentFile(DATA))
    trap(plant(root, KEY), outside)
    with no_hang():
        assert not store.exists(KEY)
        assert store.listdir("0/1/1005") == ([], ["18"])
        assert [entry.name for entry in store.scan()] == [OTHER]


@TRAPS
def test_a_save_over_a_planted_entry_takes_another_name(
    root: Path, outside: Path, trap: Callable[[Path, Path], None]
) -> None:
    """The name is taken by the trap; nothing is written through it."""
    trap(plant(root, KEY), outside)
    store = store_at(root)
    with no_hang():
        told = store.save(KEY, ContentFile(DATA))
    assert told != KEY
    assert read(store, told) == DATA
    assert untouched(outside)


@TRAPS
def test_a_planted_entry_is_neither_deleted_nor_replaced(
    root: Path, outside: Path, trap: Callable[[Path, Path], None]
) -> None:
    """Whoever planted it takes it away; deleting and replacing through us is refused."""
    trap(plant(root, KEY), outside)
    trap(plant(root, NAME), outside)
    store = store_at(root)
    with no_hang():
        with pytest.raises(UnsafeEntry):
            store.delete(KEY)
        with pytest.raises(UnsafeEntry), store.open(NAME, "wb") as writer:
            writer.write(DATA)
    assert os.path.lexists(root / KEY)
    assert os.path.lexists(root / NAME)
    assert untouched(outside)


@pytest.mark.parametrize("level", ["0", "0/1", "0/1/1005"])
def test_a_planted_symlink_of_a_folder_leads_nowhere(
    root: Path, outside: Path, level: str
) -> None:
    """No part of a name is followed out of the root, to read, list, save or delete."""
    (outside / "1" / "1005").mkdir(parents=True)
    (outside / "1005").mkdir()
    for folder in ("1/1005", "1005", "."):
        (outside / folder / "17").write_bytes(b"not yours")
    before = sorted(outside.rglob("*"))
    plant(root, level).symlink_to(outside, target_is_directory=True)
    store = store_at(root)
    for read_it in READS.values():
        with pytest.raises(UnsafeEntry):
            read_it(store)
    for refused in (
        lambda: store.save(KEY, ContentFile(DATA)),
        lambda: store.save(OTHER, ContentFile(DATA)),
        lambda: store.delete(KEY),
    ):
        with pytest.raises(UnsafeEntry):
            refused()
    assert not store.exists(KEY)
    assert list(store.scan()) == []
    assert list(store.scan("0")) == [] if level != "0" else True
    folders, files = store.listdir(os.path.dirname(level))
    assert os.path.basename(level) not in folders + files
    assert sorted(outside.rglob("*")) == before
    assert (outside / "17").read_bytes() == b"not yours"


@pytest.mark.parametrize("planted", [".devilry-storage", ".devilry-storage/tmp"])
def test_the_stores_own_folder_as_a_symlink_is_refused(
    root: Path, outside: Path, planted: str
) -> None:
    """No temp file is written out of the root either."""
    plant(root, planted).symlink_to(outside, target_is_directory=True)
    store = store_at(root)
    with pytest.raises(UnsafeEntry):
        store.save(KEY, ContentFile(DATA))
    with pytest.raises(UnsafeEntry), store.open(NAME, "wb") as writer:
        writer.write(DATA)
    assert untouched(outside)
    assert visible(root) in ([], [planted])


def test_a_hard_link_reads_as_the_file_that_it_is(root: Path, outside: Path) -> None:
    """Deleting our name leaves the other name its bytes."""
    os.link(outside / "17", plant(root, KEY))
    store = store_at(root)
    assert read(store, KEY) == b"not yours"
    store.delete(KEY)
    assert not store.exists(KEY)
    assert untouched(outside)


def test_writing_to_a_hard_link_leaves_the_other_name_its_bytes(root: Path, outside: Path) -> None:
    """Saving takes another name, and replacing an ordinary name replaces the link."""
    os.link(outside / "17", plant(root, KEY))
    os.link(outside / "17", plant(root, NAME))
    store = store_at(root)
    assert store.save(KEY, ContentFile(DATA)) != KEY
    with store.open(NAME, "wb") as writer:
        writer.write(DATA)
    assert read(store, NAME) == DATA
    assert read(store, KEY) == b"not yours"
    assert untouched(outside)


# -- What reaches the disk --


class Syncs:
    """Stands in for os.fsync: notes the paths, and fails once for each of ``failing``."""

    def __init__(self) -> None:
        self.paths: list[Path] = []
        self.failing: list[Path] = []

    def __call__(self, fd: int) -> None:
        path = Path(f"/proc/self/fd/{fd}").readlink()
        if path in self.failing:
            self.failing.remove(path)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self.paths.append(path)


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch) -> Syncs:
    need(PROC)
    syncs = Syncs()
    monkeypatch.setattr(os, "fsync", syncs)
    return syncs


def test_a_save_syncs_the_file_and_every_folder_that_got_an_entry(
    root: Path, syncs: Syncs
) -> None:
    """The new root's entry in its parent too; a second save only its own entry."""
    store = store_at(root, durable=True)
    store.save(KEY, ContentFile(DATA))
    assert {root.parent, root, *folders_above(root, KEY)} <= set(syncs.paths)
    assert any(path.parent == root / ".devilry-storage" / "tmp" for path in syncs.paths)
    syncs.paths.clear()
    store.save(OTHER, ContentFile(DATA))
    file, folder = syncs.paths
    assert file.parent == root / ".devilry-storage" / "tmp"
    assert folder == root / "0/1/1005"


def test_delete_and_replace_sync_the_folder(root: Path, syncs: Syncs) -> None:
    """A deleted file does not come back, and a replaced one is the new one, after a power cut."""
    store = store_at(root, durable=True)
    store.save(KEY, ContentFile(DATA))
    store.save(NAME, ContentFile(DATA))
    syncs.paths.clear()
    store.delete(KEY)
    assert syncs.paths == [root / "0/1/1005"]
    syncs.paths.clear()
    with store.open(NAME, "wb") as writer:
        writer.write(b"new")
    assert syncs.paths[-1] == root / "avatars"


@pytest.mark.parametrize("folder", ["", "0", "0/1"])
def test_a_retry_syncs_the_folder_whose_sync_had_failed(
    root: Path, syncs: Syncs, folder: str
) -> None:
    """That the folder is there already tells nothing about its entry's being on the disk."""
    root.mkdir()
    store = store_at(root, durable=True)
    store.save("9/9/9999999/1", ContentFile(DATA))
    syncs.paths.clear()
    syncs.failing = [root / folder]
    with pytest.raises(OSError, match="Input/output error"):
        store.save(KEY, ContentFile(DATA))
    assert store.save(KEY, ContentFile(DATA)) == KEY
    assert root / folder in syncs.paths


def test_without_durability_nothing_is_synced(root: Path, syncs: Syncs) -> None:
    """``durable=False`` is for throw-away data; it turns off fsync and nothing else."""
    store = store_at(root)
    store.save(KEY, ContentFile(DATA))
    store.delete(KEY)
    assert syncs.paths == []


# -- Modes and groups --


@pytest.fixture(params=[0o000, 0o022, 0o027, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    try:
        yield request.param
    finally:
        os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def folders_above(root: Path, name: str) -> list[Path]:
    return [root / folder for folder in Path(name).parents if folder != Path()]


def test_files_are_0644_whatever_the_umask(root: Path, umask: int) -> None:
    """As in Django; a save over an existing name and a replaced file too."""
    root.mkdir(mode=0o755)
    store = store_at(root)
    names = [store.save(KEY, ContentFile(DATA)), store.save(KEY, ContentFile(DATA))]
    with store.open(NAME, "wb") as writer:
        writer.write(DATA)
    assert {mode(root / name) for name in (*names, NAME)} == {0o644}


def test_file_permissions_mode_is_exact_whatever_the_umask(root: Path, umask: int) -> None:
    """The option gives the mode, the umask takes nothing away (CVE-2026-25674)."""
    store = store_at(root, file_permissions_mode=0o640, directory_permissions_mode=0o750)
    store.save(KEY, ContentFile(DATA))
    assert mode(root / KEY) == 0o640


def test_directory_permissions_mode_is_exact_for_intermediate_folders_too(
    root: Path, umask: int
) -> None:
    """Every folder that a save makes has the mode, not only the innermost (CVE-2020-24583)."""
    store = store_at(root, directory_permissions_mode=0o750)
    store.save(KEY, ContentFile(DATA))
    assert {mode(folder) for folder in folders_above(root, KEY)} == {0o750}
    assert {mode(folder) for folder in folders_above(root, ".devilry-storage/tmp/x")} == {0o750}


def test_folders_that_are_there_keep_their_mode(root: Path) -> None:
    """An administrator's own choice is not undone by the next save."""
    (root / "0").mkdir(parents=True)
    (root / "0").chmod(0o711)
    store_at(root, directory_permissions_mode=0o750).save(KEY, ContentFile(DATA))
    assert mode(root / "0") == 0o711
    assert mode(root / "0" / "1") == 0o750


def test_without_a_mode_folders_follow_the_umask(root: Path, umask: int) -> None:
    """As mkdir does, and as Django does."""
    root.mkdir()
    root.chmod(0o755)
    store_at(root).save(KEY, ContentFile(DATA))
    assert {mode(folder) for folder in folders_above(root, KEY)} == {0o777 & ~umask}


@override_settings(FILE_UPLOAD_PERMISSIONS=None)
def test_without_a_mode_files_follow_the_umask(root: Path, umask: int) -> None:
    """No option and no setting: as open() does."""
    store_at(root).save(KEY, ContentFile(DATA))
    assert mode(root / KEY) == 0o666 & ~umask


def test_the_settings_of_django_give_the_modes(root: Path) -> None:
    """FILE_UPLOAD_PERMISSIONS and FILE_UPLOAD_DIRECTORY_PERMISSIONS, read when they are used."""
    store = store_at(root)
    with override_settings(FILE_UPLOAD_PERMISSIONS=0o600, FILE_UPLOAD_DIRECTORY_PERMISSIONS=0o700):
        store.save(KEY, ContentFile(DATA))
    assert mode(root / KEY) == 0o600
    assert {mode(folder) for folder in folders_above(root, KEY)} == {0o700}


def test_the_umask_is_never_touched(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It belongs to all threads of the process: another thread's file would get ours."""

    def forbidden(mask: int) -> int:
        raise AssertionError("the store set the umask")

    monkeypatch.setattr(os, "umask", forbidden)
    store = store_at(root, file_permissions_mode=0o640, directory_permissions_mode=0o750)
    assert store.save(KEY, ContentFile(DATA)) == KEY


@pytest.mark.parametrize("root_mode", [0o755, 0o2775])
def test_what_is_stored_gets_the_roots_group(root: Path, root_mode: int) -> None:
    """A web server in the root's group reads all of it, with and without setgid folders."""
    need(ROOT)
    group = os.getgid() + 12345
    root.mkdir()
    os.chown(root, -1, group)
    root.chmod(root_mode)
    store = store_at(root, file_permissions_mode=0o640, directory_permissions_mode=0o750)
    store.save(KEY, ContentFile(DATA))
    with store.open(NAME, "wb") as writer:
        writer.write(DATA)
    made = [
        root / KEY,
        root / NAME,
        *folders_above(root, KEY),
        *folders_above(root, NAME),
    ]
    assert {path.stat().st_gid for path in made} == {group}


def test_folders_below_a_setgid_root_stay_setgid(root: Path) -> None:
    """directory_permissions_mode does not take the bit that the file system handed down."""
    root.mkdir()
    root.chmod(0o2775)
    store_at(root, directory_permissions_mode=0o750).save(KEY, ContentFile(DATA))
    assert {mode(folder) for folder in folders_above(root, KEY)} == {0o2750}
