"""The scripts of CI find the commands of the README and missing files of distributions."""

from __future__ import annotations

import configparser
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

CI = Path(__file__).parents[2] / ".ci"


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"ci_{name}", CI / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


readme_command = _load("readme_command")
check_dist = _load("check_dist")


README = """\
Try it:

.. ci-command: demo

::

    python3 -m venv .venv && .venv/bin/python manage.py demo

Then
"""


def test_command_of_the_readme_is_found() -> None:
    """CI runs the command in the README, so there is only one copy."""
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
def test_readme_without_exactly_one_command_is_rejected(text: str) -> None:
    """CI fails instead of running nothing."""
    with pytest.raises(ValueError, match="demo"):
        readme_command.command(text, "demo")


def test_every_environment_of_tox_has_a_stage() -> None:
    """CI would not run an environment without a stage."""
    tox = configparser.RawConfigParser()
    tox.read(CI.parent / "tox.ini")
    stages = re.findall(r"^stage .* tox (\S+)$", (CI / "run").read_text(), flags=re.MULTILINE)
    assert ",".join(stages).split(",") == tox["tox"]["env_list"].split()


def test_hooks_use_the_versions_of_the_lint_extra() -> None:
    """A hook with another version of ruff would format what CI rejects."""
    setup = configparser.RawConfigParser()
    setup.read(CI.parent / "setup.cfg")
    hooks = (CI.parent / ".pre-commit-config.yaml").read_text()
    versions = set(re.findall(r'additional_dependencies: \["(.+)"\]', hooks))
    assert versions == set(setup["options.extras_require"]["lint"].split())


def test_workflow_builds_the_interpreters_of_ci() -> None:
    """``.ci/run`` uses pyenv's interpreters; hosted CI builds the same versions."""
    workflow = (CI.parent / ".github" / "workflows" / "ci.yml").read_text()
    loop = r"for version in (.+); do"
    (built,) = re.findall(loop, workflow)
    (wanted,) = re.findall(loop, (CI / "run").read_text())
    assert set(built.split()) == set(wanted.split())


def test_complete_distributions_have_no_faults() -> None:
    """The wheel has all files of the package; the sdist also has the other sources."""
    files = set(check_dist.MUST_HAVE)
    assert list(check_dist.faults(files, files | set(check_dist.SOURCES), files)) == []


@pytest.mark.parametrize("name", ["py.typed", "migrations/0001_initial.py", "templates/x.html"])
def test_file_missing_from_a_distribution_is_a_fault(name: str) -> None:
    """All files of the package in the checkout, and all named files, must be in both."""
    checkout = {*check_dist.MUST_HAVE, "devilry_storage/templates/x.html"}
    files = checkout - {f"devilry_storage/{name}"}
    faults = list(check_dist.faults(files, files | set(check_dist.SOURCES), checkout))
    assert faults == [f"the {kind} lacks 'devilry_storage/{name}'" for kind in ("wheel", "sdist")]


def test_wheel_with_the_tests_is_a_fault() -> None:
    """A wheel must not install a top-level ``tests``."""
    files = set(check_dist.MUST_HAVE)
    faults = check_dist.faults({*files, "tests/urls.py"}, files | set(check_dist.SOURCES), files)
    assert list(faults) == ["the wheel should not contain 'tests/urls.py'"]
