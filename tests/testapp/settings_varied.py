"""Test settings with django-cleanup, which deletes the files of rows, and a second database."""

from __future__ import annotations

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES, DIRECTORY, INSTALLED_APPS

# The last app, as its documentation requires.
INSTALLED_APPS = [*INSTALLED_APPS, "django_cleanup.apps.CleanupConfig"]
DATABASES = {
    **DATABASES,
    "other": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DIRECTORY / "other.sqlite3",
        "TEST": {"NAME": DIRECTORY / "test_other.sqlite3"},
    },
}
