"""Break the guards one by one and report those whose tests still pass.

::

    python -m tests.guards                      # all guards, two at a time
    python -m tests.guards purging.py --jobs 1  # guards of modules whose path contains a text
    python -m tests.guards --every 25           # a sample that changes every day

The exit code is 1 if the tests of a guard still pass, if they fail although nothing is broken, or
if they cannot be run.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from queue import SimpleQueue

from tests import guards
from tests.guards import Guard

ROOT = Path(__file__).parents[2]
PACKAGE = "devilry_storage"
TIMEOUT = 300
"""Seconds after which a run of tests is stopped. A test must end even if its guard is broken."""

PASSED, FAILED, TIMED_OUT = 0, 1, -1
"""Exit codes of pytest, and an extra one for a timeout."""


def all_guards() -> list[Guard]:
    """Return the guards of every module of this package."""
    found: list[Guard] = []
    for module in pkgutil.iter_modules(guards.__path__, f"{guards.__name__}."):
        if not module.name.endswith("__main__"):
            found += importlib.import_module(module.name).GUARDS
    return found


def copy_checkout(target: Path) -> None:
    """Copy the files that git tracks, or would track, to a folder."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, os.fsdecode(listed.stdout).split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def run_tests(
    copy: Path, tests: Iterable[str], needs: Sequence[str] = (), *options: str
) -> tuple[int, str]:
    """Run tests in a copy of the checkout; return pytest's exit code and output."""
    environment = {**os.environ, "PYTHONPATH": str(copy), "PY_COLORS": "0"}
    if "postgres" in needs:
        environment["DEVILRY_STORAGE_TEST_DATABASE"] = "postgres"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:randomly",
        "-m",
        "",
        *options,
        *tests,
    ]
    try:
        done = subprocess.run(
            command,
            cwd=copy,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as expired:
        return TIMED_OUT, f"stopped after {expired.timeout} seconds"
    return done.returncode, done.stdout


def write_source(path: Path, text: str) -> None:
    """Write a module and remove its bytecode, as two versions may have the same size and time."""
    path.write_text(text)
    for cached in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
        cached.unlink()


def check_guard(copy: Path, guard: Guard) -> str | None:
    """Break a guard in a copy of the checkout; return the fault of its tests, or None."""
    path = copy / PACKAGE / guard.module
    source = path.read_text()
    if source.count(guard.intact) != 1:
        return f"{guard.intact!r} occurs {source.count(guard.intact)} times: make it unique."
    write_source(path, source.replace(guard.intact, guard.broken))
    try:
        code, output = run_tests(copy, guard.tests, guard.needs)
    finally:
        write_source(path, source)
    if code == PASSED:
        return "its tests still pass."
    # A failed fixture, such as a server that did not start, is not a failed test.
    if code != FAILED or "ERROR at setup of" in output:
        return f"its tests could not be run (exit code {code}):\n{output}"
    return None


def intact_faults(copy: Path, chosen: Sequence[Guard]) -> Iterator[str]:
    """Look up the tests of all guards and run those of the chosen ones; yield the failures."""
    named = {test for guard in all_guards() for test in guard.tests}
    code, output = run_tests(copy, sorted(named), (), "--collect-only")
    if code != PASSED:
        yield f"some tests do not exist (exit code {code}):\n{output}"
    for needs in sorted({guard.needs for guard in chosen}):
        tests = {test for guard in chosen if guard.needs == needs for test in guard.tests}
        code, output = run_tests(copy, sorted(tests), needs)
        if code != PASSED:
            yield f"the tests fail although nothing is broken (exit code {code}):\n{output}"


def main() -> int:
    """Break the chosen guards, print a line for each, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("only", nargs="?", default="", help="only modules whose path contains it")
    parser.add_argument("--jobs", type=int, default=2, help="number of guards to break at a time")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every Nth")
    given = parser.parse_args()
    chosen = [guard for guard in all_guards() if given.only in guard.module][
        datetime.now(timezone.utc).toordinal() % given.every :: given.every
    ]
    faults = 0
    with tempfile.TemporaryDirectory(prefix="devilry-storage-guards-") as folder:
        copies: SimpleQueue[Path] = SimpleQueue()
        for number in range(given.jobs):
            copy_checkout(Path(folder, str(number)))
            copies.put(Path(folder, str(number)))
        for fault in intact_faults(Path(folder, "0"), chosen):
            print(fault, flush=True)
            faults += 1

        def check(guard: Guard) -> str | None:
            copy = copies.get()
            try:
                return check_guard(copy, guard)
            finally:
                copies.put(copy)

        with ThreadPoolExecutor(given.jobs) as pool:
            for guard, problem in zip(chosen, pool.map(check, chosen), strict=True):
                first = guard.intact.strip().partition("\n")[0]
                print(f"{'FAULT' if problem else 'OK'} {guard.module}: {first}", flush=True)
                if problem:
                    print(f"    {problem}", flush=True)
                    faults += 1
    print(f"{len(chosen)} guards broken, {faults} faults.")
    return 1 if faults or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
