"""The mixin that makes a delivery store of a Django storage."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from typing import Any

from django.conf import settings
from django.core.files import File

from ..exceptions import DeliveryFileNotFound, WrongSize
from ..names import validate_storage_name
from ._django import StorageContract
from .aliases import alias_of, aliased
from .chunks import STREAMED, verified
from .free_names import first_free
from .paging import page_of, position
from .protocols import (
    REDACTED,
    Entry,
    FileMetaLike,
    Finding,
    OwnObjects,
    Page,
    Record,
    checked_ids,
    is_used,
    stored_name,
)
from .spool import MEMORY, Spool
from .writer import Sink, SpoolSink, Writer

#: Maximum number of entries of a page: S3 lists no more in one request
#: (https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html).
LONGEST_PAGE = 1000


class DeliveryStoreMixin(StorageContract):
    """Mix into a Django storage, before it, to make it a delivery store::

        class MyDeliveryStore(DeliveryStoreMixin, SomeStorage):
            atomic_create = False

    The flags say what the store guarantees. None, the default, means that the flag is not
    declared: the conformance suite then demands the guarantee, and the system checks count the
    flag as False.
    """

    #: Of several writers of one name, exactly one gets it.
    atomic_create: bool | None = None
    #: A name has all of its bytes or does not exist, even if the writer is killed.
    whole_or_absent: bool | None = None
    #: A file survives a power cut once ``save()`` has returned.
    durable: bool | None = None
    #: No entry that another user puts into the store leads out of it.
    confined: bool | None = None
    #: Opening, streaming and storing keep only a part of the file in memory.
    bounded_memory: bool | None = None
    #: ``copy`` creates a file as atomically as ``save``.
    atomic_copy: bool | None = None

    #: Whether the size of a file costs a request. If it does, a purge compares the sizes of some
    #: files with the recorded ones before it removes them, otherwise those of all.
    size_costs_request = True

    #: How many files to read concurrently; raise it for network stores.
    parallel_reads = 1

    #: Options that :meth:`deconstruct` leaves out, such as credentials.
    secret_options: frozenset[str] = frozenset()

    # -- Overridable --

    @property
    def transfer_memory(self) -> int:
        """How many bytes of a large file one operation keeps in memory, if they are several MB.

        The conformance suite allows as many.
        """
        return 0

    def _sink(self, filename: str = "") -> Sink:
        """Return a sink, which keeps the bytes of a writer until they are published.

        ``filename`` is the user's, ``""`` if it is not known.
        """
        return self._spool(filename)

    def _spool(self, filename: str = "", memory: int = MEMORY) -> SpoolSink:
        """Return a sink that keeps ``memory`` bytes in memory, and more in a temporary file."""
        store, location = self.with_fixed_location(), getattr(self, "location", None)

        def create(name: str, spool: Spool, _sha256: str) -> str:
            if store is self and (now := getattr(self, "location", None)) != location:
                raise RuntimeError(
                    f"Cannot store {name!r}: {type(self).__name__} has moved from {location!r} to "
                    f"{now!r} since the writer was opened. Override with_fixed_location()."
                )
            return store._create(name, spool)

        return SpoolSink(create, filename, memory)

    def unavailable_reason(self) -> str:
        """Return why the store's location seems to be unavailable, ``""`` if it is available.

        Called before files are removed permanently: an unmounted disk or a wrong bucket looks
        like a store without files.
        """
        if self.listdir("") == ([], []):
            return "the store is empty"
        return ""

    @property
    def own_objects(self) -> OwnObjects | None:
        """The objects in which the store keeps its mark, None if it has no mark."""
        return None

    def remove_stale_uploads(self, before: datetime, *, dry_run: bool = False) -> Iterator[str]:
        """Remove uploads that were begun before a time and never published.

        Yields the name of each when it is removed. Lazy: only what is iterated over is removed.
        """
        yield from ()

    def current_time(self) -> datetime:
        """Return the time of the clock by which files are dated, as ``get_modified_time`` does.

        The default is this machine's clock. This may write to the store.
        """
        return datetime.now(timezone.utc if settings.USE_TZ else None)

    def location_text(self) -> str:
        """Return the store's location, in words."""
        return "unknown"

    def configuration(self) -> dict[str, Any]:
        """Return the options in force; values that may be secret are replaced by ``REDACTED``.

        Override it to show the options of your own store that are not secret.
        """
        return dict.fromkeys(self._constructor_args[1], REDACTED)

    def free_space(self) -> int | None:
        """Return the free space in bytes, None if it is not known."""
        return None

    def probe(self) -> Iterator[Finding]:
        """Test what the store's guarantees depend on; this may send requests and write."""
        yield from ()

    def examine(self, endpoints: Iterable[str] = ()) -> Iterator[Finding]:
        """Test thoroughly what ``probe()`` tests, also through other URLs of the server.

        ``deliverystore_info --probe`` calls this, and the deploy checks call ``probe()``.
        """
        yield from self.probe()

    def public_url(self, name: str) -> str:
        """Return a URL at which everybody can read the file, ``""`` if there is none."""
        return ""

    def signed_url(self, name: str, *, expires_in: int, filename: str, content_type: str) -> str:
        """Return a URL at which the file can be read for ``expires_in`` seconds.

        The response is an attachment with this filename and media type. Returns ``""`` if the
        store signs no URLs.
        """
        return ""

    # -- Beyond Django's contract --

    def deconstruct(self) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
        """Return the path of a callable, and arguments with which it returns this store.

        A store of ``STORAGES`` is given by its alias, another one by its class and options, except
        ``secret_options``.
        """
        if (alias := alias_of(self)) is not None:
            return f"{aliased.__module__}.{aliased.__qualname__}", (alias,), {}
        path, args, given = super().deconstruct()  # type: ignore[misc]  # the decorator's
        package, *modules, name = path.split(".")
        if package == __package__.partition(".")[0]:  # without the module of its package
            path = f"{package}.{modules[0]}.{name}"
        options = {key: value for key, value in given.items() if key not in self.secret_options}
        return path, args, options

    def scan(self, prefix: str = "") -> Iterator[Entry]:
        """Yield the files below a folder (``""``: all files), lazily, in no particular order.

        At most one folder's entries are in memory. Raises InvalidName.
        """
        prefix = self._folder(prefix)
        return self.with_fixed_location()._scan(prefix)

    def _scan(self, prefix: str) -> Iterator[Entry]:
        left = [prefix]
        while left:
            above = left.pop()
            folders, files = self.listdir(above)
            for file in files:
                name = posixpath.join(above, file)
                yield Entry(name, self.size(name), self.get_modified_time(name))
            left += [posixpath.join(above, folder) for folder in folders]

    def page(self, folder: str = "", *, after: str = "", limit: int = 100) -> Page:
        """Return a page of a folder (``""``: the top) of at most ``limit`` (1 to 1,000) entries.

        ``after`` is the ``next_token`` of the previous page. The order is stable: the server's,
        otherwise numbers by their value and then names. The page of a name that is not a folder
        is empty. Raises InvalidName, and ValueError for an invalid limit.
        """
        folder = self._folder(folder)
        if not 1 <= limit <= LONGEST_PAGE:
            raise ValueError(f"Invalid limit '{limit}' of a page: use 1 to {LONGEST_PAGE}.")
        return self._page(folder, after, limit)

    def _page(self, folder: str, after: str, limit: int) -> Page:
        inner, leaves = self.listdir(folder)
        positions = [position(leaf, is_file=False) for leaf in inner]
        positions += [position(leaf, is_file=True) for leaf in leaves]
        shown, next_token = page_of(positions, lambda entry: entry, after, limit)
        page = Page([], [], next_token)
        for entry in shown:
            name = posixpath.join(folder, entry.leaf)
            if not entry.is_file:
                page.folders.append(name)
                continue
            with suppress(FileNotFoundError):  # deleted since the listing
                page.files.append(Entry(name, self.size(name), self.get_modified_time(name)))
        return page

    def stream(
        self, name: str, start: int = 0, stop: int | None = None, *, sha256: str | None = None
    ) -> Iterator[bytes]:
        """Yield the bytes from ``start`` to ``stop`` (exclusive) in chunks, fetching only those.

        With ``sha256`` (hexadecimal; for the whole file only) the last chunk is withheld until
        the SHA-256 of all bytes is verified; ChecksumMismatch is raised if it differs.

        Lazy: the file is opened when the first chunk is requested, so a missing file raises
        FileNotFoundError only then. Raises ValueError for a negative position, InvalidName.
        """
        name = validate_storage_name(name)
        if start < 0 or (stop is not None and stop < 0):
            raise ValueError(
                f"Invalid range {start!r} to {stop!r} of {name!r}: positions start at 0."
            )
        store = self.with_fixed_location()
        if sha256 is None:
            return store._stream(name, start, stop)
        if start or stop is not None:
            raise ValueError(
                f"Cannot verify the range {start!r} to {stop!r} of {name!r}: a SHA-256 covers the "
                "whole file. Leave out start and stop."
            )
        return verified(store._stream(name, 0, None), sha256, name)

    @contextmanager
    def streams(self) -> Iterator[Callable[[str], Iterator[bytes]]]:
        """Give a function that streams whole files, one after another, as :meth:`stream` does.

        Only one thread may use it.
        """
        yield self.stream

    def _stream(self, name: str, start: int, stop: int | None) -> Iterator[bytes]:
        with self.open(name) as file:
            if start:
                file.seek(start)
            left = None if stop is None else stop - start
            while left is None or left > 0:
                chunk = file.read(STREAMED if left is None else min(STREAMED, left))
                if not chunk:
                    return
                if left is not None:
                    left -= len(chunk)
                yield chunk

    def duplicate(
        self, name: str, key: str, *, filename: str = "", size: int | None = None, sha256: str = ""
    ) -> str:
        """Store the bytes of a file again under an alternative of ``key``, and return its name.

        ``filename`` is the user's; ``size`` (bytes) and ``sha256`` (hexadecimal) are the recorded
        ones, None and ``""`` if they are not known. Raises FileNotFoundError, InvalidName.
        """
        with self.open(name) as file:
            file.name = filename or name  # from which a store may take the media type
            return self._create_first(self._candidates(key, fresh=True), file)

    def delete_many(
        self, names: Iterable[str], *, sizes: Mapping[str, int] | None = None
    ) -> dict[str, Exception]:
        """Remove the files now, and return the exceptions of those that failed, by name.

        A missing file is not a failure. A file whose size differs from that in ``sizes`` (bytes,
        by name) is kept, and fails with WrongSize.
        """
        failures: dict[str, Exception] = {}
        for name in names:
            try:
                if sizes and name in sizes:
                    self._refuse_other_size(name, sizes[name])
                self.delete(name)
            except Exception as exception:  # noqa: BLE001  # backends have errors of their own
                failures[name] = exception
        return failures

    def _refuse_other_size(self, name: str, size: int) -> None:
        """Raise WrongSize if there is a file of another size."""
        with suppress(FileNotFoundError):
            if (found := self.size(name)) != size:
                raise WrongSize.of(name, found, size)

    # -- Devilry's interface --

    def read_open(self, filemeta: FileMetaLike) -> File[bytes]:
        """Open the content of a FileMeta for reading; FileNotFoundError if there is none."""
        with self._found(filemeta) as name:
            file: File[bytes] = self.open(name)
            return file

    def write_open(self, filemeta: FileMetaLike) -> Writer:
        """Return a writer whose clean ``close()`` stores the bytes and records the file.

        If there is content already, the new content gets an alternative name. Raises ValueError
        for an unsaved FileMeta.
        """
        key = self._prepared_key(filemeta)
        return self.writer(
            key,
            record=filemeta.record_stored,
            filename=getattr(filemeta, "filename", ""),
            is_used=lambda: is_used(filemeta, key),
        )

    def _prepared_key(self, filemeta: FileMetaLike) -> str:
        """Return the record's key, after calling its ``before_storing()``, if it has one."""
        key = self.layout.key(*checked_ids(filemeta))
        getattr(filemeta, "before_storing", lambda: None)()
        return key

    def writer(
        self, key: str, *, record: Record, filename: str = "", is_used: Callable[[], bool]
    ) -> Writer:
        """Return a writer whose clean ``close()`` creates a file and then calls ``record``.

        Models store all files by it. The file gets the name ``key`` if that is free and unless
        ``is_used()``, which is called by ``close()``, returns True; otherwise an alternative of
        ``key``. ``record`` gets the name, the size in bytes and the SHA-256 in hexadecimal; if it
        raises FileExistsError, the next alternative is tried. ``filename`` is the user's.
        """
        sink = self._sink(filename)

        def publish(writer: Writer) -> None:
            size, sha256 = writer.size, writer.sha256

            def create(name: str) -> str:
                name = sink.create(name, sha256)
                record(name, size, sha256)
                return name

            first_free(self._candidates(key, fresh=is_used()), create)

        return Writer(sink, key, publish)

    def remove(self, filemeta: FileMetaLike) -> None:
        """Remove the content of a FileMeta; FileNotFoundError if there is none."""
        with self._found(filemeta) as name:
            if not self.exists(name):
                raise FileNotFoundError
            filemeta.record_removed()

    def copy(self, source: FileMetaLike, target: FileMetaLike) -> None:
        """Store the content of the source in the target, as :meth:`write_open` does."""
        with self._found(source) as name:
            chunks = self.stream(name)
            with self.write_open(target) as writer:
                for chunk in chunks:
                    writer.write(chunk)

    @contextmanager
    def _found(self, filemeta: FileMetaLike) -> Iterator[str]:
        """Give the stored name; raise every FileNotFoundError as DeliveryFileNotFound."""
        ids = checked_ids(filemeta)
        name = stored_name(filemeta)
        if name is None:
            raise DeliveryFileNotFound(self.layout.key(*ids), filemeta)
        try:
            yield name
        except FileNotFoundError as exception:
            raise DeliveryFileNotFound(name, filemeta) from exception
