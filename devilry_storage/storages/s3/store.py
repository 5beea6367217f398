"""The delivery store on S3."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any
from weakref import WeakSet

from django.core.files import File
from django.core.signals import setting_changed

from ..._compat import batched
from ...exceptions import StoreFailure
from ...layout import Layout
from ...media_types import media_type
from ...names import RESERVED, validate_storage_name
from ..base import DeliveryStoreMixin
from ..chunks import read_chunks
from ..free_names import first_free
from ..options import check_bool, check_count, check_interval, check_seconds, refuse_unknown
from ..protocols import (
    REDACTED,
    Entry,
    FileMetaLike,
    Finding,
    Page,
    checked_ids,
    hier_layout,
    is_used,
    prepare,
)
from ..writer import SpoolSink, Writer
from .conditions import MARKER, REMEDIES, findings
from .errors import of_one_key
from .options import HONOURED, SECRET
from .own import BucketObjects
from .reading import Ranges
from .storage import BucketStorage
from .uploads import abort
from .writing import Publication

#: The most keys that one DeleteObjects takes.
KEYS_OF_A_REQUEST = 1000

#: What names may have, but not XML, in which DeleteObjects tells the keys.
NOT_IN_XML = re.compile("[\ufffe\uffff]")

_stores: WeakSet[S3DeliveryStore] = WeakSet()


class S3DeliveryStore(DeliveryStoreMixin, BucketStorage):
    """Files in a bucket as ``<d // i²>/<d % i² // i>/<d>/<f>``, the keys of FsHierDeliveryStore.

    Options are those of django-storages' S3Storage, with its settings ``AWS_*`` behind them, but
    for those that would break a promise; and

    ``interval`` (int, at least 2)
        as in :class:`~devilry_storage.storages.FsHierDeliveryStore`.
    ``server_side_copy`` (bool, default True)
        copy within S3; False copies through this machine, for servers that ignore the condition
        of a CopyObject.
    ``allow_races`` (bool, default False)
        look first and write then, for servers that ignore conditional writes: of two writers of
        one name at the same moment one may lose its file.
    ``attempts`` (int, default 5), ``deadline`` (seconds, default 20)
        a request is tried so often, and no attempt begins after so long.
    ``identity`` (bool, default True)
        keep a mark in the bucket, below the location, by which sites recognise the store.

    Raises ImproperlyConfigured for an unknown, impossible or refused option. What the server
    refuses or fails to do is a StoreDenied, StoreUnavailable or StoreFailure, all OSError.
    """

    atomic_create = True
    whole_or_absent = True
    durable = True
    confined = True
    bounded_memory = True
    atomic_copy = True

    parallel_reads = 8

    def __init__(
        self,
        *,
        interval: int | None = None,
        server_side_copy: bool = True,
        allow_races: bool = False,
        attempts: int = 5,
        deadline: float = 20,
        identity: bool = True,
        **options: Any,
    ) -> None:
        known = {*self.get_default_settings(), "cloudfront_signer"}
        refuse_unknown(self, {key: value for key, value in options.items() if key not in known})
        check_interval(self, "interval", interval)
        check_bool(self, "server_side_copy", server_side_copy)
        check_bool(self, "allow_races", allow_races)
        check_count(self, "attempts", attempts)
        check_seconds(self, "deadline", deadline)
        check_bool(self, "identity", identity)
        self._given = {
            **options,
            "interval": interval,
            "server_side_copy": server_side_copy,
            "allow_races": allow_races,
            "attempts": attempts,
            "deadline": deadline,
            "identity": identity,
        }
        self._interval = interval
        self.server_side_copy = server_side_copy
        self.allow_races = allow_races
        self.attempts = attempts
        self.deadline = deadline
        self.identity = identity
        if allow_races:
            self.atomic_create = self.atomic_copy = False
        super().__init__(**options)
        _stores.add(self)

    def reconfigure(self) -> None:
        """Read settings and options anew, at the next use of either."""
        if "_to_read" not in self.__dict__:
            self._postpone(self._constructor_args, self._given)

    def _postpone(self, constructor_args: Any, given: Mapping[str, Any]) -> None:
        self.__dict__.clear()
        self.__dict__.update(_constructor_args=constructor_args, _to_read=given)

    def __getattr__(self, attribute: str) -> Any:
        # Python asks here for what is missing: after reconfigure() all that __init__ sets.
        given = self.__dict__.pop("_to_read", None)
        if given is None:
            raise AttributeError(f"{type(self).__name__!r} has no attribute {attribute!r}")
        try:
            self.__init__(**given)  # type: ignore[misc]
        except Exception:
            # Of settings that change together, some may not have changed yet.
            self._postpone(self._constructor_args, given)
            raise
        return getattr(self, attribute)

    def deconstruct(self) -> Any:
        """Return what a migration would write down of the store: never a secret."""
        path, args, kwargs = super().deconstruct()
        if type(self) is S3DeliveryStore:
            path = "devilry_storage.storages.S3DeliveryStore"
        return path, args, {key: value for key, value in kwargs.items() if key not in SECRET}

    @property
    def layout(self) -> Layout:
        return hier_layout(self._interval)

    # -- Storing --

    def _create(self, name: str, content: File[Any]) -> str:
        return self._create_hashed(name, content, "")

    def _create_hashed(self, name: str, content: File[Any], sha256: str) -> str:
        """Create a file whose SHA-256 (hexadecimal) is known, ``""`` if it is not."""
        if self.allow_races and self.exists(name):
            raise FileExistsError(f"{name!r} is taken.")
        self._publish(name, content, sha256, create=not self.allow_races)
        return name

    def _publish(self, name: str, content: File[Any], sha256: str, *, create: bool) -> None:
        """Publish a file that can be read again; if ``create``, only under a free name."""
        filename = str(content.name or "")
        publication = self._publication(name, filename, sha256, create=create)
        beginning = bytearray()
        for chunk in read_chunks(content):
            beginning += chunk
            if len(beginning) > self.transfer.threshold:
                break
        else:
            publication.put(beginning)
            return
        del beginning
        # Before megabytes travel in vain; the server has the last word all the same.
        if create and self.exists(name):
            raise FileExistsError(f"{name!r} is taken.")
        publication.upload(lambda: read_chunks(content))

    def _publication(
        self, name: str, filename: str, sha256: str, *, create: bool = True
    ) -> Publication:
        parameters = {"ContentType": media_type(name, filename), **self._parameters(name)}
        return Publication(self.remote, name, parameters, self.transfer, create, sha256)

    def _sink(self, filename: str = "") -> SpoolSink:
        memory = self.max_memory_size or self.transfer.threshold
        return SpoolSink(self._create_hashed, filename, memory)

    def _open_to_write(self, name: str, mode: str) -> Writer:
        sink = self._sink()

        def publish(writer: Writer) -> None:
            self._publish(name, sink.spool, writer.sha256, create=False)

        return Writer(sink, name, publish, mode)

    def copy(self, source: FileMetaLike, target: FileMetaLike) -> None:
        """Store the source's bytes in the target; they travel within S3.

        Size and SHA-256 are those of the source's record. Where it has none, or with the option
        ``server_side_copy=False``, the bytes are read and written here.
        """
        size, sha256 = getattr(source, "size", None), getattr(source, "sha256", "")
        if not self.server_side_copy or self.allow_races or size is None or not sha256:
            super().copy(source, target)
            return
        filename = getattr(target, "filename", "") or getattr(source, "filename", "")
        key = self.layout.key(*checked_ids(target))
        prepare(target)
        with self._found(source) as stored:

            def create(name: str) -> str:
                self._publication(name, filename, sha256).copy(stored, size)
                target.record_stored(name, size, sha256)
                return name

            first_free(self._candidates(key, fresh=is_used(target, key)), create)

    def duplicate(
        self, name: str, key: str, *, filename: str = "", size: int | None = None, sha256: str = ""
    ) -> str:
        """Copy the file within S3, if its size and SHA-256 are given and the server can."""
        if not self.server_side_copy or self.allow_races or size is None or not sha256:
            return super().duplicate(name, key)
        source = validate_storage_name(name)

        def copy(candidate: str) -> str:
            self._publication(candidate, filename, sha256).copy(source, size)
            return candidate

        return first_free(self._candidates(key, fresh=True), copy)

    # -- Beyond Django's contract --

    @property
    def own_objects(self) -> BucketObjects | None:
        if not self.identity:
            return None
        return BucketObjects(self.remote, self._publication, conditional=not self.allow_races)

    def _is_folder(self, name: str) -> bool:
        return False  # there are only objects

    def _stream(self, name: str, start: int, stop: int | None) -> Iterator[bytes]:
        if stop is not None and stop <= start:
            self.size(name)  # a missing file is missing in an empty range, too
            return
        yield from Ranges(self.remote, name).stream(start, stop)

    def _scan(self, prefix: str) -> Iterator[Entry]:
        for name, found in self.contents(prefix):
            yield Entry(name, found["Size"], self._time(found["LastModified"]))

    def _page(self, folder: str, after: str, limit: int) -> Page:
        marker = {"ContinuationToken": after} if after else {}
        prefix = self.remote.key(f"{folder}/" if folder else "")
        listing = {"Prefix": prefix, "Delimiter": "/", "MaxKeys": limit, **marker}
        answer = next(self.remote.pages("list_objects_v2", **listing))
        above = self.remote.prefix
        # A key that ends in a slash, or has two, is some tool's idea of a folder.
        folders = [
            each["Prefix"].removesuffix("/").removeprefix(above)
            for each in answer.get("CommonPrefixes", ())
            if not each["Prefix"].endswith("//")
        ]
        files = [
            Entry(each["Key"].removeprefix(above), each["Size"], self._time(each["LastModified"]))
            for each in answer.get("Contents", ())
            if not each["Key"].endswith("/")
        ]
        goes_on = answer.get("IsTruncated")
        following = str(answer.get("NextContinuationToken", "")) if goes_on else ""
        return Page([each for each in folders if each not in {"", RESERVED}], files, following)

    def delete_many(
        self, names: Iterable[str], *, sizes: Mapping[str, int] | None = None
    ) -> dict[str, Exception]:
        """Remove the files at once, a thousand in a request, and return what failed, and how.

        Each of ``sizes`` takes one more request.
        """
        failures = self._of_other_sizes(sizes or {})
        names = [name for name in names if name not in failures]
        valid: dict[str, str] = {}
        alone = []
        for name in names:
            try:
                key = self.remote.key(validate_storage_name(name))
            except ValueError as exception:
                failures[name] = exception
            else:
                if NOT_IN_XML.search(key):
                    alone.append(name)
                else:
                    valid[key] = name
        failures.update(super().delete_many(alone))
        for batch in batched(valid, KEYS_OF_A_REQUEST):
            failures.update(self._delete_batch({key: valid[key] for key in batch}))
        return failures

    def _of_other_sizes(self, sizes: Mapping[str, int]) -> dict[str, Exception]:
        """Return the error for each of the files that has another size, or cannot be asked for."""
        failures: dict[str, Exception] = {}
        for name, size in sizes.items():
            try:
                self._refuse_other_size(name, size)
            except (OSError, ValueError) as exception:
                failures[name] = exception
        return failures

    def _delete_batch(self, names: Mapping[str, str]) -> dict[str, Exception]:
        objects = [{"Key": key} for key in names]
        try:
            # Not Quiet: that a key is not named would be all there is to see of its success.
            answer = self.remote.call("delete_objects", Delete={"Objects": objects})
        except (OSError, ValueError) as exception:
            if getattr(exception, "code", "") == "MalformedXML":
                # Perhaps for one key: the others must not stay with it for ever.
                return super().delete_many(names.values())
            # One answer for all of them: each is reported with it.
            return dict.fromkeys(names.values(), exception)
        deleted = {each["Key"] for each in answer.get("Deleted", ())}
        unnamed = {key: name for key, name in names.items() if key not in deleted}
        failures: dict[str, Exception] = {}
        strays = []
        for error in answer.get("Errors", ()):
            key = error.get("Key")
            unnamed.pop(key, None)
            if key not in names:
                strays.append(error)
            elif error.get("Code") != "NoSuchKey":
                failures[names[key]] = of_one_key(error, names[key], str(self.remote))
        # An error of a key that we do not know may be of any that is not named.
        for error in strays:
            for name in unnamed.values():
                failures[name] = of_one_key(error, name, str(self.remote))
        return failures if strays else {**failures, **self._not_missing(unnamed.values())}

    def _not_missing(self, names: Iterable[str]) -> dict[str, Exception]:
        """Return an error for each name that a DeleteObjects did not name, unless it is gone."""
        failures: dict[str, Exception] = {}
        broken: Exception | None = None
        for name in names:
            try:
                # The others need not wait as long for a server that cannot be asked.
                if broken is None and self.exists(name):
                    failures[name] = StoreFailure(
                        f"delete_objects of {name!r} in {self.remote} failed: its response does "
                        "not name the file, which is still there."
                    )
            except OSError as exception:
                broken = exception
            if broken is not None:
                failures[name] = broken
        return failures

    def unavailable_reason(self) -> str:
        try:
            found = next(self.contents(MaxKeys=10), None)
        except OSError as exception:
            return str(exception)
        return f"the store is empty ({self.location_text()})" if found is None else ""

    def current_time(self) -> datetime:
        """Return the time that the server gives in a response."""
        response = self.remote.call("list_objects_v2", Prefix=self.remote.prefix, MaxKeys=1)
        date = response["ResponseMetadata"]["HTTPHeaders"].get("date", "")
        try:
            return self._time(parsedate_to_datetime(date))
        except (TypeError, ValueError) as exception:
            raise StoreFailure(
                f"list_objects_v2 in {self.remote} failed: its response has no time but {date!r}."
            ) from exception

    def location_text(self) -> str:
        below = f", below {self.remote.prefix!r}" if self.remote.prefix else ""
        return f"{self.remote}{below}"

    def configuration(self) -> dict[str, Any]:
        values = {option: getattr(self, option) for option in HONOURED}
        given = {option: value for option, value in values.items() if value not in (None, "", {})}
        shown = {key: value if HONOURED[key] else REDACTED for key, value in given.items()}
        ours = ("interval", "server_side_copy", "allow_races", "attempts", "deadline", "identity")
        return {**shown, **{option: self._given[option] for option in ours}}

    def probe(self) -> Iterator[Finding]:
        for operation, honoured in findings(self.remote):
            needed = not self.allow_races and (operation != "copy_object" or self.server_side_copy)
            yield Finding(
                f"the server honours If-None-Match in {operation}",
                honoured,
                "" if honoured or not needed else f"give the store {REMEDIES[operation]}",
            )

    def remove_stale_uploads(self, before: datetime, *, dry_run: bool = False) -> Iterator[str]:
        """Abort the uploads in parts that were begun before that time; yield each one's name.

        Without a ``location`` the bucket may be others' as well: there only uploads to keys of the
        layout are ours.
        """
        prefix = self.remote.prefix
        for page in self.remote.pages("list_multipart_uploads", Prefix=prefix):
            for upload in page.get("Uploads", ()):
                name = upload["Key"].removeprefix(prefix)
                ours = bool(prefix) or name == MARKER or self.is_key(name)
                # Timestamps, for without USE_TZ the time before has no zone.
                if not ours or upload["Initiated"].timestamp() >= before.timestamp():
                    continue
                if not dry_run:
                    abort(self.remote, name, upload["UploadId"])
                yield name

    def url(self, name: str | None, *args: Any, **kwargs: Any) -> str:
        """Return a presigned URL, good for ``expire`` seconds (the option ``querystring_expire``).

        ``parameters`` and ``http_method`` are S3Storage's. With ``filename`` the answer is an
        attachment of that name, or is shown if ``as_attachment`` is False; ``content_type`` is its
        media type. Whoever has the URL can read the file: keep it out of pages and logs.
        """
        if not name:
            raise ValueError(f"{name!r} is no name of a file: it has no URL.")
        url: str = BucketStorage.url(self, validate_storage_name(name), *args, **kwargs)
        return url

    def signed_url(self, name: str, *, expires_in: int, filename: str, content_type: str) -> str:
        return self.url(
            name,
            parameters={"ResponseCacheControl": "private, no-cache"},
            expire=expires_in,
            filename=filename,
            content_type=content_type,
        )


def _reconfigure(*, setting: str, **kwargs: Any) -> None:
    """Let stores that are there take in a setting that a test has changed."""
    if setting.startswith("AWS_"):
        for store in list(_stores):
            store.reconfigure()


setting_changed.connect(_reconfigure)
