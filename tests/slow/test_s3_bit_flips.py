"""A bit that the network changes is found, on the way down and on the way up."""

from __future__ import annotations

import os
import random
from typing import Any

import pytest

from devilry_storage.exceptions import ChecksumMismatch
from devilry_storage.storages.s3.writing import Transfer
from tests.harness.http_faults import FlipBit, FlipRequestBit
from tests.harness.proofs import count, report

from .s3faults import ONE_PART, SMALL, TWO_PARTS, Wire, network, sha256, wire

pytestmark = pytest.mark.slow


def flip_downloads(wire: Wire, store: Any, size: int, rounds: int, *, verified: bool) -> int:
    """Flip a bit of each download; return how many were found out."""
    data = os.urandom(size)
    wire.saves(store, "a.bin", data)
    found = 0
    for position in random.sample(range(size), rounds):
        wire.proxy.fault("GetObject", FlipBit(position, random.randrange(8)))
        try:
            if verified:
                received = b"".join(store.stream("a.bin", sha256=sha256(data)))
            else:
                # A range is answered without a checksum, by which boto3 would notice.
                received = b"".join(store.stream("a.bin", 0, size))
        except ChecksumMismatch:
            found += 1
        else:
            wire.complaints.append(f"a bit of byte {position} passed")
            assert received != data, "the fault did not strike"
    return found


@pytest.mark.parametrize(
    ("proof", "size"),
    [("s3-bit-flip-single", SMALL), ("s3-bit-flip-parts", TWO_PARTS)],
)
def test_a_bit_that_is_flipped_on_the_way_down_is_found(proof: str, size: int) -> None:
    """By a read that is verified against the file's SHA-256; a hit is a flipped bit."""
    rounds = count(100, 10)
    with wire() as w:
        flip_downloads(w, w.store(), size, rounds, verified=True)
        bad = w.bad()
    report(proof, tried=rounds, hit=w.proxy.fired, bad=bad)
    assert w.proxy.fired == rounds


def test_the_flipped_bits_find_a_store_that_verifies_nothing() -> None:
    """The same harness fails where neither boto3 nor we compare a checksum."""
    for size in (SMALL, TWO_PARTS):
        with wire() as w:
            assert flip_downloads(w, w.store(), size, 3, verified=False) == 0
            assert len(w.bad()) == 3


def flip_uploads(wire: Wire, store: Any, rounds: int) -> int:
    """Flip a bit of each upload; return how often the server refused what it got."""
    refused = 0
    for number in range(rounds):
        size, operation = ((SMALL, "PutObject"), (10 * ONE_PART, "UploadPart"))[number % 2]
        flip = FlipRequestBit(random.randrange(size), random.randrange(8))
        wire.proxy.fault(operation, flip)
        wire.saves(store, f"{number}.bin", os.urandom(size))
        refused += sum(each.status == 400 for each in wire.proxy.requests)
        wire.proxy.forget()
    return refused


def test_a_bit_that_is_flipped_on_the_way_up_never_becomes_visible() -> None:
    """The server compares the checksum, and gets the bytes again; a hit is its refusal."""
    rounds = count(40, 10)
    with wire() as w:
        hit = flip_uploads(w, w.store(), rounds)
        bad = w.bad()
    report("s3-bit-flip-up", tried=rounds, hit=hit, bad=bad)
    assert hit == rounds


def test_the_flipped_bits_find_a_store_that_sends_no_checksums(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same harness fails where nothing tells the server what it should have received."""
    for name in ("checksum", "part_checksum"):
        monkeypatch.setattr(Transfer, name, lambda *args: {})
    with wire() as w:
        store = w.store(client_config=network(request_checksum_calculation="when_required"))
        assert flip_uploads(w, store, 4) == 0
        assert len(w.bad()) == 4
