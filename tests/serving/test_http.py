"""Pure functions for HTTP conditions, ranges and filenames."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.http import parse_options_header

from devilry_storage.rfc9110 import (
    Evaluation,
    Representation,
    byte_range,
    content_disposition,
    evaluate,
)

from ..harness.http_requests import CASES, SIZES
from ..storages.test_hostile_names import TABLE

ETAG = '"abc"'
MODIFIED = 1_000_000_000
DATE = "Sun, 09 Sep 2001 01:46:40 GMT"
VALUES = {
    "etag": ETAG,
    "date": DATE,
    "later": "Sun, 09 Sep 2001 01:46:41 GMT",
    "earlier": "Sun, 09 Sep 2001 01:46:39 GMT",
}


def test_evaluate_follows_rfc_9110() -> None:
    """RFC 9110, sections 13 and 14. The tests with real servers use the same table."""
    files = {file: Representation(size, ETAG, MODIFIED) for file, size in SIZES.items()}
    wrong = [
        (str(case), outcome)
        for case in CASES
        if (outcome := evaluate(case.method, case.filled(**VALUES), files[case.file]))
        != Evaluation(case.status, case.start, case.stop)
    ]
    assert wrong == []


def test_conditions_without_validators_are_ignored() -> None:
    """Sections 13.1.3 to 13.1.5: without a validator, no condition on it applies."""
    requests = [
        {"If-Modified-Since": DATE},
        {"If-Unmodified-Since": VALUES["earlier"]},
        {"If-None-Match": '""'},
        {"Range": "bytes=2-4", "If-Range": DATE},
        {"Range": "bytes=2-4", "If-Range": ETAG},
        {"Range": "bytes=2-4", "If-Range": ""},
    ]
    outcomes = [(headers, evaluate("GET", headers, Representation(10))) for headers in requests]
    assert outcomes == [(headers, Evaluation(200, 0, 10)) for headers in requests]


@given(st.text(), st.integers(0, 2**70))
def test_ranges_never_exceed_the_file(value: str, size: int) -> None:
    """For any value of the field, and without an exception."""
    bounds = byte_range(f"bytes={value}", size)
    assert bounds is None or 0 <= bounds[0] <= bounds[1] <= size


@given(st.integers(0, 2**70), st.integers(0, 2**70), st.integers(0, 2**70))
def test_byte_range_matches_python_range(first: int, last: int, size: int) -> None:
    """Also for very large numbers."""
    bounds = byte_range(f"bytes={first}-{last}", size)
    if last < first:
        assert bounds is None
    else:
        assert bounds is not None
        assert range(*bounds) == range(first, last + 1)[: max(0, size - first)]


# -- Names --


def test_filename_is_escaped_in_content_disposition() -> None:
    """RFC 6266, with a plain name for clients without RFC 8187 (CVE-2022-36359)."""
    headers = {
        "a b.txt": 'attachment; filename="a b.txt"',
        "a;b=c,d.txt": 'attachment; filename="a;b=c,d.txt"',
        'a"b.txt': "attachment; filename=\"a_b.txt\"; filename*=UTF-8''a%22b.txt",
        "a%41.txt": "attachment; filename=\"a_41.txt\"; filename*=UTF-8''a%2541.txt",
        "å.txt": "attachment; filename=\"_.txt\"; filename*=UTF-8''%C3%A5.txt",
        "a\\b/c": "attachment; filename=\"a_b_c\"; filename*=UTF-8''a%5Cb%2Fc",
        "å\r\nX": "attachment; filename=\"___X\"; filename*=UTF-8''%C3%A5%0D%0AX",
        "\ud800": "attachment; filename=\"_\"; filename*=UTF-8''%3F",
    }
    assert {name: content_disposition(name) for name in headers} == headers
    assert {name: content_disposition(name, inline=True) for name in headers} == {
        name: header.replace("attachment", "inline") for name, header in headers.items()
    }


def test_hostile_names_inject_nothing_into_the_header(subtests: pytest.Subtests) -> None:
    """The header describes one attachment. Valid filenames are parsed unchanged."""
    # Only a quoted string without escapes, and a value as in RFC 8187.
    form = r"""attachment; filename="[^"\\%]*"(; filename\*=UTF-8''[\w.!#$&+^`|~%-]+)?"""
    for line in TABLE:
        with subtests.test(line.what, name=line.name):
            name = line.name if line.filename is None else line.filename
            header = content_disposition(name)
            assert header.isascii()
            assert header.isprintable()
            assert re.fullmatch(form, header, re.ASCII)
            kind, parameters = parse_options_header(header)
            assert (kind, list(parameters)) == ("attachment", ["filename"])
            if line.filename is not None:
                assert parameters["filename"] == name
