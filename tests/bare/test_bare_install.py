"""What holds with nothing installed but Django: ``tox -e noextras`` runs these on the wheel."""

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
        # The modules that this process imports from: the checkout, or the installed wheel alone.
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
    """Installing the wheel brings Django and nothing else of what we can work with."""
    assert [name for name in OPTIONAL if importlib.util.find_spec(name)] == []


@pytest.mark.skipif(os.environ.get("TOX_ENV_NAME") != "noextras", reason="only in tox -e noextras")
def test_a_store_whose_extra_is_missing_says_how_to_get_it(tmp_path: Path) -> None:
    """Who configures S3 without its libraries reads the command that installs them."""
    said = _run(
        "import devilry_storage.storages as stores\n"
        "try: stores.S3DeliveryStore\n"
        "except ImportError as error: print(error)\n",
        tmp_path,
    )
    assert "pip install 'devilry-storage[s3]'" in said


def test_importing_everything_imports_no_optional_package(tmp_path: Path) -> None:
    """Every module but S3's can be imported without the extras, and never imports them."""
    imported = set(_run(IMPORT_EVERYTHING, tmp_path).split())
    assert {"devilry_storage", "django"} <= imported
    assert imported.isdisjoint(OPTIONAL)


def test_bare_install_delivers(tmp_path: Path) -> None:
    """A delivery is made, read, deleted and purged with Django alone."""
    assert _run(DELIVER, tmp_path).splitlines()[0] == "hello"
