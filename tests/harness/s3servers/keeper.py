"""The keeper: runs a server and ends it when its owner says so, closes the pipe, or is gone.

A script of its own. The task is a line of JSON on standard input, whose other end the owner
holds. A parent-death signal to the server alone would not do: it comes when the thread that
started the server ends, nothing removes the files, and macOS has none.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys

_PR_SET_PDEATHSIG = 1
_LOOK = 0.2
"""Seconds between two looks whether owner and server live."""


def _die_with_the_keeper() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> int:
    # Byte by byte from the descriptor: a buffer would hide from select() what follows.
    line = b""
    while not line.endswith(b"\n"):
        read = os.read(0, 1)
        if not read:
            return 1
        line += read
    task = json.loads(line)
    server = subprocess.Popen(
        task["command"],
        env=task["environment"],
        stdin=subprocess.DEVNULL,
        preexec_fn=_die_with_the_keeper,  # noqa: PLW1509  # one thread only
    )
    ended_by_itself = True
    while server.poll() is None:
        told, _, _ = select.select([0], [], [], _LOOK)
        if told or os.getppid() != task["owner"]:
            ended_by_itself = False
            server.kill()
            server.wait()
    for path in task["leftovers"]:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    if not ended_by_itself:  # else the owner wants to read the log
        shutil.rmtree(task["folder"], ignore_errors=True)
    return server.returncode


if __name__ == "__main__":
    sys.exit(main())
