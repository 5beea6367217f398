"""Start a server under a keeper, a process that stops it when this process has ended."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from .programs import Call, Program

SECONDS = 60.0
"""The time that a server may take to start; it takes 1 to 2 seconds on a fast machine."""
ATTEMPTS = 3
"""The number of attempts to start: another process may take a free port before the server does."""

_KEEPER = Path(__file__).with_name("keeper.py")


def start(program: Program, key: str, secret: str, try_it: Callable[[int], None]) -> int:
    """Start the server and return its port as soon as ``try_it(port)`` does not raise.

    Raises RuntimeError with the end of the server's log, if it ends or takes more than SECONDS.
    """
    deadline = time.monotonic() + SECONDS
    for _ in range(ATTEMPTS):
        folder = Path(tempfile.mkdtemp(prefix=f"devilry-storage-{program.name.lower()}-"))
        call = program.call(folder, key, secret)
        keeper = _kept(call, folder)
        failure = _wait(keeper, partial(try_it, call.port), deadline)
        if failure is None:
            atexit.register(_stop, keeper, folder, os.getpid())
            return call.port
        output = "\n".join(_log(folder).read_text(errors="replace").splitlines()[-20:])
        ended = keeper.poll() is not None
        _stop(keeper, folder, os.getpid())
        if not ended:
            break
    raise RuntimeError(f"{program.name} did not start: {failure}\n{output}")


class Restartable:
    """A server that can be killed and restarted with the same files and port."""

    def __init__(self, program: Program, key: str, secret: str) -> None:
        self._name = program.name
        self._folder = Path(tempfile.mkdtemp(prefix=f"devilry-storage-{program.name.lower()}-"))
        self._call = program.call(self._folder, key, secret)
        self._keeper: subprocess.Popen[bytes] | None = None
        self.port = self._call.port

    def start(self, try_it: Callable[[], None]) -> None:
        """Start the server and return as soon as ``try_it()`` does not raise."""
        self._keeper = _kept(self._call, self._folder)
        failure = _wait(self._keeper, try_it, time.monotonic() + SECONDS)
        if failure is not None:
            output = _log(self._folder).read_text(errors="replace")[-2000:]
            self.stop()
            raise RuntimeError(f"{self._name} did not start: {failure}\n{output}")

    def kill(self) -> None:
        """Send SIGKILL to the server and keep its files."""
        assert self._keeper is not None
        keeper = self._keeper.pid
        (server,) = Path(f"/proc/{keeper}/task/{keeper}/children").read_text().split()
        os.kill(int(server), signal.SIGKILL)
        # Close the pipe afterwards, because a running keeper would remove the files.
        self._keeper.wait()
        assert self._keeper.stdin is not None
        self._keeper.stdin.close()

    def stop(self) -> None:
        """Stop the server and remove its files."""
        if self._keeper is not None:
            _stop(self._keeper, self._folder, os.getpid())


def _log(folder: Path) -> Path:
    return folder / "log"


def _kept(call: Call, folder: Path) -> subprocess.Popen[bytes]:
    inherited = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    task = {
        "owner": os.getpid(),
        "folder": str(folder),
        "command": call.command,
        "environment": {
            **inherited,
            "HOME": str(folder),
            "TMPDIR": str(folder),
            **call.environment,
        },
        "leftovers": call.leftovers,
    }
    with _log(folder).open("wb") as log:
        keeper = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_KEEPER)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            cwd=folder,
            # An interrupt from the terminal ends only this process; the keeper follows.
            start_new_session=True,
        )
    assert keeper.stdin is not None
    keeper.stdin.write(json.dumps(task).encode() + b"\n")
    keeper.stdin.flush()
    return keeper


def _wait(
    keeper: subprocess.Popen[bytes], try_it: Callable[[], None], deadline: float
) -> str | None:
    """Return None as soon as the server works, or the failure at the deadline."""
    while True:
        try:
            try_it()
        except Exception as error:  # noqa: BLE001  # shown if it persists
            if keeper.poll() is not None:
                return f"it ended with {keeper.returncode}."
            if time.monotonic() > deadline:
                return f"after {SECONDS:.0f} seconds: {error}"
            time.sleep(0.1)
        else:
            return None


def _stop(keeper: subprocess.Popen[bytes], folder: Path, owner: int) -> None:
    """Stop the server, unless this process is a fork of the one that started it."""
    if os.getpid() != owner:
        return
    assert keeper.stdin is not None
    try:
        # Write before closing: a fork may still have the pipe open.
        keeper.stdin.write(b"end\n")
        keeper.stdin.close()
    except BrokenPipeError:
        pass  # The server has already ended.
    keeper.wait()
    shutil.rmtree(folder, ignore_errors=True)
