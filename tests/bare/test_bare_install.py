"""The package without its extras. ``tox -e noextras`` runs these tests on the wheel."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

OPTIONAL = ["boto3", "botocore", "django_sendfile", "hypothesis", "playwright", "psycopg"]
OPTIONAL += ["rest_framework", "rich", "storages", "uvicorn"]

SETTINGS = """
import sys
from pathlib import Path
import django
from django.conf import settings

root = Path(sys.argv[1])
settings.configure(
    INSTALLED_APPS=[
        "django.contrib.admin",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.messages",
        "django.contrib.sessions",
        "devilry_storage",
        "devilry_storage.deliveries",
    ],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": root / "db.sqlite3"}},
    STORAGES={
        "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
        "deliveries": {
            "BACKEND": "devilry_storage.storages.FsHierDeliveryStore",
            "OPTIONS": {"location": str(root / "deliveries")},
        },
    },
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    USE_TZ=True,
)
django.setup()
"""

IMPORT_EVERYTHING = """
import importlib, pathlib
import devilry_storage

package = pathlib.Path(devilry_storage.__file__).parent
for path in package.rglob("*.py"):
    parts = path.relative_to(package.parent).with_suffix("").parts
    if "s3" not in parts:
        importlib.import_module(".".join(parts).removesuffix(".__init__"))
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""

DELIVER = """
from django.contrib.auth import get_user_model
from django.core.management import call_command
from devilry_storage.deliveries.models import AssignmentGroup, Delivery

call_command("migrate", verbosity=0)
alice = get_user_model().objects.create_user("alice")
delivery = Delivery.begin(AssignmentGroup.objects.create(name="group"), alice)
handin = delivery.add_file("hello.txt", [b"hel", b"lo"])
delivery.finish()
print(handin.content.read().decode())
handin.delete()
call_command("purge_deliveries", verbosity=0)
"""


def _run(script: str, root: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", SETTINGS + script, root],
        # The import path of this process: the checkout, or the installed wheel alone.
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(os.environ.get("TOX_ENV_NAME") != "noextras", reason="only in tox -e noextras")
def test_bare_install_has_no_optional_package() -> None:
    """Installing the wheel installs Django, but none of the optional packages."""
    assert [name for name in OPTIONAL if importlib.util.find_spec(name)] == []


@pytest.mark.skipif(os.environ.get("TOX_ENV_NAME") != "noextras", reason="only in tox -e noextras")
def test_store_without_its_extra_raises_an_error_with_the_pip_command(tmp_path: Path) -> None:
    """The error for S3 without its libraries contains the command that installs them."""
    output = _run(
        "import devilry_storage.storages as stores\n"
        "try: stores.S3DeliveryStore\n"
        "except ImportError as error: print(error)\n",
        tmp_path,
    )
    assert "pip install 'devilry-storage[s3]'" in output


def test_importing_everything_imports_no_optional_package(tmp_path: Path) -> None:
    """All modules but those of S3 can be imported without the extras, and do not import them."""
    imported = set(_run(IMPORT_EVERYTHING, tmp_path).split())
    assert {"devilry_storage", "django"} <= imported
    assert imported.isdisjoint(OPTIONAL)


def test_bare_install_stores_and_purges_a_delivery(tmp_path: Path) -> None:
    """A delivery is created, read, deleted and purged with Django alone."""
    assert _run(DELIVER, tmp_path).splitlines()[0] == "hello"
