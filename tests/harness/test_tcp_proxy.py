"""The TCP proxy cuts connections where its rules match, and nowhere else."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from .tcp_proxy import Proxy


class Echo:
    """A server that replies to each piece with ``re:`` and the piece, and records all pieces."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self.listener.getsockname()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(client,), daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        with client:
            try:
                while data := client.recv(4096):
                    self.got.append(data)
                    client.sendall(b"re:" + data)
            except OSError:
                return


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.listener.shutdown(socket.SHUT_RDWR)
    server.listener.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    with Proxy(*echo.address) as proxy:
        yield proxy


def ask(client: socket.socket, question: bytes) -> bytes:
    client.sendall(question)
    return client.recv(4096)


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection((proxy.host, proxy.port), timeout=10)


def test_data_passes_in_both_directions(proxy: Proxy) -> None:
    """Without rules the proxy changes nothing."""
    with connect(proxy) as client:
        assert ask(client, b"one") == b"re:one"
        assert ask(client, b"two") == b"re:two"
    assert proxy.fired == 0


def test_swallowed_reply_comes_from_the_server(proxy: Proxy, echo: Echo) -> None:
    """The server executes the request, but the client's connection is cut."""
    proxy.swallow_reply(to=b"COMMIT")
    with connect(proxy) as client:
        assert ask(client, b"BEGIN") == b"re:BEGIN"
        assert ask(client, b"COMMIT;") == b""
    assert echo.got == [b"BEGIN", b"COMMIT;"]
    assert proxy.fired == 1


def test_rule_applies_to_its_number_of_requests(proxy: Proxy) -> None:
    """Afterwards a new connection works."""
    proxy.swallow_reply(to=b"COMMIT", times=2)
    for _ in range(2):
        with connect(proxy) as client:
            assert ask(client, b"COMMIT") == b""
    with connect(proxy) as client:
        assert ask(client, b"COMMIT") == b"re:COMMIT"
    assert proxy.fired == 2


def test_rule_skips_requests(proxy: Proxy) -> None:
    """The third COMMIT is lost; other requests do not count. ``b""`` counts every piece."""
    proxy.swallow_reply(to=b"COMMIT", skip=2)
    with connect(proxy) as client:
        for question in (b"COMMIT", b"BEGIN", b"COMMIT"):
            assert ask(client, question) == b"re:" + question
        assert ask(client, b"COMMIT") == b""
    proxy.swallow_request(b"", skip=1)
    with connect(proxy) as client:
        assert ask(client, b"one") == b"re:one"
        assert ask(client, b"two") == b""


def test_forgotten_rule_does_nothing(proxy: Proxy) -> None:
    """An unused rule does not affect the next test."""
    proxy.swallow_reply(to=b"COMMIT")
    proxy.forget_rules()
    with connect(proxy) as client:
        assert ask(client, b"COMMIT") == b"re:COMMIT"


def test_pieces_before_the_swallowed_reply_pass(proxy: Proxy) -> None:
    """An interim reply (HTTP's 100) passes."""
    proxy.swallow_reply(to=b"PUT", reply=b"200")
    with connect(proxy) as client:
        assert ask(client, b"PUT 100") == b"re:PUT 100"
        assert ask(client, b"body 200") == b""
    assert proxy.fired == 1


def test_swallowed_request_does_not_reach_the_server(proxy: Proxy, echo: Echo) -> None:
    """To the client it looks like a lost reply."""
    proxy.swallow_request(b"COMMIT")
    with connect(proxy) as client:
        assert ask(client, b"BEGIN") == b"re:BEGIN"
        assert ask(client, b"COMMIT") == b""
    assert echo.got == [b"BEGIN"]
    assert proxy.fired == 1


def test_request_in_two_pieces_is_found(proxy: Proxy) -> None:
    """TCP has no messages, so a match may be split anywhere."""
    proxy.swallow_request(b"COMMIT")
    with connect(proxy) as client:
        assert ask(client, b"Q COM") == b"re:Q COM"
        assert ask(client, b"MIT") == b""


def test_cut_ends_only_open_connections(proxy: Proxy) -> None:
    """The next connection works."""
    with connect(proxy) as client:
        assert ask(client, b"one") == b"re:one"
        proxy.cut()
        assert client.recv(1) == b""
    with connect(proxy) as client:
        assert ask(client, b"two") == b"re:two"


def test_delay_applies_to_both_directions(proxy: Proxy) -> None:
    """A request and its reply take the delay twice."""
    proxy.delay = 0.05
    with connect(proxy) as client:
        begun = time.monotonic()
        assert ask(client, b"one") == b"re:one"
    assert time.monotonic() - begun >= 0.1


def test_closed_proxy_rejects_connections(echo: Echo) -> None:
    """It behaves like a server that is down."""
    with Proxy(*echo.address) as proxy:
        pass
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)


def test_server_that_is_down_cuts_the_connection(echo: Echo) -> None:
    """The client's connection ends at once."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        unused = listener.getsockname()
    with Proxy(*unused) as proxy, connect(proxy) as client:
        assert client.recv(1) == b""
