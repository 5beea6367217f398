"""The parts of an upload to S3: their lengths, their order and the number of concurrent parts."""

from __future__ import annotations

import threading
import time
from itertools import islice
from typing import Any

import pytest

pytest.importorskip("boto3")

from devilry_storage.storages.s3.writing import SMALLEST_PART, Transfer, in_parallel, joined

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
MOST_PARTS = 10_000
LARGEST_OBJECT = 5 << 40


def test_parts_have_room_for_the_largest_object() -> None:
    """Later parts are longer, so that an upload has at most 10,000 parts."""
    assert sum(islice(Transfer().part_lengths(), MOST_PARTS)) >= LARGEST_OBJECT
    assert next(Transfer(part_length=1).part_lengths()) == SMALLEST_PART


def test_parts_are_returned_in_order() -> None:
    """S3 rejects a completion with parts in another order; the first part may be sent last."""

    def send(number: int, piece: Any) -> dict[str, Any]:
        time.sleep(0.02 * (5 - number))
        return {"PartNumber": number, "ETag": piece}

    sent = in_parallel(send, "abcd", 3)
    assert [(part["PartNumber"], part["ETag"]) for part in sent] == list(enumerate("abcd", 1))


def test_parts_are_not_read_ahead_of_uploads() -> None:
    """A part is in memory until the server has received it, so few parts are read ahead."""
    read: list[int] = []
    done: list[int] = []
    ahead: list[int] = []
    lock = threading.Lock()

    def pieces() -> Any:
        for number in range(10):
            with lock:
                read.append(number)
                ahead.append(len(read) - len(done))
            yield number

    def send(number: int, piece: int) -> dict[str, Any]:
        time.sleep(0.005)
        with lock:
            done.append(number)
        return {"PartNumber": number}

    in_parallel(send, pieces(), 2)
    assert len(done) == 10
    assert max(ahead) <= 3


def test_joined_parts_have_their_lengths_and_all_bytes() -> None:
    """The lengths of the chunks do not matter. The last part is shorter."""
    data = bytes(range(256)) * 10
    for size in (1, 7, 1000, 5000):
        chunks = [data[start : start + size] for start in range(0, len(data), size)]
        parts = list(joined(chunks, iter([1000] * 9)))
        assert [len(part) for part in parts] == [1000, 1000, 560]
        assert b"".join(parts) == data
