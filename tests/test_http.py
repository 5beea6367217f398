"""HTTP's rules for conditions, ranges and names, as pure functions."""

from __future__ import annotations

import pytest

from devilry_storage.http import (
    Range,
    RangeNotSatisfiable,
    content_disposition,
    etags,
    failed_condition,
    seconds_of,
    wanted_range,
)

ETAG = '"abc"'
MODIFIED = 784111777
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
LATER = "Sun, 06 Nov 1994 08:49:38 GMT"
EARLIER = "Sun, 06 Nov 1994 08:49:36 GMT"


@pytest.mark.parametrize(
    ("header", "size", "expected"),
    [
        ("bytes=0-0", 10, Range(0, 1)),
        ("bytes=0-9", 10, Range(0, 10)),
        ("bytes=2-5", 10, Range(2, 6)),
        ("bytes=9-9", 10, Range(9, 10)),
        ("bytes=5-", 10, Range(5, 10)),
        ("bytes=5-99", 10, Range(5, 10)),
        ("bytes=-1", 10, Range(9, 10)),
        ("bytes=-10", 10, Range(0, 10)),
        ("bytes=-99", 10, Range(0, 10)),
        (f"bytes=-{'9' * 5000}", 10, Range(0, 10)),
        (f"bytes=3-{'9' * 5000}", 10, Range(3, 10)),
        (f"bytes={'0' * 5000}3-4", 10, Range(3, 5)),
        ("BYTES=1-2", 10, Range(1, 3)),
        ("bytes= 1-2 ,", 10, Range(1, 3)),
        ("bytes=-5", 0, None),
        ("bytes=0-0,2-3", 10, None),
        ("bytes=3-2", 10, None),
        ("bytes=", 10, None),
        ("bytes=-", 10, None),
        ("bytes=a-b", 10, None),
        ("bytes=1-2-3", 10, None),
        ("bytes=+1-2", 10, None),
        ("bytes=١-٢", 10, None),
        ("bytes=1 - 2", 10, None),
        ("bytes:1-2", 10, None),
        ("lines=1-2", 10, None),
        ("", 10, None),
    ],
)
def test_a_single_range_of_bytes_is_taken_and_all_else_ignored(
    header: str, size: int, expected: Range | None
) -> None:
    """RFC 9110, section 14: what is no valid range is as if it were not there."""
    assert wanted_range({"range": header}, size, ETAG, MODIFIED) == expected


@pytest.mark.parametrize(
    ("header", "size"),
    [
        ("bytes=10-", 10),
        ("bytes=10-20", 10),
        (f"bytes={'9' * 5000}-", 10),
        ("bytes=-0", 10),
        ("bytes=0-", 0),
        ("bytes=0-0", 0),
    ],
)
def test_a_range_without_a_byte_is_not_satisfiable(header: str, size: int) -> None:
    """RFC 9110, section 15.5.17."""
    with pytest.raises(RangeNotSatisfiable):
        wanted_range({"range": header}, size, ETAG, MODIFIED)


@pytest.mark.parametrize(
    ("validator", "same"),
    [
        (ETAG, True),
        ('"other"', False),
        (f"W/{ETAG}", False),
        (DATE, True),
        (LATER, False),
        (EARLIER, False),
        ("abc", False),
        ("*", False),
        ("", False),
    ],
)
def test_if_range_takes_the_range_only_of_the_very_state(validator: str, same: bool) -> None:
    """RFC 9110, section 13.1.5: a strong tag, or exactly the date."""
    headers = {"range": "bytes=1-2", "if-range": validator}
    expected = Range(1, 3) if same else None
    assert wanted_range(headers, 10, ETAG, MODIFIED) == expected


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, None),
        ({"if-none-match": ETAG}, 304),
        ({"if-none-match": f"W/{ETAG}"}, 304),
        ({"if-none-match": f'"x", {ETAG}'}, 304),
        ({"if-none-match": "*"}, 304),
        ({"if-none-match": '"x"'}, None),
        ({"if-none-match": "abc"}, None),
        ({"if-none-match": '"x"', "if-modified-since": DATE}, None),
        ({"if-modified-since": DATE}, 304),
        ({"if-modified-since": LATER}, 304),
        ({"if-modified-since": EARLIER}, None),
        ({"if-modified-since": "yesterday"}, None),
        ({"if-match": ETAG}, None),
        ({"if-match": "*"}, None),
        ({"if-match": f"W/{ETAG}"}, 412),
        ({"if-match": '"x"'}, 412),
        ({"if-match": '"x"', "if-none-match": ETAG}, 412),
        ({"if-match": ETAG, "if-unmodified-since": EARLIER}, None),
        ({"if-match": ETAG, "if-none-match": ETAG}, 304),
        ({"if-unmodified-since": DATE}, None),
        ({"if-unmodified-since": EARLIER}, 412),
        ({"if-unmodified-since": "yesterday"}, None),
    ],
)
def test_conditions_have_their_order(headers: dict[str, str], status: int | None) -> None:
    """RFC 9110, section 13.2.2."""
    assert failed_condition(headers, ETAG, MODIFIED) == status


def test_dates_have_three_forms() -> None:
    """RFC 9110, section 5.6.7; what is no date is None."""
    for each in (DATE, "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"):
        assert seconds_of(each) == MODIFIED
    for each in ("", "x", "Sun, 99 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 99999999999 08:49:37 GMT"):
        assert seconds_of(each) is None or each.startswith("Sun, 06")


def test_tags_may_have_commas_in_them() -> None:
    """RFC 9110, section 8.8.3: a comma within quotes divides nothing."""
    assert etags('"a,b" ,W/"c"') == ['"a,b"', 'W/"c"']
    assert etags('"a" "b"') == []


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        ("a b.txt", 'attachment; filename="a b.txt"'),
        ('a"b.txt', "attachment; filename*=utf-8''a%22b.txt"),
        ("a%41.txt", "attachment; filename*=utf-8''a%2541.txt"),
        ("a\\b", "attachment; filename*=utf-8''a%5Cb"),
        ("å\r\nSet-Cookie: x", "attachment; filename*=utf-8''%C3%A5%0D%0ASet-Cookie%3A%20x"),
    ],
)
def test_a_filename_stays_within_its_parameter(filename: str, expected: str) -> None:
    """RFC 6266, with RFC 8187 for what is not plain."""
    assert content_disposition(filename) == expected
    assert content_disposition(filename, inline=True) == expected.replace("attachment", "inline")
