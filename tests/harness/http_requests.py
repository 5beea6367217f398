"""A table of ranged and conditional requests, with the response that RFC 9110 demands.

Header values may contain ``{etag}`` and ``{date}``, the entity tag and Last-Modified of the
requested file, and ``{later}`` and ``{earlier}``, a second after and before that date.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

#: The sizes of the requested files, in bytes.
SIZES = {"ten": 10, "empty": 0, "big": 300_000}

HUGE = "9" * 30
#: More digits than Python converts to a number.
ENDLESS = "9" * 5000


class Case(NamedTuple):
    """A request, and the status and range of the response; ``stop`` is exclusive."""

    headers: Mapping[str, str]
    status: int
    start: int = 0
    stop: int = 0
    file: str = "ten"
    method: str = "GET"

    def __str__(self) -> str:
        headers = ", ".join(f"{name}: {value[:40]}" for name, value in self.headers.items())
        return f"{self.method} {self.file} {headers or 'without headers'}"

    def filled(self, **values: str) -> dict[str, str]:
        """Return the headers with the placeholders filled in."""
        return {name: value.format(**values) for name, value in self.headers.items()}


def _ranges(status: int, *rows: tuple[str, str, int, int]) -> list[Case]:
    return [Case({"Range": value}, status, start, stop, file) for file, value, start, stop in rows]


def _ignored(file: str, *values: str) -> list[Case]:
    return [Case({"Range": value}, 200, 0, SIZES[file], file) for value in values]


def _conditions(status: int, *headers: Mapping[str, str]) -> list[Case]:
    stop = SIZES["ten"] if status == 200 else 0
    return [Case(header, status, 0, stop) for header in headers]


def _if_range(*values: str, same: bool) -> list[Case]:
    bounds = (206, 2, 5) if same else (200, 0, 10)
    return [Case({"Range": "bytes=2-4", "If-Range": value}, *bounds) for value in values]


RANGES = [
    # One range: bounded, open, or a suffix. A stop past the end is cut.
    *_ranges(
        206,
        ("ten", "bytes=0-0", 0, 1),
        ("ten", "bytes=0-9", 0, 10),
        ("ten", "bytes=2-5", 2, 6),
        ("ten", "bytes=9-9", 9, 10),
        ("ten", "bytes=0-", 0, 10),
        ("ten", "bytes=9-", 9, 10),
        ("ten", "bytes=5-10", 5, 10),
        ("ten", "bytes=0-99", 0, 10),
        ("ten", "bytes=-1", 9, 10),
        ("ten", "bytes=-10", 0, 10),
        ("ten", "bytes=-11", 0, 10),
        ("ten", "bytes=-99", 0, 10),
        ("ten", "bytes=007-0008", 7, 9),
        ("ten", f"bytes=3-{HUGE}", 3, 10),
        ("ten", f"bytes=-{HUGE}", 0, 10),
        ("ten", f"bytes=3-{ENDLESS}", 3, 10),
        ("ten", f"bytes=-{ENDLESS}", 0, 10),
        ("ten", f"bytes={'0' * 5000}3-4", 3, 5),
        ("ten", "BYTES=1-2", 1, 3),
        # A list may have empty elements (section 5.6.1.2).
        ("ten", "bytes=1-2,", 1, 3),
        ("ten", "bytes=, ,1-2 , ", 1, 3),
        ("big", "bytes=0-0", 0, 1),
        ("big", "bytes=65535-65536", 65_535, 65_537),
        ("big", "bytes=65536-131071", 65_536, 131_072),
        ("big", "bytes=1-299998", 1, 299_999),
        ("big", "bytes=262144-", 262_144, 300_000),
        ("big", "bytes=-262144", 37_856, 300_000),
        ("big", "bytes=299999-", 299_999, 300_000),
        ("big", "bytes=-1", 299_999, 300_000),
        ("big", "bytes=0-299999", 0, 300_000),
    ),
    # No byte is in the range.
    *_ranges(
        416,
        ("ten", "bytes=10-", 0, 0),
        ("ten", "bytes=10-10", 0, 0),
        ("ten", "bytes=11-20", 0, 0),
        ("ten", "bytes=-0", 0, 0),
        ("ten", "bytes=-000", 0, 0),
        ("ten", f"bytes={HUGE}-", 0, 0),
        ("ten", f"bytes={HUGE}-{HUGE}", 0, 0),
        ("ten", f"bytes={ENDLESS}-", 0, 0),
        ("empty", "bytes=0-", 0, 0),
        ("empty", "bytes=0-0", 0, 0),
        ("empty", "bytes=-0", 0, 0),
        ("big", "bytes=300000-", 0, 0),
    ),
    # A suffix of an empty file is the whole file, which Content-Range cannot express.
    *_ignored("empty", "bytes=-1", "bytes=-500", f"bytes=-{HUGE}"),
    # Several ranges may be ignored; an invalid range must be.
    *_ignored(
        "ten",
        "bytes=0-0,2-3",
        "bytes=0-5,3-9",
        "bytes=0-,0-,0-,0-",
        "bytes=-1,0-0",
        "bytes=90-,91-",
        "bytes=0-0,x",
        "bytes=3-2",
        f"bytes={HUGE}-1",
        "bytes=",
        "bytes=-",
        "bytes=,",
        "bytes=--1",
        "bytes=1--2",
        "bytes=1-2-3",
        "bytes=a-b",
        "bytes=0x1-2",
        "bytes=+1-2",
        "bytes=1.0-2",
        "bytes=1_0-",
        "bytes=1e1-",
        "bytes=1 - 2",
        "bytes=1",
        "bytes:1-2",
        "bytes 1-2",
        "bytes",
        "bytes=1-2; q=1",
        "byte=1-2",
        "lines=1-2",
        "none",
        "=1-2",
        "1-2",
        "*",
        "bytes=*",
        "bytes=0-0/10",
    ),
]

CONDITIONS = [
    *_conditions(
        200,
        {},
        {"If-None-Match": '"other"'},
        {"If-None-Match": 'W/"other"'},
        {"If-None-Match": '"one", "two"'},
        {"If-None-Match": "other"},
        {"If-None-Match": '"'},
        {"If-None-Match": ""},
        {"If-Modified-Since": "{earlier}"},
        {"If-Modified-Since": "yesterday"},
        {"If-Modified-Since": "0"},
        {"If-Modified-Since": ""},
        {"If-Modified-Since": "Sun, 99 Nov 2094 08:49:37 GMT"},
        {"If-Modified-Since": "Sun, 06 Nov 2094 08:49:37 +0000"},
        # A tag takes precedence over a date, which is ignored.
        {"If-None-Match": '"other"', "If-Modified-Since": "{date}"},
        {"If-Match": "{etag}"},
        {"If-Match": "*"},
        {"If-Match": '"other", {etag}'},
        {"If-Unmodified-Since": "{date}"},
        {"If-Unmodified-Since": "{later}"},
        {"If-Unmodified-Since": "yesterday"},
        {"If-Match": "{etag}", "If-Unmodified-Since": "{earlier}"},
        # If-Range without a range is ignored.
        {"If-Range": '"other"'},
        {"If-Range": "{etag}"},
    ),
    *_conditions(
        304,
        {"If-None-Match": "{etag}"},
        {"If-None-Match": "W/{etag}"},
        {"If-None-Match": "*"},
        {"If-None-Match": '"other", {etag}'},
        {"If-None-Match": '"other",W/{etag} , "another"'},
        {"If-None-Match": "{etag}", "If-Modified-Since": "{earlier}"},
        {"If-Modified-Since": "{date}"},
        {"If-Modified-Since": "{later}"},
        {"If-Modified-Since": "Sunday, 06-Nov-94 08:49:37 GMT", "If-None-Match": "{etag}"},
        {"If-Match": "{etag}", "If-None-Match": "{etag}"},
        {"If-Unmodified-Since": "{date}", "If-None-Match": "{etag}"},
        {"If-None-Match": "{etag}", "Range": "bytes=0-0"},
        {"If-Modified-Since": "{date}", "Range": "bytes=0-0"},
        {"If-None-Match": "{etag}", "Range": "bytes=99-"},
    ),
    *_conditions(
        412,
        {"If-Match": '"other"'},
        # Strong comparison: weak tags never match.
        {"If-Match": "W/{etag}"},
        {"If-Match": "other"},
        {"If-Match": ""},
        {"If-Match": '"other"', "If-None-Match": "{etag}"},
        {"If-Match": '"other"', "If-Unmodified-Since": "{later}"},
        {"If-Match": '"other"', "Range": "bytes=0-0"},
        {"If-Unmodified-Since": "{earlier}"},
        {"If-Unmodified-Since": "{earlier}", "If-None-Match": "{etag}"},
        {"If-Unmodified-Since": "{earlier}", "Range": "bytes=0-0"},
        {"If-Unmodified-Since": "Sunday, 06-Nov-94 08:49:37 GMT"},
        {"If-Unmodified-Since": "Sun Nov  6 08:49:37 1994"},
    ),
]

IF_RANGE = [
    *_if_range("{etag}", " {etag} ", "{date}", same=True),
    *_if_range(
        "W/{etag}",
        '"other"',
        "{etag}, {etag}",
        "*",
        "other",
        "",
        '"',
        "{later}",
        "{earlier}",
        "yesterday",
        same=False,
    ),
    # The other conditions are evaluated before If-Range.
    Case({"Range": "bytes=2-4", "If-Range": "{etag}", "If-Match": "{etag}"}, 206, 2, 5),
    Case({"Range": "bytes=2-4", "If-Range": "{etag}", "If-None-Match": '"other"'}, 206, 2, 5),
    Case({"Range": "bytes=2-4", "If-Range": "{etag}", "If-None-Match": "{etag}"}, 304),
    Case({"Range": "bytes=99-", "If-Range": "{etag}"}, 416),
    Case({"Range": "bytes=99-", "If-Range": '"other"'}, 200, 0, 10),
    Case({"Range": "bytes=0-", "If-Range": "{etag}"}, 416, file="empty"),
]

HEADS = [
    # Range applies only to GET (section 14.2).
    Case({"Range": "bytes=2-4"}, 200, 0, 10, method="HEAD"),
    Case({"Range": "bytes=99-"}, 200, 0, 10, method="HEAD"),
    Case({"Range": "bytes=2-4", "If-Range": "{etag}"}, 200, 0, 10, method="HEAD"),
    Case({"Range": "bytes=0-"}, 200, 0, 0, "empty", "HEAD"),
    Case({"Range": "bytes=-1"}, 200, 0, 300_000, "big", "HEAD"),
    Case({}, 200, 0, 10, method="HEAD"),
    Case({"If-None-Match": '"other"'}, 200, 0, 10, method="HEAD"),
    Case({"If-None-Match": "W/{etag}"}, 304, method="HEAD"),
    Case({"If-Modified-Since": "{date}"}, 304, method="HEAD"),
    Case({"If-Modified-Since": "{earlier}"}, 200, 0, 10, method="HEAD"),
    Case({"If-Match": '"other"'}, 412, method="HEAD"),
    Case({"If-Unmodified-Since": "{earlier}"}, 412, method="HEAD"),
]

CASES = [*RANGES, *CONDITIONS, *IF_RANGE, *HEADS]
