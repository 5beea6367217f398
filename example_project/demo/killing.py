"""Kill a process during an upload, and check what other processes see."""

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

from .verifying import unnamed_objects
from .workspace import MANAGE

FILENAME = "thesis.pdf"
CHUNK = b"an incomplete thesis.. " * 2800

_PAUSE = 0.02  # seconds after each chunk
_CHUNKS = 2000

#: Number of bytes after which the writer is killed.
ENOUGH = 1_000_000

_PATIENCE = 60.0  # seconds


@dataclass(frozen=True)
class Killed:
    """What a killed writer left behind, and the delivery afterwards.

    - ``written`` is the size of its temporary file in bytes.
    - ``temp_file`` is the path of this file, relative to the root of the store.
    - ``torn`` lists stored files that no row names.
    - ``refused`` is the error message of ``finish()``.
    - ``again`` is the file that was delivered afterwards.
    """

    written: int
    signal: str
    temp_file: Path
    content: str | None
    torn: list[str]
    refused: str
    again: FileMeta


def slow_upload() -> Iterator[bytes]:
    """Yield the chunks of a file over a simulated slow line, for more than half a minute."""
    for _ in range(_CHUNKS):
        yield CHUNK
        time.sleep(_PAUSE)


def kill_a_writer(group: AssignmentGroup) -> Killed:
    """Kill the writer of a file with SIGKILL, check the store, and deliver the file again.

    Raises RuntimeError if the writer could not be killed in time.
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
    reason = "was too slow" if code is None else f"exited (exit code {code})"
    raise RuntimeError(
        f"The writer {reason} before it had written {ENOUGH} bytes to a temporary file in "
        f"'{folder}', so it could not be killed during the upload: see its output."
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
