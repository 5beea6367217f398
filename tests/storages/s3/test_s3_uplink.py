"""Uploads over slow connections, and over TLS connections that break."""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from django.core.files.base import ContentFile

from devilry_storage.storages import S3DeliveryStore

from ...harness import s3servers, tls

pytestmark = pytest.mark.servers

MIB = 1 << 20
PIECE = 64 * 1024


class Relay:
    """A TCP relay in front of a server, with limited upload rate.

    ``rate``
        the maximum number of uploaded bytes per second of each connection.
    ``cuts``
        for each of the next connections, the number of uploaded bytes after which it is closed.
    ``context``
        if given, clients connect with TLS.
    """

    def __init__(self, endpoint_url: str, context: ssl.SSLContext | None = None) -> None:
        address = urlsplit(endpoint_url)
        self._server = address.hostname or "", address.port or 80
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        # With a small buffer, the client notices that the relay is slow.
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, PIECE)
        scheme = "http" if context is None else "https"
        self.endpoint_url = f"{scheme}://127.0.0.1:{self._listener.getsockname()[1]}"
        self.rate: float = 1 << 40
        self.cuts: list[int] = []
        self.cut = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError), closing(socket.create_connection(self._server)) as server:
            if self._context is not None:
                client = self._context.wrap_socket(client, server_side=True)
            with closing(client):
                back = threading.Thread(target=self._pass_back, args=(server, client), daemon=True)
                back.start()
                self._pass_up(client, server)

    def _pass_up(self, client: socket.socket, server: socket.socket) -> None:
        left = self.cuts.pop(0) if self.cuts else None
        while data := client.recv(PIECE):
            if left is not None:
                left -= len(data)
                if left <= 0:
                    self.cut += 1
                    return
            server.sendall(data)
            time.sleep(len(data) / self.rate)

    def _pass_back(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError, ValueError):
            while data := server.recv(PIECE):
                client.sendall(data)

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@contextmanager
def relayed(folder: Path, *, encrypted: bool, **options: Any) -> Iterator[tuple[Relay, Any]]:
    """Yield a relay, and a store behind it that has been used once."""
    server = s3servers.need("seaweedfs")
    options = {**server.options(server.bucket()), **options}
    context = None
    if encrypted:
        certificate, key = tls.make_certificate(folder)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        options["verify"] = str(certificate)
    with closing(Relay(server.endpoint_url, context)) as relay:
        store = S3DeliveryStore(**{**options, "endpoint_url": relay.endpoint_url})
        store.save("warm", ContentFile(b""))
        yield relay, store


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("parts", [False, True], ids=["in one request", "in parts"])
def test_slow_upload_may_exceed_the_connect_timeout(
    tmp_path: Path, encrypted: bool, parts: bool
) -> None:
    """The connect timeout, here a fifth of the duration of the upload, limits only connecting."""
    data = os.urandom(11 * MIB // 2 if parts else 5 * MIB)
    transfer = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB)
    with relayed(
        tmp_path,
        encrypted=encrypted,
        client_config=Config(connect_timeout=0.4),
        transfer_config=transfer,
        attempts=1,
    ) as (relay, store):
        relay.rate = 2.5 * MIB
        began = time.monotonic()
        name = store.save("large.bin", ContentFile(data))
        assert time.monotonic() - began > 1.5  # the connection was slow
        relay.rate = 1 << 40
        assert b"".join(store.stream(name)) == data


def test_broken_tls_connection_is_retried(tmp_path: Path) -> None:
    """A broken TLS connection is an SSLError, like a wrong certificate, but temporary."""
    data = os.urandom(5 * MIB)
    with relayed(tmp_path, encrypted=True) as (relay, store):
        for number in range(5):
            store.remote.client.close()  # otherwise the open connection is used, which is not cut
            relay.cuts, relay.cut = [(number + 1) * MIB // 2], 0
            name = f"{number}.bin"
            assert store.save(name, ContentFile(data)) == name
            assert relay.cut == 1
            assert b"".join(store.stream(name)) == data
