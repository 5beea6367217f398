"""Read the contents of many files in order, ahead of the file that is being sent."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future

from ..storages.base import DeliveryStoreMixin
from ..storages.pools import Pool
from .entries import Member

#: Files up to this size in bytes are read ahead as a whole. Larger files are streamed when it is
#: their turn. At most ``2 * store.parallel_reads`` files of this size are in memory.
SMALL = 512 * 1024

Contents = Generator[tuple[Member, Iterator[bytes]], None, None]


def read_members(store: DeliveryStoreMixin, members: deque[Member]) -> Contents:
    """Yield each member with the chunks of its content, and remove it from ``members``.

    The generator and the chunks raise the store's exceptions.
    """
    if store.parallel_reads > 1:
        return _read_ahead(store, members)
    return _read_one_by_one(store, members)


def _read_one_by_one(store: DeliveryStoreMixin, members: deque[Member]) -> Contents:
    while members:
        member = members.popleft()
        yield member, _stream(store, member)


def _stream(store: DeliveryStoreMixin, member: Member) -> Iterator[bytes]:
    return store.stream(member.name, sha256=member.sha256 or None)


def _read_ahead(store: DeliveryStoreMixin, members: deque[Member]) -> Contents:
    def read(member: Member) -> bytes:
        return b"".join(_stream(store, member))

    pool = Pool(store.parallel_reads)
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
        # Do not wait: the client may have disconnected, and running reads end on their own.
        pool.shutdown(wait=False, cancel_futures=True)
