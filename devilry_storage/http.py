"""HTTP's rules for conditions, ranges, types and names of downloads.

Pure functions over header values and filenames; nothing of Django and nothing of the package.
Sources are RFC 9110 (HTTP semantics), RFC 6266 (Content-Disposition) and RFC 8187 (names beyond
ASCII).
"""

from __future__ import annotations

import mimetypes
import posixpath
import re
from calendar import timegm
from collections.abc import Mapping
from email.utils import parsedate_tz
from typing import NamedTuple
from urllib.parse import quote

# RFC 9110, section 8.8.3.
_ETAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')
_ETAGS = re.compile(rf"[\s,]*({_ETAG.pattern})[ \t]*(?=,|$)")
# RFC 9110, section 14.1.1; a position of more digits is behind the end of every file.
_RANGE = re.compile(r"([0-9]*)-([0-9]*)")
_DIGITS = 19

# Printable ASCII, but for what user agents were seen to unquote or take for an escape (RFC 6266,
# appendix D). All else is said as RFC 8187 says it.
_PLAIN = re.compile(r"[ !#$&-\[\]-~]+")

# What the bytes are that mimetypes calls an encoding of something else. They are served as they
# are: as a Content-Encoding a browser would undo it, and the file arrive with another size.
_COMPRESSED = {
    "br": "application/x-brotli",
    "bzip2": "application/x-bzip2",
    "compress": "application/x-compress",
    "gzip": "application/gzip",
    "xz": "application/x-xz",
}

#: The media type of what has no known one.
OCTETS = "application/octet-stream"


class Range(NamedTuple):
    """Bytes from ``start`` to ``stop``, exclusive."""

    start: int
    stop: int


class RangeNotSatisfiable(ValueError):
    """No byte of the file is in the range that was asked for: status 416."""


# -- Conditions --


def etags(header: str) -> list[str]:
    """Return the entity tags of ``If-Match`` or ``If-None-Match``, ``["*"]`` for any.

    A header that is no list of them has none.
    """
    header = header.strip()
    if header == "*":
        return ["*"]
    found, position = [], 0
    while position < len(header):
        match = _ETAGS.match(header, position)
        if match is None:
            return []
        found.append(match[1])
        position = match.end()
    return found


def seconds_of(header: str) -> int | None:
    """Return an HTTP date in seconds since the epoch, None if it is none.

    All three forms of RFC 9110, section 5.6.7, are in GMT.
    """
    try:
        parsed = parsedate_tz(header)
        if parsed is None or not 1 <= parsed[1] <= 12 or not 1 <= parsed[2] <= 31:
            return None
        return timegm((*parsed[:6], 0, 0, 0)) - (parsed[9] or 0)
    except (ValueError, OverflowError, IndexError, TypeError):
        return None


def failed_condition(headers: Mapping[str, str], etag: str, modified: int) -> int | None:
    """Return the status by which a GET or HEAD is answered because of a condition: 304 or 412.

    None: as if there were no conditions. ``headers`` are found by lower-case names; ``etag`` is
    that of the file, a strong one; ``modified`` is in seconds since the epoch. The order is that
    of RFC 9110, section 13.2.2.
    """
    if "if-match" in headers:
        # Compared strongly: a weak tag matches nothing.
        if not {"*", etag} & set(etags(headers["if-match"])):
            return 412
    else:
        since = seconds_of(headers.get("if-unmodified-since", ""))
        if since is not None and modified > since:
            return 412
    if "if-none-match" in headers:
        known = {each.removeprefix("W/") for each in etags(headers["if-none-match"])}
        return 304 if {"*", etag} & known else None
    since = seconds_of(headers.get("if-modified-since", ""))
    return 304 if since is not None and modified <= since else None


# -- Ranges --


def wanted_range(headers: Mapping[str, str], size: int, etag: str, modified: int) -> Range | None:
    """Return the range that a GET asks for, None for the whole file.

    A header that is no single range of bytes is ignored, as RFC 9110, section 14.2, allows for
    several and demands for others; so is one whose ``If-Range`` names another state of the file.
    Raises RangeNotSatisfiable. ``size`` is in bytes, the others are as for
    :func:`failed_condition`.
    """
    unit, equals, ranges = headers.get("range", "").partition("=")
    if not equals or unit.lower() != "bytes":
        return None
    if "if-range" in headers and not _is_same(headers["if-range"].strip(), etag, modified):
        return None
    given = [each for each in (part.strip(" \t") for part in ranges.split(",")) if each]
    match = _RANGE.fullmatch(given[0]) if len(given) == 1 else None
    if match is None or match[0] == "-":
        return None
    return _bytes_of(_position(match[1]), _position(match[2]), size)


def _position(digits: str) -> int | None:
    if not digits:
        return None
    digits = digits.lstrip("0") or "0"
    # Python refuses to read thousands of digits.
    return int(digits) if len(digits) <= _DIGITS else 10**_DIGITS


def _bytes_of(first: int | None, last: int | None, size: int) -> Range | None:
    if first is None:
        assert last is not None
        if not last:
            raise RangeNotSatisfiable("A suffix of no bytes was asked for.")
        # Of an empty file every suffix is the whole, which no Content-Range can say.
        return Range(max(0, size - last), size) if size else None
    if last is not None and last < first:
        return None
    if first >= size:
        raise RangeNotSatisfiable(f"The bytes from '{first}' on were asked for, of {size}.")
    return Range(first, size if last is None else min(last + 1, size))


def _is_same(validator: str, etag: str, modified: int) -> bool:
    """Tell whether ``If-Range`` names the state of the file: RFC 9110, section 13.1.5."""
    if _ETAG.fullmatch(validator):
        return validator == etag
    return seconds_of(validator) == modified


# -- Types and names --


def media_type(*names: str) -> str:
    """Return the media type by the extension of the first name that has a known one."""
    # mimetypes tells .Z from .z, and so does not know .GZ.
    for spelling in (spelling for name in names for spelling in (name, name.lower())):
        guessed, encoding = mimetypes.guess_type(posixpath.basename(spelling))
        if encoding is not None:
            return _COMPRESSED.get(encoding, OCTETS)
        if guessed is not None:
            return guessed
    return OCTETS


def content_disposition(filename: str, *, inline: bool = False) -> str:
    """Return the value of ``Content-Disposition``; nothing of the name gets out of it."""
    kind = "inline" if inline else "attachment"
    if _PLAIN.fullmatch(filename):
        return f'{kind}; filename="{filename}"'
    return f"{kind}; filename*=utf-8''{quote(filename, safe='', errors='replace')}"
