"""Helpers for stores on disk: planted entries, forked processes, calls that hang."""

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

#: Errors with which a store may reject a planted entry.
REJECTED = (OSError, SuspiciousFileOperation)


def in_processes(*functions: Callable[[], object]) -> list[Any]:
    """Call each function in a forked process, at the same time, and return their results.

    Results are passed as JSON. A process that was killed gives None; one that raised gives
    ``{"raised": repr(exception)}``.
    """
    running = []
    for function in functions:
        reader, writer = os.pipe()
        with warnings.catch_warnings():
            # Python 3.12 warns of other threads; the child only calls the function.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            try:
                try:
                    result = function()
                except BaseException as exception:  # noqa: BLE001  # the parent gets it
                    result = {"raised": repr(exception)}
                os.write(writer, json.dumps(result).encode())
            finally:
                os._exit(0)
        os.close(writer)
        running.append((pid, reader))
    results = []
    for pid, reader in running:
        with open(reader, "rb") as pipe:
            result = pipe.read()
        os.waitpid(pid, 0)
        results.append(json.loads(result) if result else None)
    return results


class Meeting:
    """Synchronise two forked processes at the start of a round and before they publish a file.

    A file is published by ``rename`` or ``link``. A store that checks first whether a name is free
    has made its check by then, so a race window of microseconds is met in every round.
    """

    def __init__(self) -> None:
        self._arrived = mmap.mmap(-1, 32)
        self._index = self._round = 0
        self._publishing = False

    def join(self, index: int) -> None:
        """Take part as process 0 or 1; call it in the process itself."""
        self._index = index
        sys.addaudithook(self._before_publishing)

    def begin(self, number: int) -> None:
        """Begin a round together with the other process; raise TimeoutError after a minute."""
        self._round = number
        if not self._wait(0, 60):
            raise TimeoutError(f"The other process did not begin round {number}.")
        self._publishing = True

    def _before_publishing(self, event: str, args: tuple[object, ...]) -> None:
        if self._publishing and event in {"os.rename", "os.link"}:
            self._publishing = False
            # The other process may wait for this one, or publish in another way.
            self._wait(16, 0.5)

    def _wait(self, offset: int, patience: float) -> bool:
        """Return whether the other process arrives within ``patience`` seconds."""
        struct.pack_into("q", self._arrived, offset + 8 * self._index, self._round)
        deadline = time.monotonic() + patience
        other = offset + 8 * (1 - self._index)
        # Spin, because a lock would wake this process far too late.
        while struct.unpack_from("q", self._arrived, other)[0] < self._round:
            if time.monotonic() > deadline:
                return False
            time.sleep(0)
        return True


class DiskCase(DeliveryStoreCase):
    """Helpers for cases marked ``on_disk``."""

    def outside(self) -> Path:
        """Make a folder outside of the store with the file ``victim.txt``, and return its path."""
        folder = self.tmp_path / "outside"
        folder.mkdir()
        (folder / "victim.txt").write_bytes(b"outside")
        return folder

    def assert_untouched(self, outside: Path) -> None:
        """Assert that a folder from ``outside()`` has not changed."""
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
        """Plant a copy of ``/dev/zero``; skip the case if the process may not make devices."""
        path = self.disk / name
        path.parent.mkdir(parents=True, exist_ok=True)
        zero = os.stat("/dev/zero")
        try:
            os.mknod(path, zero.st_mode, zero.st_rdev)
            os.close(os.open(path, os.O_RDONLY))
        except OSError as exception:
            self.skipTest(f"{NOT_POSSIBLE_HERE}cannot make and open a device ({exception})")

    def assert_returns(self, call: Callable[[], object], fifo: str) -> BaseException | None:
        """Assert that a call does not hang at a FIFO, and return the exception that it raised."""
        raised: list[BaseException] = []

        def run() -> None:
            try:
                call()
            except BaseException as exception:  # noqa: BLE001  # it is returned
                raised.append(exception)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(self.patience)
        hangs = thread.is_alive()
        while thread.is_alive():
            # Opening both ends never blocks, and releases threads that wait for either end.
            os.close(os.open(self.disk / fifo, os.O_RDWR | os.O_NONBLOCK))
            thread.join(0.1)
        self.assertFalse(hangs, f"the call hangs at the FIFO {fifo!r}")
        return raised[0] if raised else None

    def assert_unreadable(self, name: str) -> None:
        """Assert that a name does not exist and that every method rejects reading it."""
        self.assertFalse(self.store.exists(name), f"{name!r} exists")
        for read in (
            lambda: self.store.open(name).close(),
            lambda: next(self.store.stream(name)),
            lambda: self.store.size(name),
            lambda: self.store.get_modified_time(name),
        ):
            with self.assertRaises(REJECTED):
                read()

    def allow_rejection(self, *calls: Callable[[], object]) -> None:
        """Make the calls; each may be rejected."""
        for call in calls:
            try:
                call()
            except REJECTED:
                continue

    def rewrite(self, name: str) -> None:
        """Replace the bytes of an ordinary name."""
        with self.store.open(name, "wb") as writer:
            writer.write(b"rewritten")
