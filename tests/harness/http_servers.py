"""Real WSGI and ASGI servers in threads of this process, on free ports of 127.0.0.1."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from socketserver import ThreadingMixIn
from threading import Thread
from typing import Any, NamedTuple
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import uvicorn
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.test import Client, override_settings

KINDS = ("wsgi", "asgi")


class Reply(NamedTuple):
    """A response; ``is_whole`` is True if the client got the promised number of bytes."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes
    is_whole: bool


@dataclass(frozen=True)
class Site:
    """A running site, with the cookies of one of its users."""

    port: int
    cookies: str = ""

    def logged_in(self, user: Any) -> Site:
        """Return the site with the cookies of this user."""
        client = Client()
        client.force_login(user)
        return Site(self.port, client.cookies.output(attrs=[], header="", sep=";").strip())

    def ask(
        self,
        path: str,
        headers: Mapping[str, str] | None = None,
        method: str = "GET",
        *,
        connection: http.client.HTTPConnection | None = None,
    ) -> Reply:
        """Send a request and read the response until it ends or breaks off."""
        connection = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        sent = {"Cookie": self.cookies, "Accept-Encoding": "gzip", **(headers or {})}
        try:
            connection.request(method, path, headers=sent)
            answer = connection.getresponse()
            try:
                body, is_whole = answer.read(), True
            except http.client.IncompleteRead as broken:
                body, is_whole = broken.partial, False
            except ConnectionError:
                body, is_whole = b"", False
            return Reply(answer.status, answer.headers, body, is_whole)
        finally:
            connection.close()

    def begin(self, path: str, *, room: int | None = None) -> socket.socket:
        """Send a GET request and return the connection without reading the response.

        ``room`` is the size of the receive buffer (SO_RCVBUF); a small one makes a slow client.
        """
        connection = socket.socket()
        if room is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        connection.settimeout(60)
        connection.connect(("127.0.0.1", self.port))
        head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {self.cookies}\r\n\r\n"
        connection.sendall(head.encode("ascii"))
        return connection


class _ThreadingServer(ThreadingMixIn, WSGIServer):
    daemon_threads = False  # joined at the end of the test
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing, because some tests close connections on purpose."""


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # its name there
        pass

    def get_stderr(self) -> Any:
        return _Nowhere()


class _Nowhere:
    """A file that discards the tracebacks of broken transfers, which wsgiref prints."""

    def write(self, text: str) -> None:
        pass

    def flush(self) -> None:
        pass


@contextmanager
def _wsgi() -> Iterator[int]:
    server = _ThreadingServer(("127.0.0.1", 0), _QuietHandler)
    server.set_app(get_wsgi_application())
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def _asgi() -> Iterator[int]:
    config = uvicorn.Config(
        get_asgi_application(),
        host="127.0.0.1",
        port=0,
        lifespan="off",
        ws="none",
        log_config=None,
        timeout_graceful_shutdown=20,
    )
    server = uvicorn.Server(config)
    thread = Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "uvicorn did not start"
            time.sleep(0.01)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


_SERVERS: dict[str, Callable[[], Any]] = {"wsgi": _wsgi, "asgi": _asgi}


@contextmanager
def serving(kind: str) -> Iterator[Site]:
    """Run the site of the current settings by wsgiref (``wsgi``) or uvicorn (``asgi``)."""
    with override_settings(ALLOWED_HOSTS=["127.0.0.1"]), _SERVERS[kind]() as port:
        yield Site(port)
