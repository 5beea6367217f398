"""The delivery stores on disk."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from copy import copy
from datetime import datetime, timezone
from functools import partial
from typing import Any, Generic, TypeVar
from urllib.parse import urljoin

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.files import File
from django.core.files.storage import FileSystemStorage
from django.utils.functional import Promise

from .._compat import batched
from ..conf import conf
from ..exceptions import InvalidName, UnsafeEntry
from ..layout import FlatLayout, Layout
from ..names import validate_storage_name
from ._django import named
from .base import DeliveryStoreMixin
from .chunks import CHUNK_SIZE, read_chunks
from .free_names import first_free
from .options import validate_options
from .own import TreeObjects, is_expected
from .pools import Pool
from .protocols import Entry, Page
from .reader import Reader
from .received import Received
from .staged import Staged
from .tree import Removal, Tree, closing, split
from .writer import Writer

# Number of threads that remove files, as they mostly wait for the disk; the fewest files for one
# of them; and the number of names that are in memory.
_REMOVERS, _FEWEST_REMOVED, _REMOVED_AT_ONCE = 8, 10, 1000

# Files up to this size in bytes may be read at once.
_WHOLE = 1024 * 1024

_Storage = TypeVar("_Storage", bound="_TreeStorage")
Value = TypeVar("Value")


def _folders(path: str) -> list[str]:
    return path.split("/") if path else []


class _Computed(Generic[Value]):
    """A property that is computed at each access, until a value is assigned to it.

    FileSystemStorage caches its values, so it misses changed settings. Both can be assigned.
    """

    def __init__(self, compute: Callable[[Any], Value]) -> None:
        self._compute = compute
        self.__doc__ = compute.__doc__

    # Not a data descriptor: an assigned value is in the instance's dictionary, and is found first.
    def __get__(self, instance: Any, owner: type) -> Value:
        return self if instance is None else self._compute(instance)  # type: ignore[return-value]


class _TreeStorage(FileSystemStorage):
    """Django's Storage API on a :class:`Tree`, for validated names."""

    durable: bool | None
    _fixed_tree: Tree | None = None
    # Attributes of FileSystemStorage that are missing in the stubs.
    _location: str | os.PathLike[str] | None
    _base_url: str | Promise | None

    @_Computed
    def base_location(self) -> str:
        """The folder of the store; ImproperlyConfigured if none is configured."""
        return os.fspath(self._required(self._location or self._default_location()))

    def _required(self, location: str | os.PathLike[str] | None) -> str | os.PathLike[str]:
        if not location:
            raise ImproperlyConfigured(
                f"{type(self).__name__} has no location: give it the option 'location', or set "
                "DELIVERY_STORE_ROOT to a folder outside of MEDIA_ROOT."
            )
        return location

    def _default_location(self) -> str | os.PathLike[str] | None:
        return conf.delivery_store_root or settings.MEDIA_ROOT

    @_Computed
    def location(self) -> str:
        """The absolute path of the folder; StaticFilesStorage without STATIC_ROOT sets None."""
        return os.path.abspath(self.base_location)

    @_Computed
    def base_url(self) -> str | None:  # type: ignore[override]  # may be None in Django, too
        """The option, else the URL of a location in MEDIA_ROOT, else None."""
        if self._base_url is not None:
            url = str(self._base_url)  # may be lazy
            return url if url.endswith("/") else f"{url}/"
        media = os.fspath(settings.MEDIA_ROOT)
        if not media or not settings.MEDIA_URL:
            return None
        relative = os.path.relpath(self.location, os.path.abspath(media))
        if relative == os.curdir:
            return settings.MEDIA_URL
        if relative.split(os.sep)[0] == os.pardir:
            return None
        return urljoin(settings.MEDIA_URL, f"{relative}/")

    @property
    def _tree(self) -> Tree:
        return self._fixed_tree or Tree(
            # A subclass's property may be relative, or end in a slash.
            os.path.abspath(self._required(self.location)),
            self.file_permissions_mode,
            self.directory_permissions_mode,
            durable=bool(self.durable),
        )

    def _at(self: _Storage, tree: Tree) -> _Storage:
        """Return a copy of the storage that keeps this tree."""
        storage = copy(self)
        storage._fixed_tree = tree
        return storage

    def _open(self, name: str, mode: str = "rb") -> File[Any]:
        tree = self._tree
        return Reader(self._at(tree), name, tree.open(name), mode)

    def exists(self, name: str) -> bool:
        try:
            self._tree.stat(name)
        except (FileNotFoundError, UnsafeEntry):
            return False
        return True

    def size(self, name: str) -> int:
        return self._tree.stat(name).st_size

    def get_accessed_time(self, name: str) -> datetime:
        return self._time(self._tree.stat(name).st_atime)

    def get_created_time(self, name: str) -> datetime:
        return self._time(self._tree.stat(name).st_ctime)

    def get_modified_time(self, name: str) -> datetime:
        return self._time(self._tree.stat(name).st_mtime)

    def _time(self, timestamp: float) -> datetime:
        time: datetime = self._datetime_from_timestamp(timestamp)  # type: ignore[attr-defined]
        return time

    def listdir(self, path: str) -> tuple[list[str], list[str]]:
        return self._tree.listdir(_folders(path))


class _FolderReader:
    """Reads files one after another; the folder of the last one stays open for the next."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._folders: list[str] | None = None
        self._fd = -1

    def stream(self, name: str) -> Iterator[bytes]:
        fd, status = self._open(*split(validate_storage_name(name)), name)
        with closing(fd):
            left = status.st_size
            size = left if 0 < left <= _WHOLE else CHUNK_SIZE
            while chunk := os.read(fd, size):
                yield chunk
                left -= len(chunk)
                if left == 0:
                    return  # without another read, which would find the end

    def _open(self, folders: list[str], leaf: str, name: str) -> tuple[int, os.stat_result]:
        if folders == self._folders:
            # The folder may have been removed and made again.
            with suppress(FileNotFoundError):
                return self._tree.open_in(self._fd, leaf, name)
        self.close()
        self._fd = self._tree.enter_to_read(folders, name)
        self._folders = folders
        return self._tree.open_in(self._fd, leaf, name)

    def close(self) -> None:
        if self._folders is not None:
            self._folders = None
            os.close(self._fd)


class _DiskStore(DeliveryStoreMixin, _TreeStorage):
    """Base class of the stores on disk."""

    atomic_create = True
    whole_or_absent = True
    durable = True
    confined = True
    bounded_memory = True
    atomic_copy = True

    size_costs_request = False

    def __init__(  # noqa: PLR0913  # FileSystemStorage's arguments and the own ones
        self,
        location: str | os.PathLike[str] | None = None,
        base_url: str | Promise | None = None,
        file_permissions_mode: int | None = None,
        directory_permissions_mode: int | None = None,
        allow_overwrite: bool = False,
        *,
        durable: bool = True,
        identity: bool = True,
        **unknown: Any,
    ) -> None:
        given: dict[str, Any] = {
            "location": location,
            "base_url": base_url,
            "file_permissions_mode": file_permissions_mode,
            "directory_permissions_mode": directory_permissions_mode,
        }
        own = {"allow_overwrite": allow_overwrite, "durable": durable, "identity": identity}
        validate_options(self, unknown, **given, **own)
        super().__init__(**given)
        self.durable = durable
        self.identity = identity

    def with_fixed_location(self) -> _DiskStore:
        return self._at(self._tree)

    def _save(self, name: str, content: File[Any]) -> str:
        return self._create_first(self._candidates(name), content)

    def _create_first(self, names: Iterable[str], content: File[Any]) -> str:
        staged = self._sink()
        try:
            if not isinstance(content, Received) or content.move_to(staged) is None:
                for chunk in read_chunks(content):
                    staged.write(chunk)
            return first_free(names, staged.create)
        finally:
            staged.discard()

    def _sink(self, filename: str = "") -> Staged:
        if sys.platform == "win32":
            raise NotImplementedError(
                f"{type(self).__name__} needs openat() and link(), which Windows does not have: "
                "keep the files in an object store there."
            )
        tree = self._tree
        return Staged(tree, create=not is_expected(tree.root))

    @property
    def own_objects(self) -> TreeObjects | None:
        return TreeObjects(self._tree) if self.identity else None

    def _open_to_write(self, name: str, mode: str) -> Writer:
        sink = self._sink()
        return Writer(sink, name, lambda writer: sink.replace(name), mode)

    def _is_folder(self, name: str) -> bool:
        return False  # exists() is False for folders

    def duplicate(
        self, name: str, key: str, *, filename: str = "", size: int | None = None, sha256: str = ""
    ) -> str:
        """Give the file a second name, an alternative of ``key``, by a hard link."""
        link = partial(self._tree.link, validate_storage_name(name))
        return first_free(self._candidates(key, fresh=True), link)

    def delete(self, name: str) -> None:
        removal = self._removal(name, None)
        for exception in self._tree.remove([removal]).values():
            raise exception

    def _removal(self, name: str, size: int | None) -> Removal:
        name = named(name)
        return Removal(name, size, prune=self.is_key(name))

    def delete_many(
        self, names: Iterable[str], *, sizes: Mapping[str, int] | None = None
    ) -> dict[str, Exception]:
        failures: dict[str, Exception] = {}
        for batch in batched(names, _REMOVED_AT_ONCE):
            removals = []
            for name in batch:
                try:
                    removals.append(self._removal(name, (sizes or {}).get(name)))
                except InvalidName as exception:
                    failures[name] = exception
            removals.sort(key=lambda removal: split(removal.name))
            # Neighbours, which share fsyncs, in one thread.
            size = max(_FEWEST_REMOVED, -(-len(removals) // _REMOVERS))
            parts = list(batched(removals, size))
            with Pool(len(parts) or 1) as pool:
                for failed in [pool.submit(self._tree.remove, part) for part in parts]:
                    failures.update(failed.result())
        return failures

    def _scan(self, prefix: str) -> Iterator[Entry]:
        # As in _time(), but the setting is read once.
        zone = timezone.utc if settings.USE_TZ else None
        for name, status in self._tree.scan(_folders(prefix)):
            yield Entry(name, status.st_size, datetime.fromtimestamp(status.st_mtime, zone))

    def _page(self, folder: str, after: str, limit: int) -> Page:
        inner, files, following = self._tree.page(_folders(folder), after, limit)
        above = f"{folder}/" if folder else ""
        entries = [
            Entry(above + name, status.st_size, self._time(status.st_mtime))
            for name, status in files
        ]
        return Page([above + name for name in inner], entries, following)

    @contextmanager
    def streams(self) -> Iterator[Callable[[str], Iterator[bytes]]]:
        reader = _FolderReader(self._tree)
        # A subclass may store other bytes than it returns.
        is_plain = all(
            getattr(getattr(self, method), "__func__", None) is getattr(_DiskStore, method)
            for method in ("open", "_open", "stream", "_stream")
        )
        try:
            yield reader.stream if is_plain else self.stream
        finally:
            reader.close()

    def unavailable_reason(self) -> str:
        return self._tree.unavailable_reason()

    def current_time(self) -> datetime:
        return self._time(self._tree.time())

    def location_text(self) -> str:
        return self.location

    def configuration(self) -> dict[str, Any]:
        modes = ("file_permissions_mode", "directory_permissions_mode")
        options = ("location", "base_url", *modes, "durable", "identity")
        return {option: getattr(self, option) for option in options}

    def free_space(self) -> int | None:
        try:
            return shutil.disk_usage(self.location).free
        except OSError:
            return None  # not made yet, or not mounted

    def remove_stale_uploads(self, before: datetime, *, dry_run: bool = False) -> Iterator[str]:
        return self._tree.stale_temps(before.timestamp(), remove=not dry_run)

    @property
    def has_own_url(self) -> bool:
        return self.base_url is not None

    def public_url(self, name: str) -> str:
        return self.url(name) if self.has_own_url else ""


class FsDeliveryStore(_DiskStore):
    """Store files on disk as ``<delivery>/<filemeta>``, Devilry's older layout.

    Options:

    ``location`` (str or path)
        the folder; the default is ``DELIVERY_STORE_ROOT``, else ``MEDIA_ROOT``.
    ``base_url`` (str, may be lazy)
        the URL at which the folder is public; the default is its URL below ``MEDIA_URL`` if it is
        in ``MEDIA_ROOT``, else None.
    ``file_permissions_mode``, ``directory_permissions_mode`` (int)
        as in Django's ``FileSystemStorage``; 0o640 and 0o750 are recommended.
    ``allow_overwrite`` (False)
        accepted, because it is what the store does; True is refused.
    ``durable`` (bool, default True)
        fsync before ``save()`` returns; False only for data that may be lost in a power cut.
    ``identity`` (bool, default True)
        keep a mark in the store by which sites recognise it.

    Raises ImproperlyConfigured for an unknown option or an invalid value.
    """

    @property
    def layout(self) -> Layout:
        return FlatLayout()


class FsHierDeliveryStore(_DiskStore):
    """Store files on disk as ``<d // i²>/<d % i² // i>/<d>/<f>``; recommended.

    Options are those of :class:`FsDeliveryStore`, and

    ``interval`` (int, at least 2)
        the number of folders on a level; the default is ``DEVILRY_FSHIERDELIVERYSTORE_INTERVAL``,
        else 1000.

    The default of ``location`` is ``DEVILRY_FSHIERDELIVERYSTORE_ROOT``, else as in
    :class:`FsDeliveryStore`.
    """

    def __init__(self, *args: Any, interval: int | None = None, **options: Any) -> None:
        validate_options(self, {}, interval=interval)
        self._interval = interval
        super().__init__(*args, **options)

    def configuration(self) -> dict[str, Any]:
        return {**super().configuration(), "interval": self._interval}

    def _default_location(self) -> str | os.PathLike[str] | None:
        return conf.fshierdeliverystore_root or super()._default_location()
