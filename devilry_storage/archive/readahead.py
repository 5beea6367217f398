"""Contents of many files in order, the next ones read while the first is passed on."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from ..storages.base import DeliveryStoreMixin
from .entries import Member

#: Files up to this size in bytes are read ahead whole; larger ones are streamed when it is their
#: turn. So no more is in memory than this, twice for each of the store's ``parallel_reads``.
SMALL = 512 * 1024

Contents = Generator[tuple[Member, Iterator[bytes]], None, None]


def fetched(store: DeliveryStoreMixin, members: deque[Member]) -> Contents:
    """Yield each member, which is taken from ``members``, with the chunks of its content.

    Raises, as the chunks do, what the store raises.
    """
    if store.parallel_reads > 1:
        return _ahead(store, members)
    return _one_by_one(store, members)


def _one_by_one(store: DeliveryStoreMixin, members: deque[Member]) -> Contents:
    while members:
        member = members.popleft()
        yield member, _stream(store, member)


def _stream(store: DeliveryStoreMixin, member: Member) -> Iterator[bytes]:
    return store.stream(member.name, sha256=member.sha256 or None)


def _ahead(store: DeliveryStoreMixin, members: deque[Member]) -> Contents:
    def read(member: Member) -> bytes:
        return b"".join(_stream(store, member))

    pool = ThreadPoolExecutor(store.parallel_reads, thread_name_prefix="devilry-storage-archive")
    window: deque[tuple[Member, Future[bytes] | None]] = deque()
    try:
        while members or window:
            while members and len(window) < 2 * store.parallel_reads:
                member = members.popleft()
                small = member.size <= SMALL
                window.append((member, pool.submit(read, member) if small else None))
            member, future = window.popleft()
            yield member, _stream(store, member) if future is None else iter([future.result()])
    finally:
        # Not waited for: who reads has perhaps gone, and each ends by itself.
        pool.shutdown(wait=False, cancel_futures=True)
