"""Read the contents of many files in order, ahead of the file that is being sent."""

from __future__ import annotations

import hashlib
import zlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from itertools import islice

from django.core.exceptions import SuspiciousFileOperation

from ..storages.base import DeliveryStoreMixin
from ..storages.chunks import CHUNK_SIZE
from ..storages.pools import Pool
from .entries import Member

#: Files up to this size in bytes are read ahead as a whole. Larger files are streamed when it is
#: their turn. At most ``2 * store.parallel_reads`` files of this size are in memory.
SMALL = 1024 * 1024


class Content:
    """The content of a member: always as many bytes as the archive has announced.

    Once it was read, ``data`` has the bytes, ``crc`` their CRC-32, and ``fault`` the reason why
    they are not what was stored, or ``""``. ``sha256`` is the recorded or else the computed one.
    """

    __slots__ = ("_stream", "crc", "data", "fault", "member", "sha256")

    def __init__(self, member: Member, stream: Callable[[str], Iterator[bytes]]) -> None:
        self.member = member
        self.sha256 = member.sha256.lower()
        self.fault, self.data, self.crc = "", b"", 0
        self._stream = stream

    def read(self) -> Content:
        """Read the bytes unless there are more than SMALL, and return the content."""
        if self.member.size <= SMALL:
            self.data = b"".join(self.stream())
        return self

    def stream(self) -> Iterator[bytes]:
        """Yield the bytes as far as they can be read, and zeros for the rest.

        Raises ConnectionError or TimeoutError if the store is unavailable.
        """
        digest, left = hashlib.sha256(), self.member.size
        try:
            for chunk in self._stream(self.member.name):
                part = chunk[:left]
                left -= len(part)
                digest.update(part)
                yield self._counted(part)
                if len(part) < len(chunk):
                    self.fault = f"it has more than {self.member.size} bytes"
                    break
        except (ConnectionError, TimeoutError):
            raise
        except (OSError, SuspiciousFileOperation) as exception:
            self.fault = f"{type(exception).__name__}: {exception}"
        if not self.fault:
            self._compare(left, digest.hexdigest())
        while left:
            zeros = bytes(min(left, CHUNK_SIZE))
            left -= len(zeros)
            yield self._counted(zeros)

    def _counted(self, data: bytes) -> bytes:
        self.crc = zlib.crc32(data, self.crc)
        return data

    def _compare(self, left: int, sha256: str) -> None:
        if left:
            self.fault = f"it has {left} bytes fewer than the expected {self.member.size}"
        elif self.sha256 not in {"", sha256}:
            self.fault = f"it has the SHA-256 {sha256!r}, but {self.sha256!r} is recorded"
        else:
            self.sha256 = sha256


def read_members(
    store: DeliveryStoreMixin, members: Iterable[Member]
) -> Generator[Content, None, None]:
    """Yield the content of each member.

    Contents of up to SMALL bytes are read. Raises ConnectionError or TimeoutError if the store is
    unavailable.
    """
    if store.parallel_reads == 1:
        with store.streams() as stream:
            for member in members:
                yield Content(member, stream).read()
        return
    pool = Pool(store.parallel_reads)
    futures = (pool.submit(Content(member, store.stream).read) for member in members)
    window: deque[Future[Content]] = deque()
    try:
        while True:
            window += islice(futures, 2 * store.parallel_reads - len(window))
            if not window:
                return
            yield window.popleft().result()
    finally:
        # Do not wait: the client may have disconnected, and running reads end on their own.
        pool.shutdown(wait=False, cancel_futures=True)
