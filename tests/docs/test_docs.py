"""The examples of the README and the manual."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import types
import unittest
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.checks import run_checks
from django.core.files.base import ContentFile
from django.test import override_settings

from devilry_storage import resolving
from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.storages import DeliveryStoreMixin

from ..harness.manual import DOCS, README, ROOT, Block, blocks, pages, run
from ..harness.manual_project import README_FILES, Project
from ..harness.receivers import disconnected_afterwards
from ..harness.users import make_user

#: Pages whose examples are separate projects. Others run in the test project.
START = DOCS / "start.rst"
PROJECTS = [README, START, DOCS / "adopting.rst"]
INSIDE = [page for page in pages() if page not in PROJECTS and blocks(page)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy, so that nothing remains in the checkout."""
    copy = tmp_path_factory.mktemp("source")
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "devilry_storage", copy / "devilry_storage", ignore=ignored)
    for name in ("setup.cfg", "pyproject.toml", "MANIFEST.in", "README.rst", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", copy / "dist", copy],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = (copy / "dist").glob("*.whl")
    return built


#: Django, its dependencies and pip, with their metadata.
LINKED = re.compile(r"(django|asgiref|pip|sqlparse|typing_extensions)(\.py|-.*\.dist-info)?")


@pytest.fixture
def project_of_wheel(tmp_path: Path, wheel: Path) -> Project:
    """An empty folder with a fresh virtual environment, in which the page installs the wheel."""
    installed = Path(sysconfig.get_path("purelib"))
    # Installing another pip would be slow.
    options = ["--without-pip"] if (installed / "pip").is_dir() else []
    subprocess.run([sys.executable, "-m", "venv", *options, tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    project = Project(tmp_path, python, wheel)
    # Use the dependencies of this environment, but not the package, which may be installed, too.
    packages = project.command(
        "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"
    )
    for entry in installed.iterdir():
        if LINKED.fullmatch(entry.name.lower()):
            Path(packages.strip(), entry.name).symlink_to(entry)
    return project


def test_examples_of_start_page_run(project_of_wheel: Project) -> None:
    """The blocks of the page, in order, with the built wheel in a fresh environment."""
    project_of_wheel.do(START)
    code = "import devilry_storage; print(devilry_storage.__file__)"
    path = project_of_wheel.command("python", "-c", code)
    assert Path(path).is_relative_to(Path(project_of_wheel.python).parents[1])


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A new project with an app ``exercises``."""
    project = Project(tmp_path, sys.executable)
    project.command("python", "-m", "django", "startproject", "mysite", ".")
    project.add("exercises/__init__.py", "")
    return project


def test_examples_of_readme_run(project: Project) -> None:
    """In a project that already has a model for assignments."""
    for path, text in README_FILES.items():
        project.add(path, text)
    (*files, view) = [block for block in blocks(README) if block.language == "python"]
    for file in files:
        project.add(file.path, file.text)
    project.command("python", "manage.py", "makemigrations", "exercises")
    project.command("python", "manage.py", "migrate")
    project.command("python", "manage.py", "check", "--database", "default")
    project.run([view, Block("python", "README", "assert data == b'An answer.'")], README)


def test_examples_of_adopting_page_run(project: Project) -> None:
    """The models, forms and migrations of the page, with a folder of old uploads."""
    project.add("media/2019/essay.txt", "")
    (project.folder / "media/2019/essay.txt").write_text("Essay")
    project.do(DOCS / "adopting.rst")


# -- Pages whose examples run in the test project --


def _as_parameter(page: Path) -> Any:
    """Return the page as a parameter. One page needs Google's client."""
    marks = [pytest.mark.servers] if page.stem == "own-stores" else []
    return pytest.param(page, marks=marks, id=page.stem)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("page", [_as_parameter(page) for page in INSIDE])
def test_examples_of_page_run(page: Path, tmp_path: Path) -> None:
    """The blocks of a page run in order, with the documented output, and its test cases pass."""
    module = types.ModuleType(f"manual_{page.stem.replace('-', '_')}")
    sys.modules[module.__name__] = module
    vars(module).update(_given(tmp_path))
    original = vars(FileMeta).get("deliverystore")
    try:
        with disconnected_afterwards():
            for block in blocks(page):
                if block.language in {"python", "pycon"} and not block.path:
                    run([block], vars(module))
                elif block.path.startswith("test_"):
                    (tmp_path / block.path).write_text(block.text)
                    _run_pytest(tmp_path / block.path)
            _run_cases(module)  # last, because a TransactionTestCase empties the database
    finally:
        del sys.modules[module.__name__]
        if original is None and "deliverystore" in vars(FileMeta):
            del FileMeta.deliverystore


def _given(tmp_path: Path) -> dict[str, Any]:
    user = make_user("alice")
    group = AssignmentGroup.objects.create(name="a group")
    delivery = Delivery.begin(group, user)
    return {
        "AssignmentGroup": AssignmentGroup,
        "ContentFile": ContentFile,
        "Delivery": Delivery,
        "FileMeta": FileMeta,
        "assignmentgroup": group,
        "delivery": delivery,
        "folder": tmp_path / "store",
        "group": group,
        "queue": [],
        "user": user,
    }


def _run_cases(module: types.ModuleType) -> None:
    """Run the test cases that the page defines."""
    found = [
        value
        for value in list(vars(module).values())
        if isinstance(value, type)
        and issubclass(value, unittest.TestCase)
        and value.__module__ == module.__name__
    ]
    for case in found:
        outcome = unittest.TestResult()
        unittest.defaultTestLoader.loadTestsFromTestCase(case).run(outcome)
        assert outcome.testsRun
        failures = [*outcome.errors, *outcome.failures]
        assert not failures, (
            f"{len(failures)} of {outcome.testsRun} failed: {failures[0][0]}: {failures[0][1]}"
        )


def _run_pytest(file: Path) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "DEVILRY_STORAGE_TEST_DATABASE": "sqlite",
        # Load the plugin only once, even if it is installed.
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    for name in ("DEVILRY_STORAGE_TEST_DIR", "PYTEST_ADDOPTS", "PYTEST_PLUGINS"):
        environment.pop(name, None)
    plugins = ["-p", "pytest_django.plugin", "-p", "devilry_storage.testing.plugin"]
    options = ["-p", "no:cacheprovider", "--ds=tests.settings", f"--rootdir={file.parent}"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *plugins, *options, file.name],
        cwd=file.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _fragments() -> list[Block]:
    return [block for page in pages() for block in blocks(page) if block.path == "settings.py"]


@pytest.mark.django_db
@pytest.mark.parametrize("fragment", _fragments(), ids=lambda block: block.where)
def test_settings_of_the_page_pass_the_checks(fragment: Block, tmp_path: Path) -> None:
    """They also configure a delivery store."""
    given: dict[str, Any] = {name: getattr(settings, name) for name in ("DATABASES", "STORAGES")}
    namespace = {
        "BASE_DIR": tmp_path,
        "DATABASES": {alias: dict(options) for alias, options in given["DATABASES"].items()},
        "STORAGES": dict(given["STORAGES"]),
    }
    run([fragment], namespace)
    named = {
        name: value
        for name, value in namespace.items()
        if name.isupper() and name not in {"BASE_DIR", "DATABASES"}
    }
    with override_settings(**named):
        assert isinstance(resolving.store_for(FileMeta), DeliveryStoreMixin)
        found = [
            message for message in run_checks(tags=["devilry_storage"]) if message.is_serious()
        ]
    # Models of the test project share the store that a page configures for one model.
    assert [message for message in found if message.id != "devilry_storage.E021"] == []


def test_snippets_of_stores_on_disk_set_modes() -> None:
    """Without them every user of the machine can read what is delivered."""
    snippet = re.compile(r'"BACKEND": "[\w.]+\.Fs\w+",\s+"OPTIONS": {([^}]+)}')
    texts = {page.name: page.read_text() for page in (README, *DOCS.glob("*.rst"))}
    found = {
        (name, options)
        for name, text in {**texts, "hint of a check": resolving.REMEDY}.items()
        for options in snippet.findall(text)
        if "base_url" not in options  # public files
    }
    assert len(found) >= 7
    for name, options in found:
        for option in ('"file_permissions_mode": 0o640', '"directory_permissions_mode": 0o750'):
            assert option in options, name
