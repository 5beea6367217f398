"""Write a file into a :class:`~devilry_storage.storages.tree.Tree`, whole or not at all."""

import errno
import logging
import os
import secrets
import stat
from contextlib import suppress
from typing import IO

from ..exceptions import StoreNotRecognised, UnsafeEntry
from .processes import Owner
from .tree import CLOEXEC, NOFOLLOW, PATIENCE, READ, TEMP_FOLDER, Tree, closing, split, sync

logger = logging.getLogger("devilry_storage")

_NO_HARD_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS}
_TEMP = os.O_RDWR | os.O_CREAT | os.O_EXCL | NOFOLLOW | CLOEXEC


def _fingerprint(fd: int) -> tuple[int, ...]:
    """Return values of an open file that change when it is written to or linked."""
    status = os.fstat(fd)
    return status.st_size, status.st_mtime_ns, status.st_nlink


class Staged:
    """A temp file in the tree's file system, to which a name is linked when it is complete.

    A :class:`~devilry_storage.storages.writer.Sink`.

    Other users may be able to write to the tree and exchange the temp file for a symlink or
    another file. So its descriptor stays open until the file has its name: until then no other
    file can have the same inode, and every entry is compared with it before it is linked or
    unlinked. That of the root stays open, too, so that the file gets its name in the same root.

    Unless ``create``, the folder of temp files must exist; raises StoreNotRecognised otherwise.
    """

    def __init__(self, tree: Tree, *, create: bool = True) -> None:
        self._tree = tree
        self._name = ""
        self._fd = -1
        self._status: os.stat_result | None = None
        self._sealed = False
        self._whole: tuple[int, ...] | None = None
        self._owner = Owner()
        self._root = self._folder = -1
        # Private until it gets its final mode; without a mode the umask applies.
        mode = 0o666 if tree.file_mode is None else 0o600
        name = secrets.token_hex(16)
        try:
            self._enter(create)
            with tree.explaining_denial():
                self._fd = os.open(name, _TEMP, mode, dir_fd=self._folder)
        except BaseException:
            self._close()
            raise
        self._name = name

    def _enter(self, create: bool) -> None:
        try:
            self._root = self._tree.enter([], create=create)
            self._folder = self._tree.enter_temps(create=create, root=self._root)
        except FileNotFoundError as exception:
            if create:
                raise
            raise StoreNotRecognised(
                errno.ESTALE,
                "The store's folder of temp files is missing, although it existed before, so "
                "nothing is stored. Mount the disk; or if the store was emptied on purpose, "
                "restart the processes that store files",
                os.path.join(self._tree.root, *TEMP_FOLDER),
            ) from exception

    def write(self, data: bytes) -> None:
        self._owner.require(self._name)
        view = memoryview(data).cast("B")
        while view:
            view = view[os.write(self._fd, view) :]

    def read(self, size: int) -> bytes:
        return os.read(self._fd, size)

    def seek(self, position: int) -> None:
        os.lseek(self._fd, position, os.SEEK_SET)

    def truncate(self, size: int) -> None:
        os.ftruncate(self._fd, size)

    def take(self, other: object) -> bool:
        """Replace the temp file by that of another object, unless its bytes have to be copied.

        They have to be if the other file is for another tree, or was changed or removed.
        """
        if not isinstance(other, Staged) or other._tree != self._tree or not other._is_whole():
            return False
        # The root may be a symlink, which leads to another folder now.
        if not os.path.samestat(os.fstat(self._folder), os.fstat(other._folder)):
            return False
        self._name, other._name = other._name, self._name
        self._fd, other._fd = other._fd, self._fd
        return True

    def _is_whole(self) -> bool:
        """Return whether the file is still as it was when :meth:`reader` was called."""
        if not self._owner.is_this_process():
            return False
        with suppress(FileNotFoundError):
            is_ours = self._is_ours(self._name, self._folder)
            return is_ours and self._whole == _fingerprint(self._fd)
        return False

    def reader(self) -> IO[bytes]:
        """Return an open file of the bytes, which stays readable when the temp file is gone.

        Call it when all is written. No other code gets a descriptor by which it could change the
        published file.
        """
        self._whole = _fingerprint(self._fd)
        # It may be another user's FIFO by now, which would block.
        fd = os.open(self._name, READ, dir_fd=self._folder)
        if not os.path.samestat(os.fstat(fd), os.fstat(self._fd)):
            os.close(fd)
            raise UnsafeEntry(f"Temp file {self._name!r} was exchanged for another file.")
        return os.fdopen(fd, "rb")

    def create(self, name: str, sha256: str = "") -> str:
        self._seal()
        folders, leaf = split(name)
        for _ in range(PATIENCE):
            with (
                suppress(FileNotFoundError),  # a delete removed the empty folder
                closing(self._tree.enter(folders, create=True, root=self._root)) as folder,
            ):
                self._link(folder, leaf, name)
                if self._tree.durable:
                    sync(folder)
                return name
        raise FileNotFoundError(
            errno.ENOENT, f"The folder of a new file in {self._tree.root!r} keeps vanishing", name
        )

    def replace(self, name: str) -> None:
        """Publish under the name, replacing a file; UnsafeEntry if the name is not a file's."""
        self._seal()
        folders, leaf = split(name)
        with closing(self._tree.enter(folders, create=True, root=self._root)) as folder:
            with suppress(FileNotFoundError):
                self._tree.stat_in(folder, leaf, name)
            self._check_temp(name)
            try:
                os.rename(self._name, leaf, src_dir_fd=self._folder, dst_dir_fd=folder)
            except OSError as exception:
                if exception.errno == errno.EXDEV:
                    raise self._explained(exception, name) from exception
                raise
            self._name = ""
            self._check_replaced(leaf, folder, name)
            if self._tree.durable:
                sync(folder)

    def _seal(self) -> None:
        """Set mode and group of the file and sync it, once."""
        self._owner.require(self._name)
        if self._sealed:
            return
        if self._tree.file_mode is not None:
            os.fchmod(self._fd, self._tree.file_mode)
        self._status = self._tree.give_group(self._fd, self._folder)
        if self._tree.durable:
            # Not again after an error: the kernel may have dropped data that it could not write,
            # and report success the next time.
            sync(self._fd)
        else:
            # NFS reports write errors when a descriptor is closed, and ours stays open.
            os.close(os.dup(self._fd))
        self._sealed = True

    def _link(self, folder: int, leaf: str, name: str) -> None:
        """Give the file its name; FileExistsError if the name is taken."""
        self._check_temp(name)
        try:
            os.link(
                self._name, leaf, src_dir_fd=self._folder, dst_dir_fd=folder, follow_symlinks=False
            )
        except FileNotFoundError:
            raise
        except FileExistsError:
            # On NFS the reply to a link may be lost.
            if not self._is_ours(leaf, folder):
                raise FileExistsError(f"{name!r} is taken.") from None
        except OSError as exception:
            self._check_temp(name)
            raise self._explained(exception, name) from exception
        if not self._is_ours(leaf, folder):
            raise self._tree.foreign(name)

    def _is_ours(self, leaf: str, folder: int) -> bool:
        """Return whether the entry of a folder is this file."""
        return self._is_our_file(os.stat(leaf, dir_fd=folder, follow_symlinks=False))

    def _is_our_file(self, there: os.stat_result) -> bool:
        return os.path.samestat(there, self._status or os.fstat(self._fd))

    def _check_temp(self, name: str) -> None:
        """Raise UnsafeEntry if the temp file was exchanged, OSError if it was removed."""
        temp = f"Temp file {self._name!r} in {self._tree.root!r}"
        try:
            if self._is_ours(self._name, self._folder):
                return
        except FileNotFoundError as exception:
            # Not a FileNotFoundError, which means here that a folder vanished.
            raise OSError(
                errno.ESTALE,
                f"{temp} was removed, perhaps by a purge after the grace time, so nothing is "
                "stored. Try again",
                name,
            ) from exception
        raise UnsafeEntry(
            errno.ESTALE,
            f"{temp} was exchanged for another file, so nothing is stored. Let no other user "
            "write there, and try again",
            name,
        )

    def _check_replaced(self, leaf: str, folder: int, name: str) -> None:
        """Raise UnsafeEntry if the name belongs to an entry that no writer made."""
        try:
            there = os.stat(leaf, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return  # deleted since
        if self._is_our_file(there):
            return
        # Another writer may have replaced our file since. Then ours has no name, and the other's
        # file has only this one.
        plain = stat.S_ISREG(there.st_mode) and there.st_nlink == 1
        if not plain or os.fstat(self._fd).st_nlink:
            raise self._tree.foreign(name)

    def _explained(self, exception: OSError, name: str) -> OSError:
        if exception.errno == errno.EXDEV:
            reason = (
                "Another file system is mounted below the root, so files cannot be linked there. "
                "Mount it at the root instead"
            )
        elif exception.errno in _NO_HARD_LINKS:
            reason = (
                "The file system has no hard links, so files cannot be created atomically. Use "
                "another file system"
            )
        else:
            return exception
        return OSError(exception.errno, f"{reason} ({self._tree.root!r})", name)

    def discard(self) -> None:
        for step in (self._unlink, self._close):
            # A failure leaves at most a temp file, which a purge removes after the grace time.
            try:
                step()
            except OSError as exception:
                logger.warning(
                    "Temp file %r in %r could not be removed: %r",
                    self._name,
                    self._tree.root,
                    str(exception),
                )

    def _unlink(self) -> None:
        # A forked child has a copy of this object; the file belongs to its parent.
        if not self._name or self._folder < 0 or not self._owner.is_this_process():
            return
        if self._is_ours(self._name, self._folder):
            os.unlink(self._name, dir_fd=self._folder)
        else:
            logger.error(
                "Temp file %r in %r was exchanged for another file, which is left there.",
                self._name,
                self._tree.root,
            )
        self._name = ""

    def _close(self) -> None:
        # The file last, as only closing it may fail.
        opened = [fd for fd in (self._folder, self._root, self._fd) if fd >= 0]
        self._folder = self._root = self._fd = -1
        for fd in opened:
            os.close(fd)
