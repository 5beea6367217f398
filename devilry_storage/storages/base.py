"""The mixin that makes a delivery store of a Django storage."""

from __future__ import annotations

import errno
import os
import posixpath
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

from django.conf import settings
from django.core.files import File
from django.core.files.storage import Storage

from ..conf import conf
from ..exceptions import DeliveryFileNotFound, InvalidName
from ..layout import HierLayout, Layout
from ..names import validate_storage_name
from .adapting import as_text, seekable
from .files import CHUNK_SIZE, Sink, SpoolSink, Writer, verified

# A store whose get_alternative_name() keeps naming the same taken name would loop forever.
ALTERNATIVE_NAMES = 100

_READ_MODES = {"rb", "r", "rt"}
_WRITE_MODES = {"wb", "w", "wt"}


#: What a store says of itself; see :class:`DeliveryStoreMixin`.
FLAGS = (
    "atomic_create",
    "whole_or_absent",
    "durable",
    "confined",
    "lazy_read",
    "conditional_copy",
)


class Entry(NamedTuple):
    """What a listing tells of one stored file: size in bytes, time as ``get_modified_time``."""

    name: str
    size: int
    modified: datetime


class Finding(NamedTuple):
    """What a store found out about the place of its bytes: a sentence, and whether it is so.

    ``remedy`` says what to do about it, empty where nothing depends on it.
    """

    sentence: str
    holds: bool
    remedy: str = ""


#: Stands for the value of an option that is nobody's business.
SET = "set"


class FileMetaLike(Protocol):
    """All that a store asks of the record whose bytes it keeps.

    It may also have ``is_buried(name)``, which tells of a free name that it is not to be used,
    because a tombstone has it: the first content of the record then gets an alternative name;
    ``filename``, by which a store that serves files knows their type; and ``size`` (bytes) and
    ``sha256`` (hexadecimal) of its content, with which that is copied without being read.
    """

    @property
    def content(self) -> Any:
        """The stored name, or an object with a ``name``; false where there is none."""

    def key_ids(self) -> tuple[Any, Any]:
        """Return (delivery id, filemeta id)."""

    def record_stored(self, name: str, size: int, sha256: str) -> None:
        """Record that bytes lie under the name: size in bytes, SHA-256 in hexadecimal.

        Raises FileExistsError where the name is spoken for; the store then takes another.
        """

    def record_removed(self) -> None:
        """Record that there is no content any more."""


@lru_cache
def _hier_layout(interval: int) -> HierLayout:
    return HierLayout(interval)


def hier_layout(interval: int | None) -> HierLayout:
    """Return the layout of a hierarchical store with this option ``interval``."""
    return _hier_layout(conf.fshierdeliverystore_interval if interval is None else interval)


def stored_name(filemeta: FileMetaLike) -> str | None:
    """Return the name under which the record says that its bytes lie."""
    content = filemeta.content
    if not content or not getattr(content, "_committed", True):
        return None
    return str(getattr(content, "name", content))


def checked_ids(filemeta: FileMetaLike) -> tuple[Any, Any]:
    """Return the record's ids; ValueError where it has none yet."""
    ids = filemeta.key_ids()
    if None in ids:
        raise ValueError(
            f"{filemeta!r} has no ids yet {ids!r}: save it (and its delivery) before its bytes."
        )
    return ids


def _with_slashes(name: Any) -> Any:
    # What is no text stays what it is, to be refused: str(None) would be a name.
    if isinstance(name, os.PathLike):
        name = os.fspath(name)
    return name.replace("\\", "/") if isinstance(name, str) else name


class DeliveryStoreMixin(Storage):
    """Mix into a Django storage, before it, to make it a delivery store::

        class MyDeliveryStore(DeliveryStoreMixin, SomeStorage):
            atomic_create = False

    The flags say what the store can do. None, as here, means that nobody has said; the conformance
    suite then demands it, and the system checks count it as False.
    """

    #: Of any number of writers of one name exactly one gets it.
    atomic_create: bool | None = None
    #: A name shows all of its bytes or does not exist, whatever happens to the writer.
    whole_or_absent: bool | None = None
    #: What was acknowledged survives a power cut.
    durable: bool | None = None
    #: Nothing planted in the store leads out of it.
    confined: bool | None = None
    #: Opening and streaming hold only a part of the file in memory.
    lazy_read: bool | None = None
    #: ``copy`` creates, too, as atomically as ``save``.
    conditional_copy: bool | None = None

    #: So many files are removed at a time, while their tombstones are locked.
    removal_batch = 100

    # -- What a store may override --

    @property
    def layout(self) -> Layout:
        """The layout of the keys."""
        return hier_layout(None)

    def _create(self, name: str, content: File[Any]) -> str:
        """Create the file and return its name, or raise FileExistsError if the name is taken.

        Override it where the backend can do so atomically; this is check-then-act, as in Django.
        """
        if super().exists(name):
            raise FileExistsError(f"{name!r} is taken.")
        with seekable(content) as file:
            stored: str = self._save(name, file)  # type: ignore[attr-defined]  # the backend's
        return stored

    def _create_first(self, names: Iterable[str], content: File[Any]) -> str:
        """Create the file under the first free one of the names and return that name."""
        for name in names:
            try:
                return self._create(name, content)
            except FileExistsError:
                continue
        raise FileExistsError("No name was free.")

    def _sink(self, filename: str = "") -> Sink:
        """Return a place where the bytes of a writer wait until they are published.

        ``filename`` is the user's, empty where it is not known.
        """
        return SpoolSink(self, filename)

    def absence(self) -> str:
        """Return why the place of the bytes seems not to be there, or ``""`` if it is.

        Asked before anything is removed for good: an unmounted disk or a wrong bucket looks like
        a store without files.
        """
        if self.listdir("") == ([], []):
            return "the store is empty"
        return ""

    def remove_stale_uploads(self, before: datetime, *, dry_run: bool = False) -> list[str]:
        """Remove what writers that died left unpublished before that time; return its names."""
        return []

    def place(self) -> str:
        """Return in words where the bytes lie."""
        return "unknown"

    def configuration(self) -> dict[str, Any]:
        """Return the options in force; the value of one that may be a secret is ``SET``.

        Override it to show those of a store of your own that are none.
        """
        deconstruct = getattr(self, "deconstruct", None)
        return {} if deconstruct is None else dict.fromkeys(deconstruct()[2], SET)

    def free_space(self) -> int | None:
        """Return how many bytes there is room for, None where nobody can say."""
        return None

    def probe(self) -> Iterator[Finding]:
        """Try what the promises of the store rest on; this may send requests, and write."""
        yield from ()

    def public_url(self, name: str) -> str:
        """Return a URL at which anybody may read the file, ``""`` where there is none."""
        return ""

    # -- Django's contract --

    def open(self, name: str, mode: str = "rb") -> Any:
        """Open a file: ``rb`` reads; ``wb`` replaces an ordinary name on a clean ``close()``.

        ``r``, ``rt``, ``w`` and ``wt`` do so as text, for ordinary names. Raises ValueError for
        other modes and for writing to a key, InvalidName, FileNotFoundError.
        """
        name = validate_storage_name(name)
        if mode not in _READ_MODES | _WRITE_MODES:
            raise ValueError(f"Mode {mode!r} is not supported for {name!r}: use 'rb' or 'wb'.")
        if mode != "rb" and self.is_key(name):
            raise ValueError(
                f"{name!r} is a delivery key and cannot be opened with mode {mode!r}: read it "
                "with 'rb', write it with write_open() or save()."
            )
        if mode in _WRITE_MODES:
            return self._open_to_write(name, mode)
        with self._missing_is_told(name):
            file = super().open(name, mode)
            return file if mode == "rb" else as_text(file)

    def _open_to_write(self, name: str, mode: str) -> Any:
        return super().open(name, mode)

    def save(self, name: str | None, content: Any, max_length: int | None = None) -> str:
        """Create a file and return its name: the given one, or if that is taken an alternative.

        At most ``max_length`` characters. ``content`` is read from its beginning and left open.
        Raises InvalidName, and whatever the content or the backend raises; then there is no file.
        """
        if name is None:
            name = content.name
        if not hasattr(content, "chunks"):
            content = File(content, name)
        # Judged before a byte is read or written: a refused name leaves no trace.
        name = validate_storage_name(_with_slashes(name))
        return validate_storage_name(
            self._create_first(self._candidates(name, max_length), content)
        )

    def _candidates(
        self, name: str, max_length: int | None = None, *, fresh: bool = False
    ) -> Iterator[str]:
        """Yield the name (unless a fresh one is wanted), then alternatives of it."""
        name = validate_storage_name(name)
        if not fresh and (max_length is None or len(name) <= max_length):
            yield name
        folder, leaf = posixpath.split(name)
        root, extension = posixpath.splitext(leaf)
        for _ in range(ALTERNATIVE_NAMES):
            # Overridable, so its result is as untrusted as the name itself.
            leaf = self.get_alternative_name(root, extension)
            excess = len(posixpath.join(folder, leaf)) - (max_length or 0)
            if max_length is not None and excess > 0:
                root = root[:-excess]
                if not root:
                    raise InvalidName(
                        f"{name!r} cannot be shortened to {max_length} characters: give the "
                        "field a larger max_length."
                    )
                leaf = self.get_alternative_name(root, extension)
            yield validate_storage_name(posixpath.join(folder, leaf))
        raise FileExistsError(f"{name!r} and {ALTERNATIVE_NAMES} alternative names are taken.")

    def exists(self, name: Any) -> bool:
        """Tell whether a file of that name is there; for a FileMeta: whether its bytes are."""
        if hasattr(name, "key_ids"):
            name = stored_name(name)
            if name is None:
                return False
        name = validate_storage_name(name)
        return super().exists(name) and not self._is_folder(name)

    def _is_folder(self, name: str) -> bool:
        """Tell whether what is there is a folder, which to some backends exists as a file does.

        Override it where the backend knows better; this may list the folder.
        """
        try:
            if os.path.isdir(self.path(name)):
                return True
        except NotImplementedError:
            pass
        try:
            if super().listdir(name) == ([], []):
                return False
            # To a store of objects a name may be both, and then it stands among the files.
            folder, leaf = posixpath.split(name)
            return leaf not in super().listdir(folder)[1]
        except OSError:
            return False

    def delete(self, name: str) -> None:
        """Remove the file at once; a missing one, or a folder, is none of our concern."""
        name = validate_storage_name(name)
        if not self._is_folder(name):
            super().delete(name)

    def size(self, name: str) -> int:
        """Return the size in bytes; FileNotFoundError where there is no file."""
        with self._missing_is_told(validate_storage_name(name)):
            return super().size(name)

    def url(self, name: str | None) -> str:
        """Return the file's URL; ValueError where it has none."""
        return super().url(name and validate_storage_name(name))

    def path(self, name: str) -> str:
        """Return the file's path where the store lies on a disk; ``""`` is the top."""
        # Django's InMemoryStorage, while it is made, asks for the place of its own location.
        own = getattr(self, "_location", None) or settings.MEDIA_ROOT
        if name and name != own:
            validate_storage_name(name)
        return super().path(name)

    def listdir(self, path: str) -> tuple[list[str], list[str]]:
        """Return (folders, files) of a folder, ``""`` being the top; of nothing ``([], [])``."""
        try:
            return super().listdir(validate_storage_name(path) if path else "")
        # The last is what InMemoryStorage says of a file where a folder should be.
        except (FileNotFoundError, NotADirectoryError, FileExistsError):
            return [], []

    def get_accessed_time(self, name: str) -> datetime:
        with self._missing_is_told(validate_storage_name(name)):
            return super().get_accessed_time(name)

    def get_created_time(self, name: str) -> datetime:
        with self._missing_is_told(validate_storage_name(name)):
            return super().get_created_time(name)

    def get_modified_time(self, name: str) -> datetime:
        with self._missing_is_told(validate_storage_name(name)):
            return super().get_modified_time(name)

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        """Return a free name; a backend's own may give a taken one, in order to overwrite."""
        return Storage.get_available_name(self, name, max_length)

    @contextmanager
    def _missing_is_told(self, name: str) -> Iterator[None]:
        """Make what the backend raises where there is no file a FileNotFoundError."""
        try:
            yield
        except (OSError, NotImplementedError):
            raise
        # Backends have errors of their own: whether the file is missing is asked, not guessed.
        except Exception as exception:
            if super().exists(name):
                raise
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name) from exception

    # -- Beyond Django's contract --

    def is_key(self, name: str) -> bool:
        """Tell whether the name is one that the layout makes, alternatives included."""
        try:
            self.layout.parse(name)
        except ValueError:
            return False
        return True

    def scan(self, prefix: str = "") -> Iterator[Entry]:
        """Yield the files below a folder (``""``: all), lazily, in no particular order.

        Memory is bounded by one folder. Raises InvalidName.
        """
        if prefix:
            validate_storage_name(prefix)
        return self._scan(prefix)

    def _scan(self, prefix: str) -> Iterator[Entry]:
        left = [prefix]
        while left:
            above = left.pop()
            folders, files = self.listdir(above)
            for file in files:
                name = posixpath.join(above, file)
                yield Entry(name, self.size(name), self.get_modified_time(name))
            left += [posixpath.join(above, folder) for folder in folders]

    def stream(
        self, name: str, start: int = 0, stop: int | None = None, *, sha256: str | None = None
    ) -> Iterator[bytes]:
        """Yield the bytes from ``start`` to ``stop`` (exclusive) in chunks, fetching only those.

        With ``sha256`` (hexadecimal, for the whole file only) the last chunk is withheld until
        that of the bytes agrees; else ChecksumMismatch is raised in its place.

        Lazy: the file is opened when the first chunk is asked for, and only then is a missing one
        a FileNotFoundError. Raises ValueError for a negative position, InvalidName.
        """
        name = validate_storage_name(name)
        if start < 0 or (stop is not None and stop < 0):
            raise ValueError(f"Range {start!r} to {stop!r} of {name!r}: positions start at 0.")
        if sha256 is None:
            return self._stream(name, start, stop)
        if start or stop is not None:
            raise ValueError(
                f"Range {start!r} to {stop!r} of {name!r} cannot be verified: a SHA-256 is that "
                "of the whole file."
            )
        return verified(self._stream(name, 0, None), sha256, name)

    def _stream(self, name: str, start: int, stop: int | None) -> Iterator[bytes]:
        with self.open(name) as file:
            if start:
                file.seek(start)
            left = None if stop is None else stop - start
            while left is None or left > 0:
                chunk = file.read(CHUNK_SIZE if left is None else min(CHUNK_SIZE, left))
                if not chunk:
                    return
                if left is not None:
                    left -= len(chunk)
                yield chunk

    def delete_many(self, names: Iterable[str]) -> dict[str, Exception]:
        """Remove the files at once and return what failed, and how; missing ones do not fail."""
        failures: dict[str, Exception] = {}
        for name in names:
            try:
                self.delete(name)
            # Backends fail in ways of their own; each is reported with its name.
            except Exception as exception:  # noqa: BLE001  # see above
                failures[name] = exception
        return failures

    # -- The interface of the original's DeliveryStoreInterface --

    def read_open(self, filemeta: FileMetaLike) -> File[bytes]:
        """Open the file's bytes to read; FileNotFoundError where there are none."""
        with self._found(filemeta) as name:
            file: File[bytes] = self.open(name)
            return file

    def write_open(self, filemeta: FileMetaLike) -> Writer:
        """Return a writer whose clean ``close()`` stores the bytes and records them in the row.

        Where there is content already, the new one gets a fresh name. Raises ValueError for an
        unsaved FileMeta.
        """
        key = self.layout.key(*checked_ids(filemeta))
        sink = self._sink(getattr(filemeta, "filename", ""))

        def publish(writer: Writer) -> None:
            sha256 = writer.sha256
            self._record_first(
                filemeta, key, lambda name: sink.create([name], sha256), writer.size, sha256
            )

        return Writer(sink, key, publish)

    def _record_first(
        self,
        filemeta: FileMetaLike,
        key: str,
        create: Callable[[str], str],
        size: int,
        sha256: str,
    ) -> None:
        """Create a file under the first name that is free, and that the record accepts."""
        is_buried = getattr(filemeta, "is_buried", None)
        used = stored_name(filemeta) is not None or (is_buried is not None and is_buried(key))
        for candidate in self._candidates(key, fresh=used):
            try:
                name = create(candidate)
                filemeta.record_stored(name, size, sha256)
            except FileExistsError:
                continue
            return

    def remove(self, filemeta: FileMetaLike) -> None:
        """Remove the file's content; FileNotFoundError where there is none."""
        with self._found(filemeta) as name:
            if not self.exists(name):
                raise FileNotFoundError
            filemeta.record_removed()

    def copy(self, source: FileMetaLike, target: FileMetaLike) -> None:
        """Store the source's bytes in the target, as :meth:`write_open` does."""
        with self._found(source) as name:
            chunks = self.stream(name)
            with self.write_open(target) as writer:
                for chunk in chunks:
                    writer.write(chunk)

    @contextmanager
    def _found(self, filemeta: FileMetaLike) -> Iterator[str]:
        """Make every FileNotFoundError one that carries the FileMeta."""
        ids = checked_ids(filemeta)
        name = stored_name(filemeta)
        if name is None:
            raise DeliveryFileNotFound(self.layout.key(*ids), filemeta)
        try:
            yield name
        except FileNotFoundError as exception:
            raise DeliveryFileNotFound(name, filemeta) from exception
