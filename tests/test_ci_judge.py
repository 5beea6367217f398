"""The judge of CI: what makes a run red, each seen to do so."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

CI = Path(__file__).parents[1] / ".ci"

ENVIRONMENTS = ["lint", "py313-django61"]
PROOFS = "# NAME TRIED HIT COMPONENT\nsigkill 1000 300\npower-cut 30 30 loop mounts\n"
GREEN_LOG = """\
machine: loop mounts: allowed, ptrace: allowed
proof sigkill: tried 1000, hit 312, bad 0
proof power-cut: tried 30, hit 30, bad 0
SKIPPED [3] needs PostgreSQL: set DEVILRY_STORAGE_TEST_DATABASE.
1021 passed, 1 skipped in 61.10s
"""


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"ci_{name}", CI / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


judge = _load("judge")
readme_command = _load("readme_command")
check_dist = _load("check_dist")


def _results(**changed: Any) -> dict[str, Any]:
    """Return what tox writes, every environment green but for the changed ones."""
    green = {"result": {"success": True, "exit_code": 0, "duration": 60.0, "skipped": False}}
    environments = dict.fromkeys(ENVIRONMENTS, green) | changed
    return {"testenvs": {name: value for name, value in environments.items() if value is not None}}


def _faults(log: str = GREEN_LOG, **changed: Any) -> list[str]:
    found: list[str] = judge.faults(ENVIRONMENTS, _results(**changed), log, PROOFS)
    return found


def test_complete_run_is_green() -> None:
    """Nothing is held against a run that showed everything."""
    assert _faults() == []


def test_coloured_log_is_read_alike() -> None:
    """A log made for a terminal counts like a plain one."""
    assert (
        _faults(GREEN_LOG.replace("proof sigkill", "\x1b[32mproof sigkill").rstrip() + "\x1b[0m")
        == []
    )


@pytest.mark.parametrize(
    ("environment", "word"),
    [
        (None, "did not run"),
        ({}, "did not run"),
        ({"result": {"success": True, "skipped": True}}, "was skipped"),
        ({"result": {"success": False, "exit_code": 1, "skipped": False}}, "failed"),
    ],
)
def test_environment_that_did_not_succeed_is_red(environment: Any, word: str) -> None:
    """Every environment of the list must have run, not been skipped, and succeeded."""
    (fault,) = _faults(lint=environment)
    assert fault.startswith("tox environment 'lint'")
    assert word in fault


def test_empty_list_of_environments_is_red() -> None:
    """A list that could not be read does not pass for one whose environments all ran."""
    assert judge.faults([], _results(), GREEN_LOG, PROOFS) != []


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("", "printed no line"),
        ("proof sigkill: tried 999, hit 312, bad 0", "must try 1000"),
        ("proof sigkill: tried 1000, hit 299, bad 0", "hit 300"),
        ("proof sigkill: tried 1000, hit 312, bad 1", "broken 1 times"),
        (
            "proof sigkill: tried 1000, hit 312, bad 0\nproof sigkill: tried 20, hit 312, bad 0",
            "tried 20",
        ),
    ],
)
def test_proof_that_falls_short_is_red(line: str, word: str) -> None:
    """Every listed proof must have printed a line, tried and hit enough, and broken nothing."""
    (fault,) = _faults(GREEN_LOG.replace("proof sigkill: tried 1000, hit 312, bad 0", line))
    assert "'sigkill'" in fault
    assert word in fault


def test_unlisted_proof_that_broke_its_promise_is_red() -> None:
    """A broken promise counts whether the proof is listed or not."""
    (fault,) = _faults(GREEN_LOG + "proof new: tried 3, hit 3, bad 2\n")
    assert fault == "proof 'new' found its promise broken 2 times."


SKIP = "SKIPPED [2] missing component: loop mounts (no mkfs.ext4): install e2fsprogs.\n"


@pytest.mark.parametrize("skip", [SKIP, SKIP * 2, SKIP.replace("] ", "] tests/test_cut.py:20: ")])
def test_skip_for_a_missing_component_is_red(skip: str) -> None:
    """No proof drops out of CI because a tool is missing, though pytest calls that a success."""
    (fault,) = _faults(GREEN_LOG + skip)
    assert fault.startswith("2 tests were skipped")
    assert "loop mounts (no mkfs.ext4)" in fault


def test_component_that_the_machine_refuses_excuses_its_proof() -> None:
    """Where the kernel allows no loop mount, neither the skip nor the silent proof is red."""
    log = GREEN_LOG.replace("loop mounts: allowed", "loop mounts: not allowed") + SKIP
    assert _faults(log.replace("proof power-cut: tried 30, hit 30, bad 0\n", "")) == []
    assert _faults(log.replace("proof sigkill: tried 1000, hit 312, bad 0\n", "")) != []


@pytest.mark.parametrize(("log", "code"), [(GREEN_LOG, 0), ("", 1)])
def test_exit_code_tells_red_from_green(tmp_path: Path, log: str, code: int) -> None:
    """The command line judges the files that the runner left, and prints the minutes."""
    contents = {
        "environments": "\n".join(ENVIRONMENTS),
        "results": json.dumps(_results()),
        "log": log,
        "proofs": PROOFS,
    }
    arguments = []
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
        arguments += [f"--{name}", str(tmp_path / name)]
    done = subprocess.run(
        [sys.executable, CI / "judge.py", *arguments], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (code, "")
    assert "1.0 min  tox lint" in done.stdout


def test_list_of_proofs_can_be_read() -> None:
    """The list in the repository is well-formed, and names no proof twice."""
    names = [demand.name for demand in judge.demands((CI / "proofs").read_text())]
    assert names
    assert len(set(names)) == len(names)


README = """\
Try it:

.. ci-command: demo

::

    python3 -m venv .venv && .venv/bin/python manage.py demo

Then
"""


def test_command_of_the_readme_is_found() -> None:
    """CI runs the words of the README, which has the one copy of them."""
    found = readme_command.command(README, "demo")
    assert found == "python3 -m venv .venv && .venv/bin/python manage.py demo"


@pytest.mark.parametrize(
    "text",
    [
        "",
        README + README,
        README.replace("\n\nThen", "\n    second\n\nThen"),
        ".. ci-command: demo\n",
    ],
)
def test_readme_without_exactly_one_command_is_refused(text: str) -> None:
    """A README that lost its command, or has two, stops CI instead of letting it run nothing."""
    with pytest.raises(ValueError, match="demo"):
        readme_command.command(text, "demo")


def test_complete_distributions_have_no_faults() -> None:
    """A wheel of the checkout's files, and an sdist with the sources too, is complete."""
    files = set(check_dist.MUST_HAVE)
    assert list(check_dist.faults(files, files | set(check_dist.SOURCES), files)) == []


@pytest.mark.parametrize("name", ["py.typed", "migrations/0001_initial.py", "templates/x.html"])
def test_file_missing_from_a_distribution_is_a_fault(name: str) -> None:
    """Whatever the checkout holds of the package, and whatever is named, must be in both."""
    checkout = {*check_dist.MUST_HAVE, "devilry_storage/templates/x.html"}
    files = checkout - {f"devilry_storage/{name}"}
    faults = list(check_dist.faults(files, files | set(check_dist.SOURCES), checkout))
    assert faults == [f"the {kind} lacks 'devilry_storage/{name}'" for kind in ("wheel", "sdist")]


def test_wheel_with_the_tests_is_a_fault() -> None:
    """A wheel installs the package and no top-level ``tests``."""
    files = set(check_dist.MUST_HAVE)
    faults = check_dist.faults({*files, "tests/urls.py"}, files | set(check_dist.SOURCES), files)
    assert list(faults) == ["the wheel should not hold 'tests/urls.py'"]
