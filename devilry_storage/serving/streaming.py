"""Bytes on their way to a client: counted, verified to be whole, and told of when they ended."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.db import connections
from django.http import HttpRequest, StreamingHttpResponse

from ..exceptions import ChecksumMismatch

logger = logging.getLogger("devilry_storage")


class Body:
    """The chunks of an answer whose length was promised.

    ``name`` is what they are in the log; ``ended`` is told the bytes that were passed on, and how
    that ended: ``complete``, ``failed``, or ``broken off`` by the client. Reading raises
    ChecksumMismatch where there are fewer or more bytes than ``length``, so that the server
    breaks the connection: a client never takes the half for the whole.
    """

    def __init__(
        self,
        chunks: Iterator[bytes],
        length: int,
        name: str,
        ended: Callable[[int, str], None],
    ) -> None:
        self._chunks = chunks
        self._length = length
        self._name = name
        self._ended = ended
        self._sent = 0
        self._is_open = True
        # Under ASGI a thread may still be reading when the client is found to be gone.
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[bytes]:
        release_connections()
        return self

    def __next__(self) -> bytes:
        with self._lock:
            if not self._is_open:
                raise StopIteration
            try:
                chunk = next(self._chunks, b"")
                if self._sent + len(chunk) > self._length or not (
                    chunk or self._sent == self._length
                ):
                    raise ChecksumMismatch(
                        f"{self._name!r} does not have the {self._length} bytes that are recorded."
                    )
            except Exception:
                logger.exception(
                    "The transfer of %r broke at byte %d of %d.",
                    self._name,
                    self._sent,
                    self._length,
                )
                self._end("failed")
                raise
            self._sent += len(chunk)
            if not chunk:
                self._end("complete")
                raise StopIteration
            return chunk

    def _end(self, outcome: str) -> None:
        self._is_open = False
        close = getattr(self._chunks, "close", None)
        if close is not None:
            close()
        self._ended(self._sent, outcome)

    def close(self) -> None:
        """End the transfer, if it has not ended yet; the server calls this in any case."""
        with self._lock:
            if self._is_open:
                self._end("complete" if self._sent == self._length else "broken off")


def streamed(request: HttpRequest, body: Body) -> StreamingHttpResponse:
    """Return an answer that streams the body, asynchronously where the request is of ASGI."""
    if not isinstance(request, ASGIRequest):
        return StreamingHttpResponse(body)
    answer = StreamingHttpResponse(_asynchronous(body))
    answer._resource_closers.append(body.close)  # type: ignore[attr-defined]
    return answer


async def _asynchronous(body: Body) -> AsyncIterator[bytes]:
    """Read in threads, one chunk at a time, so that the event loop never waits for a disk."""
    # In the view's thread, which has the connection.
    await sync_to_async(release_connections)()
    read = sync_to_async(partial(next, body, b""), thread_sensitive=False)
    try:
        while chunk := await read():
            yield chunk
    finally:
        # Not awaited: a client that has gone cancels whatever is.
        asyncio.get_running_loop().run_in_executor(None, body.close)


def release_connections() -> None:
    """Close this thread's database connections: a slow client holds none of them.

    One in a transaction stays: it is of a test, or of a caller who reads the bytes himself.
    """
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()
