"""Read objects of S3, as a stream in one request or as a seekable file."""

from __future__ import annotations

import binascii
import errno
import io
import os
import time
from collections.abc import Generator
from contextlib import closing
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, FlexibleChecksumError
from urllib3.exceptions import HTTPError

from ...exceptions import ChecksumMismatch, StoreFailure, StoreUnavailable
from .bucket import Bucket, pause
from .errors import ConditionFailed, RangeNotSatisfiable
from .validation import is_encoded, parsed_content_range

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MIB = 1 << 20

#: Length of a reader's first request, and of one after a seek. Most files need only one.
FIRST_RANGE = MIB

CHUNK_SIZE = 256 * 1024


class Ranges:
    """Reader of byte ranges that belong to one version of an object.

    ``size`` (in bytes) and ``etag`` are set by the first request.
    """

    def __init__(self, bucket: Bucket, name: str) -> None:
        self._bucket = bucket
        self._name = name
        self.size = 0
        self.etag = ""

    def stream(self, start: int = 0, stop: int | None = None) -> Generator[bytes, None, None]:
        """Yield the bytes from ``start`` to ``stop`` (exclusive) in chunks.

        Resume at the same position if the connection breaks or stalls, within the attempts and
        the deadline of a call. Raise FileNotFoundError, StoreUnavailable, ChecksumMismatch, or
        OSError (ESTALE) if the object was replaced.
        """
        position, failures, since = start, 0, time.monotonic()
        while True:
            found = self._get(position, stop)
            if found is None:
                return
            begun, (response, end) = position, found
            goal = self.size if stop is None else min(stop, self.size)
            broken: Exception | None = None
            try:
                with closing(response["Body"]) as body:
                    for chunk in body.iter_chunks(CHUNK_SIZE):
                        if position + len(chunk) > end:
                            raise self._odd(f"more than the {end - begun} bytes that it announced")
                        position += len(chunk)
                        yield chunk
                        # The time that the caller needs for a chunk does not count.
                        failures, since = 0, time.monotonic()
            except (FlexibleChecksumError, binascii.Error) as exception:
                raise ChecksumMismatch(
                    f"{self._name!r} in {self._bucket} has a different checksum than when it was "
                    "stored: the file was damaged in the store or in transit."
                ) from exception
            except (BotoCoreError, HTTPError) as exception:
                broken = exception
            if position >= goal:
                return  # if it broke, only the end of a chunked body is missing
            if broken is None and position >= end > begun:
                continue  # RFC 9110 allows a server to send only a part of the requested range
            failures += 1
            seconds = time.monotonic() - since
            if failures >= self._bucket.attempts or seconds >= self._bucket.deadline:
                raise StoreUnavailable(
                    f"Reading {self._name!r} in {self._bucket} was interrupted at byte {position} "
                    f"of {goal}, {failures} times in {seconds:.1f} s: try again later."
                ) from broken
            pause(failures)

    def _get(self, start: int, stop: int | None) -> tuple[Any, int] | None:
        """Request a range; return the response and the position at which its body ends.

        Return None if the range is empty. Set the size and the ETag.
        """
        if start or stop is not None:
            return self._get_range(start, stop)
        response = self._request()
        if "ContentLength" not in response or is_encoded(response):
            # The response to a range request has its own length and that of the object.
            response["Body"].close()
            return self._get_range(start, stop)
        self._note(response, response["ContentLength"])
        return response, self.size

    def _get_range(self, start: int, stop: int | None) -> tuple[Any, int] | None:
        last = "" if stop is None else stop - 1
        try:
            response = self._request(Range=f"bytes={start}-{last}")
        except RangeNotSatisfiable as exception:
            if start < self._size_beyond(exception):
                raise self._odd(
                    f"status 416 for a range that starts at byte {start}"
                ) from exception
            return None
        found = parsed_content_range(response)
        assert found is not None  # a complete response has it
        self._note(response, found[2])
        return response, found[1]

    def _request(self, **parameters: str) -> Any:
        if self.etag:
            parameters["IfMatch"] = self.etag
        try:
            return self._bucket.call("get_object", self._name, **parameters)
        except ConditionFailed as exception:
            raise self._stale() from exception

    def _note(self, response: Any, size: int) -> None:
        """Set the ETag and the size; raise OSError (ESTALE) if they have changed."""
        etag = response["ETag"]
        if self.etag and (etag, size) != (self.etag, self.size):
            # The server ignores If-Match, or sends the ETag of other bytes.
            response["Body"].close()
            raise self._stale()
        self.etag, self.size = etag, size

    def _stale(self) -> OSError:
        return OSError(
            errno.ESTALE,
            f"The file was replaced while it was being read from {self._bucket}",
            self._name,
        )

    def _odd(self, what: str) -> StoreFailure:
        return StoreFailure(
            f"get_object of {self._name!r} in {self._bucket} failed: the response has {what}. "
            "Check whether a proxy, a captive portal or a cache responds instead of the server."
        )

    def _size_beyond(self, exception: RangeNotSatisfiable) -> int:
        """Return the size of the object after the server has rejected a range of it."""
        if self.etag:
            return self.size
        if exception.size is not None:
            return exception.size
        return int(self._bucket.call("head_object", self._name)["ContentLength"])

    def measure(self) -> int:
        """Return the size of the object, by requesting a range of one byte."""
        if found := self._get_range(0, 1):
            found[0]["Body"].close()
        return self.size


class RangeReader(io.RawIOBase):
    """Seekable binary file over an object, with read-ahead.

    The constructor requests the first range, so it raises FileNotFoundError if the object is
    missing. A reader that goes on from there reads the rest as one response, and keeps its
    connection until the end, a seek elsewhere or close(). At most FIRST_RANGE bytes are kept in
    memory.
    """

    def __init__(self, bucket: Bucket, name: str) -> None:
        super().__init__()
        self._name = name
        self._ranges = Ranges(bucket, name)
        self._rest: Generator[bytes, None, None] | None = None
        self._position = 0
        self._fetch(0)

    def _fetch(self, start: int) -> None:
        """Keep the range from ``start`` on."""
        self._keep(start)  # free the old bytes before fetching new ones
        self._keep(start, b"".join(self._ranges.stream(start, start + FIRST_RANGE)))

    def _keep(self, start: int, data: bytes = b"") -> None:
        self._begin, self._end = start, start + len(data)
        self._kept = memoryview(data)

    def _follow(self, start: int) -> None:
        """Begin to read everything from ``start`` on as one response."""
        self._stop_following()
        self._keep(start)
        self._process, self._rest = os.getpid(), self._ranges.stream(start)

    def _stop_following(self) -> None:
        rest, self._rest = self._rest, None
        if rest is not None:
            rest.close()

    def _read_on(self) -> None:
        """Keep the next chunk of the response."""
        self._keep(self._end)
        rest, self._rest = self._rest, None
        assert rest is not None
        self._keep(self._end, next(rest))  # it ends at the size, or with an exception
        self._rest = rest

    def _advance(self) -> None:
        """Keep bytes that are at the position, or closer to it."""
        if self._rest is not None and self._process != os.getpid():
            # The parent of this process reads from the same connection.
            self._stop_following()
        if 0 <= self._position - self._end <= FIRST_RANGE:
            if self._rest is None:
                self._follow(self._position)
            self._read_on()
            return
        self._stop_following()
        # Readers that seek close to the end usually go back from there, as zipfile does.
        self._fetch(max(0, min(self._position, self._ranges.size - FIRST_RANGE)))

    def _at_position(self) -> memoryview:
        """Return the kept bytes from the position on, after requesting them if necessary."""
        if self._position >= self._ranges.size:
            return memoryview(b"")
        while not self._begin <= self._position < self._end:
            self._advance()
        return self._kept[self._position - self._begin :]

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._ranges.size}
        if whence not in base:
            raise ValueError(f"Invalid whence {whence!r}: use 0, 1 or 2.")
        position = base[whence] + offset
        if position < 0:
            raise ValueError(f"Cannot seek to {position!r}: positions must not be negative.")
        self._position = position
        return position

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        piece = self._at_position()[: len(view)] if view else view
        view[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def readall(self) -> bytes:
        # RawIOBase.readall() would read pieces of a few KiB.
        start = self._position
        if not self._begin <= start <= self._end and start < self._ranges.size:
            self._follow(start)
        pieces = []
        try:
            while piece := self._at_position():
                pieces.append(piece)
                self._position += len(piece)
        except BaseException:
            self._position = start  # the caller gets none of the pieces
            raise
        return b"".join(pieces)

    def close(self) -> None:
        self._stop_following()
        self._keep(0)
        super().close()
