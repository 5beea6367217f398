"""A folder on disk that no name leads out of.

Every path of the stores on disk MUST pass through here: each part of a name is opened relative
to the folder before it and without following symlinks (openat(2) with O_NOFOLLOW), so that
nothing planted in the tree, not even while we walk it, leads anywhere else. The root itself may
be a symlink; it is resolved at each use.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO

from ..exceptions import UnsafeEntry
from ..names import RESERVED

logger = logging.getLogger("devilry_storage")

_CLOEXEC = getattr(os, "O_CLOEXEC", 0)
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_ROOT = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | _CLOEXEC
_FOLDER = _ROOT | _NOFOLLOW
# O_NONBLOCK, lest a FIFO planted between our look and our open makes us wait for its writer.
_READ = os.O_RDONLY | _NOFOLLOW | getattr(os, "O_NONBLOCK", 0) | _CLOEXEC
_TEMP = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOFOLLOW | _CLOEXEC

# How often a folder may vanish under a writer, each time by a delete that emptied it.
_PATIENCE = 1000

_NO_HARD_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS}

TEMP_FOLDER = (RESERVED, "tmp")


def sync(fd: int) -> None:
    """Bring a file's or folder's data and entries to the disk, past the disk's own cache."""
    if sys.platform == "darwin":
        import fcntl

        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)  # see fsync(2) of macOS
    else:
        os.fsync(fd)


def _split(name: str) -> tuple[list[str], str]:
    *folders, leaf = name.split("/")
    return folders, leaf


@dataclass(frozen=True)
class Tree:
    """The files below ``root``.

    ``file_mode`` and ``folder_mode`` are the permissions of what is created (None: those that the
    umask leaves); ``durable`` tells whether folders are fsynced when they get an entry.
    """

    root: str
    file_mode: int | None
    folder_mode: int | None
    durable: bool

    # -- Walking --

    def enter(self, folders: Iterable[str], *, create: bool = False) -> int:
        """Return a descriptor of the folder, which the caller closes; make it if asked to.

        Raises FileNotFoundError, NotADirectoryError (a file lies in the way), UnsafeEntry.
        """
        fd = self._enter_root(create)
        try:
            for folder in folders:
                above, fd = fd, self._step(fd, folder, create)
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
        fd = os.open(above, _ROOT)
        try:
            os.close(self._step(fd, os.path.basename(path), create=True))
        finally:
            os.close(fd)

    def _step(self, fd: int, folder: str, create: bool) -> int:
        made, inner = False, -1
        try:
            while inner < 0:
                try:
                    inner = os.open(folder, _FOLDER, dir_fd=fd)
                except FileNotFoundError:
                    if not create:
                        raise
                    made = self._make(folder, fd) or made
                except OSError as exception:
                    if exception.errno in {errno.ENOTDIR, errno.ELOOP}:
                        raise self._no_folder(folder, fd) from exception
                    if exception.errno == errno.ENAMETOOLONG and not create:
                        raise self._missing(folder) from None
                    raise
            if made:
                self._settle(inner, fd)
        except BaseException:
            if made:
                self._unmake(folder, fd)
            if inner >= 0:
                os.close(inner)
            raise
        return inner

    def _make(self, folder: str, above: int) -> bool:
        try:
            os.mkdir(folder, self.folder_mode or 0o777, dir_fd=above)
        except FileExistsError:
            return False  # another process made it just now
        return True

    def _unmake(self, folder: str, above: int) -> None:
        """Remove a folder that is not settled, lest a retry finds it there and trusts it."""
        with suppress(OSError):  # in use already, or gone; the caller has an error to raise
            os.rmdir(folder, dir_fd=above)

    def _settle(self, fd: int, above: int) -> None:
        """Give a folder that we made its mode and group, and its entry to the disk."""
        if self.folder_mode is not None:
            # By mkdir() alone the umask would take bits away (CVE-2020-24583).
            os.fchmod(fd, self.folder_mode | (os.fstat(fd).st_mode & stat.S_ISGID))
        self.give_group(fd, above)
        if self.durable:
            sync(above)

    def give_group(self, fd: int, folder: int) -> None:
        """Give what we made the group of a folder, where we may."""
        group = os.fstat(folder).st_gid
        if os.fstat(fd).st_gid != group:
            try:
                os.fchown(fd, -1, group)
            except PermissionError:
                pass  # as Django: the file stays usable to whoever stored it

    def _no_folder(self, folder: str, fd: int) -> OSError:
        if stat.S_ISREG(os.stat(folder, dir_fd=fd, follow_symlinks=False).st_mode):
            return NotADirectoryError(
                errno.ENOTDIR, "A stored file lies where a folder is needed", folder
            )
        return UnsafeEntry(
            errno.ELOOP, f"Not a folder in {self.root!r} (a symlink?), so not entered", folder
        )

    # -- Reading --

    def stat(self, name: str) -> os.stat_result:
        """Return the status of a stored file; FileNotFoundError for none, UnsafeEntry."""
        folders, leaf = _split(name)
        fd = self._enter_to_read(folders, name)
        try:
            return self.stat_in(fd, leaf, name)
        finally:
            os.close(fd)

    def open(self, name: str) -> IO[bytes]:
        """Open a stored file to read; FileNotFoundError for none, UnsafeEntry."""
        folders, leaf = _split(name)
        fd = self._enter_to_read(folders, name)
        try:
            # Looked at before it is opened: opening some devices does something.
            self.stat_in(fd, leaf, name)
            file = os.open(leaf, _READ, dir_fd=fd)
        finally:
            os.close(fd)
        try:
            self._regular(os.fstat(file), name)
        except BaseException:
            os.close(file)
            raise
        return os.fdopen(file, "rb")

    def _enter_to_read(self, folders: list[str], name: str) -> int:
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
            # Under a name longer than the file system takes there is nothing either.
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
            f"Not a stored file but a symlink, FIFO or device in {self.root!r}, so not touched",
            name,
        )

    def scan(self, folders: list[str]) -> Iterator[tuple[str, os.stat_result]]:
        """Yield (name, status) of every stored file below a folder, holding one folder at a time.

        What is no regular file is passed by, and so is what vanishes meanwhile.
        """
        # A stack, not recursion: names may have more parts than Python has patience.
        left = [folders]
        while left:
            above = left.pop()
            with self._entries(above) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        left.append([*above, entry.name])
                    elif entry.is_file(follow_symlinks=False):
                        with suppress(FileNotFoundError):
                            yield "/".join([*above, entry.name]), entry.stat(follow_symlinks=False)

    @contextmanager
    def _entries(self, folders: list[str]) -> Iterator[Iterator[os.DirEntry[str]]]:
        """Give the entries of a folder, the store's own left out; none of one that is missing."""
        try:
            fd = self.enter(folders)
        except (FileNotFoundError, NotADirectoryError):
            yield iter(())
            return
        try:
            with os.scandir(fd) as entries:
                yield (entry for entry in entries if folders or entry.name != RESERVED)
        finally:
            os.close(fd)

    def listdir(self, folders: list[str]) -> tuple[list[str], list[str]]:
        """Return (folders, files) in a folder; ``([], [])`` where there is none."""
        inner, files = [], []
        with self._entries(folders) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    inner.append(entry.name)
                elif entry.is_file(follow_symlinks=False):
                    files.append(entry.name)
        return inner, files

    def absence(self) -> str:
        """Return why the root looks unmounted or emptied, or ``""``.

        A store that was ever written to has at least its folder of temp files.
        """
        try:
            if os.listdir(self.root):
                return ""
        except FileNotFoundError:
            return f"the folder {self.root!r} is missing"
        except OSError as exception:
            return f"the folder {self.root!r} cannot be read: {exception}"
        return f"the folder {self.root!r} is empty"

    # -- Removing --

    def remove(self, name: str, *, prune: bool) -> None:
        """Unlink a stored file; ``prune`` also removes its folder if that became empty.

        A missing file is no error. Raises UnsafeEntry.
        """
        folders, leaf = _split(name)
        try:
            fd = self.enter(folders)
        except (FileNotFoundError, NotADirectoryError):
            return
        try:
            try:
                self.stat_in(fd, leaf, name)
                os.unlink(leaf, dir_fd=fd)
            except FileNotFoundError:
                return
            if self.durable:
                sync(fd)
        finally:
            os.close(fd)
        if prune:
            self._prune(folders)

    def _prune(self, folders: list[str]) -> None:
        try:
            fd = self.enter(folders[:-1])
        except FileNotFoundError:
            return
        try:
            os.rmdir(folders[-1], dir_fd=fd)
        except OSError:
            pass  # it has other files, or is gone: both are as they should be
        finally:
            os.close(fd)

    def stale_temps(self, before: float, *, remove: bool) -> list[str]:
        """Return the names of temp files last written before a time (seconds since the epoch)."""
        try:
            fd = self.enter(TEMP_FOLDER)
        except FileNotFoundError:
            return []
        stale = []
        try:
            with os.scandir(fd) as entries:
                for entry in entries:
                    try:
                        if entry.stat(follow_symlinks=False).st_mtime < before:
                            if remove:
                                os.unlink(entry.name, dir_fd=fd)
                            stale.append("/".join([*TEMP_FOLDER, entry.name]))
                    except FileNotFoundError:
                        continue  # published or discarded meanwhile
        finally:
            os.close(fd)
        return stale


class Staged:
    """A temp file in the tree's own file system, which a name can be linked to.

    A sink for writers: see :class:`devilry_storage.storages.files.Sink`.
    """

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._name: str | None = None
        self._fd = -1
        self._owner = os.getpid()
        self._folder = tree.enter(TEMP_FOLDER, create=True)
        # Nobody else reads it before it has its final mode; without one the umask decides.
        mode = 0o666 if tree.file_mode is None else 0o600
        name = secrets.token_hex(16)
        try:
            self._fd = os.open(name, _TEMP, mode, dir_fd=self._folder)
        except BaseException:
            self._close_folder()
            raise
        self._name = name

    def write(self, data: bytes) -> None:
        view = memoryview(data).cast("B")
        while view:
            view = view[os.write(self._fd, view) :]

    def create(self, names: Iterable[str]) -> str:
        self._seal()
        for name in names:
            if self._link(name):
                return name
        raise FileExistsError("No name was free.")

    def replace(self, name: str) -> None:
        """Publish under the name, in place of what is there; UnsafeEntry if that is no file."""
        self._seal()
        folders, leaf = _split(name)
        folder = self._tree.enter(folders, create=True)
        try:
            try:
                self._tree.stat_in(folder, leaf, name)
            except FileNotFoundError:
                pass
            assert self._name is not None
            try:
                os.rename(self._name, leaf, src_dir_fd=self._folder, dst_dir_fd=folder)
            except OSError as exception:
                if exception.errno == errno.EXDEV:
                    raise self._explained(exception, name) from exception
                raise
            self._name = None
            if self._tree.durable:
                sync(folder)
        finally:
            os.close(folder)

    def _seal(self) -> None:
        """Give the file its mode and group and bring it to the disk, once."""
        if self._fd < 0:
            return
        if self._tree.file_mode is not None:
            os.fchmod(self._fd, self._tree.file_mode)
        self._tree.give_group(self._fd, self._folder)
        if self._tree.durable:
            # Never again after an error: the kernel may have dropped what it could not write
            # and call the next fsync a success.
            sync(self._fd)
        self._close_file()

    def _link(self, name: str) -> bool:
        """Give the file the name, if it is free; link(2) decides, whoever else wants it."""
        folders, leaf = _split(name)
        for _ in range(_PATIENCE):
            try:
                folder = self._tree.enter(folders, create=True)
            except FileNotFoundError:
                continue  # removed, being empty, between our making and our entering it
            try:
                if not self._link_into(folder, leaf, name):
                    return False
                if self._tree.durable:
                    sync(folder)
                return True
            except FileNotFoundError:
                continue  # likewise
            finally:
                os.close(folder)
        raise FileNotFoundError(
            errno.ENOENT, f"The folder of a new file in {self._tree.root!r} keeps vanishing", name
        )

    def _link_into(self, folder: int, leaf: str, name: str) -> bool:
        assert self._name is not None
        try:
            os.link(self._name, leaf, src_dir_fd=self._folder, dst_dir_fd=folder)
        except FileNotFoundError:
            raise
        except FileExistsError:
            return self._is_ours(leaf, folder)
        except OSError as exception:
            raise self._explained(exception, name) from exception
        return True

    def _is_ours(self, leaf: str, folder: int) -> bool:
        """Tell whether the name is our own file: a link may succeed and its reply be lost (NFS)."""
        assert self._name is not None
        there = os.stat(leaf, dir_fd=folder, follow_symlinks=False)
        return os.path.samestat(
            there, os.stat(self._name, dir_fd=self._folder, follow_symlinks=False)
        )

    def _explained(self, exception: OSError, name: str) -> OSError:
        if exception.errno == errno.EXDEV:
            reason = (
                "Another file system is mounted below the root, where no file can be linked: "
                "mount it at the root instead"
            )
        elif exception.errno in _NO_HARD_LINKS:
            reason = (
                "The file system has no hard links, without which a file cannot be created "
                "atomically: use another one"
            )
        else:
            return exception
        return OSError(exception.errno, f"{reason} ({self._tree.root!r})", name)

    def finish(self) -> None:
        """Let go of a file that is published; a close that fails is an error of the save's."""
        self._try(self._unlink)
        self._close_folder()

    def discard(self) -> None:
        for step in (self._close_file, self._unlink, self._close_folder):
            self._try(step)

    def _try(self, step: Callable[[], None]) -> None:
        # What fails here leaves at most a temp file, which is removed as a stale one later.
        try:
            step()
        except OSError as exception:
            logger.warning(
                "Temp file %r in %r could not be removed: %s",
                self._name,
                self._tree.root,
                exception,
            )

    def _close_file(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _unlink(self) -> None:
        # A forked child that ends drops its copy of us; the file stays its parent's.
        if self._name is not None and self._folder >= 0 and os.getpid() == self._owner:
            os.unlink(self._name, dir_fd=self._folder)

    def _close_folder(self) -> None:
        folder, self._folder = self._folder, -1
        if folder >= 0:
            os.close(folder)
