"""Somebody else who uses the store while a case is in the middle of something."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")


class Rival(Generic[T]):
    """Work to be done once, in a thread of its own."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._done: Future[T] = Future()
        self._thread: threading.Thread | None = None

    def _run(self) -> None:
        try:
            self._done.set_result(self._work())
        except BaseException as exception:  # noqa: BLE001  # result() raises it
            self._done.set_exception(exception)

    def go(self) -> None:
        """Do the work now, if it was not begun, and wait for it, but not for ever.

        A store may let writers of one name wait for each other; then the rival comes second.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()
            self._thread.join(5)

    def result(self) -> T:
        """Wait for the work's end; return or raise what it returned or raised."""
        if self._thread is None:
            raise AssertionError("the store never came to the place where the rival starts")
        self._thread.join(30)
        return self._done.result(timeout=0)


def all_at_once(works: Sequence[Callable[[], T]]) -> list[T]:
    """Do the works in a thread each, all started together, and return their results."""
    start = threading.Barrier(len(works))

    def run(work: Callable[[], T]) -> T:
        start.wait(30)
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(run, works))
