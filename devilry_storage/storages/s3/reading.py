"""Reading an object of S3: streamed in one request, or lazily in ranges."""

from __future__ import annotations

import binascii
import errno
import io
import time
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, FlexibleChecksumError
from urllib3.exceptions import HTTPError

from ...exceptions import ChecksumMismatch, StoreFailure, StoreUnavailable
from .bucket import Bucket, pause
from .errors import ConditionFailed, RangeNotSatisfiable
from .validation import content_range, has_certain_length

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MIB = 1 << 20

#: What the first request of a reader asks for: most files need no second one.
FIRST_RANGE = MIB

#: A range after another is twice as long, up to this; after a jump it is a first one again.
LONGEST_RANGE = 4 * MIB

CHUNK_SIZE = 256 * 1024


class Ranges:
    """Reads an object in ranges, all of the object that the first of them found.

    ``size`` in bytes and ``etag`` are known once a range was begun.
    """

    def __init__(self, bucket: Bucket, name: str) -> None:
        self._bucket = bucket
        self._name = name
        self.size = 0
        self.etag = ""

    def stream(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Yield the bytes from ``start`` to ``stop`` (exclusive) in chunks.

        A connection that breaks or stalls is taken up again where it did, within the attempts and
        the deadline of a call. Raises FileNotFoundError, StoreUnavailable, ChecksumMismatch,
        OSError (ESTALE) where the object was replaced.
        """
        position, failures, since = start, 0, time.monotonic()
        while True:
            found = self._get(position, stop)
            if found is None:
                return
            begun, (answer, end) = position, found
            goal = self.size if stop is None else min(stop, self.size)
            broken: Exception | None = None
            try:
                with closing(answer["Body"]) as body:
                    for chunk in body.iter_chunks(CHUNK_SIZE):
                        if position + len(chunk) > end:
                            raise self._odd(f"more bytes than the {end - begun} that it promises")
                        position += len(chunk)
                        yield chunk
                        # What the reader does with a chunk may take as long as it likes.
                        failures, since = 0, time.monotonic()
            except (FlexibleChecksumError, binascii.Error) as exception:
                raise ChecksumMismatch(
                    f"{self._name!r} in {self._bucket} was read with another checksum than it was "
                    "stored with: it is damaged, there or on the way."
                ) from exception
            except (BotoCoreError, HTTPError) as exception:
                broken = exception
            if position >= goal:
                return  # where it broke, only the end of a chunked body is missing
            if broken is None and position >= end > begun:
                continue  # RFC 9110 lets a server give only a part of what was asked for
            failures += 1
            seconds = time.monotonic() - since
            if failures >= self._bucket.attempts or seconds >= self._bucket.deadline:
                raise StoreUnavailable(
                    f"Reading {self._name!r} in {self._bucket} broke off at byte {position} of "
                    f"{goal}, {failures} times in {seconds:.1f} s: try again later."
                ) from broken
            pause(failures)

    def _get(self, start: int, stop: int | None) -> tuple[Any, int] | None:
        """Ask for a range; return the answer and the position at which its body ends.

        None where there is nothing in the range. Notes size and ETag.
        """
        if start or stop is not None:
            return self._get_range(start, stop)
        # botocore verifies the checksum of the whole; there are servers (rclone) that give it
        # with a part as well.
        answer = self._request(ChecksumMode="ENABLED")
        if not has_certain_length(answer):
            # A range has its own length and that of the whole.
            answer["Body"].close()
            return self._get_range(start, stop)
        self._note(answer, answer["ContentLength"])
        return answer, self.size

    def _get_range(self, start: int, stop: int | None) -> tuple[Any, int] | None:
        last = "" if stop is None else stop - 1
        try:
            answer = self._request(Range=f"bytes={start}-{last}")
        except RangeNotSatisfiable as exception:
            if start < self._size_beyond(exception):
                raise self._odd(f"status 416 for a range from byte {start} on") from exception
            return None
        found = content_range(answer)
        assert found is not None  # a complete response has it
        self._note(answer, found[2])
        return answer, found[1]

    def _request(self, **parameters: str) -> Any:
        if self.etag:
            parameters["IfMatch"] = self.etag
        try:
            return self._bucket.call("get_object", self._name, **parameters)
        except ConditionFailed as exception:
            raise self._stale() from exception

    def _note(self, answer: Any, size: int) -> None:
        """Note ETag and size, and raise OSError (ESTALE) if they are others than before."""
        etag = answer["ETag"]
        if self.etag and (etag, size) != (self.etag, self.size):
            # The server ignores If-Match, or gives the ETag of other bytes.
            answer["Body"].close()
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
            f"get_object of {self._name!r} in {self._bucket} failed: its response has {what}. "
            "Does a proxy, a portal or a cache respond in the server's place?"
        )

    def _size_beyond(self, refusal: RangeNotSatisfiable) -> int:
        """Return the size of the object of which a range was refused."""
        if self.etag:
            return self.size
        if refusal.size is not None:
            return refusal.size
        return int(self._bucket.call("head_object", self._name)["ContentLength"])

    def measure(self) -> int:
        """Return the size of the object as a range of one byte gives it."""
        if found := self._get_range(0, 1):
            found[0]["Body"].close()
        return self.size


class RangeReader(io.RawIOBase):
    """An object as a seekable file of bytes that fetches what is read, and a little more.

    It is opened by its first range, so that a missing object is a FileNotFoundError then. What
    was fetched last is kept, at most LONGEST_RANGE bytes.
    """

    def __init__(self, bucket: Bucket, name: str) -> None:
        super().__init__()
        self._name = name
        self._ranges = Ranges(bucket, name)
        self._begin = self._position = 0
        self._kept = b""
        self._fetch(0, FIRST_RANGE)

    def _advance(self) -> None:
        """Fetch a range in which the position lies."""
        if self._position == self._begin + len(self._kept):
            self._fetch(self._position, min(2 * self._length, LONGEST_RANGE))
            return
        # Who jumps close to the end goes back from there, as for the directory of a zip.
        start = max(0, min(self._position, self._ranges.size - FIRST_RANGE))
        self._fetch(start, FIRST_RANGE)

    def _fetch(self, start: int, length: int) -> None:
        self._kept = b""  # not both at a time
        self._kept = b"".join(self._ranges.stream(start, start + length))
        if not self._kept and start < self._ranges.size:
            raise StoreUnavailable(
                f"{self._name!r} has {self._ranges.size} bytes; none came from byte {start} on."
            )
        self._begin, self._length = start, length

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._ranges.size}
        if whence not in base:
            raise ValueError(f"whence {whence!r} is none of 0, 1 and 2.")
        position = base[whence] + offset
        if position < 0:
            raise ValueError(f"Position {position!r} lies before the beginning of the file.")
        self._position = position
        return position

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        if self._position >= self._ranges.size or not view:
            return 0
        if not self._begin <= self._position < self._begin + len(self._kept):
            self._advance()
        offset = self._position - self._begin
        piece = self._kept[offset : offset + len(view)]
        view[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def readall(self) -> bytes:
        # RawIOBase's would read it in pieces of some KiB.
        start, size = self._position, self._ranges.size
        if start >= size:
            return b""
        kept = b""
        if self._begin <= start < self._begin + len(self._kept):
            kept = self._kept[start - self._begin :]
        rest = start + len(kept)
        data = kept if rest >= size else b"".join([kept, *self._ranges.stream(rest, size)])
        self._position = start + len(data)
        return data

    def close(self) -> None:
        self._kept = b""
        super().close()
