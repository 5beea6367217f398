"""Normalise Django's Storage API: validate names and modes, unify errors across backends."""

from __future__ import annotations

import errno
import io
import os
import posixpath
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any, TypeVar

from django.conf import settings
from django.core.files import File
from django.core.files.storage import FileSystemStorage, Storage
from django.utils.deconstruct import deconstructible

from ..conf import conf
from ..exceptions import InvalidName
from ..layout import HierLayout, Layout
from ..names import validate_storage_name
from .content import rereadable, seekable
from .free_names import ALTERNATIVE_NAMES, alternative_names, at_most, first_free
from .protocols import stored_name
from .reader import READ_MODES, Reader
from .view_urls import stored_url

_Store = TypeVar("_Store", bound="StorageContract")

_WRITE_MODES = {"wb", "w", "wt"}


def _as_text(name: Any) -> Any:
    # Other types are left to be rejected: str(None) would be a valid name.
    return os.fspath(name) if isinstance(name, os.PathLike) else name


def _with_slashes(name: Any) -> Any:
    name = _as_text(name)
    return name.replace("\\", "/") if isinstance(name, str) else name


def _without_slash(name: Any) -> Any:
    return name.removesuffix("/") if isinstance(name, str) else name


def named(name: Any) -> str:
    """Validate the name of a file that is to be deleted."""
    if not name:
        raise InvalidName("The name must be given to delete().")
    return validate_storage_name(name)


@deconstructible
class StorageContract(Storage):
    """Implement Django's Storage API on top of the storage that it is mixed into.

    Validates each name and mode, and raises the same exceptions for every backend.
    """

    _constructor_args: tuple[tuple[Any, ...], dict[str, Any]]  # set by the decorator

    _interval: int | None = None  # of the layout; None for that of the settings

    @property
    def layout(self) -> Layout:
        """The layout of the keys."""
        interval = self._interval
        return HierLayout(conf.fshierdeliverystore_interval if interval is None else interval)

    def with_fixed_location(self: _Store) -> _Store:
        """Return this store, or a copy of it that keeps its current location.

        Saves, files that are open, and threads that work for a call use the copy. Override it if
        the location of the store follows the current tenant.
        """
        return self

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
        with rereadable(content) as source:

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
        with self._existing(name):
            file = super().open(name, mode)
            if mode == "rb" or isinstance(file.read(0), str):
                return file
            return Reader(self, name, file, mode)

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
        # The content may change the tenant while it is read.
        store = self.with_fixed_location()
        with at_most(max_length):
            if store._overrides_save():
                name = store._save(  # type: ignore[attr-defined]  # the subclass's
                    store.get_available_name(name, max_length=max_length), content
                )
            else:
                name = store._create_first(store._names(name, max_length), content)
        return validate_storage_name(name)

    def _overrides_save(self) -> bool:
        """Return whether a subclass overrides ``_save()`` of a store that creates files itself."""
        classes = type(self).__mro__
        creating = next(cls for cls in classes if {"_create", "_create_first"} & vars(cls).keys())
        if creating is StorageContract:
            return False  # its _create() calls _save()
        return any("_save" in vars(cls) for cls in classes[: classes.index(creating)])

    def _overrides(self, method: str) -> bool:
        """Return whether a subclass or a mixin overrides a method of Django's storages.

        A class after this one that has ``exists()`` is a backend, which is not asked.
        """
        if method in vars(self):
            return True
        is_subclass = True
        for cls in type(self).__mro__:
            if cls is StorageContract:
                is_subclass = False
            elif method in vars(cls):
                return is_subclass or "exists" not in vars(cls)
        return False

    def _names(self, name: str, max_length: int | None) -> Iterator[str]:
        """Yield the names that ``save()`` tries: first those of an overridden method of Django's.

        A name that such a method returns may be taken, and is never overwritten. Then alternatives
        of the last one follow.
        """
        chosen: set[str] = set()
        if self._overrides("get_available_name") or self._overrides("is_name_available"):
            while len(chosen) < ALTERNATIVE_NAMES:
                found = self.get_available_name(name, max_length=max_length)
                found = validate_storage_name(_with_slashes(found))
                if found in chosen:
                    break
                chosen.add(found)
                yield found
            name = found
        yield from self._candidates(name, max_length, fresh=bool(chosen))

    def _candidates(
        self, name: str, max_length: int | None = None, *, fresh: bool = False
    ) -> Iterator[str]:
        """Yield the name (unless ``fresh``), then alternatives of it."""
        name = validate_storage_name(name)
        if not fresh and not (max_length and len(name) > max_length):
            yield name
        yield from alternative_names(name, max_length, self.get_alternative_name)

    def exists(self, name: Any) -> bool:
        """Return whether there is a file of this name, or the content of this FileMeta.

        Folders are not files, so this returns False for them. It returns True for the top, which
        ``collectstatic`` asks for.
        """
        if hasattr(name, "key_ids"):
            name = stored_name(name)
            if name is None:
                return False
        if self._is_top(name):
            return True
        name = validate_storage_name(name)
        return super().exists(name) and not self._is_folder(name)

    def _is_top(self, path: Any) -> bool:
        """Return whether the path is ``""``, ``Path("")`` or the store's location."""
        if isinstance(path, os.PathLike):
            path = os.fspath(path)
            if path == os.curdir:  # Path(""); the text "." is not a valid name
                return True
        if isinstance(self, FileSystemStorage) and isinstance(path, str) and os.path.isabs(path):
            return path == self.location
        return bool(path == "")

    def _folder(self, path: Any) -> str:
        """Return the name of a folder, ``""`` for the top; a slash may follow it."""
        if self._is_top(path):
            return ""
        return validate_storage_name(_without_slash(_as_text(path)))

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
        name = named(name)
        if not self._is_folder(name):
            super().delete(name)

    def size(self, name: str) -> int:
        """Return the size in bytes; FileNotFoundError if there is no file."""
        with self._existing(name) as existing:
            return super().size(existing)

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
        if name:
            name = _as_text(name)
            validate_storage_name(_without_slash(name))
            if not self.has_own_url:
                return stored_url(self, validate_storage_name(name))
        return super().url(name)

    def path(self, name: str) -> str:
        """Return the file's path if the store is on disk; ``""`` is the top."""
        # Django's InMemoryStorage calls path() with its own location when it is created.
        own = getattr(self, "_location", None) or settings.MEDIA_ROOT
        return super().path(name if name == own else self._folder(name))

    def listdir(self, path: str) -> tuple[list[str], list[str]]:
        """Return (folders, files) of a folder (``""``: the top); ``([], [])`` if it is missing."""
        try:
            return super().listdir(self._folder(path))
        # FileExistsError: InMemoryStorage, if the name is that of a file.
        except (FileNotFoundError, NotADirectoryError, FileExistsError):
            return [], []

    def get_accessed_time(self, name: str) -> datetime:
        with self._existing(name) as existing:
            return super().get_accessed_time(existing)

    def get_created_time(self, name: str) -> datetime:
        with self._existing(name) as existing:
            return super().get_created_time(existing)

    def get_modified_time(self, name: str) -> datetime:
        with self._existing(name) as existing:
            return super().get_modified_time(existing)

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        """Return a free name: the backend's choice, unless it is taken, which would overwrite."""
        found = super().get_available_name(name, max_length)
        return Storage.get_available_name(self, name, max_length) if self.exists(found) else found

    @contextmanager
    def _existing(self, name: str) -> Iterator[str]:
        """Give the validated name; raise FileNotFoundError if the backend reports it otherwise."""
        name = validate_storage_name(name)
        try:
            yield name
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
