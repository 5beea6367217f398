"""Says whether a run of CI showed all that it must, from what tox and pytest left behind.

tox's exit code alone would be green for an environment that was never listed, a proof that was
renamed away or a test that was skipped because the machine lacks a tool. This is red for each.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_PROOF = re.compile(
    r"proof (?P<name>\S+): tried (?P<tried>\d+), hit (?P<hit>\d+), bad (?P<bad>\d+)"
)
_SKIP = re.compile(r"SKIPPED \[(?P<tests>\d+)\] (?:\S+:\d+: )?missing component: (?P<reason>.+)")
_MACHINE = "machine: "

Results = dict[str, Any]
"""tox's ``--result-json``: of each environment in ``testenvs`` the ``result``."""


@dataclass(frozen=True)
class Demand:
    """A line of the list of proofs: what a proof must have tried at least."""

    name: str
    tried: int
    hit: int
    component: str = ""


@dataclass(frozen=True)
class Proof:
    """A line that a proof printed."""

    name: str
    tried: int
    hit: int
    bad: int


def demands(text: str) -> list[Demand]:
    """Read the list of proofs; ValueError for a line that is none."""
    lines = (line.partition("#")[0].split(maxsplit=3) for line in text.splitlines())
    return [
        Demand(name, int(tried), int(hit), *rest)
        for name, tried, hit, *rest in filter(None, lines)
    ]


def without_colour(log: str) -> list[str]:
    """Return the lines of a log, as a terminal would show them."""
    return [_COLOUR.sub("", line).strip() for line in log.splitlines()]


def proofs(lines: Iterable[str]) -> list[Proof]:
    """Return what the proofs printed."""
    found = filter(None, map(_PROOF.fullmatch, lines))
    return [Proof(m["name"], int(m["tried"]), int(m["hit"]), int(m["bad"])) for m in found]


def not_allowed(lines: Iterable[str]) -> set[str]:
    """Return the components that the machine was found to refuse (pytest's header names them)."""
    said = (line.removeprefix(_MACHINE) for line in lines if line.startswith(_MACHINE))
    pairs = (part.partition(": ") for line in said for part in line.split(", "))
    return {component for component, _, answer in pairs if answer == "not allowed"}


def unrun_environments(wanted: Iterable[str], results: Results) -> Iterator[str]:
    """Say which environment did not run, was skipped or failed."""
    ran = results["testenvs"]
    for name in wanted:
        result = ran.get(name, {}).get("result")
        if result is None:
            yield f"tox environment {name!r} did not run: call tox without -e."
        elif result.get("skipped"):
            yield f"tox environment {name!r} was skipped: install its interpreter."
        elif not result["success"]:
            yield f"tox environment {name!r} failed."


def unproven(wanted: Iterable[Demand], found: list[Proof], refused: set[str]) -> Iterator[str]:
    """Say which proof printed nothing or tried too little, and which promise was broken."""
    for demand in wanted:
        lines = [proof for proof in found if proof.name == demand.name]
        if not lines and demand.component not in refused:
            yield f"proof {demand.name!r} printed no line: it did not run."
        for proof in lines:
            if proof.tried < demand.tried or proof.hit < demand.hit:
                yield (
                    f"proof {demand.name!r} tried {proof.tried} and hit {proof.hit}: "
                    f"it must try {demand.tried} and hit {demand.hit}."
                )
    for proof in found:
        if proof.bad:
            yield f"proof {proof.name!r} found its promise broken {proof.bad} times."


def skipped_components(lines: Iterable[str], refused: set[str]) -> Iterator[str]:
    """Say which component tests were skipped for, though the machine would allow it."""
    for skip in filter(None, map(_SKIP.fullmatch, lines)):
        component = re.split(r"[:(]", skip["reason"])[0].strip()
        if component not in refused:
            yield f"{skip['tests']} tests were skipped for want of a component: {skip['reason']}"


def faults(environments: list[str], results: Results, log: str, proof_list: str) -> list[str]:
    """Return all that makes the run red, in words."""
    lines = without_colour(log)
    refused = not_allowed(lines)
    if not environments:
        return ["tox lists no environment: give the names of env_list."]
    return [
        *unrun_environments(environments, results),
        *unproven(demands(proof_list), proofs(lines), refused),
        *dict.fromkeys(skipped_components(lines, refused)),
    ]


def minutes(results: Results) -> Iterator[str]:
    """Say how long each environment took."""
    for name, environment in results["testenvs"].items():
        duration = environment.get("result", {}).get("duration")
        if duration is not None:
            yield f"{duration / 60:6.1f} min  tox {name}"


def main() -> int:
    """Read the files named on the command line, print faults and times, return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--environments", type=Path, required=True, help="names, one a line")
    parser.add_argument("--results", type=Path, required=True, help="tox's --result-json")
    parser.add_argument("--log", type=Path, required=True, help="what tox printed")
    parser.add_argument("--proofs", type=Path, required=True, help="the list of proofs")
    given = parser.parse_args()
    results: Results = json.loads(given.results.read_text())
    print(*minutes(results), sep="\n")
    found = faults(
        given.environments.read_text().split(),
        results,
        given.log.read_text(errors="replace"),
        given.proofs.read_text(),
    )
    for fault in found:
        print(f"RED: {fault}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
