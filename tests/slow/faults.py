"""Let the n-th system call of a save fail; check what the caller gets and what is stored."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.core.files.base import ContentFile

from .locations import Location
from .tracing import Call, Fault, Work, traced

NAME = "0/1/1005/17"
DATA = bytes(range(256)) * 600
"""150 KiB: several writes."""

LINKS = ("link", "linkat")
UNLINKS = ("unlink", "unlinkat")
MAY_FAIL = (
    *("write", "fsync", "fdatasync", "mkdir", "mkdirat", "close", "openat", "fchmod", "fchown"),
    *LINKS,
)
ERRORS = ("ENOSPC", "EIO", "EDQUOT")


@dataclass
class Attempt:
    """The result of a save under a fault, and of a second save under the same name."""

    saved_as: str | None = None
    error: Exception | None = None
    source_closed: bool = False
    visible: dict[str, bytes] = field(default_factory=dict)
    unfinished: int = 0
    saved_again_as: str | None = None
    error_again: str | None = None
    visible_in_the_end: dict[str, bytes] = field(default_factory=dict)
    logged: list[str] = field(default_factory=list)


class _Log(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def save_under_fault(
    location: Location, output: Path, fault: Fault | None = None
) -> tuple[list[Call], Attempt]:
    """Save under strace with the fault injected, then save again under the same name."""
    calls = ",".join((*MAY_FAIL, *UNLINKS))

    def prepare() -> tuple[Work, Work]:
        store, attempt, content = location.store(), Attempt(), ContentFile(DATA)
        logging.getLogger("devilry_storage").addHandler(_Log(attempt.logged))

        def save() -> None:
            try:
                attempt.saved_as = store.save(NAME, content)
            # Every error is a finding, which the parent checks.
            except Exception as problem:  # noqa: BLE001
                attempt.error = problem

        def look() -> Attempt:
            attempt.source_closed = content.closed
            attempt.visible = dict(location.visible())
            attempt.unfinished = location.unfinished()
            try:
                attempt.saved_again_as = store.save(NAME, ContentFile(DATA))
            except Exception as problem:  # noqa: BLE001 (same here)
                attempt.error_again = repr(problem)
            attempt.visible_in_the_end = dict(location.visible())
            return attempt

        return save, look

    calls_made, value = traced(prepare, output, calls=calls, fault=fault)
    assert isinstance(value, Attempt)
    return calls_made, value


@dataclass(frozen=True)
class Point:
    """A system call of a save that may fail.

    ``published`` is True if it comes after the link that makes the file visible.
    """

    call: Call
    published: bool

    def faults(self) -> Iterator[Fault]:
        for error in ERRORS:
            yield Fault(self.call.name, self.call.nth, error)


def points_of(calls: list[Call]) -> list[Point]:
    """Return the points at which a save with these calls may fail, in order."""
    links = [index for index, call in enumerate(calls) if call.name in LINKS]
    last = links[-1] if links else len(calls)
    return [
        Point(call, published=index > last)
        for index, call in enumerate(calls)
        if call.name in MAY_FAIL
    ]


def complaints(point: Point, fault: Fault, attempt: Attempt) -> Iterator[str]:
    """Yield the ways in which an attempt breaks the promise.

    The file must be complete or absent, the caller must get the error, and a retry must succeed.
    """
    number = getattr(errno, fault.error)
    if not isinstance(attempt.error, OSError) or attempt.error.errno != number:
        yield f"the caller got {attempt.saved_as!r}, {attempt.error!r}"
    if attempt.source_closed:
        yield "the caller's own file was closed"
    if attempt.unfinished and not point.published:
        yield "the temporary file was not removed"
    if attempt.visible and not point.published:
        yield f"{sorted(attempt.visible)} visible before the link"
    if attempt.saved_again_as is None:
        yield f"the retry failed: {attempt.error_again}"
    elif (attempt.saved_again_as != NAME) != bool(attempt.visible):
        visible = sorted(attempt.visible)
        yield f"the retry was stored as {attempt.saved_again_as!r}, beside {visible}"
    expected = {name: DATA for name in (*attempt.visible, attempt.saved_again_as) if name}
    if attempt.visible_in_the_end != expected:
        yield f"{_sizes(attempt.visible_in_the_end)} are stored at the end"


def _sizes(found: dict[str, Any]) -> dict[str, int]:
    return {name: len(data) for name, data in found.items()}
