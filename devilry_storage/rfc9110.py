"""What HTTP says of conditions, ranges, types and names, as pure functions.

Sources are RFC 9110 (whose sections are meant where none is named), RFC 6266 and RFC 8187.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Mapping
from datetime import datetime, timezone
from email.utils import formatdate
from typing import NamedTuple
from urllib.parse import quote


class Representation(NamedTuple):
    """What there is to be had of a resource.

    ``size`` in bytes; ``etag`` a strong entity tag with its quotes, ``""`` for none; ``modified``
    in whole seconds since the epoch, None if nobody knows.
    """

    size: int
    etag: str = ""
    modified: int | None = None


class Answer(NamedTuple):
    """The status (200, 206, 304, 412, 416) of the answer, and the bytes of it, stop exclusive."""

    status: int
    start: int = 0
    stop: int = 0


def answer(method: str, headers: Mapping[str, str], found: Representation) -> Answer:
    """Return what to answer to a GET or HEAD for what is there (RFC 9110, section 13.2.2).

    ``headers`` are those of the request, found whatever the case of their names.
    """
    if status := _precondition(headers, found):
        return Answer(status)
    # Section 14.2: a Range is for GET alone.
    if method == "GET" and "Range" in headers and _if_range(headers.get("If-Range"), found):
        bounds = byte_range(headers["Range"], found.size)
        if bounds is not None:
            start, stop = bounds
            return Answer(206, start, stop) if start < stop else Answer(416)
    return Answer(200, 0, found.size)


# -- Conditions: section 13 --

_TAG = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')


def _precondition(headers: Mapping[str, str], found: Representation) -> int:
    """Return 412 or 304 where a condition says so, else 0."""
    if "If-Match" in headers:
        if not _lists(headers["If-Match"], found.etag, weak=False):
            return 412
    elif _is_newer(found, headers.get("If-Unmodified-Since")):
        return 412
    if "If-None-Match" in headers:
        return 304 if _lists(headers["If-None-Match"], found.etag, weak=True) else 0
    return 304 if _is_newer(found, headers.get("If-Modified-Since")) is False else 0


def _lists(value: str, etag: str, *, weak: bool) -> bool:
    """Tell whether a list of entity tags has this one; ``*`` has every one.

    Compared weakly or strongly, that is without or with the tags that are weak (section 8.8.3.2).
    """
    tags = [tag for prefix, tag in _TAG.findall(value) if weak or not prefix]
    return value.strip() == "*" or etag in tags


def _is_newer(found: Representation, value: str | None) -> bool | None:
    """Tell whether what is there was modified after an HTTP-date; None if nobody can say."""
    since = http_seconds(value)
    if since is None or found.modified is None:
        return None
    return found.modified > since


def _if_range(value: str | None, found: Representation) -> bool:
    """Tell whether a Range is to be heeded (section 13.1.5): a weak tag never matches."""
    if value is None:
        return True
    value = value.strip()
    if '"' in value[:3]:
        return bool(found.etag) and value == found.etag
    return found.modified is not None and http_seconds(value) == found.modified


# -- Ranges: section 14 --

_RANGE = re.compile(r"([0-9]+)-([0-9]*)|-([0-9]+)")


def byte_range(value: str, size: int) -> tuple[int, int] | None:
    """Return (start, stop), stop exclusive, of the range that a field asks for.

    Equal where no byte of ``size`` is in it. None where the field is to be ignored: not a valid
    one, of another unit, or of several ranges, all of which a server may (section 14.2).
    """
    unit, _, specs = value.strip().partition("=")
    asked = [spec for spec in (each.strip(" \t") for each in specs.split(",")) if spec]
    if unit.lower() != "bytes" or len(asked) != 1:
        return None
    match = _RANGE.fullmatch(asked[0])
    if match is None:
        return None
    first, last, suffix = match.groups()
    if suffix is not None:
        length = _bounded(suffix, size)
        # Of nothing the last bytes are the whole, of which no Content-Range can tell.
        return None if not size and suffix.strip("0") else (size - length, size)
    if last and _magnitude(last) < _magnitude(first):
        return None
    start = _bounded(first, size)
    return start, (min(_bounded(last, size) + 1, size) if last else size)


def _magnitude(digits: str) -> tuple[int, str]:
    """Return what compares as the number does; int() refuses some thousand digits."""
    significant = digits.lstrip("0")
    return len(significant), significant


def _bounded(digits: str, limit: int) -> int:
    """Return the number, or the limit if that is smaller."""
    length, significant = _magnitude(digits)
    return limit if length > len(str(limit)) else min(int(significant or "0"), limit)


def content_range(found: Representation, asked: Answer) -> str:
    """Return the Content-Range of an answer of status 206 or 416 (section 14.4)."""
    if asked.status == 416:
        return f"bytes */{found.size}"
    return f"bytes {asked.start}-{asked.stop - 1}/{found.size}"


# -- Dates: section 5.6.7 --

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH = rf"(?P<month>{'|'.join(_MONTHS)})"
_TIME = r"(?P<time>[0-9]{2}:[0-9]{2}:[0-9]{2})"
_DAY = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_LONG_DAY = "(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day"
_DATES = (
    re.compile(rf"{_DAY}, (?P<day>[0-9]{{2}}) {_MONTH} (?P<year>[0-9]{{4}}) {_TIME} GMT"),
    re.compile(rf"{_LONG_DAY}, (?P<day>[0-9]{{2}})-{_MONTH}-(?P<year>[0-9]{{2}}) {_TIME} GMT"),
    re.compile(rf"{_DAY} {_MONTH} (?P<day>[ 0-9][0-9]) {_TIME} (?P<year>[0-9]{{4}})"),
)


def http_date(seconds: int) -> str:
    """Return seconds since the epoch as an HTTP-date."""
    return formatdate(seconds, usegmt=True)


def http_seconds(value: str | None) -> int | None:
    """Return an HTTP-date, in any of its three forms, as seconds since the epoch, else None."""
    for form in _DATES:
        if match := form.fullmatch((value or "").strip()):
            year = int(match["year"])
            if len(match["year"]) == 2:
                year = _full_year(year, datetime.now(timezone.utc).year)
            hour, minute, second = map(int, match["time"].split(":"))
            month = _MONTHS.index(match["month"]) + 1
            try:
                told = datetime(year, month, int(match["day"]), hour, minute, second)  # noqa: DTZ001
            except ValueError:
                return None
            return calendar.timegm(told.timetuple())
    return None


def _full_year(year: int, now: int) -> int:
    """Return the year of two digits that is not more than 50 years after ``now``."""
    full = now - now % 100 + year
    return full - 100 if full > now + 50 else full


# -- Types --


# -- Names: RFC 6266 and 8187 --

# All but what every browser reads alike between quotes; of escapes each thinks otherwise (RFC
# 6266, appendix D).
_NOT_PLAIN = re.compile(r"[^ !#$&'()+,\-.0-9;=@A-Z\[\]^_`a-z{}~]")


def content_disposition(filename: str, *, inline: bool = False) -> str:
    """Return the Content-Disposition by which a browser saves (or shows) a file of that name."""
    plain = _NOT_PLAIN.sub("_", filename)
    header = f'{"inline" if inline else "attachment"}; filename="{plain}"'
    if plain == filename:
        return header
    # Clients that do not know RFC 8187 (curl) take the plain name. Of its attr-char, which stand
    # for themselves, quote() knows the others.
    encoded = quote(filename, safe="!#$&+^`|~", errors="replace")
    return f"{header}; filename*=UTF-8''{encoded}"
