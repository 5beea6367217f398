"""Kill writers with SIGKILL in the middle of saves, and check what readers find."""

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

from .locations import Location
from .processes import PATIENCE, start

SIZE = 2_000_000
KEY = HierLayout().key
_HEAD = 8


@dataclass
class Killed:
    """The result of a series of kills.

    ``torn`` and ``lost`` contain names with the number of the kill, ``complaints`` the results of
    the caller's ``tidy``.
    """

    kills: int = 0
    within_a_save: int = 0
    acknowledged: int = 0
    torn: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    seconds: float = 0.0


def kill_during_saves(
    location: Location,
    kills: int,
    *,
    size: int = SIZE,
    seed: int = 0,
    tidy: Callable[[], list[str]] = list,
) -> Killed:
    """Start a child that saves forever, kill it at a random time and check; ``kills`` times.

    The child saves ``size`` bytes at a time under a new name in a new delivery, and reports each
    name that ``save()`` returned. After the kill, every file under a final name must be complete,
    and every reported file must be stored with the bytes that were saved. ``tidy`` then removes
    unfinished files as a site would, and returns complaints.
    """
    chance = random.Random(seed)
    body = chance.randbytes(size - _HEAD)
    typical = _seconds_of_a_save(location, body)
    result = Killed()
    begun = time.monotonic()
    for kill in range(kills):
        lines = _kill_one(location, body, chance.randint(1, 2), chance.uniform(0, typical))
        _look(location, body, lines, kill, result)
        result.complaints += [f"{complaint}, after kill {kill}" for complaint in tidy()]
        location.clear()
    result.seconds = time.monotonic() - begun
    return result


def _content(number: int, body: bytes) -> bytes:
    return number.to_bytes(_HEAD, "big") + body


def _seconds_of_a_save(location: Location, body: bytes) -> float:
    store, times = location.store(), []
    for number in range(7):
        content = ContentFile(_content(number, body))
        begun = time.monotonic()
        store.save(KEY(number, 1), content)
        times.append(time.monotonic() - begun)
    location.clear()
    return median(times)


def _save_forever(location: Location, body: bytes, pipe: int) -> None:
    store = location.store()
    for number in count(1):
        data = _content(number, body)
        digest = hashlib.sha256(data).hexdigest()
        content = ContentFile(data)
        os.write(pipe, b"saving\n")
        saved_as = store.save(KEY(number, 1), content)
        os.write(pipe, f"{saved_as} {digest}\n".encode())


def _kill_one(location: Location, body: bytes, saves: int, delay: float) -> list[str]:
    """Kill a child ``delay`` seconds into its ``saves``-th save; return the lines it wrote."""
    reader, writer = os.pipe()
    child = start(_save_forever, location, body, writer)
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


def _look(location: Location, body: bytes, lines: list[str], kill: int, result: Killed) -> None:
    found: dict[str, str] = {}
    for name, data in location.visible():
        found[name] = hashlib.sha256(data).hexdigest()
        if data[_HEAD:] != body:
            result.torn.append(f"{name} of kill {kill}")
    reported = [line.split() for line in lines if line != "saving"]
    for name, digest in reported:
        if found.get(name) != digest:
            result.lost.append(f"{name} of kill {kill}")
    result.kills += 1
    result.within_a_save += location.unfinished() > 0
    result.acknowledged += len(reported)
