"""A writer is killed in the middle of an upload: what do others see of it?"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from signal import Signals

from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.exceptions import DeliveryIncomplete
from devilry_storage.resolving import store_for
from devilry_storage.storages import FsHierDeliveryStore
from devilry_storage.storages.tree import TEMP_FOLDER

from .place import MANAGE
from .verifying import unnamed_objects

FILENAME = "thesis.pdf"
CHUNK = b"half a thesis is none. " * 2800

_PAUSE = 0.02  # seconds after each chunk
_CHUNKS = 2000

#: The writer is killed when it has written so much (bytes).
ENOUGH = 1_000_000

_PATIENCE = 60.0  # seconds


@dataclass(frozen=True)
class Killed:
    """What a writer left behind that was killed, and what became of it.

    ``written`` is the size of its temp file (bytes), whose path begins at the store's root;
    ``torn`` are the objects of the store that no row names; ``refused`` is what ``finish()``
    said; ``again`` is the file that was delivered afterwards.
    """

    written: int
    signal: str
    temp_file: Path
    content: str | None
    torn: list[str]
    refused: str
    again: FileMeta


def slow_upload() -> Iterator[bytes]:
    """Yield the chunks of a file that arrives over a very slow line (well over half a minute)."""
    for _ in range(_CHUNKS):
        yield CHUNK
        time.sleep(_PAUSE)


def kill_a_writer(group: AssignmentGroup) -> Killed:
    """Start a delivery, SIGKILL its writer in the middle of a file, look, and try again.

    Raises RuntimeError where the writer could not be killed in time.
    """
    delivery = Delivery.begin(group, group.candidates.first())
    writer = subprocess.Popen(
        [sys.executable, str(MANAGE), "slow_upload", str(delivery.pk), FILENAME]
    )
    try:
        temp_file = _wait_for_temp_file(writer)
    finally:
        writer.kill()
        writer.wait()
    filemeta = FileMeta.objects.get(delivery=delivery)
    return Killed(
        written=temp_file.stat().st_size,
        signal=Signals(-writer.returncode).name,
        temp_file=temp_file.relative_to(_location()),
        content=filemeta.content.name,
        torn=list(unnamed_objects()),
        refused=_refusal(delivery),
        again=_try_again(delivery, filemeta),
    )


def _location() -> Path:
    store = store_for(FileMeta)
    assert isinstance(store, FsHierDeliveryStore)
    return Path(store.location)


def _wait_for_temp_file(writer: subprocess.Popen[bytes]) -> Path:
    folder, until = _location().joinpath(*TEMP_FOLDER), time.monotonic() + _PATIENCE
    while writer.poll() is None and time.monotonic() < until:
        for temp_file in folder.iterdir():
            if temp_file.stat().st_size >= ENOUGH:
                return temp_file
        time.sleep(0.005)
    code = writer.poll()
    what = "was too slow" if code is None else f"ended by itself (exit code {code})"
    raise RuntimeError(
        f"The writer {what} before it had written {ENOUGH} bytes to a temp file in '{folder}', so "
        "it could not be killed while it did: see what it printed."
    )


def _refusal(delivery: Delivery) -> str:
    try:
        delivery.finish()
    except DeliveryIncomplete as exception:
        return str(exception)
    return ""


def _try_again(delivery: Delivery, left_behind: FileMeta) -> FileMeta:
    left_behind.delete()
    filemeta: FileMeta = delivery.add_file(FILENAME, [CHUNK] * 50)
    delivery.finish()
    return filemeta
