"""A project with models, stores and users of its own, in processes with its own settings."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SETTINGS = "tests.secondproject.settings"
CLAIMS = Path(__file__).parent / "secondproject" / "claims.py"


def run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    unwanted = {"DJANGO_SETTINGS_MODULE", "PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER"}
    inherited = {name: value for name, value in os.environ.items() if name not in unwanted}
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", *arguments],
        cwd=ROOT,
        env={**inherited, "PYTHONPATH": str(ROOT), "SECOND_PROJECT_DIR": str(directory)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "command",
    [
        ["check", "--fail-level", "WARNING"],
        ["makemigrations", "--check"],
        ["migrate"],
        ["purge_deliveries", "--dry-run"],
    ],
    ids=" ".join,
)
def test_command_works_without_the_concrete_models(tmp_path: Path, command: list[str]) -> None:
    """Each as a user types it, ``purge_deliveries`` after ``migrate``."""
    if command[0] == "purge_deliveries":
        run(tmp_path, "django", "migrate", "--settings", SETTINGS)
    ran = run(tmp_path, "django", *command, "--settings", SETTINGS)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_every_claim_about_the_second_project_holds(tmp_path: Path) -> None:
    """``claims.py`` passes whole, and nothing in it is skipped."""
    ran = run(
        tmp_path,
        "pytest",
        str(CLAIMS),
        f"--ds={SETTINGS}",
        f"--confcutdir={CLAIMS.parent}",
        "-q",
        "-p",
        "no:cacheprovider",
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (counted,) = re.findall(r"^(\d+ .*) in [\d.]+s", ran.stdout, flags=re.MULTILINE)
    assert re.fullmatch(r"\d+ passed", counted), ran.stdout
    assert int(counted.split()[0]) >= CLAIMS.read_text().count("\ndef test_")
