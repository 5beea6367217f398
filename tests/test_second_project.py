"""Run the tests of the second project, which has its own settings, in separate processes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
SETTINGS = "tests.secondproject.settings"
CLAIMS = Path(__file__).parent / "secondproject" / "claims.py"


def run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    unwanted = {"DJANGO_SETTINGS_MODULE", "PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER"}
    inherited = {name: value for name, value in os.environ.items() if name not in unwanted}
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=ROOT,
        env={**inherited, "PYTHONPATH": str(ROOT), "SECOND_PROJECT_DIR": str(directory)},
        capture_output=True,
        text=True,
        check=False,
    )


#: Commands to run one after another, in one process, because starting it takes longest.
COMMANDS = [
    ["check", "--fail-level", "WARNING"],
    ["makemigrations", "--check"],
    ["migrate"],
    ["purge_deliveries", "--dry-run"],
]
SCRIPT = """
from django.core.management import execute_from_command_line
for words in {commands}:
    print("$", *words, flush=True)
    execute_from_command_line(["manage.py", *words, "--settings", {settings!r}])
"""


def test_commands_work_without_the_concrete_models(tmp_path: Path) -> None:
    """The commands run as from the command line, each with the effects of the previous ones."""
    script = SCRIPT.format(commands=COMMANDS, settings=SETTINGS)
    ran = run(tmp_path, "-c", script)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.count("$ ") == len(COMMANDS)


def test_second_project_passes_all_its_tests(tmp_path: Path) -> None:
    """All tests in ``claims.py`` pass, and none is skipped."""
    ran = run(
        tmp_path,
        "-m",
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


def test_checks_are_registered_by_the_app(tmp_path: Path) -> None:
    """Nothing else imports them: neither a test nor a command."""
    script = """
import os
os.environ["DJANGO_SETTINGS_MODULE"] = {settings!r}
import django
from django.core.management import call_command
from django.test.utils import override_settings
django.setup()
with override_settings(DELIVERY_STORE_SERVE="nonsense"):
    call_command("check", tags=["devilry_storage"])
"""
    ran = run(tmp_path, "-c", script.format(settings=SETTINGS))
    assert ran.returncode == 1
    assert "devilry_storage.E" in ran.stderr


def test_template_tags_import_no_admin(tmp_path: Path) -> None:
    """Django imports them in each process that makes a template engine."""
    script = """
import sys
import devilry_storage.templatetags.devilry_admin
assert "devilry_storage.admin" not in sys.modules
"""
    ran = run(tmp_path, "-c", script)
    assert ran.returncode == 0, ran.stderr
