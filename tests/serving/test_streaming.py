"""The length that an answer has promised, whatever comes out of a store."""

from __future__ import annotations

import pytest

from devilry_storage.exceptions import ChecksumMismatch
from devilry_storage.serving.streaming import exactly


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
