"""A TCP proxy in threads, between a client and its server, that breaks what a test wants broken.

::

    with Proxy("127.0.0.1", 5432) as proxy:
        ...  # let the client talk to proxy.host, proxy.port
        proxy.swallow_reply(to=b"COMMIT")
        ...  # the server commits; the client sees a cut connection instead of the reply
        assert proxy.fired == 1
"""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType

_SIZE = 65536


@dataclass
class _Rule:
    """What becomes of pieces that contain ``request``: ``skip`` pass, then ``times`` do not."""

    request: bytes
    skip: int
    times: int
    forward: bool
    """Whether the server gets the request."""
    reply: bytes = b""
    """What the piece of the answer contains that is dropped; pieces before it are passed on."""


class Proxy:
    """Passes on what comes to ``host``:``port`` to a server, and back; a context manager.

    ``delay`` is the time in seconds by which each piece is held up, in either direction.
    ``fired`` counts the connections that a rule has cut. Rules look for bytes (``b""`` is in every
    piece) as they are on the wire, so the connection must not be encrypted.
    """

    def __init__(self, host: str, port: int) -> None:
        self.delay = 0.0
        self.fired = 0
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host, self.port = self._address()
        self._lock = threading.Lock()
        self._rules: list[_Rule] = []
        self._connections: set[_Connection] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def _address(self) -> tuple[str, int]:
        host, port = self._listener.getsockname()
        return str(host), int(port)

    def __enter__(self) -> Proxy:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Refuse new connections and cut those that are open."""
        _shut(self._listener)  # wakes the thread that accepts; close() alone would not
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """Cut all connections that are open now."""
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            connection.cut()

    def swallow_request(self, request: bytes, *, skip: int = 0, times: int = 1) -> None:
        """Cut the connection when a request contains these bytes; the server never gets it.

        ``skip`` of them pass before.
        """
        self._add(_Rule(request, skip, times, forward=False))

    def swallow_reply(
        self, to: bytes, *, reply: bytes = b"", skip: int = 0, times: int = 1
    ) -> None:
        """Let the server answer a request that contains ``to``, and cut instead of passing it on.

        ``reply``: bytes in the piece of the answer that is dropped; pieces before it are passed
        on (HTTP's ``100 Continue``). ``skip`` such requests get their answer before.
        """
        self._add(_Rule(to, skip, times, forward=True, reply=reply))

    def forget_rules(self) -> None:
        """Only pass on from now on."""
        with self._lock:
            self._rules.clear()

    def _add(self, rule: _Rule) -> None:
        with self._lock:
            self._rules.append(rule)

    def _take_rule(self, request: bytes) -> _Rule | None:
        with self._lock:
            for rule in self._rules:
                if rule.request not in request:
                    continue
                if rule.skip:
                    rule.skip -= 1
                else:
                    rule.times -= 1
                    if not rule.times:
                        self._rules.remove(rule)
                    return rule
        return None

    def _overlap(self) -> int:
        """Return how many bytes of a piece may be the beginning of what a rule looks for."""
        with self._lock:
            return max((len(rule.request) - 1 for rule in self._rules if rule.request), default=0)

    def _count(self) -> None:
        with self._lock:
            self.fired += 1

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            try:
                server = socket.create_connection(self._target)
            except OSError:
                return  # a server that is down is a cut connection
            with server:
                connection = _Connection(self, client, server)
                with self._lock:
                    self._connections.add(connection)
                connection.run()
                with self._lock:
                    self._connections.remove(connection)


class _Connection:
    """A client's connection and the one to the server that belongs to it."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._rule: _Rule | None = None

    def run(self) -> None:
        """Pass on in both directions until an end or a rule cuts the connection."""
        requests = threading.Thread(target=self._until_cut, args=(False,), daemon=True)
        requests.start()
        self._until_cut(True)
        requests.join()

    def cut(self) -> None:
        _shut(self._client)
        _shut(self._server)

    def _until_cut(self, replies: bool) -> None:
        try:
            with suppress(OSError):
                self._pass_replies() if replies else self._pass_requests()
        finally:
            self.cut()

    def _pass_requests(self) -> None:
        seen = b""  # what a rule looks for may come in two pieces
        while data := self._client.recv(_SIZE):
            time.sleep(self._proxy.delay)
            seen += data
            rule = self._proxy._take_rule(seen)
            if rule is not None:
                if not rule.forward:
                    self._proxy._count()
                    return
                self._rule = rule
            overlap = self._proxy._overlap()
            seen = seen[-overlap:] if overlap and rule is None else b""
            self._server.sendall(data)

    def _pass_replies(self) -> None:
        while data := self._server.recv(_SIZE):
            time.sleep(self._proxy.delay)
            if self._rule is not None and self._rule.reply in data:
                self._proxy._count()
                return
            self._client.sendall(data)


def _shut(end: socket.socket) -> None:
    with suppress(OSError):  # it is cut already
        end.shutdown(socket.SHUT_RDWR)
