"""Flipped bits on the network: they are detected in downloads and uploads."""

from __future__ import annotations

import os
import random
from typing import Any

import pytest

from devilry_storage.exceptions import ChecksumMismatch
from devilry_storage.storages.s3 import checksums
from tests.harness.http_faults import FlipBit, FlipRequestBit
from tests.harness.proofs import count, report

from .s3faults import ONE_PART, SMALL, TWO_PARTS, Wire, network, sha256, wire

pytestmark = pytest.mark.slow


def flip_downloads(wire: Wire, store: Any, size: int, rounds: int, *, verified: bool) -> int:
    """Flip a bit of each download; return how many flips were detected."""
    data = os.urandom(size)
    name = wire.saves(store, "a.bin", data)
    found = 0
    for position in random.sample(range(size), rounds):
        wire.proxy.fault("GetObject", FlipBit(position, random.randrange(8)))
        try:
            if verified:
                received = b"".join(store.stream(name, sha256=sha256(data)))
            else:
                # The response to a range request has no checksum for boto3 to verify.
                received = b"".join(store.stream(name, 0, size))
        except ChecksumMismatch:
            found += 1
        else:
            wire.complaints.append(f"a flipped bit in byte {position} was not detected")
            assert received != data, "the fault did not occur"
    return found


@pytest.mark.parametrize(
    ("proof", "size"), [("s3-bit-flip-single", SMALL), ("s3-bit-flip-parts", TWO_PARTS)]
)
def test_verified_downloads_detect_flipped_bits(proof: str, size: int) -> None:
    """The read is verified against the file's SHA-256. A hit is a flipped bit."""
    rounds = count(100, 10)
    with wire() as w:
        flip_downloads(w, w.store(), size, rounds, verified=True)
        bad = w.bad()
    report(proof, tried=rounds, hit=w.proxy.fired, bad=bad)
    assert w.proxy.fired == rounds


def test_harness_detects_downloads_without_verification() -> None:
    """The same harness fails if neither boto3 nor the store verifies a checksum."""
    for size in (SMALL, TWO_PARTS):
        with wire() as w:
            assert flip_downloads(w, w.store(), size, 3, verified=False) == 0
            assert len(w.bad()) == 3


def flip_uploads(wire: Wire, store: Any, rounds: int) -> int:
    """Flip a bit of each upload; return how often the server rejected the body."""
    refused = 0
    for number in range(rounds):
        size, operation = ((SMALL, "PutObject"), (10 * ONE_PART, "UploadPart"))[number % 2]
        flip = FlipRequestBit(random.randrange(size), random.randrange(8))
        wire.proxy.fault(operation, flip)
        wire.saves(store, f"{number}.bin", os.urandom(size))
        refused += sum(request.status == 400 for request in wire.proxy.requests)
        wire.proxy.forget()
    return refused


def test_uploads_with_flipped_bits_never_become_visible() -> None:
    """The server rejects the checksum, and the bytes are sent again. A hit is a rejection."""
    rounds = count(40, 10)
    with wire() as w:
        hit = flip_uploads(w, w.store(), rounds)
        bad = w.bad()
    report("s3-bit-flip-up", tried=rounds, hit=hit, bad=bad)
    assert hit == rounds


def test_harness_detects_uploads_without_checksums(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same harness fails if the server gets no checksum to compare."""
    for name in ("of_object", "of_part"):
        monkeypatch.setattr(checksums, name, lambda *args: {})
    with wire() as w:
        store = w.store(client_config=network(request_checksum_calculation="when_required"))
        assert flip_uploads(w, store, 4) == 0
        assert len(w.bad()) == 4
