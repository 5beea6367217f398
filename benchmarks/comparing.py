"""Compare the package with peers, and write the ratios into the manual.

Each benchmark is a script with comparisons. Peer and package alternate, and each round gives a
ratio. Quote the median of the ratios: absolute times depend on the machine and its load.
"""

from __future__ import annotations

import argparse
import csv
import gc
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs" / "performance"

Measure = Callable[[Callable[[], object]], float]


def wall_time(act: Callable[[], object]) -> float:
    """Return the duration of the act in seconds."""
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def cpu_time(act: Callable[[], object]) -> float:
    """Return the CPU time of the act in seconds, with that of child processes that ended."""

    def used() -> float:
        total = 0.0
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
            usage = resource.getrusage(who)
            total += usage.ru_utime + usage.ru_stime
        return total

    start = used()
    act()
    return used() - start


@dataclass(frozen=True)
class Comparison:
    """The same work done by the package and by a peer.

    ``at_most``, ``at_least``
        the aim, of which one is given: the largest ratio of the package's time to the peer's, or
        the smallest ratio of the package's speed to the peer's.
    ``measure``
        what is compared: `wall_time`, `cpu_time`, or an own function that returns a number.
    ``prepare``
        called before each measurement, and not measured.
    """

    name: str
    ours: Callable[[], object]
    peer: Callable[[], object]
    at_most: float | None = None
    at_least: float | None = None
    measure: Measure = wall_time
    prepare: Callable[[], object] = field(default=lambda: None)


@dataclass(frozen=True)
class Result:
    """The ratios of the rounds of a comparison."""

    comparison: Comparison
    ratios: Sequence[float]

    def cells(self) -> list[str]:
        """Return the row of the manual's table."""
        at_most, at_least = self.comparison.at_most, self.comparison.at_least
        aim = "" if at_most is None else f"at most {at_most:g}"
        if at_least is not None:
            aim = f"at least {at_least:g}"
        lowest, highest = min(self.ratios), max(self.ratios)
        median = statistics.median(self.ratios)
        return [self.comparison.name, f"{median:.2f}", f"{lowest:.2f}-{highest:.2f}", aim]


def parser(description: str) -> argparse.ArgumentParser:
    """Return a parser with the arguments of every benchmark."""
    result = argparse.ArgumentParser(description=description)
    result.add_argument("--rounds", type=int, default=7)
    result.add_argument("--only", default="", help="comparisons whose name contains this")
    result.add_argument("--write", action="store_true", help=f"write the table into {DOCS}")
    return result


def run(
    benchmark: str,
    comparisons: Iterable[Comparison],
    options: argparse.Namespace,
    versions: Sequence[str] = (),
) -> None:
    """Measure and print the comparisons, and write the table of the manual with ``--write``.

    ``versions`` are the names and versions of servers and programs besides Python's packages.
    """
    print(f"{'':66}{'ratio':>7}{'range':>14}  aim", flush=True)
    results = []
    for comparison in comparisons:
        if options.only in comparison.name:
            results.append(compare(comparison, options.rounds))
            name, median, spread, aim = results[-1].cells()
            print(f"{name:66}{median:>7}{spread:>14}  {aim}", flush=True)
    if options.write:
        write(benchmark, results, options.rounds, versions)


def compare(comparison: Comparison, rounds: int) -> Result:
    """Measure peer and package in turn, after a round that fills caches and opens connections."""

    def measured(act: Callable[[], object]) -> float:
        comparison.prepare()
        gc.collect()
        return comparison.measure(act)

    ratios = []
    for number in range(rounds + 1):
        peer, ours = measured(comparison.peer), measured(comparison.ours)
        if number:
            ratios.append(ours / peer if comparison.at_least is None else peer / ours)
    return Result(comparison, ratios)


def write(benchmark: str, results: list[Result], rounds: int, versions: Sequence[str]) -> None:
    """Write the benchmark's table, and its line in the table of runs."""
    DOCS.mkdir(exist_ok=True)
    with (DOCS / f"{benchmark}.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(result.cells() for result in results)
    runs = DOCS / "runs.csv"
    rows = {}
    if runs.exists():
        with runs.open(newline="") as file:
            rows = {row[0]: row for row in csv.reader(file)}
    used = [f"Python {platform.python_version()}", f"Django {metadata.version('django')}"]
    rows[benchmark] = [
        benchmark,
        f"{datetime.now(timezone.utc):%Y-%m-%d}",
        f"{rounds}",
        f"{os.cpu_count()}",
        ", ".join([*used, *versions]),
    ]
    with runs.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows[name] for name in sorted(rows))
