"""HTTP conditions, ranges and filenames, as pure functions.

They implement RFC 9110, RFC 6266 and RFC 8187. Section numbers without an RFC refer to RFC 9110.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote

from django.utils.http import parse_http_date_safe


class Representation(NamedTuple):
    """The current representation of a resource.

    - ``size`` is in bytes.
    - ``etag`` is a strong entity tag with its quotes, ``""`` for none.
    - ``modified`` is in whole seconds since the epoch, or None if unknown.
    """

    size: int
    etag: str = ""
    modified: int | None = None


class Evaluation(NamedTuple):
    """The status code (200, 206, 304, 412 or 416) and range of bytes to respond with.

    ``stop`` is exclusive.
    """

    status: int
    start: int = 0
    stop: int = 0


def evaluate(method: str, headers: Mapping[str, str], current: Representation) -> Evaluation:
    """Evaluate the conditions and the range of a GET or HEAD request (section 13.2.2).

    ``headers`` are the request's, with case-insensitive names.
    """
    if status := _precondition(headers, current):
        return Evaluation(status)
    # Section 14.2: Range is defined for GET only.
    if method == "GET" and "Range" in headers and _if_range(headers.get("If-Range"), current):
        bounds = byte_range(headers["Range"], current.size)
        if bounds is not None:
            start, stop = bounds
            return Evaluation(206, start, stop) if start < stop else Evaluation(416)
    return Evaluation(200, 0, current.size)


# -- Conditions: section 13 --

_TAG = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')


def _precondition(headers: Mapping[str, str], current: Representation) -> int:
    """Return 412 or 304 if a precondition requires that status, otherwise 0."""
    if "If-Match" in headers:
        if not _lists(headers["If-Match"], current.etag, weak=False):
            return 412
    elif _is_newer(current, headers.get("If-Unmodified-Since")):
        return 412
    if "If-None-Match" in headers:
        return 304 if _lists(headers["If-None-Match"], current.etag, weak=True) else 0
    return 304 if _is_newer(current, headers.get("If-Modified-Since")) is False else 0


def _lists(value: str, etag: str, *, weak: bool) -> bool:
    """Return whether a list of entity tags contains this one; ``*`` contains every tag.

    Strong comparison ignores weak tags in the list, weak comparison does not (section 8.8.3.2).
    """
    tags = [tag for prefix, tag in _TAG.findall(value) if weak or not prefix]
    return value.strip() == "*" or etag in tags


def _is_newer(current: Representation, value: str | None) -> bool | None:
    """Return whether the resource was modified after an HTTP-date, or None if unknown."""
    since = parse_http_date_safe((value or "").strip())
    if since is None or current.modified is None:
        return None
    return current.modified > since


def _if_range(value: str | None, current: Representation) -> bool:
    """Return whether If-Range permits the Range (section 13.1.5). Weak tags never match."""
    if value is None:
        return True
    value = value.strip()
    if '"' in value[:3]:
        return bool(current.etag) and value == current.etag
    return current.modified is not None and parse_http_date_safe(value) == current.modified


# -- Ranges: section 14 --

_RANGE = re.compile(r"([0-9]+)-([0-9]*)|-([0-9]+)")


def byte_range(value: str, size: int) -> tuple[int, int] | None:
    """Return the requested range as (start, stop), with an exclusive stop.

    Both are equal if the range contains no byte of a file of ``size`` bytes. Returns None for
    fields that a server may ignore (section 14.2): invalid ones, other units, several ranges.
    """
    unit, _, specs = value.strip().partition("=")
    ranges = [spec.strip(" \t") for spec in specs.split(",") if spec.strip(" \t")]
    if unit.lower() != "bytes" or len(ranges) != 1:
        return None
    match = _RANGE.fullmatch(ranges[0])
    if match is None:
        return None
    first, last, suffix = match.groups()
    if suffix is not None:
        # The last bytes of an empty file are the whole file, but Content-Range cannot express it.
        return None if not size and suffix.strip("0") else (max(size - _number(suffix), 0), size)
    if last and _number(last) < _number(first):
        return None
    return min(_number(first), size), (min(_number(last) + 1, size) if last else size)


def _number(digits: str) -> int:
    """Return the number, or another one above every size if it is very long.

    Python may reject numbers of more than 640 digits (sys.int_info.str_digits_check_threshold).
    """
    return int(digits.lstrip("0")[:640] or "0")


def content_range(current: Representation, outcome: Evaluation) -> str:
    """Return the Content-Range of a response with status 206 or 416 (section 14.4)."""
    if outcome.status == 416:
        return f"bytes */{current.size}"
    return f"bytes {outcome.start}-{outcome.stop - 1}/{current.size}"


# -- Names: RFC 6266 and 8187 --

# All characters except those that browsers agree on within quotes. Browsers disagree on escapes
# (RFC 6266, appendix D).
_NOT_PLAIN = re.compile(r"[^ !#$&'()+,\-.0-9;=@A-Z\[\]^_`a-z{}~]")


def content_disposition(filename: str, *, inline: bool = False) -> str:
    """Return the Content-Disposition header to save, or display, a file with this filename."""
    plain = _NOT_PLAIN.sub("_", filename)
    header = f'{"inline" if inline else "attachment"}; filename="{plain}"'
    if plain == filename:
        return header
    # Clients without support for RFC 8187 (curl) use the plain name. ``safe`` lists the characters
    # of attr-char that quote() would otherwise encode.
    encoded = quote(filename, safe="!#$&+^`|~", errors="replace")
    return f"{header}; filename*=UTF-8''{encoded}"
