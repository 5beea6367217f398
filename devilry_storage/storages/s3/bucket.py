"""A bucket, and the one way in which requests reach it: bounded, repeated where that is safe."""

from __future__ import annotations

import io
import random
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import count
from os import register_at_fork
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError
from botocore.parsers import ResponseParserError

from ...exceptions import StoreFailure
from .errors import FAILURES, is_transient, translated
from .validation import OddResponse, check_parsed

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

# What belongs to every request that takes it, those for the store's own markers included: how the
# object is encrypted and whose it is, which a bucket may demand, who pays, whose bucket it is.
_COMMON = {
    "ACL",
    "ServerSideEncryption",
    "SSEKMSKeyId",
    "SSEKMSEncryptionContext",
    "BucketKeyEnabled",
    "SSECustomerAlgorithm",
    "SSECustomerKey",
    "SSECustomerKeyMD5",
    "RequestPayer",
    "ExpectedBucketOwner",
}

#: Seconds for which a URL may be good, by version 4 of signatures
#: (https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html).
LONGEST_URL = 7 * 24 * 60 * 60

# Bytes of a body that are sent by one call, and without asking first (Expect: 100-continue), as
# botocore does with files.
_SENT_AT_ONCE = 64 * 1024

# Seconds before the second attempt, doubled for each further one, at most LONGEST_PAUSE.
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 2.0

# Pages of a listing one after the other that have nothing on them, but go on. S3 may give some
# where much was deleted in a bucket with versions.
_EMPTY_PAGES = 1000


class _Clients:
    """One client for each way of connecting, shared by the threads of this process.

    A client takes tens of milliseconds to make and is thread-safe. Its connections are not to be
    shared with a forked child, which makes its own.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self._clients: dict[Hashable, Any] = {}
        self._lock = threading.Lock()  # after a fork the old one may be held by nobody

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        client = self._clients.get(key)
        if client is None:
            with self._lock:
                client = self._clients.get(key)
                if client is None:
                    client = self._clients[key] = make()
        return client


_clients = _Clients()
register_at_fork(after_in_child=_clients.forget)


@lru_cache
def _accepted(operation_model: Any) -> frozenset[str]:
    """Return the names of the parameters that an operation takes."""
    return frozenset(operation_model.input_shape.members)


@lru_cache
def _query_names(operation_model: Any) -> dict[str, str]:
    members: dict[str, Any] = operation_model.input_shape.members
    return {
        parameter: shape.serialization["name"]
        for parameter, shape in members.items()
        if shape.serialization.get("location") == "querystring"
    }


class Body(io.RawIOBase):
    """Bytes as a file, which is sent block by block, each with a timeout of its own.

    Bytes themselves would be sent by one call, and all of them have to be gone within the
    connect timeout, which urllib3 keeps on the socket meanwhile.
    """

    def __init__(self, data: bytes | bytearray) -> None:
        super().__init__()
        self._view = memoryview(data)
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: len(self._view)}
        self._position = base[whence] + offset
        return self._position

    def readinto(self, buffer: WriteableBuffer) -> int:
        room = memoryview(buffer).cast("B")
        piece = self._view[self._position : self._position + len(room)]
        room[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def close(self) -> None:
        # botocore leaves it in a cycle of references: the bytes need not wait for its collection.
        self._view.release()
        super().close()


@dataclass(frozen=True)
class Bucket:
    """A bucket below a prefix, as one configuration reaches it.

    ``connection`` says what makes its client differ from others'; ``attempts`` and ``deadline``
    (seconds) bound every call: no attempt begins after the deadline. ``object_parameters`` gives
    what the site adds to requests for a name.
    """

    name: str
    prefix: str
    # Holds the secret key, as the next two may.
    connection: Hashable = field(repr=False)
    make_client: Callable[[], Any] = field(repr=False)
    object_parameters: Callable[[str], Mapping[str, Any]] = field(repr=False)
    attempts: int = 5
    deadline: float = 20.0

    @property
    def client(self) -> Any:
        """The boto3 client, which is this process's only one for such a connection."""
        return _clients.get(self.connection, self.make_client)

    @property
    def identity(self) -> Hashable:
        """What tells this place from every other one."""
        return self.connection, self.name, self.prefix

    def __str__(self) -> str:
        address = urlsplit(self.client.meta.endpoint_url)
        # Without what stands before an @.
        return f"bucket {self.name!r} at '{address.scheme}://{address.netloc.rpartition('@')[2]}'"

    def key(self, name: str) -> str:
        """Return the key of a storage name, ``""`` being the prefix itself."""
        return f"{self.prefix}{name}"

    def accepts(self, operation: str) -> frozenset[str]:
        """Return the names of the parameters that the operation takes."""
        return _accepted(self._model(operation))

    def query_names(self, operation: str) -> Mapping[str, str]:
        """Return the parameters of the operation that travel in the query, and their names there.

        ``response-content-type`` is what boto3 calls ``ResponseContentType``.
        """
        return _query_names(self._model(operation))

    def _model(self, operation: str) -> Any:
        api_name = self.client.meta.method_to_api_mapping[operation]
        return self.client.meta.service_model.operation_model(api_name)

    def call(self, operation: str, name: str | None = None, **parameters: Any) -> Any:
        """Send a request about a name (None: about the bucket) and return the complete response.

        What may pass is tried again, with pauses between (exponential, with full jitter). Raises
        the errors of :mod:`.errors`, for a response that is not complete as well.
        """
        parameters |= self._common(operation, name or "")
        if name is not None:
            parameters["Key"] = self.key(name)
        began = time.monotonic()
        attempt = 1
        while True:
            try:
                return self._send(operation, parameters)
            except FAILURES as exception:
                seconds = time.monotonic() - began
                left = attempt < self.attempts and seconds < self.deadline
                if not (left and is_transient(exception, operation)):
                    raise translated(
                        exception, operation, name, str(self), attempt, seconds
                    ) from exception
            pause(attempt, self.deadline - seconds)
            attempt += 1

    def _send(self, operation: str, parameters: Mapping[str, Any]) -> Any:
        send = getattr(self.client, operation)
        try:
            response = self._send_body(send, parameters)
        except (BotoCoreError, ResponseParserError):
            raise
        except (ValueError, RuntimeError) as exception:
            # botocore's parsers of numbers and times.
            raise OddResponse(f"has a value that cannot be read ({exception})") from exception
        try:
            check_parsed(self._model(operation).name, parameters, response)
        except OddResponse:
            if operation == "get_object":
                response["Body"].close()
            raise
        return response

    def _send_body(self, send: Callable[..., Any], parameters: Mapping[str, Any]) -> Any:
        data = parameters.get("Body", b"")
        if len(data) <= _SENT_AT_ONCE:
            return send(Bucket=self.name, **parameters)
        with Body(data) as body:
            return send(Bucket=self.name, **{**parameters, "Body": body})

    def _common(self, operation: str, name: str) -> dict[str, Any]:
        """Return of the site's parameters those that every request needs, not only a write."""
        accepted = self.accepts(operation) & _COMMON
        parameters = self.object_parameters(name)
        return {each: value for each, value in parameters.items() if each in accepted}

    def copy_source(self, name: str) -> dict[str, Any]:
        """Return the parameters that name an object as what is copied, with its key of SSE-C."""
        key = {
            f"CopySource{each}": value
            for each, value in self.object_parameters(name).items()
            if each.startswith("SSECustomer")
        }
        return {"CopySource": {"Bucket": self.name, "Key": self.key(name)}, **key}

    def presigned_url(
        self, name: str, parameters: Mapping[str, Any], seconds: int, method: str | None
    ) -> str:
        """Return a URL by which anybody may read the object for so many seconds; sends nothing.

        Raises ValueError where S3 would refuse the URL because of them.
        """
        impossible = seconds != int(seconds) or not 0 < seconds <= LONGEST_URL
        if impossible and self.client.meta.config.signature_version != "s3":
            raise ValueError(
                f"A URL of {name!r} cannot be good for {seconds!r} seconds: give expire, or the "
                f"option querystring_expire, a whole number from 1 to {LONGEST_URL} (7 days)."
            )
        parameters = {**parameters, "Bucket": self.name, "Key": self.key(name)}
        try:
            url: str = self.client.generate_presigned_url(
                "get_object", Params=parameters, ExpiresIn=seconds, HttpMethod=method
            )
        except BotoCoreError as exception:
            raise translated(exception, "get_object", name, str(self), 1, 0) from exception
        return url

    def pages(self, operation: str, **parameters: Any) -> Iterator[Any]:
        """Yield the responses of a listing, page by page.

        Each page's marker, by which the next one is asked for, has the name of the parameter with
        ``Next`` before it (for ListObjectsV2: ``ContinuationToken``). Raises StoreFailure for
        markers that come again, and where very many pages are empty.
        """
        markers = _MARKERS[operation]
        remembered: dict[str, Any] = {}
        empty = 0
        for number in count(1):
            page = self.call(operation, **parameters)
            yield page
            if not page.get("IsTruncated"):
                return
            empty = 0 if any(each in page for each in _ON_A_PAGE) else empty + 1
            following = {each: page[f"Next{each}"] for each in markers if f"Next{each}" in page}
            if following == remembered or empty == _EMPTY_PAGES:
                raise StoreFailure(
                    f"{operation} of {self} does not end: after {number} pages "
                    + (f"{empty} were empty." if empty == _EMPTY_PAGES else "one comes again.")
                )
            # Page 1, 2, 4, 8 and so on: a circle of any length is found while only one marker is
            # remembered.
            if number & (number - 1) == 0:
                remembered = following
            parameters |= following


_ON_A_PAGE = ("Contents", "CommonPrefixes", "Uploads")
_MARKERS = {
    "list_objects_v2": ("ContinuationToken",),
    "list_multipart_uploads": ("KeyMarker", "UploadIdMarker"),
}


def pause(attempt: int, left: float = _LONGEST_PAUSE) -> None:
    """Wait before the attempt after this one, no longer than the seconds that are left."""
    longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (attempt - 1), left)
    time.sleep(random.uniform(0, longest))  # noqa: S311  # no secret
