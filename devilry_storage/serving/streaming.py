"""Bytes on their way to a client: counted, of the promised length, and told of at their end."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterable, Iterator

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.db import connections
from django.http import HttpRequest, StreamingHttpResponse

from ..exceptions import ChecksumMismatch
from .access_log import ABORTED, COMPLETE, FAILED

logger = logging.getLogger("devilry_storage")


def exactly(chunks: Iterable[bytes], length: int, name: str) -> Iterator[bytes]:
    """Yield chunks of ``length`` bytes together, the last one when nothing has followed it.

    So a client that was promised so many bytes never takes fewer, or the beginning of more, for
    the whole. Raises ChecksumMismatch.
    """
    left, withheld = length, b""
    for chunk in filter(None, chunks):
        if len(chunk) > left:
            raise ChecksumMismatch(f"{name!r} has more than the {length} bytes that are recorded.")
        left -= len(chunk)
        if left:
            yield chunk
        else:
            withheld = chunk
    if left:
        raise ChecksumMismatch(
            f"{name!r} ended after {length - left} of the {length} bytes that are recorded."
        )
    if withheld:
        yield withheld


class Body:
    """The chunks of an answer that has promised their length in bytes.

    An exception while they are read is logged with ``name``, and passed on to the server, which
    then breaks the connection: the client sees that something is missing. ``ended`` is told, once,
    how many bytes were passed on and how that ended: ``complete``, ``failed``, or ``aborted`` by
    the client.
    """

    def __init__(
        self,
        chunks: Iterator[bytes],
        length: int,
        name: str,
        ended: Callable[[int, str], None],
    ) -> None:
        self._source = chunks
        self._chunks = exactly(chunks, length, name)
        self._length = length
        self._name = name
        self._ended = ended
        self._ahead: bytes | None = None
        self._sent = 0
        self._outcome = ""
        self._is_closed = False
        # Under ASGI a thread may still be reading when the client is found to be gone.
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Read the first chunk: what cannot be read is better told before the headers are sent.

        Raises what reading raises; the body is closed then.
        """
        try:
            self._ahead = self._read()
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if not self._sent:
            # Not in __iter__, which Django calls before the middleware uses the database.
            release_connections()
        with self._lock:
            chunk, self._ahead = self._ahead, None
            if chunk is None:
                chunk = self._read()
            if chunk is None:
                self._outcome = self._outcome or COMPLETE
                raise StopIteration
            self._sent += len(chunk)
            return chunk

    def _read(self) -> bytes | None:
        """Return the next chunk, None at the end."""
        try:
            return next(self._chunks, None)
        except Exception:
            self._outcome = FAILED
            logger.exception(
                "The transfer of %r broke off at byte %d of %d.",
                self._name,
                self._sent,
                self._length,
            )
            raise

    def close(self) -> None:
        """Let go of the source and tell of the end; the server calls this in any case."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            close = getattr(self._source, "close", None)
            if close is not None:
                close()
        self._ended(self._sent, self._outcome or ABORTED)


class _AsyncBody:
    """A body for an event loop, which waits neither for a disk nor for a network.

    Each chunk is read in a thread, one at a time; while the client takes it there is no thread.
    """

    def __init__(self, body: Body) -> None:
        self._body = body
        self._is_begun = False
        self.close = body.close

    def __aiter__(self) -> _AsyncBody:
        return self

    async def __anext__(self) -> bytes:
        if not self._is_begun:
            self._is_begun = True
            # In the thread of the view, which has them.
            await sync_to_async(release_connections)()
        try:
            chunk = await asyncio.to_thread(next, self._body, None)
        except Exception:
            # Django closes no response that broke. Not in the thread that has read: receivers of
            # signals may use the database.
            await sync_to_async(self.close)()
            raise
        if chunk is None:
            raise StopAsyncIteration
        return chunk


def streamed(request: HttpRequest, body: Body) -> StreamingHttpResponse:
    """Return an answer that streams the body, asynchronously where the request is of ASGI."""
    chunks = _AsyncBody(body) if isinstance(request, ASGIRequest) else body
    return StreamingHttpResponse(chunks)


def release_connections() -> None:
    """Close this thread's database connections: a slow client holds none of them.

    One in a transaction stays: it is of a test, or of a caller who reads the bytes himself.
    """
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()
