"""Busy, slow and silent S3 servers: requests are retried, then raise an error in bounded time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from django.core.files.base import ContentFile

from devilry_storage.storages.s3 import bucket
from devilry_storage.storages.s3.writing import Publication
from devilry_storage.testing import PlainFileMeta
from tests.harness.http_faults import Answer, BlackHole, Delay, DelayReply, Fault, StallReply
from tests.harness.proofs import count, report, say

from .s3faults import ALWAYS, ONE_PART, SMALL, Wire, network, wire

pytestmark = pytest.mark.slow

HASTE = 0.5
"""The short read timeout of a store, in seconds."""

LATE = 1.1
"""The delay of a late reply, in seconds."""

ATTEMPTS = 5
"""The default number of attempts."""


@dataclass(frozen=True)
class Act:
    """An act of a store, the S3 operation that fails during it, and its return value."""

    operation: str
    do: Callable[[], Any]
    returns: Any


class Acts:
    """All acts of a store, in a separate folder. Each of them may succeed or fail."""

    def __init__(self, wire: Wire, store: Any, number: int) -> None:
        self.wire, self.store = wire, store
        self.folder = f"{number}"
        self.there = f"{number}/there/a.bin"
        self.data = os.urandom(SMALL)
        self.target = PlainFileMeta(store, 1005, 2 * number + 1)
        wire.put(self.there, self.data)
        self.source = wire.stored(store, 2 * number, self.data)
        wire.proxy.forget()

    def __iter__(self) -> Iterator[Act]:
        folder, store, there = self.folder, self.store, self.there
        yield self._save("PutObject", SMALL)
        for operation in ("CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"):
            yield self._save(operation, ONE_PART)
        yield Act("HeadObject", lambda: store.size(there), SMALL)
        yield Act("GetObject", lambda: b"".join(store.stream(there)), self.data)
        yield Act("GetObject", self._read, self.data)
        yield Act("ListObjectsV2", lambda: store.listdir(f"{folder}/there"), ([], ["a.bin"]))
        yield Act(
            "ListObjectsV2", lambda: [e.name for e in store.scan(f"{folder}/there")], [there]
        )
        yield Act("CopyObject", self._copy, store.layout.key(*self.target.key_ids()))
        yield Act("DeleteObjects", self._delete_many, {})
        self.wire.put(there, self.data)
        yield Act("DeleteObject", self._delete, None)

    def _save(self, operation: str, size: int) -> Act:
        name, data = f"{self.folder}/{operation}", os.urandom(size)

        def save() -> str:
            saved_as: str = self.store.save(name, ContentFile(data))
            self.wire.expect(saved_as, data)
            # A file that is sent in parts gets an alternative name.
            return saved_as.partition("_")[0]

        return Act(operation, save, name)

    def _read(self) -> bytes:
        with self.store.open(self.there) as file:
            return bytes(file.read())

    def _copy(self) -> str:
        self.store.copy(self.source, self.target)
        self.wire.expect(self.target.content or "", self.data)
        return (self.target.content or "").partition("_")[0]

    def _delete_many(self) -> Any:
        failures = self.store.delete_many([self.there])
        for failure in failures.values():
            raise failure
        del self.wire.expected[self.there]
        return failures

    def _delete(self) -> None:
        self.store.delete(self.there)
        del self.wire.expected[self.there]


# -- Bursts of 503 --


def short_bursts(wire: Wire, store: Any, rounds: int) -> int:
    """Respond with 503 twice to each act, which must succeed; return the number of acts."""
    acts = 0
    for number in range(rounds):
        for act in Acts(wire, store, number):
            wire.proxy.forget()
            wire.proxy.fault(act.operation, Answer(503, "SlowDown"), 2)
            wire.returns(act.do, act.returns, f"{act.operation} after two 503")
            acts += 1
    wire.proxy.forget()
    return acts


def long_bursts(wire: Wire, store: Any, rounds: int) -> int:
    """Respond with 503 fifty times to each act, which must fail; return the number of acts."""
    acts = 0
    for number in range(100, 100 + rounds):
        for act in Acts(wire, store, number):
            wire.proxy.forget()
            wire.proxy.fault(act.operation, Answer(503, "SlowDown"), 50)
            message = wire.fails(act.do, f"{act.operation} during fifty 503")
            tried = wire.proxy.operations().count(act.operation)
            if tried != ATTEMPTS or f"after {ATTEMPTS} attempts" not in message:
                wire.complaints.append(f"{act.operation} was tried {tried} times: {message}")
            acts += 1
    wire.proxy.forget()
    return acts


def test_bursts_of_503_are_retried_or_raise_an_error() -> None:
    """Acts succeed after two 503. Fifty raise an error after five attempts and change nothing.

    A hit is an act that was refused at least once.
    """
    rounds = count(3, 1)
    with wire() as w:
        store = w.store()
        survived = short_bursts(w, store, rounds)
        assert w.proxy.fired == 2 * survived
        tried = survived + long_bursts(w, store, 1)
        bad = w.bad()
    report("s3-503-burst", tried=tried, hit=tried, bad=bad)


def test_harness_detects_a_store_without_retries() -> None:
    """The same harness fails in each act without a second attempt."""
    with wire() as w:
        acts = short_bursts(w, w.store(attempts=1), 1)
        assert sum("StoreUnavailable" in complaint for complaint in w.complaints) == acts


def test_harness_detects_a_store_with_unlimited_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same harness fails in each act if the number of attempts is not limited."""
    monkeypatch.setattr(bucket, "pause", lambda *args: None)
    with wire() as w:
        acts = long_bursts(w, w.store(attempts=100), 1)
        assert sum(" returned " in complaint for complaint in w.complaints) == acts


# -- Late replies --


def late_replies(wire: Wire, store: Any, rounds: int) -> int:
    """Delay requests or replies beyond the store's timeout; return how many were delayed."""
    for number in range(rounds):
        fault: Fault = (Delay(LATE), DelayReply(LATE))[number % 2]
        operation, size = (
            ("PutObject", SMALL),
            ("UploadPart", ONE_PART),
            ("CompleteMultipartUpload", ONE_PART),
        )[number // 2 % 3]
        wire.proxy.fault(operation, fault)
        wire.saves(store, f"{number}.bin", os.urandom(size))
    ends = time.monotonic() + 30
    while not all(request.status for request in wire.proxy.requests):
        assert time.monotonic() < ends, "delayed requests never reached the server"
        time.sleep(0.05)
    return wire.proxy.fired


def test_save_succeeds_if_its_reply_is_late() -> None:
    """The server does the work before or after the retry: there is one object and no leftover."""
    rounds = count(30, 6)
    with wire() as w:
        hit = late_replies(w, w.store(client_config=network(read_timeout=HASTE)), rounds)
        bad = w.bad()
    report("s3-delay", tried=rounds, hit=hit, bad=bad)
    assert hit == rounds


def test_harness_detects_a_store_that_ignores_its_token_after_late_replies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same harness fails if the store does not recognise its own object."""
    monkeypatch.setattr(Publication, "_is_ours", lambda self: False)
    with wire() as w:
        late_replies(w, w.store(client_config=network(read_timeout=HASTE)), 2)
        assert w.bad() != []


# -- No reply at all --


@dataclass
class Silence:
    """The number of acts with a silent server, and the longest time of one, in seconds."""

    acts: int = 0
    longest: float = 0


def fall_silent(wire: Wire, act: Act, longest: float) -> float:
    """Perform an act without any reply; it must raise an error that names the location."""
    what = f"{act.operation} of a silent server"
    began = time.monotonic()
    message = wire.fails(act.do, what)
    seconds = time.monotonic() - began
    if wire.location.bucket not in message or wire.proxy.endpoint_url not in message:
        wire.complaints.append(f"{what} does not name the location: {message}")
    if seconds > longest:
        wire.complaints.append(f"{what} took {seconds:.1f} s")
    return seconds


def hasty_silence(wire: Wire, rounds: int) -> Silence:
    """Perform each act with a silent server and a short timeout."""
    store = wire.store(client_config=network(read_timeout=HASTE), attempts=3)
    met = Silence()
    for number in range(rounds):
        for act in Acts(wire, store, number):
            wire.proxy.forget()
            wire.proxy.fault(act.operation, BlackHole(), ALWAYS)
            # Each attempt may take a second longer, for the 100 Continue before a body.
            met.longest = max(met.longest, fall_silent(wire, act, longest=8))
            met.acts += 1
    wire.proxy.forget()
    return met


def default_silence(wire: Wire) -> Silence:
    """Perform some acts concurrently with a silent server and the default options."""
    store = wire.store(client_config=None, transfer_config=None)
    small, large, large_name = os.urandom(SMALL), os.urandom(9 << 20), "0/0/7/1"
    wire.put("there.bin", small)
    for operation in ("PutObject", "UploadPart", "AbortMultipartUpload", "DeleteObject"):
        wire.proxy.fault(operation, BlackHole(), ALWAYS)
    wire.proxy.fault("ListObjectsV2", BlackHole(), ALWAYS)
    wire.proxy.fault("GetObject", StallReply(SMALL // 2), ALWAYS)
    acts = [
        Act("PutObject", lambda: store.save("small.bin", ContentFile(small)), None),
        Act("UploadPart", lambda: store.save(large_name, ContentFile(large)), None),
        Act("GetObject", lambda: b"".join(store.stream("there.bin")), None),
        Act("ListObjectsV2", lambda: store.listdir(""), None),
        Act("DeleteObject", lambda: store.delete("there.bin"), None),
    ]
    with ThreadPoolExecutor(len(acts)) as pool:
        longest = max(pool.map(lambda act: fall_silent(wire, act, longest=50), acts))
    wire.proxy.forget()
    # The abort got no reply either; a purge removes the unfinished upload.
    later = datetime.now(timezone.utc) + timedelta(minutes=1)
    (left,) = store.remove_stale_uploads(later)
    assert store.layout.parse(left) == store.layout.parse(large_name)
    return Silence(len(acts), longest)


def test_silent_server_raises_an_error_that_names_it_within_seconds() -> None:
    """The error names endpoint and bucket, and the act has no effect. A hit is an act.

    Every act is performed with a short read timeout, and some with the default options.
    """
    with wire() as w, wire() as another, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(default_silence, another)
        hasty = hasty_silence(w, count(2, 1))
        patient = waiting.result()
        bad = w.bad() + another.bad()
    acts = hasty.acts + patient.acts
    report("s3-black-hole", tried=acts, hit=acts, bad=bad)
    say(f"black hole: {patient.longest:.1f} s at most with the default options")
    say(f"black hole: {hasty.longest:.1f} s at most in 3 attempts of {HASTE} s")


def test_harness_detects_a_store_that_waits_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same harness fails on a store that waits longer."""
    monkeypatch.setattr(bucket, "pause", lambda *args: None)
    with wire() as w:
        store = w.store(client_config=network(read_timeout=HASTE), attempts=10)
        act = next(act for act in Acts(w, store, 0) if act.operation == "HeadObject")
        w.proxy.fault(act.operation, BlackHole(), ALWAYS)
        fall_silent(w, act, longest=4)
        assert any(" took " in complaint for complaint in w.complaints)
