"""An HTTP proxy between a client of S3 and its server, which records requests and injects faults.

::

    with HttpProxy(server.endpoint_url) as proxy:
        store = S3DeliveryStore(endpoint_url=proxy.endpoint_url, ...)
        proxy.fault("PutObject", LoseReply())
        store.save("a.txt", content)
        assert proxy.operations() == ["PutObject", "PutObject", "HeadObject"]

It parses requests and replies, but passes on their bytes unchanged: the signature of a request
covers the Host header, which names the proxy.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import BinaryIO
from urllib.parse import urlsplit

from .http_faults import (
    COMING_DOWN,
    GOING_UP,
    Answer,
    BlackHole,
    Delay,
    DelayReply,
    Fault,
    LoseReply,
    Replace,
    Reply,
    StallReply,
    ends,
    harmed,
)
from .s3wire import Request
from .tcp_proxy import shut_down

_PIECE = 65536

# Stands for the interim reply where the client does not wait for one and sends the body at once.
_CONTINUE = b"HTTP/1.1 100 Continue\r\n"


@dataclass
class _Planned:
    operation: str
    fault: Fault
    times: int


class _Broken(Exception):
    """Raised to close the connection."""


class HttpProxy:
    """A context manager that listens on ``endpoint_url`` and passes on requests to a server.

    ``requests`` has all requests in the order of their heads. ``connections`` and ``fired`` are
    the numbers of connections and of faults so far.
    """

    def __init__(self, endpoint_url: str) -> None:
        address = urlsplit(endpoint_url)
        self._target = (address.hostname or "", address.port or 80)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.endpoint_url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.requests: list[Request] = []
        self.connections = 0
        self.fired = 0
        self._planned: list[_Planned] = []
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> HttpProxy:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._stopped.set()
        shut_down(self._listener)
        self._listener.close()
        with self._lock:
            ends = list(self._open)
        for end in ends:
            shut_down(end)
        for thread in self._threads:
            thread.join(10)

    def fault(self, operation: str, fault: Fault, times: int = 1) -> None:
        """Inject a fault into the next ``times`` requests of the operation (``""``: any)."""
        with self._lock:
            self._planned.append(_Planned(operation, fault, times))

    def forget(self) -> None:
        """Forget all recorded requests and planned faults."""
        with self._lock:
            self.requests.clear()
            self._planned.clear()

    def operations(self) -> list[str]:
        """Return the operations of the recorded requests."""
        with self._lock:
            return [request.operation for request in self.requests]

    @property
    def open_connections(self) -> int:
        """The number of open connections of clients."""
        with self._lock:
            return len(self._open) // 2

    # -- Connections --

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(
                target=self._serve, args=(client, self.connections), daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket, number: int) -> None:
        with client, suppress(OSError, _Broken):
            server = socket.create_connection(self._target)
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._open |= {client, server}
            try:
                with server, client.makefile("rb") as up, server.makefile("rb") as down:
                    while self._exchange(client, up, server, down, number):
                        pass
            finally:
                with self._lock:
                    self._open -= {client, server}
                shut_down(client)

    def _take_fault(self, request: Request) -> Fault | None:
        with self._lock:
            self.requests.append(request)
            for planned in self._planned:
                if planned.operation in {"", request.operation}:
                    planned.times -= 1
                    if not planned.times:
                        self._planned.remove(planned)
                    self.fired += 1
                    return planned.fault
        return None

    # -- One request and its reply --

    def _exchange(
        self,
        client: socket.socket,
        up: BinaryIO,
        server: socket.socket,
        down: BinaryIO,
        number: int,
    ) -> bool:
        """Pass on one request and its reply; return False to end the connection."""
        head = _head(up)
        if not head:
            return False
        method, target, _ = head[0].decode("latin-1").split(" ", 2)
        request = Request(method, target, _headers(head), number)
        fault = self._take_fault(request)
        if isinstance(fault, Answer):
            self._answer(client, up, request, fault)
            return True
        if isinstance(fault, Replace) and not fault.reaches:
            self._read_body(up, request)
            return self._replace(client, Reply(method), fault)
        if isinstance(fault, BlackHole):
            self._swallow(up, request)
        if isinstance(fault, Delay):
            self._stopped.wait(fault.seconds)
        server.sendall(b"".join(head))
        reply = _head(down) if "100-continue" in request.headers.get("expect", "") else [_CONTINUE]
        if _status(reply) == 100:
            if reply != [_CONTINUE]:
                client.sendall(b"".join(reply))
            self._send_body(server, _body(up, request.headers, request.method), fault)
        while _status(reply) == 100:  # some servers send it twice
            reply = _head(down)
        request.status = _status(reply)
        return self._reply(client, up, down, request, reply, fault)

    def _send_body(
        self, server: socket.socket, pieces: Iterator[bytes], fault: Fault | None
    ) -> None:
        harm, sent = (fault if isinstance(fault, GOING_UP) else None), 0
        for piece in pieces:
            server.sendall(harmed(piece, sent, harm))
            sent += len(piece)
            if ends(sent, harm):
                raise _Broken

    def _reply(
        self,
        client: socket.socket,
        up: BinaryIO,
        down: BinaryIO,
        request: Request,
        head: list[bytes],
        fault: Fault | None,
    ) -> bool:
        headers = _headers(head)
        pieces = _body(down, headers, request.method, request.status)
        if isinstance(fault, LoseReply):
            for _ in pieces:
                pass
            raise _Broken
        if isinstance(fault, Replace):
            body = _joined(pieces, headers)
            return self._replace(
                client, Reply(request.method, request.status, headers, body), fault
            )
        if isinstance(fault, DelayReply):
            self._stopped.wait(fault.seconds)
        client.sendall(b"".join(head))
        harm, sent = (fault if isinstance(fault, COMING_DOWN) else None), 0
        for piece in pieces:
            client.sendall(harmed(piece, sent, harm))
            sent += len(piece)
            if ends(sent, harm):
                if isinstance(harm, StallReply):
                    _wait_for_the_end(up)
                raise _Broken
        return headers.get("connection", "").lower() != "close"

    def _answer(
        self, client: socket.socket, up: BinaryIO, request: Request, answer: Answer
    ) -> None:
        self._read_body(up, request)
        body = b""
        if request.method != "HEAD":
            error = f"<Code>{answer.code}</Code><Message>{answer.message}</Message>"
            body = f"<Error>{error}</Error>".encode()
        request.status = answer.status
        head = f"HTTP/1.1 {answer.status} planned\r\nContent-Type: application/xml\r\n"
        client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)

    def _read_body(self, up: BinaryIO, request: Request) -> None:
        """Read a body that the client sends without waiting for an interim reply."""
        if "100-continue" not in request.headers.get("expect", ""):
            for _ in _body(up, request.headers, request.method):
                pass

    def _replace(self, client: socket.socket, reply: Reply, fault: Replace) -> bool:
        made = fault.make(reply)
        if reply.method == "HEAD":
            made = b"".join(made.partition(b"\r\n\r\n")[:2])
        client.sendall(made)
        return not fault.closes

    def _swallow(self, up: BinaryIO, request: Request) -> None:
        for _ in _body(up, request.headers, request.method):
            pass
        _wait_for_the_end(up)
        raise _Broken


def _wait_for_the_end(up: BinaryIO) -> None:
    """Wait until the client or the test closes the connection."""
    up.read(1)


def _head(source: BinaryIO) -> list[bytes]:
    """Return the lines of a head with the empty line, or ``[]`` at the end of the connection."""
    lines: list[bytes] = []
    while line := source.readline():
        lines.append(line)
        if line == b"\r\n":
            return lines
    if lines:
        raise _Broken
    return []


def _status(head: list[bytes]) -> int:
    if not head:
        raise _Broken
    return int(head[0].split()[1])


def _headers(head: list[bytes]) -> dict[str, str]:
    pairs = (line.decode("latin-1").partition(":") for line in head[1:-1])
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _body(
    source: BinaryIO, headers: dict[str, str], method: str, status: int = 0
) -> Iterator[bytes]:
    """Yield a body as it is on the wire; ``status`` is 0 for a request."""
    if (method == "HEAD" and status) or status in {204, 304} or 100 <= status < 200:
        return
    if headers.get("transfer-encoding", "").lower() == "chunked":
        while True:
            line = source.readline()
            length = int(line.split(b";")[0], 16)
            yield line + b"".join(_exactly(source, length + 2))
            if not length:
                return
    if "content-length" in headers:
        yield from _exactly(source, int(headers["content-length"]))
    elif status:
        while piece := source.read(_PIECE):
            yield piece


def _joined(pieces: Iterator[bytes], headers: dict[str, str]) -> bytes:
    """Return a body without chunked encoding; every chunk must be one piece."""
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return b"".join(piece.partition(b"\r\n")[2][:-2] for piece in pieces)
    return b"".join(pieces)


def _exactly(source: BinaryIO, length: int) -> Iterator[bytes]:
    while length:
        piece = source.read(min(_PIECE, length))
        if not piece:
            raise _Broken
        length -= len(piece)
        yield piece
