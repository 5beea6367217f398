"""Settings of the example project.

These environment variables select the store and the data folder:

``DELIVERY_STORE``
    ``disk`` (the default); ``memory``, which ``runserver`` fills whenever it starts; or ``s3``, an
    existing bucket of your own, which ``demo`` fills if it is empty.
``AWS_STORAGE_BUCKET_NAME``, ``AWS_S3_ENDPOINT_URL``
    With ``s3``: the bucket, and the URL of a server other than Amazon's. boto3 reads other options
    from its own variables and files: ``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``,
    ``AWS_DEFAULT_REGION``, ``AWS_PROFILE``.
``EXAMPLE_DATA``
    The folder of the database and the files. The default is ``var`` beside ``manage.py``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

PROJECT = Path(__file__).parents[1]
DATA = Path(os.environ.get("EXAMPLE_DATA") or PROJECT / "var").absolute()

# Each kind of store has its own database, because rows belong to one store.
DATABASE_NAMES = {"disk": "db.sqlite3", "memory": "memory.sqlite3", "s3": "s3.sqlite3"}
DELIVERY_STORES: dict[str, dict[str, Any]] = {
    "disk": {
        "BACKEND": "devilry_storage.storages.FsHierDeliveryStore",
        "OPTIONS": {
            "location": DATA / "deliveries",
            "file_permissions_mode": 0o640,
            "directory_permissions_mode": 0o750,
            # Small, so that few deliveries have several branches. Use the default on a real site.
            "interval": 10,
        },
    },
    "memory": {
        "BACKEND": "devilry_storage.testing.MemoryDeliveryStore",
        "OPTIONS": {"interval": 10},
    },
    "s3": {
        "BACKEND": "devilry_storage.storages.S3DeliveryStore",
        "OPTIONS": {
            "bucket_name": os.environ.get("AWS_STORAGE_BUCKET_NAME"),
            "endpoint_url": os.environ.get("AWS_S3_ENDPOINT_URL"),
            "interval": 10,
        },
    },
}
STORE_KIND = os.environ.get("DELIVERY_STORE") or "disk"
if STORE_KIND not in DELIVERY_STORES:
    raise ImproperlyConfigured(
        f"DELIVERY_STORE is {STORE_KIND!r}: set it to one of {', '.join(DELIVERY_STORES)}."
    )

STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    "deliveries": DELIVERY_STORES[STORE_KIND],
}

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DATA / DATABASE_NAMES[STORE_KIND],
        # The server and a demo may write at the same time (seconds).
        "OPTIONS": {"timeout": 20},
    }
}

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "devilry_storage",
    "devilry_storage.deliveries",
    # Before staticfiles, to override its command runserver.
    "demo",
    "campus",
    "django.contrib.staticfiles",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "campus.middleware.content_security_policy",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
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

ROOT_URLCONF = "example.urls"
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = LOGOUT_REDIRECT_URL = "home"
STATIC_URL = "static/"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
TIME_ZONE = "UTC"
USE_TZ = True

# Limits of one delivery. Django's limit is higher, so that users see the error of the form.
DELIVERY_STORE_UPLOAD_MAX_FILES = 50
DELIVERY_STORE_UPLOAD_MAX_BYTES = 20 * 1024**2
DELIVERY_STORE_UPLOAD_MAX_TOTAL_BYTES = 100 * 1024**2
DATA_UPLOAD_MAX_NUMBER_FILES = 200

# Show the error pages of the example instead of debug pages.
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "[::1]"]
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {
        "django": {"handlers": ["console"], "level": "INFO"},
        "devilry_storage": {"handlers": ["console"], "level": "INFO"},
    },
}

# Sufficient for a server that only this machine can reach.
SECRET_KEY = "of an example, and of nothing else"  # noqa: S105  # guards sample files only
