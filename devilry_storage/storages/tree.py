"""Access to the files below a folder, never outside of it.

Every path of the stores on disk MUST pass through here. Each part of a name is opened relative to
the folder before it and without following symlinks (openat(2) with O_NOFOLLOW), so that no entry
of the tree leads outside, even if it is exchanged meanwhile. The root itself may be a symlink; it
is resolved at each use.
"""

import errno
import io
import os
import stat
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import groupby
from typing import IO, NamedTuple

from ..exceptions import UnsafeEntry, WrongSize
from ..names import RESERVED
from .paging import Position, page_of, position

CLOEXEC = getattr(os, "O_CLOEXEC", 0)
NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_ROOT = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | CLOEXEC
_FOLDER = _ROOT | NOFOLLOW
# O_NONBLOCK: a FIFO that replaces the file between stat() and open() would block us.
READ = os.O_RDONLY | NOFOLLOW | getattr(os, "O_NONBLOCK", 0) | CLOEXEC

TEMP_FOLDER = (RESERVED, "tmp")

# A scan opens folders in the folder above them up to this depth, and walks to deeper ones from the
# root: names may have more parts than a process may have descriptors.
_LEVELS = 10

#: How often a writer makes a folder again that deletes keep removing because it is empty.
PATIENCE = 1000

# Private: a user who can write there can exchange a temp file.
_PRIVATE = 0o700


def sync(fd: int) -> None:
    """Write the data of a file or folder to the disk, including the disk's own cache."""
    if sys.platform == "darwin":
        import fcntl

        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)  # see fsync(2) of macOS
    else:
        os.fsync(fd)


@contextmanager
def closing(fd: int) -> Iterator[int]:
    """Give a descriptor, and close it at the end of the block."""
    try:
        yield fd
    finally:
        os.close(fd)


def split(name: str) -> tuple[list[str], str]:
    """Return the folders and the last part of a validated name."""
    *folders, leaf = name.split("/")
    return folders, leaf


class Removal(NamedTuple):
    """A stored file to remove, if it has this size (bytes; None: any).

    If ``prune``, its folder is removed, too, if it is empty then.
    """

    name: str
    size: int | None
    prune: bool


@contextmanager
def _reporting(failures: dict[str, Exception], removals: list[Removal]) -> Iterator[None]:
    """Add an exception to the failures, for each removal that has none; not of missing files."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        pass
    except Exception as exception:  # noqa: BLE001  # the others are removed
        for removal in removals:
            failures.setdefault(removal.name, exception)


def _prune(folder: str, above: int) -> bool:
    """Remove a folder if it is empty, and return whether it is gone."""
    try:
        os.rmdir(folder, dir_fd=above)
    except FileNotFoundError:
        return True  # removed by another process, which may not have synced
    except OSError:
        return False
    return True


def _position(entry: os.DirEntry[str]) -> Position:
    return position(entry.name, is_file=entry.is_file(follow_symlinks=False))


@dataclass(frozen=True)
class Tree:
    """The files below ``root``.

    ``file_mode`` and ``folder_mode`` are the permissions of new files and folders (None: by the
    umask). If ``durable``, folders are fsynced when they get an entry.
    """

    root: str
    file_mode: int | None
    folder_mode: int | None
    durable: bool

    # -- Walking --

    def enter(
        self, folders: Sequence[str], *, create: bool = False, root: int | None = None
    ) -> int:
        """Return a new descriptor of a folder; if ``create``, make it.

        The walk begins at the descriptor ``root`` if that is given. Raises FileNotFoundError,
        NotADirectoryError (a part is a file), UnsafeEntry.
        """
        return self._walk(folders, self.folder_mode, create=create, root=root)

    def enter_temps(self, *, create: bool = False, root: int | None = None) -> int:
        """Return a new descriptor of the folder of temp files.

        A new one is private to this user; an existing one keeps its mode. Raises PermissionError
        with a remedy if it belongs to another user, and as :meth:`enter` does.
        """
        with self.explaining_denial():
            return self._walk(TEMP_FOLDER, _PRIVATE, create=create, root=root)

    @contextmanager
    def explaining_denial(self) -> Iterator[None]:
        """Add the remedy to a PermissionError about the store's own folders."""
        try:
            yield
        except PermissionError as exception:
            own = os.path.join(self.root, RESERVED)
            if not os.path.lexists(own):
                raise  # about the root
            raise PermissionError(
                exception.errno,
                f"User {os.geteuid()} may not use the store's folder of temp files, which belongs "
                "to the user of the process that stored first. Run all processes that store or "
                "purge as one user, and give that user both folders (chown); or give them to a "
                f"group of all these users (chgrp, and chmod 2770 {own} {own}/{TEMP_FOLDER[1]})",
                own,
            ) from exception

    def _walk(
        self, folders: Sequence[str], mode: int | None, *, create: bool, root: int | None
    ) -> int:
        fd = self._enter_root(create) if root is None else root
        try:
            for folder in folders:
                above, fd = fd, self._step(fd, folder, create=create, mode=mode)
                if above != root:
                    os.close(above)
        except BaseException:
            if fd != root:
                os.close(fd)
            raise
        return os.dup(fd) if fd == root else fd

    def _enter_root(self, create: bool) -> int:
        try:
            return os.open(self.root, _ROOT)
        except FileNotFoundError:
            if not create:
                raise
        self._make_root(self.root)
        return os.open(self.root, _ROOT)

    def _make_root(self, path: str) -> None:
        above = os.path.dirname(path)
        if not os.path.isdir(above):
            self._make_root(above)
        with closing(os.open(above, _ROOT)) as fd:
            os.close(self._step(fd, os.path.basename(path), create=True, mode=self.folder_mode))

    def _step(self, fd: int, folder: str, *, create: bool, mode: int | None) -> int:
        made, inner = False, -1
        try:
            while inner < 0:
                try:
                    inner = self._open_folder(folder, fd)
                except FileNotFoundError:
                    if not create:
                        raise
                    with suppress(FileExistsError):  # made by another process
                        os.mkdir(folder, mode or 0o777, dir_fd=fd)
                        made = True
                except OSError as exception:
                    if exception.errno == errno.ENAMETOOLONG and not create:
                        raise self._missing(folder) from None
                    raise
            if made:
                self._settle(inner, fd, mode)
        except BaseException:
            if made:  # but not settled, so that a retry has to make it again
                _prune(folder, fd)
            if inner >= 0:
                os.close(inner)
            raise
        return inner

    def _open_folder(self, folder: str, above: int) -> int:
        try:
            return os.open(folder, _FOLDER, dir_fd=above)
        except OSError as exception:
            if exception.errno not in {errno.ENOTDIR, errno.ELOOP}:
                raise
            if stat.S_ISREG(os.stat(folder, dir_fd=above, follow_symlinks=False).st_mode):
                raise NotADirectoryError(
                    errno.ENOTDIR, "A file has the name of a folder that is needed", folder
                ) from exception
            raise UnsafeEntry(
                errno.ELOOP,
                f"Not entered, because it is not a folder in {self.root!r} (a symlink?)",
                folder,
            ) from exception

    def _settle(self, fd: int, above: int, mode: int | None) -> None:
        """Set mode and group of a new folder, and sync its entry."""
        if mode is not None:
            # mkdir() alone applies the umask (CVE-2020-24583).
            os.fchmod(fd, mode | (os.fstat(fd).st_mode & stat.S_ISGID))
        self.give_group(fd, above)
        if self.durable:
            sync(above)

    def give_group(self, fd: int, folder: int) -> os.stat_result:
        """Give a new entry the group of a folder, if permitted; return its status before."""
        group = os.fstat(folder).st_gid
        status = os.fstat(fd)
        if status.st_gid != group:
            with suppress(PermissionError):  # the file stays usable for this user
                os.fchown(fd, -1, group)
        return status

    # -- Reading --

    def stat(self, name: str) -> os.stat_result:
        """Return the status of a stored file; raises FileNotFoundError, UnsafeEntry."""
        folders, leaf = split(name)
        with closing(self.enter_to_read(folders, name)) as fd:
            return self.stat_in(fd, leaf, name)

    def open(self, name: str) -> IO[bytes]:
        """Open a stored file for reading; raises FileNotFoundError, UnsafeEntry."""
        folders, leaf = split(name)
        with closing(self.enter_to_read(folders, name)) as fd:
            file, _status = self.open_in(fd, leaf, name)
        return io.BufferedReader(io.FileIO(file))  # as open() does, but faster

    def open_in(self, fd: int, leaf: str, name: str) -> tuple[int, os.stat_result]:
        """Open the stored file ``name``, which is ``leaf`` in an open folder.

        Returns its descriptor, which the caller closes, and its status.
        """
        # Checked before it is opened, because opening a device may have effects.
        self.stat_in(fd, leaf, name)
        file = os.open(leaf, READ, dir_fd=fd)
        try:
            return file, self._regular(os.fstat(file), name)
        except BaseException:
            os.close(file)
            raise

    def enter_to_read(self, folders: list[str], name: str) -> int:
        """Return a descriptor of the folder of a stored file, which the caller closes."""
        try:
            return self.enter(folders)
        except (FileNotFoundError, NotADirectoryError):
            raise self._missing(name) from None

    def _missing(self, name: str) -> FileNotFoundError:
        return FileNotFoundError(errno.ENOENT, f"No stored file in {self.root!r}", name)

    def stat_in(self, fd: int, leaf: str, name: str) -> os.stat_result:
        """Return the status of the stored file ``name``, which is ``leaf`` in an open folder."""
        try:
            status = os.stat(leaf, dir_fd=fd, follow_symlinks=False)
        except OSError as exception:
            # The file system cannot have a name that is too long for it.
            if exception.errno in {errno.ENOENT, errno.ENAMETOOLONG}:
                raise self._missing(name) from None
            raise
        return self._regular(status, name)

    def _regular(self, status: os.stat_result, name: str) -> os.stat_result:
        if stat.S_ISREG(status.st_mode):
            return status
        if stat.S_ISDIR(status.st_mode):
            raise self._missing(name)
        raise UnsafeEntry(
            errno.ELOOP,
            f"Not touched, because it is a symlink, FIFO or device in {self.root!r}",
            name,
        )

    def scan(self, folders: list[str]) -> Iterator[tuple[str, os.stat_result]]:
        """Yield (name, status) of every file below a folder; one folder is in memory at a time.

        Entries that are not regular files, and those that vanish meanwhile, are skipped.
        """
        left = ["".join(f"{folder}/" for folder in folders)]
        while left:
            prefix = left.pop()
            try:
                fd = self.enter(prefix.split("/")[:-1])
            except (FileNotFoundError, NotADirectoryError):
                continue
            yield from self._scan(fd, prefix, left, _LEVELS)

    def _scan(
        self, fd: int, prefix: str, left: list[str], levels: int
    ) -> Iterator[tuple[str, os.stat_result]]:
        """Scan an open folder and some levels below it, and close it.

        The prefixes of the folders below these levels are added to ``left``.
        """
        inner = []
        try:
            with os.scandir(fd) as entries:
                for entry in entries:
                    if entry.is_file(follow_symlinks=False):
                        try:
                            status = entry.stat(follow_symlinks=False)
                        except FileNotFoundError:
                            continue
                        yield prefix + entry.name, status
                    elif entry.is_dir(follow_symlinks=False) and (
                        prefix or entry.name != RESERVED
                    ):
                        inner.append(entry.name)
            for folder in inner:
                below = f"{prefix}{folder}/"
                if not levels:
                    left.append(below)
                    continue
                try:
                    opened = self._open_folder(folder, fd)
                except (FileNotFoundError, NotADirectoryError):
                    continue
                yield from self._scan(opened, below, left, levels - 1)
        finally:
            os.close(fd)

    @contextmanager
    def _entries(self, folders: list[str]) -> Iterator[Iterator[os.DirEntry[str]]]:
        """Give the folders and files in a folder, none if it is missing; not the store's own."""
        try:
            fd = self.enter(folders)
        except (FileNotFoundError, NotADirectoryError):
            yield iter(())
            return
        with closing(fd), os.scandir(fd) as entries:
            yield (
                entry
                for entry in entries
                if entry.is_dir(follow_symlinks=False) or entry.is_file(follow_symlinks=False)
                if folders or entry.name != RESERVED
            )

    def listdir(self, folders: list[str]) -> tuple[list[str], list[str]]:
        """Return (folders, files) in a folder; ``([], [])`` if it is missing."""
        inner: list[str] = []
        files: list[str] = []
        with self._entries(folders) as entries:
            for entry in entries:
                (inner if entry.is_dir(follow_symlinks=False) else files).append(entry.name)
        return inner, files

    def page(
        self, folders: list[str], after: str, limit: int
    ) -> tuple[list[str], list[tuple[str, os.stat_result]], str]:
        """Return the folders, the (file, status) pairs and the next token of a page of a folder.

        Names are relative to the folder. Only entries of the page are kept and looked up.
        """
        inner, files = [], []
        with self._entries(folders) as entries:
            shown, next_token = page_of(entries, _position, after, limit)
            for entry in shown:
                if entry.is_dir(follow_symlinks=False):
                    inner.append(entry.name)
                    continue
                with suppress(FileNotFoundError):
                    files.append((entry.name, entry.stat(follow_symlinks=False)))
        return inner, files, next_token

    def unavailable_reason(self) -> str:
        """Return why the root seems unmounted or emptied, ``""`` if it does not.

        A store that has been written to has at least its folder of temp files.
        """
        try:
            if os.listdir(self.root):
                return ""
        except FileNotFoundError:
            return f"the folder {self.root!r} is missing"
        except OSError as exception:
            return f"the folder {self.root!r} cannot be read: {exception}"
        return f"the folder {self.root!r} is empty"

    # -- Linking --

    def link(self, name: str, other: str) -> str:
        """Give a stored file a second name, and return that name.

        Raises FileExistsError if it is taken, FileNotFoundError for a missing file, UnsafeEntry.
        """
        with self.open(name) as source:
            # Deletes may remove the empty folder before it gets its first entry.
            for _ in range(PATIENCE):
                with suppress(FileNotFoundError):
                    self._link(source.fileno(), name, other)
                    return other
                self.stat(name)
        raise FileNotFoundError(
            errno.ENOENT, f"The folder of a new file in {self.root!r} keeps vanishing", other
        )

    def _link(self, source: int, name: str, other: str) -> None:
        folders, leaf = split(name)
        other_folders, other_leaf = split(other)
        with (
            closing(self.enter(folders)) as from_,
            closing(self.enter(other_folders, create=True)) as to,
        ):
            try:
                os.link(leaf, other_leaf, src_dir_fd=from_, dst_dir_fd=to, follow_symlinks=False)
                is_made = True
            except FileExistsError:
                is_made = False
            there = os.stat(other_leaf, dir_fd=to, follow_symlinks=False)
            if not os.path.samestat(there, os.fstat(source)):
                if is_made:
                    raise self.foreign(other)
                raise FileExistsError(f"{other!r} is taken.")
            # On NFS the reply to our own link() may have been lost.
            if self.durable:
                sync(to)

    def foreign(self, name: str) -> UnsafeEntry:
        """Return the error for a name that was given to an unexpected file."""
        return UnsafeEntry(
            errno.ESTALE,
            f"Another process exchanged an entry in {self.root!r} during a save, so this name "
            "belongs to another file than the one that was written. Inspect it, remove it by "
            "hand, and let no other user write there",
            name,
        )

    # -- Removing --

    def remove(self, removals: Iterable[Removal]) -> dict[str, Exception]:
        """Unlink stored files, and return the exceptions of those that failed, by name.

        A missing file is not a failure. Files of one folder, and then folders of one folder,
        should follow each other: they are synced together, after the last one.
        """
        failures: dict[str, Exception] = {}
        for above, some in groupby(removals, lambda removal: split(removal.name)[0][:-1]):
            inside = list(some)
            with _reporting(failures, inside), closing(self.enter(above)) as fd:
                pruned: list[Removal] = []
                for folder, same in groupby(inside, lambda removal: split(removal.name)[0][-1:]):
                    files = list(same)
                    with _reporting(failures, files):
                        if self._remove_from(fd, folder, files, failures):
                            pruned += files
                if self.durable and pruned:
                    with _reporting(failures, pruned):
                        sync(fd)
        return failures

    def _remove_from(
        self, above: int, folder: list[str], files: list[Removal], failures: dict[str, Exception]
    ) -> bool:
        """Unlink files of a folder in ``above``, and return whether the folder is gone.

        If so, ``above`` is left to be synced, which covers all that was in the folder.
        """
        try:
            fd = self.enter(folder, root=above)
        except FileNotFoundError:
            return True  # by a process that may have died before it synced
        with closing(fd):
            for removal in files:
                with _reporting(failures, [removal]):
                    self._unlink(fd, removal)
            if any(removal.prune for removal in files) and _prune(folder[-1], above):
                return True
            if self.durable:
                sync(fd)  # of a missing file, too: see above
        return False

    def _unlink(self, fd: int, removal: Removal) -> None:
        leaf = split(removal.name)[1]
        found = self.stat_in(fd, leaf, removal.name).st_size
        if removal.size not in {None, found}:
            raise WrongSize.of(removal.name, found, removal.size)
        os.unlink(leaf, dir_fd=fd)

    def time(self) -> float:
        """Return the time of the file system, in seconds since the epoch (NFS: the server's)."""
        try:
            fd = self.enter_temps()
        except FileNotFoundError:
            return time.time()  # nothing is stored yet
        with closing(fd):
            # Needs no space. Without a time of ours, an NFS server uses its own.
            os.utime(fd)
            return os.fstat(fd).st_mtime

    def stale_temps(self, before: float, *, remove: bool) -> Iterator[str]:
        """Yield the names of temp files last written before a time (seconds since the epoch).

        If ``remove``, each is removed first.
        """
        try:
            fd = self.enter_temps()
        except FileNotFoundError:
            return
        with closing(fd), os.scandir(fd) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # published or discarded since
                    if entry.stat(follow_symlinks=False).st_mtime < before:
                        if remove:
                            os.unlink(entry.name, dir_fd=fd)
                        yield "/".join([*TEMP_FOLDER, entry.name])
