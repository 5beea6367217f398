"""A script that runs a server and stops it when its owner closes the pipe or has ended.

It reads its task, a line of JSON, from standard input, which is a pipe of the owner. A
parent-death signal to the server is not enough: it is sent when the thread that started the server
ends, nothing removes the files, and macOS does not have it.
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
"""Seconds between two checks of owner and server."""


def _die_with_the_keeper() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> int:
    # Read single bytes from the descriptor: a buffer would hide later bytes from select().
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
        readable, _, _ = select.select([0], [], [], _LOOK)
        if readable or os.getppid() != task["owner"]:
            ended_by_itself = False
            server.kill()
            server.wait()
    for path in task["leftovers"]:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    if not ended_by_itself:  # Otherwise the owner reads the log.
        shutil.rmtree(task["folder"], ignore_errors=True)
    return server.returncode


if __name__ == "__main__":
    sys.exit(main())
