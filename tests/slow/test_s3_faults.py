"""Whole or absent, never overwritten, on S3 over a network that loses replies and cuts bodies."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from devilry_storage.storages.s3.reading import FIRST_RANGE, Ranges
from devilry_storage.storages.s3.writing import Publication
from devilry_storage.testing import PlainFileMeta
from tests.harness.http_faults import CutReply, CutRequest, LoseReply
from tests.harness.proofs import count, report

from . import s3stores
from .s3faults import ALWAYS, ONE_PART, SHORT, SMALL, TWO_PARTS, Wire, wire

pytestmark = pytest.mark.slow

# -- Replies that are lost --


def lose_replies_to_saves(wire: Wire, store: Any, operation: str, size: int, rounds: int) -> None:
    for number in range(rounds):
        wire.proxy.fault(operation, LoseReply())
        wire.saves(store, f"{number}.bin", os.urandom(size))


def copied(store: Any, source: PlainFileMeta, target: PlainFileMeta) -> str | None:
    store.copy(source, target)
    return target.content


def lose_replies_to_copies(wire: Wire, store: Any, rounds: int) -> None:
    data = os.urandom(SMALL)
    source = wire.stored(store, 0, data)
    for number in range(1, rounds + 1):
        target = PlainFileMeta(store, 1005, number)
        wire.proxy.fault("CopyObject", LoseReply())
        name = store.layout.key(1005, number)
        wire.holds(name, data)
        wire.gives(partial(copied, store, source, target), name, f"copy to {name}")


def lose_refusals(wire: Wire, store: Any, rounds: int) -> None:
    """Save under names that are somebody else's, and lose the replies that say so.

    In every other round the name is taken only when the parts are there already.
    """
    late: list[str] = []
    events, moment = store.remote.client.meta.events, "before-call.s3.CompleteMultipartUpload"

    def take(**kwargs: Any) -> None:
        while late:
            wire.put(late.pop(), b"theirs")

    events.register(moment, take)
    for number in range(rounds):
        name, in_parts = f"{number}.bin", number % 2
        if in_parts:
            late.append(name)
        else:
            wire.put(name, b"theirs")
        data = os.urandom(ONE_PART if in_parts else SMALL)
        wire.proxy.fault("CompleteMultipartUpload" if in_parts else "PutObject", LoseReply())
        wire.takes_another_name(store, name, data)
    events.unregister(moment, take)


@pytest.mark.parametrize(
    ("proof", "operation", "size", "rounds"),
    [
        ("s3-lost-reply-put", "PutObject", SMALL, count(100, 10)),
        ("s3-lost-reply-complete", "CompleteMultipartUpload", ONE_PART, count(40, 5)),
    ],
)
def test_a_save_whose_reply_is_lost_has_succeeded(
    proof: str, operation: str, size: int, rounds: int
) -> None:
    """Under the name asked for, and nothing else is there; a hit is a reply that was lost."""
    with wire() as w:
        lose_replies_to_saves(w, w.store(), operation, size, rounds)
        bad = w.bad()
    report(proof, tried=rounds, hit=w.proxy.fired, bad=bad)
    assert w.proxy.fired == rounds


def test_a_copy_whose_reply_is_lost_has_succeeded() -> None:
    """Likewise, and within the server."""
    rounds = count(40, 5)
    with wire() as w:
        lose_replies_to_copies(w, w.store(), rounds)
        bad = w.bad()
    report("s3-lost-reply-copy", tried=rounds, hit=w.proxy.fired, bad=bad)
    assert w.proxy.fired == rounds


def test_a_refusal_whose_reply_is_lost_is_no_success() -> None:
    """Where the name is somebody else's both files are there in the end."""
    rounds = count(40, 6)
    with wire() as w:
        lose_refusals(w, w.store(), rounds)
        bad = w.bad()
    report("s3-lost-refusal", tried=rounds, hit=w.proxy.fired, bad=bad)
    assert w.proxy.fired == rounds


def test_the_lost_replies_find_a_store_that_takes_its_own_object_for_anothers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same harness fails without the token: a second object, or an error."""
    monkeypatch.setattr(Publication, "_is_ours", lambda self: False)
    for operation, size in (("PutObject", SMALL), ("CompleteMultipartUpload", ONE_PART)):
        with wire() as w:
            lose_replies_to_saves(w, w.store(), operation, size, 2)
            assert w.bad() != []
    with wire() as w:
        lose_replies_to_copies(w, w.store(), 2)
        assert w.bad() != []


def test_the_lost_refusals_find_a_store_that_takes_anothers_object_for_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same harness fails where every object counts as ours: a file is lost."""
    monkeypatch.setattr(Publication, "_is_ours", lambda self: True)
    with wire() as w:
        lose_refusals(w, w.store(), 2)
        assert w.bad() != []


# -- Bodies that are cut --


def cut_uploads(wire: Wire, rounds: int, **options: Any) -> int:
    """Cut the bodies of saves once, or each time; return how many were cut."""
    lasting, single = wire.store(**options, attempts=2), wire.store(**options)
    hit = 0
    for number in range(rounds):
        operation, size, longest = (
            ("PutObject", SMALL, SMALL),
            ("UploadPart", 10 * ONE_PART, 10 * ONE_PART),
            ("UploadPart", TWO_PARTS, SHORT),
        )[number % 3]
        data, name, before = os.urandom(size), f"{number}.bin", wire.proxy.fired
        cut = CutRequest(random.randrange(longest))
        if number % 2:
            wire.proxy.fault(operation, cut, ALWAYS)
            wire.fails_to_save(lasting, name, data)
        else:
            wire.proxy.fault(operation, cut)
            wire.saves(single, name, data)
        hit += wire.proxy.fired > before
        wire.proxy.forget()
    return hit


def test_an_upload_that_is_cut_shows_nothing_torn() -> None:
    """It is sent again, and where each attempt is cut nothing is left.

    Small ones, in one part and in two; a hit is a body that was cut.
    """
    rounds = count(60, 12)
    with wire() as w:
        hit = cut_uploads(w, rounds)
        bad = w.bad()
    report("s3-cut-up", tried=rounds, hit=hit, bad=bad)
    assert hit == rounds


def test_the_cuts_find_a_store_that_shows_a_file_before_it_has_it() -> None:
    """The same harness fails on a store that writes half a file under its name first."""
    with wire() as w:
        cut_uploads(w, 6, make=s3stores.Piecemeal)
        assert any("wrong bytes" in each or "should not be" in each for each in w.bad())


def reads_of(store: Any, name: str, size: int) -> list[tuple[Callable[[], bytes], int, int]]:
    """Return ways to read, each with the bytes that it asks for at first, and where it begins."""

    def whole() -> bytes:
        with store.open(name) as file:
            return bytes(file.read())

    def piecemeal() -> bytes:
        with store.open(name) as file:
            return b"".join(iter(lambda: file.read(64 * 1024), b""))

    first, start = min(size, FIRST_RANGE), size // 3
    return [
        (lambda: b"".join(store.stream(name)), size, 0),
        (lambda: b"".join(store.stream(name, start)), size - start, start),
        (whole, first, 0),
        (piecemeal, first, 0),
    ]


def cut_downloads(wire: Wire, store: Any, rounds: int) -> int:
    """Cut the bodies of reads, some at each attempt; return how many were cut."""
    files = [(f"{size}.bin", os.urandom(size)) for size in (SMALL, 10 * ONE_PART, TWO_PARTS)]
    for name, data in files:
        wire.saves(store, name, data)
    wire.proxy.forget()
    hit = 0
    for number in range(rounds):
        name, data = files[number % 3]
        ways = reads_of(store, name, len(data))
        read, length, start = ways[number // 3 % len(ways)]
        what = f"read {number} of {name}"
        if number % 10 == 9:
            wire.proxy.fault("GetObject", CutReply(0), ALWAYS)
            wire.fails(read, what)
        else:
            cut = random.randrange(length)
            wire.proxy.fault("GetObject", CutReply(cut))
            wire.gives(read, data[start:], what)
        hit += len(wire.proxy.operations()) > 1
        wire.proxy.forget()
    return hit


def test_a_download_that_is_cut_is_taken_up_again_or_is_an_error() -> None:
    """Never other bytes, and never fewer; a hit is a read that needed a further request."""
    rounds = count(60, 20)
    with wire() as w:
        hit = cut_downloads(w, w.store(), rounds)
        bad = w.bad()
    report("s3-cut-down", tried=rounds, hit=hit, bad=bad)
    assert hit == rounds


def test_the_cuts_find_a_store_that_begins_again_at_the_beginning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same harness fails where a download is resumed without its position."""
    get = Ranges._get

    def get_from_the_beginning(self: Ranges, start: int, stop: int | None) -> Any:
        found = get(self, 0, stop)
        assert found is not None
        # As if the response were the range that was asked for.
        return found[0], found[1] + start

    monkeypatch.setattr(Ranges, "_get", get_from_the_beginning)
    with wire() as w:
        cut_downloads(w, w.store(), 12)
        assert any("is wrong" in each for each in w.bad())
