"""Send requests to a bucket, with a limited number of attempts and a deadline."""

from __future__ import annotations

import io
import random
import threading
import time
from collections.abc import Callable, Hashable, Iterator, KeysView, Mapping
from dataclasses import dataclass, field
from itertools import count
from os import register_at_fork
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError
from botocore.parsers import ResponseParserError
from django.views.decorators.debug import sensitive_variables

from ...exceptions import StoreFailure
from .errors import FAILURES, error_code, is_transient, translate_exception
from .validation import OddResponse, check_parsed

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

# Parameters of the site that go with every request that accepts them, requests for the store's own
# markers included: encryption, ownership, who pays for the request and who owns the bucket.
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

#: Maximum lifetime of a URL in seconds, with signatures of version 4
#: (https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html).
LONGEST_URL = 7 * 24 * 60 * 60

# Largest body that is passed to botocore as bytes. Larger ones are sent as files, for which
# botocore uses "Expect: 100-continue".
_SENT_AT_ONCE = 64 * 1024

# Upper limit of the pause before the second attempt, in seconds. It doubles with each further
# attempt, up to _LONGEST_PAUSE.
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 2.0

# Maximum number of consecutive pages of a listing that are empty, but not the last. S3 may return
# some of them for a versioned bucket in which many objects were deleted.
_EMPTY_PAGES = 1000


class _Clients:
    """Cache of boto3 clients, one for each connection key, shared by all threads.

    Creating a client takes tens of milliseconds. Clients are thread-safe, but their connections
    must not be shared with a forked child, so a child creates its own clients.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self._clients: dict[Hashable, Any] = {}
        # A lock that another thread held during a fork is never released in the child.
        self._lock = threading.Lock()

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


class Body(io.RawIOBase):
    """Seekable file over bytes, so that a request body is sent in blocks.

    Each block has its own timeout. Bytes would be sent in one call, which would have to finish
    within the connect timeout that urllib3 has set on the socket.
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
        # botocore keeps the file in a reference cycle. Free the bytes before it is collected.
        self._view.release()
        super().close()


@dataclass(frozen=True)
class Bucket:
    """A bucket and a prefix in it, with the configuration of the connection.

    ``connection``
        the key of the client: buckets with equal keys share a client.
    ``object_parameters``
        a function that returns the parameters which the site adds to requests for a name.
    ``attempts``, ``deadline`` (seconds)
        limits of every call. No attempt begins after the deadline.
    """

    name: str
    prefix: str
    connection: Hashable
    # The repr of these may contain secrets.
    make_client: Callable[[], Any] = field(repr=False)
    object_parameters: Callable[[str], Mapping[str, Any]] = field(repr=False)
    attempts: int = 5
    deadline: float = 20.0

    @property
    def client(self) -> Any:
        """The boto3 client, shared by all buckets with the same connection key."""
        return _clients.get(self.connection, self.make_client)

    @property
    def identity(self) -> Hashable:
        """Hashable value that identifies the bucket and the prefix."""
        return self.connection, self.name, self.prefix

    def __str__(self) -> str:
        address = urlsplit(self.client.meta.endpoint_url)
        # Without a user and a password.
        return f"bucket {self.name!r} at '{address.scheme}://{address.netloc.rpartition('@')[2]}'"

    def key(self, name: str) -> str:
        """Return the key of a storage name; for ``""`` return the prefix."""
        return f"{self.prefix}{name}"

    def accepts(self, operation: str) -> KeysView[str]:
        """Return the names of the parameters that the operation accepts."""
        names: KeysView[str] = self._model(operation).input_shape.members.keys()
        return names

    def query_names(self, operation: str) -> dict[str, str]:
        """Map the operation's parameters in the query string to their names there.

        For example, ``ResponseContentType`` is ``response-content-type`` in a URL.
        """
        return {
            parameter: shape.serialization["name"]
            for parameter, shape in self._model(operation).input_shape.members.items()
            if shape.serialization.get("location") == "querystring"
        }

    def _model(self, operation: str) -> Any:
        api_name = self.client.meta.method_to_api_mapping[operation]
        return self.client.meta.service_model.operation_model(api_name)

    # Frames of botocore, which error mails show, contain keys, tokens and signatures. For the same
    # reason the exceptions have no cause.
    @sensitive_variables()
    def call(self, operation: str, name: str | None = None, **parameters: Any) -> Any:
        """Send a request for a name, or for the bucket if it is None, and return the response.

        Retry after errors that may be temporary, with exponential backoff and full jitter. Raise
        the exceptions of :mod:`.errors`, also for an incomplete response.
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
                    if operation == "head_object" and error_code(exception) == "400":
                        # The response to HEAD has no body. That to GET has the reason.
                        self.call("get_object", name, Range="bytes=0-0")["Body"].close()
                    raise translate_exception(
                        exception, operation, name, str(self), attempt, seconds
                    ) from None
            pause(attempt, self.deadline - seconds)
            attempt += 1

    def _send(self, operation: str, parameters: Mapping[str, Any]) -> Any:
        send = getattr(self.client, operation)
        try:
            response = self._send_body(send, parameters)
        except (BotoCoreError, ResponseParserError):
            raise
        except (ValueError, RuntimeError) as exception:
            # Raised by botocore's parsers of numbers and times.
            raise OddResponse(f"has a value that cannot be parsed ({exception})") from exception
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
            if isinstance(data, bytearray):  # moto's mock_aws() accepts only bytes
                parameters = {**parameters, "Body": bytes(data)}
            return send(Bucket=self.name, **parameters)
        with Body(data) as body:
            return send(Bucket=self.name, **{**parameters, "Body": body})

    def _common(self, operation: str, name: str) -> dict[str, Any]:
        """Return the site's parameters that apply to all requests, not only to writes."""
        accepted = self.accepts(operation) & _COMMON
        parameters = self.object_parameters(name)
        return {key: value for key, value in parameters.items() if key in accepted}

    def copy_source(self, name: str) -> dict[str, Any]:
        """Return the parameters for the source of a copy, with its SSE-C key if it has one."""
        customer_key = {
            f"CopySource{key}": value
            for key, value in self.object_parameters(name).items()
            if key.startswith("SSECustomer")
        }
        return {"CopySource": {"Bucket": self.name, "Key": self.key(name)}, **customer_key}

    @sensitive_variables()
    def presigned_url(
        self, name: str, parameters: Mapping[str, Any], seconds: int, method: str | None
    ) -> str:
        """Return a URL that grants read access to the object for a number of seconds.

        No request is sent. Raise ValueError if S3 would reject the number of seconds.
        """
        invalid = seconds != int(seconds) or not 0 < seconds <= LONGEST_URL
        if invalid and self.client.meta.config.signature_version != "s3":
            raise ValueError(
                f"A URL of {name!r} cannot be valid for {seconds!r} seconds: set expire, or the "
                f"option querystring_expire, to a whole number from 1 to {LONGEST_URL} (7 days)."
            )
        parameters = {**parameters, "Bucket": self.name, "Key": self.key(name)}
        try:
            url: str = self.client.generate_presigned_url(
                "get_object", Params=parameters, ExpiresIn=seconds, HttpMethod=method
            )
        except BotoCoreError as exception:
            raise translate_exception(exception, "get_object", name, str(self), 1, 0) from None
        return url

    def pages(self, operation: str, **parameters: Any) -> Iterator[Any]:
        """Yield the responses of a listing, page by page.

        The marker of the next page has the name of the parameter with the prefix ``Next``, for
        example ``NextContinuationToken``. Raise StoreFailure if a marker is repeated, or if too
        many consecutive pages are empty.
        """
        markers = _MARKERS[operation]
        remembered: dict[str, Any] = {}
        empty = 0
        for number in count(1):
            page = self.call(operation, **parameters)
            yield page
            if not page.get("IsTruncated"):
                return
            empty = 0 if any(member in page for member in _MEMBERS) else empty + 1
            following = {
                marker: page[f"Next{marker}"] for marker in markers if f"Next{marker}" in page
            }
            if following == remembered or empty == _EMPTY_PAGES:
                reason = f"{empty} were empty" if empty == _EMPTY_PAGES else "a marker is repeated"
                raise StoreFailure(
                    f"{operation} of {self} does not end: after {number} pages {reason}."
                )
            # Remember the markers after pages 1, 2, 4, 8 and so on. This detects a cycle of any
            # length without keeping all markers.
            if number & (number - 1) == 0:
                remembered = following
            parameters |= following


_MEMBERS = ("Contents", "CommonPrefixes", "Uploads")
_MARKERS = {
    "list_objects_v2": ("ContinuationToken",),
    "list_multipart_uploads": ("KeyMarker", "UploadIdMarker"),
}


def pause(attempt: int, left: float = _LONGEST_PAUSE) -> None:
    """Wait before the next attempt, at most for the seconds that are left."""
    longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (attempt - 1), left)
    time.sleep(random.uniform(0, longest))  # noqa: S311  # not used for a secret
