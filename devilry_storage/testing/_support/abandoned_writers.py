"""Functions that use a writer and leave it, most of them without finishing it."""

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
    """Raise inside ``with``."""
    with open_writer() as writer:
        writer.write(b"new bytes")
        breaks()


def by_closing(open_writer: OpenWriter) -> None:
    """Raise inside ``contextlib.closing()``."""
    with contextlib.closing(open_writer()) as writer:
        writer.write(b"new bytes")
        breaks()


def by_try_finally(open_writer: OpenWriter) -> None:
    """Raise before ``finally: close()``."""
    writer = open_writer()
    try:
        writer.write(b"new bytes")
        breaks()
    finally:
        writer.close()


def by_exit_stack(open_writer: OpenWriter) -> None:
    """Raise inside an ``ExitStack`` with two writers, one of which it only closes."""
    with contextlib.ExitStack() as stack:
        writer = open_writer()
        stack.callback(writer.close)
        stack.enter_context(open_writer()).write(b"newer bytes")
        writer.write(b"new bytes")
        breaks()


def by_half_a_zip(open_writer: OpenWriter) -> None:
    """Raise inside a ``ZipFile``, which still writes the end of the archive."""
    with open_writer() as writer, zipfile.ZipFile(writer, "w") as archive:
        archive.writestr("first.txt", b"first member")
        breaks()


def by_dropping_a_generator(open_writer: OpenWriter) -> None:
    """Drop a generator before it is exhausted."""

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
    """Drop a writer without closing it."""
    with warnings.catch_warnings():
        # A store may warn of a dropped writer, as Python does of any file.
        warnings.simplefilter("ignore", ResourceWarning)
        writer = open_writer()
        writer.write(b"new bytes")
        writer.flush()
        del writer
        gc.collect()
    raise SourceBroke


def after_another_error(open_writer: OpenWriter) -> None:
    """Open a writer in an except block and raise a second exception before it is finished."""
    try:
        int("not a number")
    except ValueError:
        writer = open_writer()
        try:
            writer.write(b"new bytes")
            breaks()
        finally:
            writer.close()


def closed_for_another_error(open_writer: OpenWriter) -> Any:
    """Close a writer in the except block of an unrelated error, and return it."""
    writer = open_writer()
    writer.write(b"new bytes")
    try:
        int("not a number")
    except ValueError:
        writer.close()
    return writer


def opened_for_two_errors(open_writer: OpenWriter) -> Any:
    """Open a writer in a nested except block, close it in the outer one, and return it."""
    try:
        int("not a number")
    except ValueError:
        try:
            breaks()
        except SourceBroke:
            writer = open_writer()
        writer.write(b"new bytes")
        writer.close()
    return writer


def used_in_a_child(open_writer: OpenWriter) -> list[str]:
    """Use a writer in a forked child, then finish it in the parent.

    Returns the names of the methods that did not raise in the child.
    """
    writer = open_writer()
    writer.write(b"before, ")

    def use() -> list[str]:
        succeeded = []
        attempts: list[Callable[[], Any]] = [lambda: writer.write(b"of the child"), writer.close]
        for attempt in attempts:
            try:
                attempt()
            # A store may raise any error.
            except Exception:  # noqa: BLE001  # see above
                continue
            succeeded.append(getattr(attempt, "__name__", ""))
        return succeeded

    (found,) = in_processes(use)
    writer.write(b"and after")
    writer.close()
    return list(found)
