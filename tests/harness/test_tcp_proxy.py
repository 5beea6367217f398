"""The proxy of the tests breaks what it is told to break, and only that."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from .tcp_proxy import Proxy


class Echo:
    """A server that answers each piece with ``re:`` and the piece, and keeps what it got."""

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


def test_passes_on_both_ways(proxy: Proxy) -> None:
    """Without rules a client notices nothing."""
    with connect(proxy) as client:
        assert ask(client, b"one") == b"re:one"
        assert ask(client, b"two") == b"re:two"
    assert proxy.fired == 0


def test_swallowed_reply_is_one_that_the_server_gave(proxy: Proxy, echo: Echo) -> None:
    """The server has done what it was asked for; the client is cut off and cannot know."""
    proxy.swallow_reply(to=b"COMMIT")
    with connect(proxy) as client:
        assert ask(client, b"BEGIN") == b"re:BEGIN"
        assert ask(client, b"COMMIT;") == b""
    assert echo.got == [b"BEGIN", b"COMMIT;"]
    assert proxy.fired == 1


def test_rule_holds_for_so_many_requests(proxy: Proxy) -> None:
    """After its times a rule is gone, and a new connection works."""
    proxy.swallow_reply(to=b"COMMIT", times=2)
    for _ in range(2):
        with connect(proxy) as client:
            assert ask(client, b"COMMIT") == b""
    with connect(proxy) as client:
        assert ask(client, b"COMMIT") == b"re:COMMIT"
    assert proxy.fired == 2


def test_rule_waits_for_its_turn(proxy: Proxy) -> None:
    """The third COMMIT is lost, whatever else is asked; with ``b""`` it is the n-th piece."""
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
    """What a test did not come to is no trap for the next one."""
    proxy.swallow_reply(to=b"COMMIT")
    proxy.forget_rules()
    with connect(proxy) as client:
        assert ask(client, b"COMMIT") == b"re:COMMIT"


def test_pieces_before_the_reply_in_question_are_passed_on(proxy: Proxy) -> None:
    """An interim answer (HTTP's 100) is not yet the reply."""
    proxy.swallow_reply(to=b"PUT", reply=b"200")
    with connect(proxy) as client:
        assert ask(client, b"PUT 100") == b"re:PUT 100"
        assert ask(client, b"body 200") == b""
    assert proxy.fired == 1


def test_swallowed_request_never_reaches_the_server(proxy: Proxy, echo: Echo) -> None:
    """The server knows nothing of it; the client cannot tell that from a lost reply."""
    proxy.swallow_request(b"COMMIT")
    with connect(proxy) as client:
        assert ask(client, b"BEGIN") == b"re:BEGIN"
        assert ask(client, b"COMMIT") == b""
    assert echo.got == [b"BEGIN"]
    assert proxy.fired == 1


def test_request_in_two_pieces_is_found(proxy: Proxy) -> None:
    """TCP has no messages: what a rule looks for may be split anywhere."""
    proxy.swallow_request(b"COMMIT")
    with connect(proxy) as client:
        assert ask(client, b"Q COM") == b"re:Q COM"
        assert ask(client, b"MIT") == b""


def test_cut_ends_open_connections_only(proxy: Proxy) -> None:
    """The next connection works: the network is back."""
    with connect(proxy) as client:
        assert ask(client, b"one") == b"re:one"
        proxy.cut()
        assert client.recv(1) == b""
    with connect(proxy) as client:
        assert ask(client, b"two") == b"re:two"


def test_delay_holds_up_each_way(proxy: Proxy) -> None:
    """A question and its answer take the delay twice."""
    proxy.delay = 0.05
    with connect(proxy) as client:
        begun = time.monotonic()
        assert ask(client, b"one") == b"re:one"
    assert time.monotonic() - begun >= 0.1


def test_closed_proxy_takes_no_connection(echo: Echo) -> None:
    """As a server that is down."""
    with Proxy(*echo.address) as proxy:
        pass
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)


def test_server_that_is_down_is_a_cut_connection(echo: Echo) -> None:
    """The client is told by the end of its connection, at once."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        nobody = listener.getsockname()
    with Proxy(*nobody) as proxy, connect(proxy) as client:
        assert client.recv(1) == b""
