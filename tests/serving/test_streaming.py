"""Enforcement of the announced length, for any content of a store."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from devilry_storage.exceptions import ChecksumMismatch
from devilry_storage.serving import streaming
from devilry_storage.serving.streaming import Body, exactly


@pytest.mark.parametrize(
    "chunks",
    [
        [],
        [b"0123"],
        [b"0123", b"456"],
        [b"0123", b"45678"],
        [b"012345678"],
        # The announced length ends with a chunk, so the client would consider it complete.
        [b"0123", b"4567", b"8"],
        [b"01234567", b"", b"8"],
    ],
)
def test_content_of_another_length_is_never_complete(chunks: list[bytes]) -> None:
    """The last of the eight announced bytes are not sent before the end is reached."""
    sent = b""
    with pytest.raises(ChecksumMismatch, match="'name'"):
        for chunk in exactly(chunks, 8, "name"):
            sent += chunk
    assert len(sent) < 8


@pytest.mark.parametrize(
    "chunks", [[b"01234567"], [b"0123", b"4567"], [b"", b"0123", b"", b"4567"]]
)
def test_content_of_the_announced_length_is_sent(chunks: list[bytes]) -> None:
    """Empty chunks are skipped."""
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
def test_close_closes_the_source_and_reports_once(
    taken: int, data: bytes, end: tuple[int, str]
) -> None:
    """Regardless of the number of calls and of the chunks read before."""
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
    """There is no response yet that the server would close."""
    ended = []
    body = Body(iter([]), 8, "name", lambda size, outcome: ended.append((size, outcome)))
    with pytest.raises(ChecksumMismatch):
        body.begin()
    assert ended == [(0, "failed")]


def test_connections_are_released_before_and_after_the_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Under ASGI, receivers of signals run in a thread whose connections Django does not close."""
    events = []
    monkeypatch.setattr(streaming, "release_connections", lambda **_: events.append("released"))

    def source() -> Iterator[bytes]:
        yield b"0123"
        events.append("signal")

    assert list(Body(source(), 4, "name", lambda _size, _outcome: None)) == [b"0123"]
    assert events == ["released", "signal", "released"]
