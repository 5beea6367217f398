"""Normalise Django's Storage API: validate names and modes, unify errors across backends."""

from __future__ import annotations

import errno
import io
import os
import posixpath
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.files import File
from django.core.files.storage import Storage
from django.utils.deconstruct import deconstructible

from ..exceptions import InvalidName
from ..layout import Layout
from ..names import validate_storage_name
from .content import as_binary, rereadable, seekable
from .free_names import first_free
from .protocols import hier_layout, stored_name
from .reader import READ_MODES, Reader
from .spool import MEMORY
from .view_urls import stored_url

# Bounds the loop if get_alternative_name() keeps returning names that are taken.
ALTERNATIVE_NAMES = 100

_WRITE_MODES = {"wb", "w", "wt"}


def _with_slashes(name: Any) -> Any:
    # Other types are left to be rejected: str(None) would be a valid name.
    if isinstance(name, os.PathLike):
        name = os.fspath(name)
    return name.replace("\\", "/") if isinstance(name, str) else name


@deconstructible
class StorageContract(Storage):
    """Implement Django's Storage API on top of the storage that it is mixed into.

    Validates each name and mode, and raises the same exceptions for every backend.
    """

    _constructor_args: tuple[tuple[Any, ...], dict[str, Any]]  # set by the decorator

    @property
    def layout(self) -> Layout:
        """The layout of the keys."""
        return hier_layout(None)

    def _create(self, name: str, content: File[Any]) -> str:
        """Create the file and return its name; FileExistsError if the name is taken.

        The default checks first and then creates, as Django does. Override it for a backend that
        can create atomically.
        """
        if super().exists(name):
            raise FileExistsError(f"{name!r} is taken.")
        with seekable(content) as file:
            stored: str = self._save(name, file)  # type: ignore[attr-defined]  # the backend's
        return stored

    def _create_first(self, names: Iterable[str], content: File[Any]) -> str:
        """Create the file under the first name that is free, and return that name."""
        if type(self)._create is StorageContract._create:
            return first_free(names, lambda name: self._create(name, content))
        # An overridden _create() may find the name taken after it has read the content.
        with rereadable(content, MEMORY) as source:

            def create(name: str) -> str:
                with suppress(AttributeError, io.UnsupportedOperation):  # as in File.chunks()
                    source.seek(0)
                return self._create(name, source)

            return first_free(names, create)

    def open(self, name: str, mode: str = "rb") -> Any:
        """Open a file: ``rb`` reads; ``wb`` replaces an ordinary name on a clean ``close()``.

        ``r``, ``rt``, ``w`` and ``wt`` do so as UTF-8 text. Raises ValueError for other modes and
        for writing to a key, InvalidName, FileNotFoundError.
        """
        name = validate_storage_name(name)
        if mode in _WRITE_MODES:
            if self.is_key(name):
                raise ValueError(
                    f"Cannot open the delivery key {name!r} with mode {mode!r}: write it with "
                    "write_open() or save()."
                )
            return self._open_to_write(name, mode)
        if mode not in READ_MODES:
            raise ValueError(f"Cannot open {name!r} with mode {mode!r}: use 'rb' or 'wb'.")
        with self._missing_is_reported(name):
            file = super().open(name, mode)
            if mode == "rb" or isinstance(file.read(0), str):
                return file
            return Reader(self, name, as_binary(file, closing=True), mode)

    def _open_to_write(self, name: str, mode: str) -> Any:
        return super().open(name, mode)

    def save(self, name: str | None, content: Any, max_length: int | None = None) -> str:
        """Create a file and return its name: the given one, or an alternative if that is taken.

        The name has at most ``max_length`` characters. ``content`` is read from its beginning and
        left open. Raises InvalidName, and the exceptions of the content and of the backend; no
        file exists then.
        """
        if name is None:
            name = content.name
        if not hasattr(content, "chunks"):
            content = File(content, name)
        # Validated before a byte is read or written.
        name = validate_storage_name(_with_slashes(name))
        return validate_storage_name(
            self._create_first(self._candidates(name, max_length), content)
        )

    def _candidates(
        self, name: str, max_length: int | None = None, *, fresh: bool = False
    ) -> Iterator[str]:
        """Yield the name (unless ``fresh``), then alternatives of it."""
        name = validate_storage_name(name)
        if not fresh and (max_length is None or len(name) <= max_length):
            yield name
        folder, leaf = posixpath.split(name)
        root, extension = posixpath.splitext(leaf)
        for _ in range(ALTERNATIVE_NAMES):
            # Overridable, so its result is validated like the name itself.
            leaf = self.get_alternative_name(root, extension)
            excess = len(posixpath.join(folder, leaf)) - (max_length or 0)
            if max_length is not None and excess > 0:
                root = root[:-excess]
                if not root:
                    raise InvalidName(
                        f"Cannot shorten {name!r} to {max_length} characters: give the field a "
                        "larger max_length."
                    )
                leaf = self.get_alternative_name(root, extension)
            yield validate_storage_name(posixpath.join(folder, leaf))
        raise FileExistsError(f"{name!r} and {ALTERNATIVE_NAMES} alternative names are taken.")

    def exists(self, name: Any) -> bool:
        """Return whether there is a file of this name, or the content of this FileMeta."""
        if hasattr(name, "key_ids"):
            name = stored_name(name)
            if name is None:
                return False
        name = validate_storage_name(name)
        return super().exists(name) and not self._is_folder(name)

    def _is_folder(self, name: str) -> bool:
        """Return whether the name is that of a folder, for which some backends' exists() is True.

        Override it if the backend has no folders; the default may list the folder.
        """
        try:
            if os.path.isdir(self.path(name)):
                return True
        except NotImplementedError:
            pass
        try:
            if super().listdir(name) == ([], []):
                return False
            # In an object store a name may be both; then it is among the files.
            folder, leaf = posixpath.split(name)
            return leaf not in super().listdir(folder)[1]
        except OSError:
            return False

    def delete(self, name: str) -> None:
        """Remove the file now; missing files and folders are ignored."""
        name = validate_storage_name(name)
        if not self._is_folder(name):
            super().delete(name)

    def size(self, name: str) -> int:
        """Return the size in bytes; FileNotFoundError if there is no file."""
        with self._missing_is_reported(validate_storage_name(name)):
            return super().size(name)

    @property
    def has_own_url(self) -> bool:
        """Whether the backend has URLs of files. If not, ``url()`` is that of a view.

        Override it for a backend whose files may be private.
        """
        return True

    def url(self, name: str | None) -> str:
        """Return the file's URL; NoURL, which is a ValueError, if it has none.

        If the backend has none, it is that of the view of ``devilry_storage.urls``, which serves
        the files of a site's own fields to users who may see their rows.
        """
        name = name and validate_storage_name(name)
        if name and not self.has_own_url:
            return stored_url(self, name)
        return super().url(name)

    def path(self, name: str) -> str:
        """Return the file's path if the store is on disk; ``""`` is the top."""
        # Django's InMemoryStorage calls path() with its own location when it is created.
        own = getattr(self, "_location", None) or settings.MEDIA_ROOT
        if name and name != own:
            validate_storage_name(name)
        return super().path(name)

    def listdir(self, path: str) -> tuple[list[str], list[str]]:
        """Return (folders, files) of a folder (``""``: the top); ``([], [])`` if it is missing."""
        try:
            return super().listdir(validate_storage_name(path) if path else "")
        # FileExistsError: InMemoryStorage, if the name is that of a file.
        except (FileNotFoundError, NotADirectoryError, FileExistsError):
            return [], []

    def get_accessed_time(self, name: str) -> datetime:
        with self._missing_is_reported(validate_storage_name(name)):
            return super().get_accessed_time(name)

    def get_created_time(self, name: str) -> datetime:
        with self._missing_is_reported(validate_storage_name(name)):
            return super().get_created_time(name)

    def get_modified_time(self, name: str) -> datetime:
        with self._missing_is_reported(validate_storage_name(name)):
            return super().get_modified_time(name)

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        """Return a free name; a backend's own method may return a taken one to overwrite it."""
        return Storage.get_available_name(self, name, max_length)

    @contextmanager
    def _missing_is_reported(self, name: str) -> Iterator[None]:
        """Raise FileNotFoundError for the backend's own exception if the file is missing."""
        try:
            yield
        except (OSError, NotImplementedError):
            raise
        # Backends have exceptions of their own, so look whether the file is missing.
        except Exception as exception:
            if super().exists(name):
                raise
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name) from exception

    def is_key(self, name: str) -> bool:
        """Return whether the name is a key of the layout, or an alternative of one."""
        try:
            self.layout.parse(name)
        except ValueError:
            return False
        return True
