"""One client of S3 for all threads of a process, and another one for a process forked from it."""

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
    """Options of a store for whose endpoint nobody has made a client yet."""
    server = s3servers.get("seaweedfs")
    return {**server.options(server.bucket()), "endpoint_url": proxy.endpoint_url}


def at_once(act: Callable[[int], Any]) -> list[Any]:
    """Return what the act returns in each of so many threads, which meet at a barrier first."""
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


def test_threads_that_start_at_once_make_one_client(options: dict[str, Any]) -> None:
    """It is one for several stores of one configuration, too."""
    stores = [S3DeliveryStore(**options) for _ in range(2)]
    clients = at_once(lambda number: stores[number % 2].remote.client)
    assert {id(client) for client in clients} == {id(stores[0].remote.client)}


def test_threads_share_one_pool_of_connections(options: dict[str, Any], proxy: HttpProxy) -> None:
    """32 threads need no more connections than they are, and keep them for the next round."""
    store = S3DeliveryStore(**options)

    def work(number: int) -> Any:
        for n in range(ROUNDS):
            save_and_read(store, f"{number}/{n}")
        return store.remote.client

    clients = at_once(work)
    assert {id(client) for client in clients} == {id(store.remote.client)}
    at_once(lambda number: save_and_read(store, f"{number}/again"))
    assert len(proxy.requests) > 2 * THREADS * ROUNDS
    assert proxy.connections <= THREADS


def test_other_credentials_are_another_client(options: dict[str, Any]) -> None:
    """What is shared is shared by those who connect in the same way."""
    one, other = S3DeliveryStore(**options), S3DeliveryStore(**{**options, "access_key": "other"})
    assert one.remote.client is not other.remote.client


def _work_in_a_child(store: S3DeliveryStore, inherited: Any, turn: Connection) -> None:
    assert store.remote.client is not inherited
    for number in range(ROUNDS):
        assert turn.recv() == number
        save_and_read(store, f"child/{number}")
        turn.send(number)


def test_a_forked_child_makes_its_own_client_and_both_go_on(
    options: dict[str, Any], proxy: HttpProxy
) -> None:
    """Replies never get mixed up: the two share no connection, in whatever order they work."""
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
    by = {
        who: {each.connection for each in proxy.requests if f"/{who}/" in each.path}
        for who in ("parent", "child")
    }
    assert all(by.values())
    assert not by["parent"] & by["child"]


class SlowToConnect(S3DeliveryStore):
    """Makes its client in its own time where it was made itself, as a loaded machine would."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.process = os.getpid()
        self.begun, self.go_on = threading.Event(), threading.Event()

    def _make_client(self) -> Any:
        if os.getpid() == self.process:
            self.begun.set()
            assert self.go_on.wait(PATIENCE)
        return super()._make_client()


def test_a_child_forked_while_a_client_is_being_made_does_not_wait_for_it(
    options: dict[str, Any],
) -> None:
    """The thread that makes it, and holds a lock meanwhile, is not in the child."""
    store = SlowToConnect(**options)
    with ThreadPoolExecutor(1) as pool:
        making = pool.submit(lambda: store.remote.client)
        try:
            assert store.begun.wait(PATIENCE)
            finish(start(save_and_read, store, "child"))
        finally:
            store.go_on.set()
        assert making.result(PATIENCE) is store.remote.client
    save_and_read(store, "parent")
