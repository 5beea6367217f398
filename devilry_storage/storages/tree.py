"""Access to the files below a folder, never outside of it.

Every path of the stores on disk MUST pass through here. Each part of a name is opened relative to
the folder before it and without following symlinks (openat(2) with O_NOFOLLOW), so that no entry
of the tree leads outside, even if it is exchanged meanwhile. The root itself may be a symlink; it
is resolved at each use.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO

from ..exceptions import UnsafeEntry, WrongSize
from ..names import RESERVED
from .paging import Position, page_of, position

CLOEXEC = getattr(os, "O_CLOEXEC", 0)
NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_ROOT = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | CLOEXEC
_FOLDER = _ROOT | NOFOLLOW
# O_NONBLOCK: a FIFO that replaces the file between stat() and open() would block us.
_READ = os.O_RDONLY | NOFOLLOW | getattr(os, "O_NONBLOCK", 0) | CLOEXEC

TEMP_FOLDER = (RESERVED, "tmp")

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

    def enter(self, folders: Iterable[str], *, create: bool = False) -> int:
        """Return a descriptor of a folder, which the caller closes; if ``create``, make it.

        Raises FileNotFoundError, NotADirectoryError (a part is a file), UnsafeEntry.
        """
        return self._walk(folders, self.folder_mode, create=create)

    def enter_temps(self, *, create: bool = False) -> int:
        """Return a descriptor of the folder of temp files, which the caller closes.

        A new one is private to this user; an existing one keeps its mode. Raises PermissionError
        with a remedy if it belongs to another user, and as :meth:`enter` does.
        """
        with self.explaining_denial():
            return self._walk(TEMP_FOLDER, _PRIVATE, create=create)

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

    def _walk(self, folders: Iterable[str], mode: int | None, *, create: bool) -> int:
        fd = self._enter_root(create)
        try:
            for folder in folders:
                above, fd = fd, self._step(fd, folder, create=create, mode=mode)
                os.close(above)
        except BaseException:
            os.close(fd)
            raise
        return fd

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
                    made = self._make(folder, fd, mode) or made
                except OSError as exception:
                    if exception.errno == errno.ENAMETOOLONG and not create:
                        raise self._missing(folder) from None
                    raise
            if made:
                self._settle(inner, fd, mode)
        except BaseException:
            if made:
                self._unmake(folder, fd)
            if inner >= 0:
                os.close(inner)
            raise
        return inner

    def _open_folder(self, folder: str, above: int) -> int:
        try:
            return os.open(folder, _FOLDER, dir_fd=above)
        except OSError as exception:
            if exception.errno in {errno.ENOTDIR, errno.ELOOP}:
                raise self._no_folder(folder, above) from exception
            raise

    def _make(self, folder: str, above: int, mode: int | None) -> bool:
        try:
            os.mkdir(folder, mode or 0o777, dir_fd=above)
        except FileExistsError:
            return False  # made by another process
        return True

    def _unmake(self, folder: str, above: int) -> None:
        """Remove a folder that is not settled, so that a retry makes it again."""
        with suppress(OSError):  # not empty or gone; the caller raises the first error
            os.rmdir(folder, dir_fd=above)

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

    def _no_folder(self, folder: str, fd: int) -> OSError:
        if stat.S_ISREG(os.stat(folder, dir_fd=fd, follow_symlinks=False).st_mode):
            return NotADirectoryError(
                errno.ENOTDIR, "A file has the name of a folder that is needed", folder
            )
        return UnsafeEntry(
            errno.ELOOP,
            f"Not entered, because it is not a folder in {self.root!r} (a symlink?)",
            folder,
        )

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
        file = os.open(leaf, _READ, dir_fd=fd)
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
        # A stack: names may have more parts than Python allows recursions.
        left = [folders]
        while left:
            above = left.pop()
            with self._entries(above) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        left.append([*above, entry.name])
                    else:
                        with suppress(FileNotFoundError):
                            yield "/".join([*above, entry.name]), entry.stat(follow_symlinks=False)

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

    def remove(self, name: str, *, prune: bool, size: int | None = None) -> None:
        """Unlink a stored file; if ``prune``, also its folder if that is empty then.

        A missing file is not an error. Raises UnsafeEntry, and WrongSize if ``size`` (bytes) is
        given and differs.
        """
        folders, leaf = split(name)
        try:
            fd = self.enter(folders)
        except (FileNotFoundError, NotADirectoryError):
            return
        with closing(fd):
            try:
                found = self.stat_in(fd, leaf, name).st_size
                if size not in {None, found}:
                    raise WrongSize.of(name, found, size)
                os.unlink(leaf, dir_fd=fd)
            except FileNotFoundError:
                return
            if self.durable:
                sync(fd)
        if prune:
            self._prune(folders)

    def _prune(self, folders: list[str]) -> None:
        with (
            suppress(FileNotFoundError),
            closing(self.enter(folders[:-1])) as fd,
            suppress(OSError),  # not empty, or already gone
        ):
            os.rmdir(folders[-1], dir_fd=fd)

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
