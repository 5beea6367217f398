"""Settings of the tests, with choices by environment variables.

``DEVILRY_STORAGE_TEST_DATABASE``
    ``sqlite`` (the default) or ``postgres``. The server is given by libpq's variables (``PGHOST``
    and so on); the conftest starts one and sets them.
``DEVILRY_STORAGE_TEST_STORE``
    ``disk`` (the default), ``memory``, ``moto`` or ``seaweedfs``: see `tests.harness.chosen`.
``DEVILRY_STORAGE_TEST_USER``
    ``django`` (the default) or ``custom``: UUID as primary key, login by email, no username.
``DEVILRY_STORAGE_TEST_DIR``, ``_DATABASE_NAME``, ``_BUCKET``
    Set by `tests.harness.children.environment` for a child that shares files and rows with a
    test. Other processes have a temporary directory, which is removed at their end.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from tests.harness import chosen


def _temporary_directory() -> str:
    """Return a new directory that is removed when this process ends."""
    directory, owner = tempfile.mkdtemp(prefix="devilry-storage-tests-"), os.getpid()

    def remove() -> None:
        if os.getpid() == owner:  # not in a fork
            shutil.rmtree(directory, ignore_errors=True)

    atexit.register(remove)
    return directory


def _choice(name: str, *values: str) -> str:
    """Return the value of an environment variable; the first value is the default."""
    value = os.environ.get(name) or values[0]
    if value not in values:
        raise ValueError(f"{name} is {value!r}: set it to one of {', '.join(values)}.")
    return value


DIRECTORY = Path(os.environ.get("DEVILRY_STORAGE_TEST_DIR") or _temporary_directory())
DATABASE = _choice("DEVILRY_STORAGE_TEST_DATABASE", "sqlite", "postgres")
USER = _choice("DEVILRY_STORAGE_TEST_USER", "django", "custom")

_NAME = os.environ.get("DEVILRY_STORAGE_TEST_DATABASE_NAME")
_SQLITE: dict[str, Any] = {
    "ENGINE": "django.db.backends.sqlite3",
    "NAME": _NAME or DIRECTORY / "db.sqlite3",
    # Processes race in the tests, so they need a file, and wait for its lock (seconds).
    "OPTIONS": {"timeout": 30},
    "TEST": {"NAME": DIRECTORY / "test.sqlite3"},
}
_POSTGRES: dict[str, Any] = {
    "ENGINE": "django.db.backends.postgresql",
    "NAME": _NAME or "devilry_storage",
    "TEST": {"NAME": f"test_devilry_storage_{os.getpid()}"},
}
DATABASES = {"default": _SQLITE if DATABASE == "sqlite" else _POSTGRES}

STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    "deliveries": chosen.entry(DIRECTORY, "deliveries"),
}
MEDIA_ROOT = DIRECTORY / "media"
MEDIA_URL = "/media/"
STATIC_URL = "/static/"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "devilry_storage",
    "devilry_storage.deliveries",
    "tests.testapp",
    "tests.ordinary",
]
if USER == "custom":
    INSTALLED_APPS.append("tests.customuser")
    AUTH_USER_MODEL = "customuser.User"

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
ROOT_URLCONF = "tests.urls"
SECRET_KEY = "for the tests only"
# A fast hasher, because the tests log in often.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
