"""The ways to leave a writer that was not finished."""

from __future__ import annotations

import contextlib
import gc
import warnings
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

from .disk import in_processes
from .sources import SourceBroke, breaks

OpenWriter = Callable[[], Any]


def by_with(open_writer: OpenWriter) -> None:
    """``with``."""
    with open_writer() as writer:
        writer.write(b"new bytes")
        breaks()


def by_closing(open_writer: OpenWriter) -> None:
    """``contextlib.closing``."""
    with contextlib.closing(open_writer()) as writer:
        writer.write(b"new bytes")
        breaks()


def by_try_finally(open_writer: OpenWriter) -> None:
    """``finally: close()``."""
    writer = open_writer()
    try:
        writer.write(b"new bytes")
        breaks()
    finally:
        writer.close()


def by_exit_stack(open_writer: OpenWriter) -> None:
    """An ``ExitStack`` that closes one writer and leaves another."""
    with contextlib.ExitStack() as stack:
        writer = open_writer()
        stack.callback(writer.close)
        stack.enter_context(open_writer()).write(b"newer bytes")
        writer.write(b"new bytes")
        breaks()


def by_half_a_zip(open_writer: OpenWriter) -> None:
    """An archive that is broken off; ``ZipFile`` still writes its end."""
    with open_writer() as writer, zipfile.ZipFile(writer, "w") as archive:
        archive.writestr("first.txt", b"first member")
        breaks()


def by_dropping_a_generator(open_writer: OpenWriter) -> None:
    """A generator that nobody exhausts."""

    def generate() -> Iterator[None]:
        with open_writer() as writer:
            writer.write(b"new bytes")
            yield
            writer.write(b"more bytes")

    generator = generate()
    next(generator)
    del generator
    gc.collect()
    raise SourceBroke


def by_never_closing(open_writer: OpenWriter) -> None:
    """Nobody closes the writer."""
    with warnings.catch_warnings():
        # Who drops a writer may be warned, as of any file.
        warnings.simplefilter("ignore", ResourceWarning)
        writer = open_writer()
        writer.write(b"new bytes")
        writer.flush()
        del writer
        gc.collect()
    raise SourceBroke


def after_another_error(open_writer: OpenWriter) -> None:
    """Opened while another error is handled, which is no reason to discard; left by a new one."""
    try:
        int("no number")
    except ValueError:
        writer = open_writer()
        try:
            writer.write(b"new bytes")
            breaks()
        finally:
            writer.close()


def closed_for_another_error(open_writer: OpenWriter) -> Any:
    """Close in the except block of an error that the writer has nothing to do with."""
    writer = open_writer()
    writer.write(b"new bytes")
    try:
        int("no number")
    except ValueError:
        writer.close()
    return writer


def opened_for_two_errors(open_writer: OpenWriter) -> Any:
    """Open while two errors are handled, close while the first of them still is."""
    try:
        int("no number")
    except ValueError:
        try:
            breaks()
        except SourceBroke:
            writer = open_writer()
        writer.write(b"new bytes")
        writer.close()
    return writer


def used_in_a_child(open_writer: OpenWriter) -> list[str]:
    """Write to and close, in a forked child, what was opened here; then finish it here.

    Returns which of the child's attempts succeeded.
    """
    writer = open_writer()
    writer.write(b"before, ")

    def use() -> list[str]:
        succeeded = []
        attempts: list[Callable[[], Any]] = [lambda: writer.write(b"of the child"), writer.close]
        for attempt in attempts:
            try:
                attempt()
            # Stores may have errors of their own; any of them will do.
            except Exception:  # noqa: BLE001  # see above
                continue
            succeeded.append(getattr(attempt, "__name__", ""))
        return succeeded

    (found,) = in_processes(use)
    writer.write(b"and after")
    writer.close()
    return list(found)
