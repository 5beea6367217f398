"""Threads that work concurrently for one call."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")

# Raised by submit() once the main thread of the interpreter has ended. A pool whose threads have
# ended with it says that it was shut down itself.
_SHUT_DOWN = {
    "cannot schedule new futures after interpreter shutdown",
    "cannot schedule new futures after shutdown",
}

# Raised if the system's limit of threads is reached.
_NO_THREAD = "can't start new thread"


def called(function: Callable[..., T], *args: Any, **kwargs: Any) -> Future[T]:
    """Call the function in this thread, and return a future that is done."""
    future: Future[T] = Future()
    try:
        future.set_result(function(*args, **kwargs))
    except BaseException as exception:  # noqa: BLE001  # as in a thread of a pool
        future.set_exception(exception)
    return future


class Pool(ThreadPoolExecutor):
    """A pool whose work is done in the calling thread where threads are of no use.

    That is the case for one worker, and after the main thread of the interpreter has ended: other
    threads may still be running, but cannot start new ones.
    """

    def __init__(self, workers: int) -> None:
        super().__init__(workers, thread_name_prefix="devilry-storage")
        self._is_one = workers == 1
        self._is_closed = False

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._is_closed = True
        super().shutdown(wait, cancel_futures=cancel_futures)

    def _adjust_thread_count(self) -> None:
        try:
            super()._adjust_thread_count()
        except RuntimeError:
            if not self._threads:
                raise
            # The threads that were started take all of the work.

    def submit(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        if not self._is_one:
            try:
                return super().submit(function, *args, **kwargs)
            except RuntimeError as exception:
                if str(exception) == _NO_THREAD:
                    self._is_one = True  # so that no thread takes what was queued
                elif self._is_closed or str(exception) not in _SHUT_DOWN:
                    raise
        return called(function, *args, **kwargs)
