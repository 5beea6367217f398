"""A TCP proxy between a client and its server, which cuts connections at chosen bytes.

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
    """Cut connections at pieces with ``request``: pass ``skip`` of them, then cut ``times``."""

    request: bytes
    skip: int
    times: int
    forward: bool
    """Whether the server gets the request."""
    reply: bytes = b""
    """Bytes of the piece of the reply at which to cut; earlier pieces are passed on."""


class Proxy:
    """A context manager that listens on ``host``:``port`` and passes on data to a server and back.

    ``delay`` is the delay of each piece of data, in seconds and in both directions. ``fired`` is
    the number of connections that rules have cut. Rules match bytes on the wire (``b""`` matches
    every piece), so connections must not be encrypted.
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
        """Stop listening and cut all open connections."""
        shut_down(self._listener)  # Unlike close() it wakes the accepting thread.
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """Cut all open connections."""
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            connection.cut()

    def swallow_request(self, request: bytes, *, skip: int = 0, times: int = 1) -> None:
        """Cut the connection at a request with these bytes, which the server does not get.

        The first ``skip`` matching requests are passed on.
        """
        self._add(_Rule(request, skip, times, forward=False))

    def swallow_reply(
        self, to: bytes, *, reply: bytes = b"", skip: int = 0, times: int = 1
    ) -> None:
        """Cut the connection at the reply to a request with the bytes ``to``.

        ``reply`` has bytes of the piece to drop; earlier pieces, such as HTTP's ``100 Continue``,
        are passed on. The first ``skip`` matching requests get their replies.
        """
        self._add(_Rule(to, skip, times, forward=True, reply=reply))

    def forget_rules(self) -> None:
        """Remove all rules."""
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
        """Return the number of last bytes of a piece that may be the beginning of a match."""
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
                return  # If the server is down, the client's connection is cut.
            with server:
                connection = _Connection(self, client, server)
                with self._lock:
                    self._connections.add(connection)
                connection.run()
                with self._lock:
                    self._connections.remove(connection)


class _Connection:
    """A client's connection and its connection to the server."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._rule: _Rule | None = None

    def run(self) -> None:
        """Pass on data in both directions until a peer or a rule cuts the connection."""
        requests = threading.Thread(target=self._until_cut, args=(False,), daemon=True)
        requests.start()
        self._until_cut(True)
        requests.join()

    def cut(self) -> None:
        shut_down(self._client)
        shut_down(self._server)

    def _until_cut(self, replies: bool) -> None:
        try:
            with suppress(OSError):
                self._pass_replies() if replies else self._pass_requests()
        finally:
            self.cut()

    def _pass_requests(self) -> None:
        seen = b""  # A match may be split into two pieces.
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


def shut_down(end: socket.socket) -> None:
    """Shut down both directions of a connection, which wakes its threads."""
    with suppress(OSError):  # It may be cut already.
        end.shutdown(socket.SHUT_RDWR)
