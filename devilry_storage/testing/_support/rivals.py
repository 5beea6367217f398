"""Concurrent users of a store, in threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")


class Rival(Generic[T]):
    """A function to call once, in its own thread, while another call is in progress."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._done: Future[T] = Future()
        self._thread: threading.Thread | None = None

    def _call(self) -> None:
        try:
            self._done.set_result(self._function())
        except BaseException as exception:  # noqa: BLE001  # result() raises it
            self._done.set_exception(exception)

    def run(self) -> None:
        """Start the function unless it was started, and wait for it, but at most 5 seconds.

        A store may serialise the writers of one name. Then the rival continues after the caller.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._call, daemon=True)
            self._thread.start()
            self._thread.join(5)

    def result(self) -> T:
        """Wait until the function has finished, and return its result or raise its exception."""
        if self._thread is None:
            raise AssertionError("The store never started the rival.")
        self._thread.join(30)
        return self._done.result(timeout=0)


def in_threads(functions: Sequence[Callable[[], T]]) -> list[T]:
    """Call the functions in one thread each, all at the same time, and return their results."""
    start = threading.Barrier(len(functions))

    def run(function: Callable[[], T]) -> T:
        start.wait(30)
        return function()

    with ThreadPoolExecutor(len(functions)) as pool:
        return list(pool.map(run, functions))
