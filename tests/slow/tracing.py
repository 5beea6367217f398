"""Trace the system calls of work in a forked child with strace, and let one of them fail.

The child prepares itself and waits until strace is attached. The trace therefore contains neither
the interpreter's start nor imports, and ``when=n`` counts from the start of the work.
"""

from __future__ import annotations

import os
import pickle
import re
import select
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.harness.machine import let_anyone_trace_me

from .processes import PATIENCE, finish, start

_CALL = re.compile(r"^\d+ +(?P<name>\w+)\((?P<rest>.*)$")
_BEGINS, _ENDS = "/devilry-storage-test-begins", "/devilry-storage-test-ends"

Work = Callable[[], object]
Prepare = Callable[[], tuple[Work, Work]]
"""Returns the work to trace, and a function to call after it whose value is sent back."""


@dataclass(frozen=True)
class Call:
    """A system call of a trace. ``nth`` counts the calls of the same name from 1."""

    name: str
    nth: int
    text: str

    @property
    def injected(self) -> bool:
        return self.text.endswith("(INJECTED)")


@dataclass(frozen=True)
class Fault:
    """A fault: the ``nth`` call of ``name`` fails with ``error``, such as ``"EIO"``."""

    name: str
    nth: int
    error: str

    def option(self) -> str:
        return f"inject={self.name}:error={self.error}:when={self.nth}"


def traced(
    prepare: Prepare, output: Path, *, calls: str = "all", fault: Fault | None = None
) -> tuple[list[Call], Any]:
    """Run the work under strace; return its system calls and the value.

    ``calls`` selects the system calls to trace, in strace's syntax.
    """
    ready, go, result = os.pipe(), os.pipe(), os.pipe()
    child = start(_work, prepare, ready[1], go[0], result[1])
    for end in (ready[1], go[0], result[1]):
        os.close(end)
    _read(ready[0])
    options = ["-e", fault.option()] if fault else []
    command = ["strace", "-f", "-y", "-o", str(output), "-e", f"trace={_with_marks(calls)}"]
    tracer = subprocess.Popen(
        [*command, *options, "-p", str(child.pid)], stderr=subprocess.PIPE, text=True
    )
    with tracer:
        assert tracer.stderr is not None
        line = tracer.stderr.readline()
        assert "attached" in line, f"strace printed {line!r}"
        os.write(go[1], b"go")
        value = pickle.loads(_read(result[0]))
        finish(child)
        tracer.wait(PATIENCE)
    for end in (ready[0], go[1], result[0]):
        os.close(end)
    return _calls(output.read_text(errors="replace")), value


def _with_marks(calls: str) -> str:
    return calls if calls == "all" else f"{calls},chdir"


def _read(pipe: int) -> bytes:
    """Read to the end of the pipe; raise AssertionError if that takes too long."""
    data = b""
    while True:
        ready, _, _ = select.select([pipe], [], [], PATIENCE)
        assert ready, f"the traced child hangs after {data!r}"
        more = os.read(pipe, 65536)
        if not more:
            return data
        data += more


def _work(prepare: Prepare, ready: int, go: int, result: int) -> None:
    let_anyone_trace_me()
    work, after = prepare()
    os.close(ready)
    os.read(go, 2)
    _mark(_BEGINS)
    work()
    _mark(_ENDS)
    os.write(result, pickle.dumps(after()))
    os.close(result)


def _mark(path: str) -> None:
    """Make a system call that marks a position in the trace."""
    with suppress(OSError):
        os.chdir(path)


def _calls(trace: str) -> list[Call]:
    """Return the calls between the marks."""
    calls: list[Call] = []
    counts: dict[str, int] = {}
    for line in trace.splitlines():
        match = _CALL.match(line)
        if match is None:
            continue
        if _BEGINS in match["rest"]:
            calls.clear()
            continue
        if _ENDS in match["rest"]:
            return calls
        name = match["name"]
        counts[name] = counts.get(name, 0) + 1
        calls.append(Call(name, counts[name], f"{name}({match['rest']}"))
    raise AssertionError(f"the trace has no mark for the end of the work: {trace[-500:]!r}")
