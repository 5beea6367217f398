"""How a proof says what it tried: one line each, which CI compares with ``.ci/proofs``.

::

    tried = count(1000, quick=50)
    ...
    report("sigkill", tried=tried, hit=hit, bad=len(torn))
    assert not torn
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from .machine import in_ci

FILE = "DEVILRY_STORAGE_PROOFS"
"""Environment variable: the file that collects the lines of a run, workers' and children's."""


def count(full: int, quick: int) -> int:
    """Return how often to try: ``full`` in CI, ``quick`` on a developer's machine."""
    return full if in_ci() else quick


def report(name: str, *, tried: int, hit: int, bad: int) -> None:
    """Say what a proof did; whether ``bad`` is 0 is for the test to assert afterwards.

    Parameters: ``name`` as in ``.ci/proofs``, without spaces; ``tried``, how many times it was
    tried; ``hit``, how many of these met the case in question (a kill while a temp file exists);
    ``bad``, how many broke the promise. The line is printed at the end of the run, whatever
    pytest captures.
    """
    say(f"proof {name}: tried {tried}, hit {hit}, bad {bad}")


def say(line: str) -> None:
    """Print a line at the end of the run, among those of the proofs."""
    collector = os.environ.get(FILE)
    if collector is None:
        sys.stdout.write(f"{line}\n")
        return
    with Path(collector).open("ab", buffering=0) as lines:
        lines.write(f"{line}\n".encode())


def collect_in(file: Path) -> None:
    """Let this process, and all that it starts, write their lines into ``file``."""
    file.touch()
    os.environ[FILE] = str(file)


def collected() -> list[str]:
    """Return the lines of this run so far."""
    collector = os.environ.get(FILE)
    return Path(collector).read_text().splitlines() if collector else []
