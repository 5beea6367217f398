"""S3 over a network that loses replies and cuts bodies: no torn and no overwritten file."""

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

# -- Lost replies --


def lose_replies_to_saves(wire: Wire, store: Any, operation: str, size: int, rounds: int) -> None:
    for number in range(rounds):
        wire.proxy.fault(operation, LoseReply())
        wire.saves(store, f"{number}.bin", os.urandom(size))


def copied(store: Any, source: PlainFileMeta, target: PlainFileMeta) -> bool:
    store.copy(source, target)
    return bool(store.layout.parse(target.content or "") == target.key_ids())


def lose_replies_to_copies(wire: Wire, store: Any, rounds: int) -> None:
    data = os.urandom(SMALL)
    source = wire.stored(store, 0, data)
    for number in range(1, rounds + 1):
        target = PlainFileMeta(store, 1005, number)
        wire.proxy.fault("CopyObject", LoseReply())
        wire.returns(partial(copied, store, source, target), True, f"copy to file {number}")
        wire.expect(target.content or "", data)


def lose_refusals(wire: Wire, store: Any, rounds: int) -> None:
    """Save under names of other files, and lose the replies that refuse the save."""
    for number in range(rounds):
        name = f"{number}.bin"
        wire.put(name, b"theirs")
        wire.proxy.fault("PutObject", LoseReply())
        wire.takes_another_name(store, name, os.urandom(SMALL))


@pytest.mark.parametrize(
    ("proof", "operation", "size", "rounds"),
    [
        ("s3-lost-reply-put", "PutObject", SMALL, count(100, 10)),
        ("s3-lost-reply-complete", "CompleteMultipartUpload", ONE_PART, count(40, 5)),
    ],
)
def test_save_succeeds_if_its_reply_is_lost(
    proof: str, operation: str, size: int, rounds: int
) -> None:
    """A small file has the requested name, and nothing else is stored. A hit is a lost reply."""
    with wire() as w:
        lose_replies_to_saves(w, w.store(), operation, size, rounds)
        bad = w.bad()
    report(proof, tried=rounds, hit=w.proxy.fired, bad=bad)
    assert w.proxy.fired == rounds


def test_copy_succeeds_if_its_reply_is_lost() -> None:
    """The copy is complete, and nothing else is stored. A hit is a lost reply."""
    rounds = count(40, 5)
    with wire() as w:
        lose_replies_to_copies(w, w.store(), rounds)
        bad = w.bad()
    report("s3-lost-reply-copy", tried=rounds, hit=w.proxy.fired, bad=bad)
    assert w.proxy.fired == rounds


def test_save_takes_another_name_if_its_refusal_is_lost() -> None:
    """If the name belongs to another file, both files are stored in the end."""
    rounds = count(40, 6)
    with wire() as w:
        lose_refusals(w, w.store(), rounds)
        bad = w.bad()
    report("s3-lost-refusal", tried=rounds, hit=w.proxy.fired, bad=bad)
    assert w.proxy.fired == rounds


def test_harness_detects_a_store_that_does_not_recognise_its_own_object(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same harness fails without the token: there is a second object."""
    monkeypatch.setattr(Publication, "_is_ours", lambda self: False)
    with wire() as w:
        lose_replies_to_saves(w, w.store(), "PutObject", SMALL, 2)
        assert w.bad() != []


def test_harness_detects_a_store_that_takes_every_object_for_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same harness fails if every object counts as the store's own: a file is lost."""
    monkeypatch.setattr(Publication, "_is_ours", lambda self: True)
    with wire() as w:
        lose_refusals(w, w.store(), 2)
        assert w.bad() != []


# -- Cut bodies --


def cut_uploads(wire: Wire, rounds: int, **options: Any) -> int:
    """Cut the bodies of saves once or in every attempt; return how many saves were hit."""
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


def test_cut_uploads_never_show_a_torn_file() -> None:
    """The upload is sent again. If each attempt is cut, nothing is left.

    The uploads are single requests, and multipart uploads with one and two parts. A hit is a body
    that was cut.
    """
    rounds = count(60, 12)
    with wire() as w:
        hit = cut_uploads(w, rounds)
        bad = w.bad()
    report("s3-cut-up", tried=rounds, hit=hit, bad=bad)
    assert hit == rounds


def test_harness_detects_a_store_that_shows_incomplete_uploads() -> None:
    """The same harness fails on a store that writes half a file under its name first."""
    with wire() as w:
        cut_uploads(w, 6, make=s3stores.ShowsIncompleteFiles)
        assert any("wrong bytes" in fault or "should not be" in fault for fault in w.bad())


def reads_of(store: Any, name: str, size: int) -> list[tuple[Callable[[], bytes], int, int]]:
    """Return (read, length, start) for several ways to read a file.

    ``length`` is the length of the first request, ``start`` the position where the read begins.
    """

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
    """Cut the bodies of reads, some in every attempt; return how many reads were hit."""
    contents = [os.urandom(size) for size in (SMALL, 10 * ONE_PART, TWO_PARTS)]
    files = [(wire.saves(store, f"{len(data)}.bin", data), data) for data in contents]
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
            wire.returns(read, data[start:], what)
        hit += len(wire.proxy.operations()) > 1
        wire.proxy.forget()
    return hit


def test_cut_downloads_are_resumed_or_raise_an_error() -> None:
    """They never return wrong or too few bytes. A hit is a read that needed another request."""
    rounds = count(60, 20)
    with wire() as w:
        hit = cut_downloads(w, w.store(), rounds)
        bad = w.bad()
    report("s3-cut-down", tried=rounds, hit=hit, bad=bad)
    assert hit == rounds


def test_harness_detects_downloads_resumed_at_the_beginning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same harness fails if a download is resumed without its position."""
    get = Ranges._get

    def get_from_the_beginning(self: Ranges, start: int, stop: int | None) -> Any:
        found = get(self, 0, stop)
        assert found is not None
        # As if the response were for the requested range.
        return found[0], found[1] + start

    monkeypatch.setattr(Ranges, "_get", get_from_the_beginning)
    with wire() as w:
        cut_downloads(w, w.store(), 12)
        assert any("is wrong" in fault for fault in w.bad())
