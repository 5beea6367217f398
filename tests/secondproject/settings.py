"""Settings of the second project. Its database and files are in ``SECOND_PROJECT_DIR``."""

from __future__ import annotations

import os
from pathlib import Path

DIRECTORY = Path(os.environ["SECOND_PROJECT_DIR"])

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DIRECTORY / "db.sqlite3",
        "TEST": {"NAME": DIRECTORY / "test.sqlite3"},
    }
}

# Without the alias "deliveries" and DELIVERY_STORE_BACKEND: each model selects its store.
STORAGES = {
    "default": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": DIRECTORY / "media"},
    },
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    "handins": {
        "BACKEND": "devilry_storage.storages.FsHierDeliveryStore",
        "OPTIONS": {"location": DIRECTORY / "handins"},
    },
    "posters": {
        "BACKEND": "devilry_storage.storages.FsDeliveryStore",
        "OPTIONS": {"location": DIRECTORY / "posters"},
    },
    "submissions": {
        "BACKEND": "devilry_storage.testing.MemoryDeliveryStore",
        "OPTIONS": {"interval": 10},
    },
}

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "devilry_storage",
    "tests.customuser",
    "tests.secondproject.courses",
]
AUTH_USER_MODEL = "customuser.User"

MIDDLEWARE = [
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
STATIC_URL = "/static/"
SECRET_KEY = "for the tests only"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
