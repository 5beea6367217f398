"""Reading an object of S3: streamed in one request, or lazily in ranges."""

from __future__ import annotations

import errno
import io
import re
import time
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, FlexibleChecksumError
from urllib3.exceptions import HTTPError

from ...exceptions import ChecksumMismatch, StoreFailure, StoreUnavailable
from .bucket import Bucket, pause
from .errors import ConditionFailed, RangeNotSatisfiable

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MIB = 1 << 20

#: What the first request of a reader asks for: most files need no second one.
FIRST_RANGE = MIB

#: A range after another is twice as long, up to this; after a jump it is a first one again.
LONGEST_RANGE = 4 * MIB

CHUNK_SIZE = 256 * 1024

# RFC 9110, section 14.4: the range that is enclosed, and the size of the whole.
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


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
            try:
                with closing(answer["Body"]) as body:
                    for chunk in body.iter_chunks(CHUNK_SIZE):
                        position += len(chunk)
                        yield chunk
                        # What the reader does with a chunk may take as long as it likes.
                        failures, since = 0, time.monotonic()
                if position >= goal:
                    return
                if position >= end > begun:
                    continue  # RFC 9110 lets a server give only a part of what was asked for
                broken: Exception | None = None
            except FlexibleChecksumError as exception:
                raise ChecksumMismatch(
                    f"{self._name!r} in {self._bucket} was read with another checksum than it was "
                    "stored with: it is damaged, there or on the way."
                ) from exception
            except (BotoCoreError, HTTPError) as exception:
                broken = exception
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
        parameters: dict[str, Any] = {}
        ranged = bool(start) or stop is not None
        if ranged:
            last = "" if stop is None else stop - 1
            parameters["Range"] = f"bytes={start}-{last}"
        else:
            # botocore verifies the checksum of the whole; there are servers (rclone) that give it
            # with a part as well.
            parameters["ChecksumMode"] = "ENABLED"
        if self.etag:
            parameters["IfMatch"] = self.etag
        try:
            answer = self._bucket.call("get_object", self._name, **parameters)
        except RangeNotSatisfiable:
            return None
        except ConditionFailed as exception:
            raise OSError(
                errno.ESTALE,
                f"The file was replaced while it was being read from {self._bucket}",
                self._name,
            ) from exception
        told = _CONTENT_RANGE.fullmatch(answer.get("ContentRange", ""))
        if ranged and (told is None or int(told[1]) != start):
            # RFC 9110 lets a server ignore Range: its answer is the whole, from another byte.
            answer["Body"].close()
            raise StoreFailure(
                f"Of {self._name!r} the bytes from {start} on were asked for, but {self._bucket} "
                f"gave others ({answer.get('ContentRange')!r}): it, or a cache before it, ignores "
                "Range."
            )
        self.etag = answer.get("ETag", "")
        if told is None:
            self.size = int(answer["ContentLength"])
            return answer, self.size
        self.size = int(told[3])
        return answer, int(told[2]) + 1


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
