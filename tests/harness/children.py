"""The environment of a child process that works on the test's own rows and files."""

from __future__ import annotations

import os
from pathlib import Path

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections

from . import chosen


def environment(using: str = DEFAULT_DB_ALIAS) -> dict[str, str]:
    """Return the variables for ``subprocess.run(..., env=...)``, the present ones included.

    A child that runs `django.setup()` with them sees the test database (what is committed there:
    use a transactional test) and the stores of this process. Without them it has its own.
    """
    return {
        **os.environ,
        **chosen.environment(),
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "DEVILRY_STORAGE_TEST_DIR": str(settings.DIRECTORY),
        "DEVILRY_STORAGE_TEST_DATABASE_NAME": str(connections[using].settings_dict["NAME"]),
    }
