"""A server of S3 that is busy, late or silent: tried again for a while, then an error, in time."""

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
"""Seconds for which a hasty store waits for a reply."""

LATE = 1.1
"""Seconds by which a reply is late."""

ATTEMPTS = 5
"""How often a store tries, unless it is told otherwise."""


@dataclass(frozen=True)
class Act:
    """Something that a store does, and the operation of S3 that is broken meanwhile."""

    operation: str
    do: Callable[[], Any]
    returns: Any


class Acts:
    """All that a store does in a folder of its own, each of which may go well or fail."""

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
            told: str = self.store.save(name, ContentFile(data))
            self.wire.holds(told, data)
            return told

        return Act(operation, save, name)

    def _read(self) -> bytes:
        with self.store.open(self.there) as file:
            return bytes(file.read())

    def _copy(self) -> str | None:
        self.store.copy(self.source, self.target)
        self.wire.holds(self.target.content or "", self.data)
        return self.target.content

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
    """Let each act meet two 503, which it has to survive; return how many acts there were."""
    acts = 0
    for number in range(rounds):
        for act in Acts(wire, store, number):
            wire.proxy.forget()
            wire.proxy.fault(act.operation, Answer(503, "SlowDown"), 2)
            wire.gives(act.do, act.returns, f"{act.operation} after two 503")
            acts += 1
    wire.proxy.forget()
    return acts


def long_bursts(wire: Wire, store: Any, rounds: int) -> int:
    """Let each act meet fifty 503, which it has to report; return how many acts there were."""
    acts = 0
    for number in range(100, 100 + rounds):
        for act in Acts(wire, store, number):
            wire.proxy.forget()
            wire.proxy.fault(act.operation, Answer(503, "SlowDown"), 50)
            said = wire.fails(act.do, f"{act.operation} while there are fifty 503")
            tried = wire.proxy.operations().count(act.operation)
            if tried != ATTEMPTS or f"after {ATTEMPTS} attempts" not in said:
                wire.complaints.append(f"{act.operation} was tried {tried} times: {said}")
            acts += 1
    wire.proxy.forget()
    return acts


def test_bursts_of_503_are_survived_or_reported() -> None:
    """Two are; fifty are an error after five attempts, and change nothing.

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


def test_the_bursts_find_a_store_that_tries_once() -> None:
    """The same harness fails without a second attempt, in each act."""
    with wire() as w:
        acts = short_bursts(w, w.store(attempts=1), 1)
        assert len([each for each in w.complaints if "StoreUnavailable" in each]) == acts


def test_the_bursts_find_a_store_that_tries_on_and_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same harness fails where attempts have no bound, in each act."""
    monkeypatch.setattr(bucket, "pause", lambda *args: None)
    with wire() as w:
        acts = long_bursts(w, w.store(attempts=100), 1)
        assert len([each for each in w.complaints if " told " in each]) == acts


# -- Replies that are late --


def late_replies(wire: Wire, store: Any, rounds: int) -> int:
    """Let requests, or replies to them, be later than the store waits; return how many were."""
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
        assert time.monotonic() < ends, "requests that were held up never came to the server"
        time.sleep(0.05)
    return wire.proxy.fired


def test_a_save_whose_reply_is_late_has_succeeded() -> None:
    """Whether the server did the work before or does it afterwards: one object, no litter."""
    rounds = count(30, 6)
    with wire() as w:
        hit = late_replies(w, w.store(client_config=network(read_timeout=HASTE)), rounds)
        bad = w.bad()
    report("s3-delay", tried=rounds, hit=hit, bad=bad)
    assert hit == rounds


def test_the_late_replies_find_a_store_that_takes_its_own_object_for_anothers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same harness fails without the token."""
    monkeypatch.setattr(Publication, "_is_ours", lambda self: False)
    with wire() as w:
        late_replies(w, w.store(client_config=network(read_timeout=HASTE)), 2)
        assert w.bad() != []


# -- No reply at all --


@dataclass
class Silence:
    """How many acts met a silent server, and the longest time (seconds) that one took."""

    acts: int = 0
    longest: float = 0


def fall_silent(wire: Wire, act: Act, longest: float) -> float:
    """Do an act that no reply comes to; it has to end with an error that says where."""
    what = f"{act.operation} of a silent server"
    began = time.monotonic()
    said = wire.fails(act.do, what)
    seconds = time.monotonic() - began
    if wire.location.bucket not in said or wire.proxy.endpoint_url not in said:
        wire.complaints.append(f"{what} does not name the location: {said}")
    if seconds > longest:
        wire.complaints.append(f"{what} took {seconds:.1f} s")
    return seconds


def hasty_silence(wire: Wire, rounds: int) -> Silence:
    """Do each act against a silent server, with little patience."""
    store = wire.store(client_config=network(read_timeout=HASTE), attempts=3)
    met = Silence()
    for number in range(rounds):
        for act in Acts(wire, store, number):
            wire.proxy.forget()
            wire.proxy.fault(act.operation, BlackHole(), ALWAYS)
            # Up to a second more in each attempt, for the 100 Continue before a body.
            met.longest = max(met.longest, fall_silent(wire, act, longest=8))
            met.acts += 1
    wire.proxy.forget()
    return met


def default_silence(wire: Wire) -> Silence:
    """Do acts at once with the options that a store has by itself, against one that is silent."""
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
    # The abort was not heard, either: what is left is a purge's to remove.
    later = datetime.now(timezone.utc) + timedelta(minutes=1)
    assert list(store.remove_stale_uploads(later)) == [large_name]
    return Silence(len(acts), longest)


def test_a_silent_server_is_an_error_in_seconds_that_names_it() -> None:
    """Endpoint and bucket; of what was asked for nothing is seen. A hit is an act unanswered.

    Every act of a store with a short read timeout, some with the default options.
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


def test_the_silence_finds_a_store_that_has_no_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same harness fails on a store that waits for longer."""
    monkeypatch.setattr(bucket, "pause", lambda *args: None)
    with wire() as w:
        store = w.store(client_config=network(read_timeout=HASTE), attempts=10)
        act = next(each for each in Acts(w, store, 0) if each.operation == "HeadObject")
        w.proxy.fault(act.operation, BlackHole(), ALWAYS)
        fall_silent(w, act, longest=4)
        assert any(" took " in each for each in w.complaints)
