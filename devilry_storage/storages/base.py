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
from .chunks import CHUNK_SIZE, verified
from .free_names import first_free
from .paging import page_of, place
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
    prepare,
    stored_name,
)
from .writer import Sink, SpoolSink, Writer

#: More than that S3 does not list in one request
#: (https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html).
LONGEST_PAGE = 1000


class DeliveryStoreMixin(StorageContract):
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
    bounded_memory: bool | None = None
    #: ``copy`` creates, too, as atomically as ``save``.
    atomic_copy: bool | None = None

    #: Whether the size of a file costs a request. If not, a purge compares those of all files
    #: with what was recorded before it removes them, otherwise those of some.
    size_costs_request = True

    #: So many files are read at a time where many are wanted: where each costs a round trip, more.
    parallel_reads = 1

    # -- What a store may override --

    def _sink(self, filename: str = "") -> Sink:
        """Return a place where the bytes of a writer wait until they are published.

        ``filename`` is the user's, empty where it is not known.
        """
        return self._spool(filename)

    def _spool(self, filename: str = "") -> SpoolSink:
        """Return a sink that keeps the bytes in memory and in a temporary file of the system."""
        return SpoolSink(lambda name, spool, _sha256: self._create(name, spool), filename)

    def unavailable_reason(self) -> str:
        """Return why the place of the bytes seems not to be there, or ``""`` if it is.

        Asked before anything is removed for good: an unmounted disk or a wrong bucket looks like
        a store without files.
        """
        if self.listdir("") == ([], []):
            return "the store is empty"
        return ""

    @property
    def own_objects(self) -> OwnObjects | None:
        """Where the store keeps its mark, by which sites recognise it; None if it has no mark."""
        return None

    def remove_stale_uploads(self, before: datetime, *, dry_run: bool = False) -> Iterator[str]:
        """Remove what writers that died left unpublished before that time, one by one.

        Yields each name when that is done, lazily: what is not asked for is not removed.
        """
        yield from ()

    def current_time(self) -> datetime:
        """Return the time by the clock that gives files their times, as ``get_modified_time``.

        That of this machine, unless a store has another. This may write.
        """
        return datetime.now(timezone.utc if settings.USE_TZ else None)

    def location_text(self) -> str:
        """Return in words where the bytes lie."""
        return "unknown"

    def configuration(self) -> dict[str, Any]:
        """Return the options in force; the value of one that may be a secret is ``REDACTED``.

        Override it to show those of a store of your own that are none.
        """
        deconstruct = getattr(self, "deconstruct", None)
        return {} if deconstruct is None else dict.fromkeys(deconstruct()[2], REDACTED)

    def free_space(self) -> int | None:
        """Return how many bytes there is room for, None where nobody can say."""
        return None

    def probe(self) -> Iterator[Finding]:
        """Try what the promises of the store rest on; this may send requests, and write."""
        yield from ()

    def public_url(self, name: str) -> str:
        """Return a URL at which anybody may read the file, ``""`` where there is none."""
        return ""

    def signed_url(self, name: str, *, expires_in: int, filename: str, content_type: str) -> str:
        """Return a URL at which the file can be read for so many seconds, ``""`` where none can.

        What is read there is an attachment of that filename and media type.
        """
        return ""

    # -- Beyond Django's contract --

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

    def page(self, folder: str = "", *, after: str = "", limit: int = 100) -> Page:
        """Return at most ``limit`` (1 to 1,000) of what is in a folder, ``""`` being the top.

        ``after`` is the ``next_token`` of the page before; no other text means anything. In an
        order that stays: that of the server, else numbers by their value and then names. Of what
        is no folder the page is empty. Raises InvalidName, ValueError for a limit.
        """
        if folder:
            validate_storage_name(folder)
        if not 1 <= limit <= LONGEST_PAGE:
            raise ValueError(f"Limit '{limit}' of a page: ask for 1 to {LONGEST_PAGE}.")
        return self._page(folder, after, limit)

    def _page(self, folder: str, after: str, limit: int) -> Page:
        inner, leaves = self.listdir(folder)
        places = [place(leaf, is_file=False) for leaf in inner]
        places += [place(leaf, is_file=True) for leaf in leaves]
        shown, following = page_of(places, lambda each: each, after, limit)
        page = Page([], [], following)
        for each in shown:
            name = posixpath.join(folder, each.leaf)
            if not each.is_file:
                page.folders.append(name)
                continue
            with suppress(FileNotFoundError):  # it vanished meanwhile
                page.files.append(Entry(name, self.size(name), self.get_modified_time(name)))
        return page

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

    def duplicate(
        self, name: str, key: str, *, filename: str = "", size: int | None = None, sha256: str = ""
    ) -> str:
        """Store the bytes of a file under an alternative name of ``key`` too, and return that.

        ``filename`` is the user's, ``size`` (bytes) and ``sha256`` (hexadecimal) are what is
        recorded, empty where it is not known. Raises FileNotFoundError, InvalidName.
        """
        with self.open(name) as file:
            return self._create_first(self._candidates(key, fresh=True), file)

    def delete_many(
        self, names: Iterable[str], *, sizes: Mapping[str, int] | None = None
    ) -> dict[str, Exception]:
        """Remove the files at once and return what failed, and how; missing ones do not fail.

        A file that has another size than ``sizes`` (bytes by name) says is kept, and is a failure
        with WrongSize.
        """
        failures: dict[str, Exception] = {}
        for name in names:
            try:
                self._delete_of_size(name, (sizes or {}).get(name))
            # Backends fail in ways of their own; each is reported with its name.
            except Exception as exception:  # noqa: BLE001  # see above
                failures[name] = exception
        return failures

    def _delete_of_size(self, name: str, size: int | None) -> None:
        if size is not None:
            self._refuse_other_size(name, size)
        self.delete(name)

    def _refuse_other_size(self, name: str, size: int) -> None:
        """Raise WrongSize if there is a file of another size."""
        with suppress(FileNotFoundError):
            if (found := self.size(name)) != size:
                raise WrongSize.of(name, found, size)

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
        prepare(filemeta)
        return self.writer(
            key,
            record=filemeta.record_stored,
            filename=getattr(filemeta, "filename", ""),
            fresh=is_used(filemeta, key),
        )

    def writer(self, key: str, *, record: Record, filename: str = "", fresh: bool) -> Writer:
        """Return a writer whose clean ``close()`` creates a file and then calls ``record``.

        The file gets the name ``key`` if that is free and not ``fresh``, otherwise an alternative
        of it. ``record`` gets the name, the size in bytes and the SHA-256 in hexadecimal; where it
        raises FileExistsError, the next alternative is tried. ``filename`` is the user's.
        """
        sink = self._sink(filename)

        def publish(writer: Writer) -> None:
            size, sha256 = writer.size, writer.sha256
            self._create_recorded(
                self._candidates(key, fresh=fresh),
                create=lambda name: sink.create(name, sha256),
                record=lambda name: record(name, size, sha256),
            )

        return Writer(sink, key, publish)

    def _create_recorded(
        self,
        names: Iterable[str],
        create: Callable[[str], str],
        record: Callable[[str], object],
    ) -> None:
        """Create a file under the first name that is free and that its record accepts."""

        def attempt(name: str) -> str:
            name = create(name)
            record(name)
            return name

        first_free(names, attempt)

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
