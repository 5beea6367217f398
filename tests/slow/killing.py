"""SIGKILL in the middle of saves: what a reader finds afterwards."""

from __future__ import annotations

import hashlib
import os
import random
import select
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from statistics import median

from django.core.files.base import ContentFile

from devilry_storage.layout import HierLayout

from .places import Place
from .processes import PATIENCE, start

SIZE = 2_000_000
KEY = HierLayout().key
_HEAD = 8


@dataclass
class Killed:
    """What a series of kills found.

    ``torn`` and ``lost`` are names, with the kill's number; ``complaints`` are the caller's.
    """

    kills: int = 0
    within_a_save: int = 0
    acknowledged: int = 0
    torn: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    seconds: float = 0.0


def kill_during_saves(
    place: Place,
    kills: int,
    *,
    size: int = SIZE,
    seed: int = 0,
    tidy: Callable[[], list[str]] = list,
) -> Killed:
    """Start a child that saves for ever, SIGKILL it at a random moment, look; ``kills`` times.

    The child saves ``size`` bytes a time, under a fresh name in a fresh delivery, and reports
    each name that it was told before it goes on. Whatever then lies under a final name must be
    whole; whatever was reported must be there with the bytes that were saved. ``tidy`` then
    removes what is unfinished as a site would, and returns complaints.
    """
    chance = random.Random(seed)
    body = chance.randbytes(size - _HEAD)
    typical = _seconds_of_a_save(place, body)
    result = Killed()
    begun = time.monotonic()
    for kill in range(kills):
        lines = _kill_one(place, body, chance.randint(1, 2), chance.uniform(0, typical))
        _look(place, body, lines, kill, result)
        result.complaints += [f"{each}, after kill {kill}" for each in tidy()]
        place.clear()
    result.seconds = time.monotonic() - begun
    return result


def _content(number: int, body: bytes) -> bytes:
    return number.to_bytes(_HEAD, "big") + body


def _seconds_of_a_save(place: Place, body: bytes) -> float:
    store, times = place.store(), []
    for number in range(7):
        content = ContentFile(_content(number, body))
        begun = time.monotonic()
        store.save(KEY(number, 1), content)
        times.append(time.monotonic() - begun)
    place.clear()
    return median(times)


def _save_for_ever(place: Place, body: bytes, pipe: int) -> None:
    store = place.store()
    for number in count(1):
        data = _content(number, body)
        digest = hashlib.sha256(data).hexdigest()
        content = ContentFile(data)
        os.write(pipe, b"saving\n")
        told = store.save(KEY(number, 1), content)
        os.write(pipe, f"{told} {digest}\n".encode())


def _kill_one(place: Place, body: bytes, saves: int, delay: float) -> list[str]:
    """Kill a child ``delay`` seconds after it began its ``saves``-th save; return its lines."""
    reader, writer = os.pipe()
    child = start(_save_for_ever, place, body, writer)
    os.close(writer)
    report = b""
    try:
        while report.count(b"saving\n") < saves:
            ready, _, _ = select.select([reader], [], [], PATIENCE)
            more = os.read(reader, 65536) if ready else b""
            assert more, f"the saving child ended or hung after {report!r}"
            report += more
        time.sleep(delay)
    finally:
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        child.join()
    while more := os.read(reader, 65536):
        report += more
    os.close(reader)
    assert child.exitcode == -signal.SIGKILL, f"the saving child ended with {child.exitcode}"
    child.close()
    return report.decode().splitlines()


def _look(place: Place, body: bytes, lines: list[str], kill: int, result: Killed) -> None:
    found: dict[str, str] = {}
    for name, data in place.visible():
        found[name] = hashlib.sha256(data).hexdigest()
        if data[_HEAD:] != body:
            result.torn.append(f"{name} of kill {kill}")
    reported = [line.split() for line in lines if line != "saving"]
    for name, digest in reported:
        if found.get(name) != digest:
            result.lost.append(f"{name} of kill {kill}")
    result.kills += 1
    result.within_a_save += place.unfinished() > 0
    result.acknowledged += len(reported)
