"""Streaming response bodies that enforce Content-Length and log the outcome."""

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

#: Bodies of at most this length (bytes) are sent at once, like pages: servers and kernels buffer
#: them. Persistent database connections stay open.
SHORT = 1 << 16


def exactly(chunks: Iterable[bytes], length: int, name: str) -> Iterator[bytes]:
    """Yield the chunks if they have exactly ``length`` bytes in total.

    The last chunk is withheld until the end has been reached, so that a client never mistakes
    truncated or overlong content for the complete file. Raises ChecksumMismatch for any other
    length.
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
    """The body of a response with a Content-Length.

    An exception while reading is logged with ``name`` and raised again. The server then closes the
    connection early, so the client notices that the response is incomplete. ``ended`` is called
    once, with the number of bytes sent and the outcome: ``complete``, ``failed``, or ``aborted``
    by the client.
    """

    def __init__(
        self, chunks: Iterator[bytes], length: int, name: str, ended: Callable[[int, str], None]
    ) -> None:
        self._source = chunks
        self._chunks = exactly(chunks, length, name)
        self._length = length
        self._name = name
        self._ended = ended
        self._ahead: bytes | None = None
        #: Whether all bytes are in memory, so that ``read()`` does not wait for the store.
        self.is_read = False
        self._sent = 0
        self._outcome = ""
        self._is_closed = False
        # Under ASGI, a thread may still be reading when the client disconnects.
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Read the first chunk, so that errors occur before the headers are sent.

        If reading fails, the body is closed and the exception is raised.
        """
        try:
            self._ahead = self._read()
        except BaseException:
            self.close()
            raise
        self.is_read = len(self._ahead or b"") == self._length

    @property
    def is_short(self) -> bool:
        """Whether all bytes can be sent at once."""
        return self.is_read and self._length <= SHORT

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if not self._sent:
            # Not in __iter__(): Django calls it before middleware that uses the database.
            release_connections(keep_persistent=self.is_short)
        chunk = self.read()
        if chunk is None:
            raise StopIteration
        return chunk

    def read(self) -> bytes | None:
        """Return the next chunk, or None at the end."""
        with self._lock:
            chunk, self._ahead = self._ahead, None
            if chunk is None:
                chunk = self._read()
            if chunk is None:
                self._outcome = self._outcome or COMPLETE
                if not self.is_read:
                    release_connections()  # receivers of signals may have opened some
                return None
            self._sent += len(chunk)
            return chunk

    def _read(self) -> bytes | None:
        try:
            return next(self._chunks, None)
        except Exception:
            self._outcome = FAILED
            logger.exception(
                "The transfer of %r failed at byte %d of %d.", self._name, self._sent, self._length
            )
            raise

    def close(self) -> None:
        """Close the source and report the outcome. Servers call this for every response."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            close = getattr(self._source, "close", None)
            if close is not None:
                close()
        self._ended(self._sent, self._outcome or ABORTED)


class _AsyncBody:
    """Asynchronous version of Body, which never blocks the event loop.

    Each chunk is read in a thread, one at a time, unless all are in memory. No thread is occupied
    while a chunk is sent.
    """

    def __init__(self, body: Body) -> None:
        self._body = body
        self._has_started = False
        self.close = body.close

    def __aiter__(self) -> _AsyncBody:
        return self

    async def __anext__(self) -> bytes:
        if not self._has_started:
            self._has_started = True
            # In the thread of the view, which owns the connections. Those of a thread that ends
            # would stay open until they are garbage-collected.
            await sync_to_async(release_connections)()
        try:
            read = self._body.read
            chunk = read() if self._body.is_read else await asyncio.to_thread(read)
        except Exception:
            # Django does not close a response whose iteration failed. Signal receivers may use the
            # database, so this must not run in the thread that reads.
            await sync_to_async(self.close)()
            raise
        if chunk is None:
            raise StopAsyncIteration
        return chunk


def streamed(request: HttpRequest, body: Body) -> StreamingHttpResponse:
    """Return a response that streams the body, asynchronously for ASGI requests."""
    chunks = _AsyncBody(body) if isinstance(request, ASGIRequest) else body
    return StreamingHttpResponse(chunks)


def release_connections(*, keep_persistent: bool = False) -> None:
    """Close this thread's database connections, so that slow clients do not occupy them.

    With ``keep_persistent``, those stay open that Django would keep after the request
    (``CONN_MAX_AGE``). Connections in a transaction stay open, too: they belong to a test, or to a
    caller that reads the body inside a transaction.
    """
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block:
            continue
        if keep_persistent:
            connection.close_if_unusable_or_obsolete()
        else:
            connection.close()
