"""Settings of a site with other packages, on the kind of store that `tests.harness.chosen` names.

``DEVILRY_STORAGE_TEST_DEFAULT=django`` makes Django's own storage the default one: what the tests
of packages that store files themselves expect also holds there.
"""

from __future__ import annotations

import os
from typing import Any

from tests.harness import chosen
from tests.settings import *  # noqa: F403  # settings of the test project
from tests.settings import DIRECTORY, INSTALLED_APPS, MEDIA_URL

WITH_DJANGO = os.environ.get("DEVILRY_STORAGE_TEST_DEFAULT") == "django"

#: Stores of the models of files, each of which needs one of its own.
ALIASES = ("imported", "kinds", "photos", "recorded", "sent", "tracked", "versioned")
PRIVATE = ("private", "private_thumbnails")

PUBLIC: dict[str, Any] = {
    "BACKEND": "django.core.files.storage.FileSystemStorage",
    "OPTIONS": {"location": str(DIRECTORY / "public"), "base_url": MEDIA_URL},
}
STORAGES = {
    "default": PUBLIC if WITH_DJANGO else chosen.entry(DIRECTORY, "default"),
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    "public": PUBLIC,
    # django-filer serves these below their URLs, to users with permission.
    **{
        alias: {
            "BACKEND": "devilry_storage.storages.FsHierDeliveryStore",
            "OPTIONS": {"location": str(DIRECTORY / alias), "base_url": f"/{alias}/"},
        }
        for alias in PRIVATE
    },
    **{alias: chosen.entry(DIRECTORY, alias) for alias in ALIASES},
}
FILER_STORAGES = {
    "public": {
        "main": {"ENGINE": "tests.neighbours.storages.files"},
        "thumbnails": {"ENGINE": "tests.neighbours.storages.thumbnails"},
    },
    "private": {
        "main": {"ENGINE": "tests.neighbours.storages.private_files"},
        "thumbnails": {"ENGINE": "tests.neighbours.storages.private_thumbnails"},
    },
}

INSTALLED_APPS = [
    *(app for app in INSTALLED_APPS if not app.startswith("tests.")),
    "auditlog",
    "easy_thumbnails",
    "filer",
    "import_export",
    "modelcluster",
    "polymorphic",
    "rest_framework",
    "reversion",
    "simple_history",
    "sorl.thumbnail",
    "taggit",
    "wagtail.documents",
    "wagtail.images",
    "wagtail.users",
    "wagtail.admin",
    "wagtail.search",
    "wagtail",
    "tests.neighbours",
]
ROOT_URLCONF = "tests.neighbours.urls"
WAGTAIL_SITE_NAME = "Neighbours"
WAGTAILADMIN_BASE_URL = "http://testserver"
# Both thumbnail packages have a tag library of this name.
SILENCED_SYSTEM_CHECKS = ["templates.W003"]
