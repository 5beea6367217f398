"""What the cases on disk plant and watch: entries, processes, operations that hang."""

from __future__ import annotations

import json
import mmap
import os
import struct
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.core.exceptions import SuspiciousFileOperation

from .case import NOT_POSSIBLE_HERE, DeliveryStoreCase

#: What a store may raise where something is planted that it does not touch.
REFUSED = (OSError, SuspiciousFileOperation)


def in_processes(*works: Callable[[], object]) -> list[Any]:
    """Do each work in a forked process, all at once, and return what they returned (as JSON).

    A process that did not come to its end gives None, one that raised ``{"raised": …}``.
    """
    running = []
    for work in works:
        reader, writer = os.pipe()
        with warnings.catch_warnings():
            # Python 3.12 warns where other threads run; the child does nothing but the work.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            try:
                try:
                    result = work()
                except BaseException as exception:  # noqa: BLE001  # the parent is told
                    result = {"raised": repr(exception)}
                os.write(writer, json.dumps(result).encode())
            finally:
                os._exit(0)
        os.close(writer)
        running.append((pid, reader))
    results = []
    for pid, reader in running:
        with open(reader, "rb") as pipe:
            answer = pipe.read()
        os.waitpid(pid, 0)
        results.append(json.loads(answer) if answer else None)
    return results


class Meeting:
    """Places where two forked processes wait for each other: at the start of a round, and right
    before either of them publishes a file by ``rename`` or ``link``.

    By then whoever looks first whether a name is free has looked, so that a race which is a matter
    of microseconds is run every time.
    """

    def __init__(self) -> None:
        self._arrived = mmap.mmap(-1, 32)
        self._me = self._round = 0
        self._publishing = False

    def join(self, me: int) -> None:
        """Take part as process 0 or 1; to be called in the process itself."""
        self._me = me
        sys.addaudithook(self._before_publishing)

    def begin(self, number: int) -> None:
        """Begin a round together with the other; TimeoutError if it does not come."""
        self._round = number
        if not self._wait(0, 60):
            raise TimeoutError(f"The other process did not come to round {number}.")
        self._publishing = True

    def _before_publishing(self, event: str, args: tuple[object, ...]) -> None:
        if self._publishing and event in {"os.rename", "os.link"}:
            self._publishing = False
            # The other may never come here: it may wait for us, or publish in another way.
            self._wait(16, 0.5)

    def _wait(self, place: int, patience: float) -> bool:
        struct.pack_into("q", self._arrived, place + 8 * self._me, self._round)
        deadline = time.monotonic() + patience
        # Spinning, because a lock would wake us up far too late.
        while struct.unpack_from("q", self._arrived, place + 8 * (1 - self._me))[0] < self._round:
            if time.monotonic() > deadline:
                return False
            time.sleep(0)
        return True


class DiskCase(DeliveryStoreCase):
    """Helpers for cases marked ``on_disk``."""

    def outside(self) -> Path:
        """Return a new folder outside the store that holds ``victim.txt``."""
        folder = self.tmp_path / "outside"
        folder.mkdir()
        (folder / "victim.txt").write_bytes(b"outside")
        return folder

    def assert_untouched(self, outside: Path) -> None:
        found = {path.name: path.read_bytes() for path in outside.iterdir()}
        self.assertEqual(found, {"victim.txt": b"outside"})

    def plant_symlink(self, name: str, target: Path) -> None:
        path = self.disk / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)

    def plant_fifo(self, name: str) -> None:
        path = self.disk / name
        path.parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(path)

    def plant_device(self, name: str) -> None:
        """Plant another ``/dev/zero``; skip the case where the machine does not let us."""
        path = self.disk / name
        path.parent.mkdir(parents=True, exist_ok=True)
        zero = os.stat("/dev/zero")
        try:
            os.mknod(path, zero.st_mode, zero.st_rdev)
            os.close(os.open(path, os.O_RDONLY))
        except OSError as exception:
            self.skipTest(f"{NOT_POSSIBLE_HERE}no device may be made and opened ({exception})")

    def at_once(self, work: Callable[[], object], fifo: str) -> BaseException | None:
        """Do what must not hang at that FIFO; fail if it does, else return what it raised."""
        raised: list[BaseException] = []

        def run() -> None:
            try:
                work()
            except BaseException as exception:  # noqa: BLE001  # the caller looks at it
                raised.append(exception)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(self.patience)
        hangs = thread.is_alive()
        while thread.is_alive():
            # Both ends at once never block, and let go whoever waits for either.
            os.close(os.open(self.disk / fifo, os.O_RDWR | os.O_NONBLOCK))
            thread.join(0.1)
        self.assertFalse(hangs, f"hangs at the FIFO {fifo!r}")
        return raised[0] if raised else None

    def assert_reads_nothing(self, name: str) -> None:
        """The name does not exist, and every way to read it is refused."""
        self.assertFalse(self.store.exists(name), f"{name!r} exists")
        for ask in (
            lambda: self.store.open(name).close(),
            lambda: next(self.store.stream(name)),
            lambda: self.store.size(name),
            lambda: self.store.get_modified_time(name),
        ):
            with self.assertRaises(REFUSED):
                ask()

    def try_to(self, *works: Callable[[], object]) -> None:
        """Do each; being refused is as good as doing it right."""
        for work in works:
            try:
                work()
            except REFUSED:
                continue

    def rewrite(self, name: str) -> None:
        """Replace an ordinary name's bytes."""
        with self.store.open(name, "wb") as writer:
            writer.write(b"rewritten")
