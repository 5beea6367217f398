"""Sphinx: the manual, with the reference made from docstrings."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import django
from django.conf import settings

sys.path.insert(0, str(Path(__file__).parents[1]))

import devilry_storage

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
    STORAGES={
        "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
        "deliveries": {
            "BACKEND": "devilry_storage.storages.FsHierDeliveryStore",
            "OPTIONS": {"location": tempfile.gettempdir()},
        },
    },
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    USE_TZ=True,
)
django.setup()

project = "devilry-storage"
author = "devilry-storage contributors"
copyright = author  # noqa: A001 - Sphinx names it so
version = release = devilry_storage.__version__

extensions = ["sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"{project} {version}"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_preserve_defaults = True

nitpicky = True
nitpick_ignore_regex = [
    # No intersphinx, because the manual builds without a network: the names of others cannot be
    # resolved. Our own must be,
    (r"py:.*", r"(?!devilry_storage\b).*\..*"),
    (
        r"py:class",
        r"Any|Callable|File|Iterable|Iterator|Mapping|Path|Self|TracebackType|UUID|datetime",
    ),
    # but for bases that a reader of the reference has no use for.
    (r"py:class", r"devilry_storage\.(.*\.)?_\w+"),
    (r"py:class", r"devilry_storage\.admin\.(actions|base|columns|forms|lists|previews)\.\w+"),
    (r"py:class", r"devilry_storage\.storages\.s3\.(bucket|own|storage)\.\w+"),
    (r"py:class", r"(devilry_storage\.storages\.(protocols|own)\.)?(Own|Tree)Objects"),
    # A short name for a type.
    (r"py:class", r"FileModel"),
    # Type variables have one letter.
    (r"py:class", r"devilry_storage\.(.*\.)?[A-Z]"),
    (r"py:class", r"devilry_storage\.testing\.conformance\.\w+\.\w+Cases"),
]
