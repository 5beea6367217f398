"""What README and manual say is so: every example runs, every name exists, and none is missing."""

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
from devilry_storage.checks import ids
from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.storages import DeliveryStoreMixin

from ..harness.manual import DOCS, README, ROOT, Block, blocks, pages, run
from ..harness.manual_project import README_FILES, Project
from ..harness.users import make_user

#: Pages whose examples are a project of their own; the others run in that of the tests.
START = DOCS / "start.rst"
PROJECTS = [README, START, DOCS / "adopting.rst"]
INSIDE = [page for page in pages() if page not in PROJECTS and blocks(page)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy, so that nothing is left in the checkout."""
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


#: Django and what it needs, and pip, each with its metadata.
LINKED = re.compile(r"(django|asgiref|pip|sqlparse|typing_extensions)(\.py|-.*\.dist-info)?")


@pytest.fixture
def project_of_wheel(tmp_path: Path, wheel: Path) -> Project:
    """An empty folder and a fresh virtual environment, in which the page installs the wheel."""
    installed = Path(sysconfig.get_path("purelib"))
    # A pip of its own would take longest of all.
    options = ["--without-pip"] if (installed / "pip").is_dir() else []
    subprocess.run([sys.executable, "-m", "venv", *options, tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    project = Project(tmp_path, python, wheel)
    # The wheel's dependencies are those of this run, whichever Django it is about; the package,
    # which may be installed here too, is not among them.
    own = project.command("python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))")
    for entry in installed.iterdir():
        if LINKED.fullmatch(entry.name.lower()):
            Path(own.strip(), entry.name).symlink_to(entry)
    return project


def test_start_page_leads_from_an_empty_folder_to_a_delivery(project_of_wheel: Project) -> None:
    """The start page's blocks, in order, with the built wheel, in a fresh environment."""
    project_of_wheel.do(START)
    place = "import devilry_storage; print(devilry_storage.__file__)"
    found = project_of_wheel.command("python", "-c", place)
    assert Path(found).is_relative_to(Path(project_of_wheel.python).parents[1])


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A new project with an app ``exercises``."""
    made = Project(tmp_path, sys.executable)
    made.command("python", "-m", "django", "startproject", "mysite", ".")
    made.add("exercises/__init__.py", "")
    return made


def test_readme_puts_it_into_a_project(project: Project) -> None:
    """The README's lines, in a project that has a model to hand in to."""
    for path, text in README_FILES.items():
        project.add(path, text)
    (*files, view) = [block for block in blocks(README) if block.language == "python"]
    for file in files:
        project.add(file.path, file.text)
    project.command("python", "manage.py", "makemigrations", "exercises")
    project.command("python", "manage.py", "migrate")
    project.command("python", "manage.py", "check", "--database", "default")
    project.run([view, Block("python", "README", "assert data == b'An answer.'")], README)


def test_adopting_page_fits_an_existing_project(project: Project) -> None:
    """The page's models, forms and moves, with a folder of old uploads to adopt."""
    project.add("media/2019/essay.txt", "")
    (project.folder / "media/2019/essay.txt").write_text("Essay")
    project.do(DOCS / "adopting.rst")


# -- Pages whose examples run in the project of the tests, on its database --


def _with_needs(page: Path) -> Any:
    """Return the page as a parameter; the store of one page needs Google's client."""
    marks = [pytest.mark.servers] if page.stem == "own-stores" else []
    return pytest.param(page, marks=marks, id=page.stem)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("page", [_with_needs(page) for page in INSIDE])
def test_examples_of_page_run(page: Path, tmp_path: Path) -> None:
    """The blocks of a page run in order, and show what they say; its test cases pass."""
    module = types.ModuleType(f"manual_{page.stem.replace('-', '_')}")
    sys.modules[module.__name__] = module
    vars(module).update(_given(tmp_path))
    own = vars(FileMeta).get("deliverystore")
    try:
        for block in blocks(page):
            if block.language in {"python", "pycon"} and not block.path:
                run([block], vars(module))
            elif block.path.startswith("test_"):
                (tmp_path / block.path).write_text(block.text)
                _run_pytest(tmp_path / block.path)
        _run_cases(module)  # at the end: a TransactionTestCase empties the database
    finally:
        del sys.modules[module.__name__]
        if own is None and "deliverystore" in vars(FileMeta):
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
    """Run the test cases that the page defined."""
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
        wrong = [*outcome.errors, *outcome.failures]
        assert not wrong, (
            f"{len(wrong)} of {outcome.testsRun} failed: {wrong[0][0]}: {wrong[0][1]}"
        )


def _run_pytest(file: Path) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "DEVILRY_STORAGE_TEST_DATABASE": "sqlite",
        # The plugin may be installed or not: named, it is loaded once.
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
def test_settings_of_the_page_are_sound(fragment: Block, tmp_path: Path) -> None:
    """What a page shows as a part of settings passes the checks, and gives files a store."""
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
    # The tests' own models share what a page configures for one.
    assert [message for message in found if message.id != ids.SHARED_KEYS] == []
