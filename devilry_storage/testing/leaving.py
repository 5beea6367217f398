"""The ways to leave a writer that was not finished."""

from __future__ import annotations

import contextlib
import gc
import warnings
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

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
