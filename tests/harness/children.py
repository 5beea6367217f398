"""The environment of child processes that share rows and files with a test."""

from __future__ import annotations

import os
from pathlib import Path

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections

from . import chosen


def environment(using: str = DEFAULT_DB_ALIAS) -> dict[str, str]:
    """Return the environment for ``subprocess.run(..., env=...)``.

    With it a child that calls `django.setup()` uses the test database and the stores of this
    process. It sees only committed rows, so use a transactional test.
    """
    return {
        **os.environ,
        **chosen.environment(),
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "DEVILRY_STORAGE_TEST_DIR": str(settings.DIRECTORY),
        "DEVILRY_STORAGE_TEST_DATABASE_NAME": str(connections[using].settings_dict["NAME"]),
    }
