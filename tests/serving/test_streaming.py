"""The length that an answer has promised, whatever comes out of a store."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from devilry_storage.exceptions import ChecksumMismatch
from devilry_storage.serving.streaming import Body, exactly


@pytest.mark.parametrize(
    "chunks",
    [
        [],
        [b"0123"],
        [b"0123", b"456"],
        [b"0123", b"45678"],
        [b"012345678"],
        # The promised length ends where a chunk does: the client would have all that it waits for.
        [b"0123", b"4567", b"8"],
        [b"01234567", b"", b"8"],
    ],
)
def test_what_has_another_length_is_never_complete(chunks: list[bytes]) -> None:
    """Of eight bytes that were promised the last ones are not sent before the end is seen."""
    sent = b""
    with pytest.raises(ChecksumMismatch, match="'name'"):
        for chunk in exactly(chunks, 8, "name"):
            sent += chunk
    assert len(sent) < 8


@pytest.mark.parametrize(
    "chunks", [[b"01234567"], [b"0123", b"4567"], [b"", b"0123", b"", b"4567"]]
)
def test_what_has_the_length_is_all_there(chunks: list[bytes]) -> None:
    """Empty chunks say nothing."""
    assert b"".join(exactly(chunks, 8, "name")) == b"01234567"
    assert list(exactly([], 0, "name")) == []


@pytest.mark.parametrize(
    ("taken", "data", "end"),
    [
        (0, b"01234567", (0, "aborted")),
        (1, b"01234567", (4, "aborted")),
        (3, b"01234567", (8, "complete")),
        (3, b"0123456", (7, "failed")),
    ],
)
def test_closing_body_closes_source_and_reports_end_once(
    taken: int, data: bytes, end: tuple[int, str]
) -> None:
    """However often it is closed, and however much of it was read by then."""
    closed, ended = [], []

    def source() -> Iterator[bytes]:
        try:
            yield data[:4]
            yield data[4:]
        finally:
            closed.append(True)

    body = Body(source(), 8, "name", lambda size, outcome: ended.append((size, outcome)))
    body.begin()
    try:
        for _ in range(taken):
            next(body, None)
    except ChecksumMismatch:
        assert len(data) < 8
    body.close()
    body.close()
    assert closed == [True]
    assert ended == [end]


def test_body_whose_first_chunk_fails_is_closed() -> None:
    """The server has no answer yet that it would close."""
    ended = []
    body = Body(iter([]), 8, "name", lambda size, outcome: ended.append((size, outcome)))
    with pytest.raises(ChecksumMismatch):
        body.begin()
    assert ended == [(0, "failed")]
