"""Delivery store on S3 and compatible servers."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any
from weakref import WeakSet

from django.core.files import File
from django.core.signals import setting_changed
from django.template.defaultfilters import filesizeformat
from django.views.decorators.debug import sensitive_variables

from ..._compat import batched
from ...exceptions import NoURL, StoreFailure, StoreUnavailable
from ...media_types import content_type, media_type, sent_type
from ...names import RESERVED, validate_storage_name
from ..base import DeliveryStoreMixin
from ..chunks import read_chunks
from ..free_names import first_free, unshared
from ..options import validate_options
from ..protocols import LONGEST_OWN, REDACTED, Entry, FileMetaLike, Finding, OwnObjects, Page
from ..view_urls import stored_url
from ..writer import SpoolSink, Writer
from .bucket import Bucket
from .errors import BatchRejected, deletion_error
from .listing import listed
from .options import CLOUDFRONT, HONOURED, NOT_IN_MIGRATIONS
from .probing import Probe
from .reading import Ranges
from .storage import BucketStorage
from .writing import Publication, abort, honours_conditions, unfinished

#: Maximum number of keys in a DeleteObjects request.
KEYS_OF_A_REQUEST = 1000

#: Maximum length of a key in bytes. Servers may reject a whole request for a longer one.
LONGEST_KEY = 1024

#: Characters that are valid in names, but not in the XML of a DeleteObjects request.
NOT_IN_XML = re.compile("[\ufffe\uffff]")

# Buckets of servers that do not support DeleteObjects, as this process has noticed.
_without_batches: set[Hashable] = set()

_stores: WeakSet[S3DeliveryStore] = WeakSet()


class S3DeliveryStore(DeliveryStoreMixin, BucketStorage):
    """Store files in a bucket as ``<d // i²>/<d % i² // i>/<d>/<f>``, like FsHierDeliveryStore.

    The options are those of django-storages' S3Storage, with its settings ``AWS_*`` as defaults,
    except options that would break a promise of the store. In addition:

    ``interval`` (int, at least 2)
        as in :class:`~devilry_storage.storages.FsHierDeliveryStore`.
    ``server_side_copy`` (bool, default True)
        copy within S3. If False, copy through this machine, for servers whose copies fail.
    ``attempts`` (int, default 5), ``deadline`` (seconds, default 20)
        the maximum number of attempts of a request, and the time after which no attempt begins.
    ``identity`` (bool, default True)
        keep a mark in the bucket, below the location, by which sites recognise the store.
    ``public_endpoint_url`` (str, default None)
        the endpoint of signed URLs, if clients cannot reach ``endpoint_url``.

    An unknown option or an invalid value raises ImproperlyConfigured. Errors of the server raise
    StoreDenied, StoreUnavailable or StoreFailure, which are subclasses of OSError.
    """

    atomic_create = True
    whole_or_absent = True
    durable = True
    confined = True
    bounded_memory = True
    atomic_copy = True

    parallel_reads = 8

    secret_options = NOT_IN_MIGRATIONS

    @sensitive_variables()
    def __init__(
        self,
        *,
        interval: int | None = None,
        server_side_copy: bool = True,
        attempts: int = 5,
        deadline: float = 20,
        identity: bool = True,
        public_endpoint_url: str | None = None,
        **options: Any,
    ) -> None:
        known = {*self.get_default_settings(), "cloudfront_signer"}
        unknown = {key: value for key, value in options.items() if key not in known}
        own = {
            "interval": interval,
            "server_side_copy": server_side_copy,
            "attempts": attempts,
            "deadline": deadline,
            "identity": identity,
        }
        validate_options(self, unknown, **own)
        # Its value is checked together with the options of django-storages.
        self._given = {**options, **own, "public_endpoint_url": public_endpoint_url}
        self._interval = interval
        self.server_side_copy = server_side_copy
        self.attempts = attempts
        self.deadline = deadline
        self.public_endpoint_url = public_endpoint_url
        self.identity = identity
        super().__init__(**options)
        _stores.add(self)

    def reconfigure(self) -> None:
        """Read the settings and options again at the next use of the store."""
        self.__dict__ = {"_constructor_args": self._constructor_args, "_outdated": True}

    def __getattr__(self, attribute: str) -> Any:
        # After reconfigure() the attributes that __init__ sets are missing.
        if "_outdated" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__!r} has no attribute {attribute!r}")
        # This raises if some of the settings that change together have not changed yet.
        args, options = self._constructor_args
        self.__dict__ = type(self)(*args, **options).__dict__
        return getattr(self, attribute)

    def deconstruct(self) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
        """Return the path of a callable, and arguments with which it returns this store.

        They contain no secrets. Without an alias, the secrets must be in the settings ``AWS_*``.
        """
        path, args, options = super().deconstruct()
        given = self._constructor_args[1]
        if CLOUDFRONT & given.keys():
            options.pop("custom_domain", None)  # invalid without its keys
        if any(key.startswith("SSECustomer") for key in options.get("object_parameters", ())):
            del options["object_parameters"]
        return path, args, options

    def with_fixed_location(self) -> S3DeliveryStore:
        return self._at(self.remote)

    @property
    def transfer_memory(self) -> int:
        transfer = self.transfer
        # One part is read while the others are sent.
        return max(transfer.threshold, (transfer.concurrency + 1) * transfer.part_length)

    # -- Storing --

    def _save(self, name: str, content: File[Any]) -> str:
        return self._create_first(self._candidates(name), content)

    def _create(self, name: str, content: File[Any]) -> str:
        return self._create_hashed(name, content, "")

    def _create_hashed(self, name: str, content: File[Any], sha256: str) -> str:
        """Create a file whose SHA-256 (hexadecimal) is known, ``""`` if it is not."""
        return self._publish(name, content, sha256, create=True)

    def _publish(self, name: str, content: File[Any], sha256: str, *, create: bool) -> str:
        """Publish a file that can be read repeatedly, and return its name.

        If ``create``, never under a used name, and a file that is sent in parts always under an
        alternative name.
        """
        filename = str(content.name or "")
        beginning = bytearray()
        for chunk in read_chunks(content):
            beginning += chunk
            if len(beginning) > self.transfer.threshold:
                break
        else:
            self._publication(name, filename, sha256).put(beginning, create=create)
            return name
        del beginning
        if create:
            name = self._unshared(name)
        self._publication(name, filename, sha256).upload(read_chunks(content))
        return name

    def _unshared(self, name: str) -> str:
        """Return a free alternative of the name, at which no other writer can aim.

        Servers complete uploads and copy without regard to If-None-Match, or check it without a
        lock. Under this name, even a late or repeated request meets only the store's own bytes.
        """
        if self.is_key(name):  # without the ending of an alternative name
            name = self.layout.key(*self.layout.parse(name))
        name = unshared(name)
        if self.exists(name):
            raise FileExistsError(f"{name!r} is taken.")
        return name

    def _publication(self, name: str, filename: str, sha256: str) -> Publication:
        parameters = {"ContentType": media_type(name, filename), **self._parameters(name)}
        if self.is_key(name):
            # Students' files: a cache that drops the query of a signed URL sends these headers.
            safe = content_type(sent_type(filename))
            parameters |= {"ContentType": safe, "ContentDisposition": "attachment"}
        return Publication(self.remote, name, parameters, self.transfer, sha256)

    def _sink(self, filename: str = "") -> SpoolSink:
        memory = self.max_memory_size or self.transfer.threshold
        if type(self)._create is not S3DeliveryStore._create:
            # A subclass sees all files that are created, but not their SHA-256.
            return self._spool(filename, memory)
        return SpoolSink(self.with_fixed_location()._create_hashed, filename, memory)

    def _open_to_write(self, name: str, mode: str) -> Writer:
        store, sink = self.with_fixed_location(), self._sink()

        def publish(writer: Writer) -> None:
            store._publish(name, sink, writer.sha256, create=False)

        return Writer(sink, name, publish, mode)

    def copy(self, source: FileMetaLike, target: FileMetaLike) -> None:
        """Copy the source's bytes to the target within S3, under an alternative name.

        The target gets the size and the SHA-256 of the source's record. If the record has none,
        or with the option ``server_side_copy=False``, copy through this machine.
        """
        size, sha256 = getattr(source, "size", None), getattr(source, "sha256", "")
        if not self.server_side_copy or size is None or not sha256:
            super().copy(source, target)
            return
        filename = getattr(target, "filename", "") or getattr(source, "filename", "")
        key = self._prepared_key(target)
        with self._found(source) as stored:
            name = self.duplicate(stored, key, filename=filename, size=size, sha256=sha256)
            target.record_stored(name, size, sha256)

    def duplicate(
        self, name: str, key: str, *, filename: str = "", size: int | None = None, sha256: str = ""
    ) -> str:
        """Copy the file, within S3 if its size and SHA-256 are given and the options allow it."""
        if not self.server_side_copy or size is None or not sha256:
            return super().duplicate(name, key, filename=filename)
        source = validate_storage_name(name)

        def copy(candidate: str) -> str:
            found = self._unshared(candidate)
            self._publication(found, filename, sha256).copy(source, size)
            return found

        return first_free(self._candidates(key), copy)

    # -- Beyond Django's Storage API --

    @property
    def own_objects(self) -> OwnObjects | None:
        if not self.identity:
            return None
        store = self.with_fixed_location()
        return BucketObjects(store.remote, store._publication)

    def _is_folder(self, name: str) -> bool:
        return False  # there are only objects

    def _stream(self, name: str, start: int, stop: int | None) -> Iterator[bytes]:
        if stop is not None and stop <= start:
            self.size(name)  # raise FileNotFoundError for an empty range, too
            return
        yield from Ranges(self.remote, name).stream(start, stop)

    def _scan(self, prefix: str) -> Iterator[Entry]:
        for file in self.contents(prefix):
            yield self._entry(*file)

    def _page(self, folder: str, after: str, limit: int) -> Page:
        marker = {"ContinuationToken": after} if after else {}
        pages = listed(self.remote, folder, Delimiter="/", MaxKeys=limit, **marker)
        folders, files, next_token = next(pages)
        return Page(folders, [self._entry(*file) for file in files], next_token)

    def _entry(self, name: str, found: Mapping[str, Any]) -> Entry:
        return Entry(name, found["Size"], self._time(found["LastModified"]))

    def delete_many(
        self, names: Iterable[str], *, sizes: Mapping[str, int] | None = None
    ) -> dict[str, Exception]:
        """Delete the files, up to 1000 in a request; return the exceptions of failed names.

        Each file in ``sizes`` costs one more request.
        """
        given = sizes or {}
        failures = _failures(lambda name: self._refuse_other_size(name, given[name]), given)
        names = [name for name in names if name not in failures]
        valid: dict[str, str] = {}
        alone = []
        for name in names:
            try:
                key = self.remote.key(validate_storage_name(name))
            except ValueError as exception:
                failures[name] = exception
            else:
                if NOT_IN_XML.search(key) or len(key.encode()) > LONGEST_KEY:
                    alone.append(name)
                else:
                    valid[key] = name
        failures.update(_failures(self.delete, alone))
        for batch in batched(valid, KEYS_OF_A_REQUEST):
            failures.update(self._delete_batch({key: valid[key] for key in batch}))
        return failures

    def _delete_batch(self, names: Mapping[str, str]) -> dict[str, Exception]:
        server = self.remote.connection, self.remote.name
        if server in _without_batches:
            return _failures(self.delete, names.values())
        objects = [{"Key": key} for key in names]
        try:
            # Without Quiet, so that the response names each deleted key.
            response = self.remote.call("delete_objects", Delete={"Objects": objects})
        except BatchRejected as exception:
            failures = _failures(self.delete, names.values())
            # The server may have rejected one key only, or every request.
            if exception.code != "MalformedXML" and len(failures) < len(names):
                _without_batches.add(server)
            return failures
        except (OSError, ValueError) as exception:
            # The exception is about the request, so report it for each name.
            return dict.fromkeys(names.values(), exception)
        deleted = {entry["Key"] for entry in response.get("Deleted", ())}
        unnamed = {key: name for key, name in names.items() if key not in deleted}
        failures = {}
        unknown = []
        for error in response.get("Errors", ()):
            key = error.get("Key")
            unnamed.pop(key, None)
            if key not in names:
                unknown.append(error)
                continue
            failure = deletion_error(error, names[key], str(self.remote))
            if not isinstance(failure, FileNotFoundError):
                failures[names[key]] = failure
        # An error of an unknown key may be about any name that the response does not contain.
        for error in unknown:
            for name in unnamed.values():
                failures[name] = deletion_error(error, name, str(self.remote))
        return failures if unknown else {**failures, **self._check_deleted(unnamed.values())}

    def _check_deleted(self, names: Iterable[str]) -> dict[str, Exception]:
        """Return an exception for each file that still exists, or that cannot be checked."""
        failures: dict[str, Exception] = {}
        for name in (remaining := iter(names)):
            try:
                if self.exists(name):
                    failures[name] = StoreFailure(
                        f"delete_objects of {name!r} in {self.remote} failed: the response does "
                        "not name the file, and the file still exists."
                    )
            except OSError as exception:
                # Skip the requests for the other names.
                return {**failures, **dict.fromkeys([name, *remaining], exception)}
        return failures

    def unavailable_reason(self) -> str:
        try:
            found = next(self.contents(MaxKeys=10), None)
        except OSError as exception:
            return str(exception)
        return f"the store is empty ({self.location_text()})" if found is None else ""

    def current_time(self) -> datetime:
        """Return the time of the server, from the Date header of a response."""
        response = self.remote.call("list_objects_v2", Prefix=self.remote.prefix, MaxKeys=1)
        date = response["ResponseMetadata"]["HTTPHeaders"].get("date", "")
        try:
            return self._time(parsedate_to_datetime(date))
        except (TypeError, ValueError) as exception:
            raise StoreFailure(
                f"list_objects_v2 in {self.remote} failed: the Date header of the response is "
                f"{date!r}, which is not a time."
            ) from exception

    def location_text(self) -> str:
        below = f", below {self.remote.prefix!r}" if self.remote.prefix else ""
        return f"{self.remote}{below}"

    def configuration(self) -> dict[str, Any]:
        values = {option: getattr(self, option) for option in HONOURED}
        given = {option: value for option, value in values.items() if value not in (None, "", {})}
        shown = {key: value if HONOURED[key] else REDACTED for key, value in given.items()}
        ours = {key: value for key, value in self._given.items() if key not in values}
        return {**shown, **ours}

    def probe(self) -> Iterator[Finding]:
        honoured = honours_conditions(self.remote)
        yield Finding(
            "the server honours If-None-Match in put_object",
            honoured,
            "" if honoured else "use another server: the store stores no small file on this one",
        )

    def examine(self, endpoints: Iterable[str] = ()) -> Iterator[Finding]:
        """Probe the server by storing, reading, copying and deleting objects of the store's own.

        Pairs of writers race for names, through the store's endpoint and through the URLs in
        ``endpoints``. This sends several hundred requests.
        """
        store = self.with_fixed_location()
        yield from store.probe()
        args, options = self._constructor_args
        others = [type(self)(*args, **{**options, "endpoint_url": url}) for url in endpoints]
        buckets = [store.remote, *(other.remote for other in others)]
        own = store._publication, store.transfer, store.server_side_copy
        yield from Probe(buckets, *own).findings()
        limit = filesizeformat(store.transfer.threshold)
        yield Finding(
            f"files above {limit} and copies get random names, so they need no condition", True
        )

    def remove_stale_uploads(self, before: datetime, *, dry_run: bool = False) -> Iterator[str]:
        """Abort the multipart uploads that were started before a datetime; yield their names.

        Without a ``location``, other applications may use the bucket, too. Then only uploads to
        keys of the layout are aborted.
        """
        return self.with_fixed_location()._remove_stale_uploads(before, dry_run)

    def _remove_stale_uploads(self, before: datetime, dry_run: bool) -> Iterator[str]:
        prefix = self.remote.prefix
        for name, upload in unfinished(self.remote):
            ours = bool(prefix) or name.startswith(f"{RESERVED}/") or self.is_key(name)
            # Compare timestamps, because without USE_TZ ``before`` has no time zone.
            if not ours or upload["Initiated"].timestamp() >= before.timestamp():
                continue
            if not dry_run:
                abort(self.remote, name, upload["UploadId"])
            yield name

    @property
    def has_own_url(self) -> bool:
        return bool(self.custom_domain)

    def url(self, name: str | None, *args: Any, **kwargs: Any) -> str:
        """Return a presigned URL.

        Without other arguments and ``custom_domain``, it is the URL of the view of
        ``devilry_storage.urls``, if the site includes these and the store has an alias.

        A presigned URL is valid for ``expire`` seconds, by default those of the option
        ``querystring_expire``. ``parameters`` and ``http_method`` are as in S3Storage. With
        ``filename`` the response is an attachment of that name, or is displayed if
        ``as_attachment`` is False. ``content_type`` is the media type of the response. Everybody
        who has the URL can read the file, so do not show it on pages or write it to logs.
        """
        if not name:
            raise ValueError(f"{name!r} has no URL: pass the name of a file.")
        name = validate_storage_name(name)
        if not (self.has_own_url or args or kwargs):
            with suppress(NoURL):
                return stored_url(self, name)
        url: str = BucketStorage.url(self, name, *args, **kwargs)
        return url

    def signed_url(self, name: str, *, expires_in: int, filename: str, content_type: str) -> str:
        return self.url(
            name,
            parameters={"ResponseCacheControl": "private, no-cache"},
            expire=expires_in,
            filename=filename,
            content_type=content_type,
        )


@dataclass(frozen=True)
class BucketObjects:
    """A store's own objects below its location, see `OwnObjects`."""

    _bucket: Bucket
    _publication: Callable[..., Publication]

    @property
    def location(self) -> Hashable:
        return self._bucket.identity

    def read(self, path: str) -> bytes | None:
        try:
            return b"".join(Ranges(self._bucket, self._name(path)).stream(0, LONGEST_OWN + 1))
        except FileNotFoundError:
            return None

    def create(self, path: str, data: bytes) -> bool:
        try:
            self._publication(self._name(path), "", "").put(data)
        except FileExistsError:
            return False
        return True

    def replace(self, path: str, data: bytes) -> None:
        self._publication(self._name(path), "", "").put(data, create=False)

    def names(self, folder: str) -> list[str]:
        prefix = self._bucket.key(f"{self._name(folder)}/")
        page = next(self._bucket.pages("list_objects_v2", Prefix=prefix))
        return [entry["Key"].removeprefix(prefix) for entry in page.get("Contents", ())]

    def volume(self) -> Hashable:
        return "bucket"

    def expect(self, *, known: bool) -> None:
        """Do nothing, because every request fails if the bucket does not exist."""

    def _name(self, path: str) -> str:
        return f"{RESERVED}/{path}"


def _failures(act: Callable[[str], None], names: Iterable[str]) -> dict[str, Exception]:
    """Call the function for each name until the server is unavailable; return the exceptions."""
    failures: dict[str, Exception] = {}
    for name in (remaining := iter(names)):
        try:
            act(name)
        except StoreUnavailable as exception:
            return {**failures, **dict.fromkeys([name, *remaining], exception)}
        except (OSError, ValueError) as exception:
            failures[name] = exception
    return failures


def _reconfigure(*, setting: str, **kwargs: Any) -> None:
    """Reconfigure existing stores after a test has changed a setting."""
    if setting.startswith("AWS_"):
        for store in list(_stores):
            store.reconfigure()


setting_changed.connect(_reconfigure)
