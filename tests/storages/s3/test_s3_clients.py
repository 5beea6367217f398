"""All threads of a process share one S3 client; a forked child creates its own."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any

import pytest
from django.core.files.base import ContentFile

from devilry_storage.storages import S3DeliveryStore

from ...harness import s3servers
from ...harness.http_proxy import HttpProxy
from ...slow.processes import FORK, PATIENCE, finish, start

pytestmark = pytest.mark.servers

THREADS = 32
ROUNDS = 5


@pytest.fixture
def proxy() -> Iterator[HttpProxy]:
    with HttpProxy(s3servers.need("seaweedfs").endpoint_url) as proxy:
        yield proxy


@pytest.fixture
def options(proxy: HttpProxy) -> dict[str, Any]:
    """Options of a store for an endpoint without a cached client."""
    server = s3servers.get("seaweedfs")
    return {**server.options(server.bucket()), "endpoint_url": proxy.endpoint_url}


def at_once(act: Callable[[int], Any]) -> list[Any]:
    """Call the function in THREADS threads, which start at a barrier; return the results."""
    barrier = threading.Barrier(THREADS)

    def meet(number: int) -> Any:
        barrier.wait(PATIENCE)
        return act(number)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(meet, range(THREADS)))


def save_and_read(store: S3DeliveryStore, name: str) -> None:
    data = os.urandom(1000)
    assert store.save(name, ContentFile(data)) == name
    with store.open(name) as file:
        assert file.read() == data


def test_concurrent_threads_create_one_client(options: dict[str, Any]) -> None:
    """Stores with the same configuration share the client, too."""
    stores = [S3DeliveryStore(**options) for _ in range(2)]
    clients = at_once(lambda number: stores[number % 2].remote.client)
    assert {id(client) for client in clients} == {id(stores[0].remote.client)}


def test_threads_share_one_pool_of_connections(options: dict[str, Any], proxy: HttpProxy) -> None:
    """32 threads use at most 32 connections, and reuse them."""
    store = S3DeliveryStore(**options)

    def work(number: int) -> Any:
        for turn in range(ROUNDS):
            save_and_read(store, f"{number}/{turn}")
        return store.remote.client

    clients = at_once(work)
    assert {id(client) for client in clients} == {id(store.remote.client)}
    at_once(lambda number: save_and_read(store, f"{number}/again"))
    assert len(proxy.requests) > 2 * THREADS * ROUNDS
    assert proxy.connections <= THREADS


def test_other_credentials_get_another_client(options: dict[str, Any]) -> None:
    """A client is shared only by stores that connect with the same options."""
    one, other = S3DeliveryStore(**options), S3DeliveryStore(**{**options, "access_key": "other"})
    assert one.remote.client is not other.remote.client


def _work_in_a_child(store: S3DeliveryStore, inherited: Any, turn: Connection) -> None:
    assert store.remote.client is not inherited
    for number in range(ROUNDS):
        assert turn.recv() == number
        save_and_read(store, f"child/{number}")
        turn.send(number)


def test_forked_child_creates_its_own_client(options: dict[str, Any], proxy: HttpProxy) -> None:
    """Parent and child share no connection, so they never receive each other's responses."""
    store = S3DeliveryStore(**options)
    save_and_read(store, "before")
    inherited = store.remote.client
    ours, theirs = FORK.Pipe()
    child = start(_work_in_a_child, store, inherited, theirs)
    theirs.close()
    for number in range(ROUNDS):
        ours.send(number)
        save_and_read(store, f"parent/{number}")
        assert ours.poll(PATIENCE)
        assert ours.recv() == number
    ours.close()
    finish(child)
    assert store.remote.client is inherited
    connections = {
        process: {
            request.connection for request in proxy.requests if f"/{process}/" in request.path
        }
        for process in ("parent", "child")
    }
    assert all(connections.values())
    assert not connections["parent"] & connections["child"]


class SlowToConnect(S3DeliveryStore):
    """A store that creates its client slowly, but only in the process that created the store."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.process = os.getpid()
        self.begun, self.may_continue = threading.Event(), threading.Event()

    def _make_client(self) -> Any:
        if os.getpid() == self.process:
            self.begun.set()
            assert self.may_continue.wait(PATIENCE)
        return super()._make_client()


def test_fork_during_client_creation_does_not_block_child(options: dict[str, Any]) -> None:
    """The child has no thread that would release the lock of the parent."""
    store = SlowToConnect(**options)
    with ThreadPoolExecutor(1) as pool:
        making = pool.submit(lambda: store.remote.client)
        try:
            assert store.begun.wait(PATIENCE)
            finish(start(save_and_read, store, "child"))
        finally:
            store.may_continue.set()
        assert making.result(PATIENCE) is store.remote.client
    save_and_read(store, "parent")
