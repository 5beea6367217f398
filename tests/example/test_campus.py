"""The pages of the example site, with Django's test client in a separate process."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from ..harness.example_site import MANAGE, ROOT, environment

CLAIMS = Path(__file__).parent / "campus" / "claims.py"


def test_every_claim_about_the_example_site_holds(tmp_path: Path) -> None:
    """``claims.py`` passes whole, and nothing in it is skipped."""
    more = environment(tmp_path, DELIVERY_STORE="memory")
    for name in ("PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER"):
        more.pop(name, None)
    more["PYTHONPATH"] = f"{ROOT}:{MANAGE.parent}"
    ran = subprocess.run(
        [
            *[sys.executable, "-W", "error", "-m", "pytest", str(CLAIMS)],
            *["--ds=example.settings", f"--confcutdir={CLAIMS.parent}"],
            *["-q", "-p", "no:cacheprovider"],
        ],
        cwd=ROOT,
        env=more,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (counted,) = re.findall(r"^(\d+ .*) in [\d.]+s", ran.stdout, flags=re.MULTILINE)
    assert re.fullmatch(r"\d+ passed", counted), ran.stdout
    assert int(counted.split()[0]) >= CLAIMS.read_text().count("\ndef test_")
