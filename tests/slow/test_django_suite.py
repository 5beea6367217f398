"""Django's own tests fail on the delivery stores exactly where the manual says so."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import django
import pytest

from ..harness.manual import DOCS, ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.only_full,  # downloads Django's source
    pytest.mark.skipif(django.VERSION < (5, 2), reason="the page is about Django 5.2 and later"),
]

LABELS = (
    *("file_storage", "files", "model_fields.test_filefield"),
    *("staticfiles_tests.test_storage", "staticfiles_tests.test_management"),
)
ENTRY = re.compile(r"^- ``((?:\w+\.)+\w+)``(?: \(Django ([\d.]+)\))?$", re.MULTILINE)


def documented() -> set[str]:
    """Return the tests and classes of tests that the page names for this version of Django."""
    installed = "{}.{}".format(*django.VERSION)
    entries = ENTRY.findall((DOCS / "django.rst").read_text())
    assert entries
    return {name for name, version in entries if version in {"", installed}}


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the tests of the installed Django, from its sdist."""
    folder = tmp_path_factory.mktemp("django")
    version = f"django=={django.get_version()}"
    download = ["-m", "pip", "download", "-q", "--no-binary", ":all:", "--no-deps", version]
    subprocess.run([sys.executable, *download], cwd=folder, check=True, timeout=300)
    (sdist,) = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (tests,) = folder.glob("*/tests")
    return tests


@pytest.mark.parametrize("store", ["FsHierDeliveryStore", "FsDeliveryStore"])
def test_django_suite_fails_only_where_documented(store: str, suite: Path, tmp_path: Path) -> None:
    """InMemoryStorage is replaced by MemoryDeliveryStore in each run."""
    results = tmp_path / "results.json"
    child = [sys.executable, "-m", "tests.slow.django_suite_child", store, results, suite, *LABELS]
    paths = {"PYTHONPATH": str(ROOT), "DJANGO_SETTINGS_MODULE": "test_sqlite"}
    done = subprocess.run(
        [*map(str, child)],
        cwd=tmp_path,
        env={**os.environ, **paths},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert results.exists(), done.stderr
    entries = documented()
    found: dict[str, set[bool]] = {}
    for test, (function, passed) in json.loads(results.read_text()).items():
        case = test.rpartition(".")[0]
        found.setdefault(case if case in entries else function, set()).add(passed)
    assert len(found) > 250, done.stderr
    failed = {name for name, passed in found.items() if False in passed}
    assert failed == entries, done.stderr
    assert not [name for name in failed if True in found[name]]
