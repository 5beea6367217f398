"""Settings: defaults, valid values and invalid values."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from devilry_storage.conf import Setting, Settings, conf

READ: dict[str, Callable[[], Any]] = {
    "DELIVERY_STORE_BACKEND": lambda: conf.delivery_store_backend,
    "DELIVERY_STORE_ROOT": lambda: conf.delivery_store_root,
    "DEVILRY_FSHIERDELIVERYSTORE_ROOT": lambda: conf.fshierdeliverystore_root,
    "DEVILRY_FSHIERDELIVERYSTORE_INTERVAL": lambda: conf.fshierdeliverystore_interval,
    "DELIVERY_STORE_SITE": lambda: conf.delivery_store_site,
    "DELIVERY_STORE_RETENTION_DAYS": lambda: conf.retention,
    "DELIVERY_STORE_GRACE_HOURS": lambda: conf.grace,
    "DELIVERY_STORE_SERVE": lambda: conf.serve,
    "DELIVERY_STORE_REDIRECT_SECONDS": lambda: conf.redirect_seconds,
    "DELIVERY_STORE_REDIRECT_MIN_BYTES": lambda: conf.redirect_min_bytes,
    "DELIVERY_STORE_INLINE_TYPES": lambda: conf.inline_types,
    "DELIVERY_STORE_UPLOAD_MAX_FILES": lambda: conf.upload_max_files,
    "DELIVERY_STORE_UPLOAD_MAX_BYTES": lambda: conf.upload_max_bytes,
    "DELIVERY_STORE_UPLOAD_MAX_TOTAL_BYTES": lambda: conf.upload_max_total_bytes,
    "DELIVERY_STORE_ARCHIVE_MAX_FILES": lambda: conf.archive_max_files,
    "DELIVERY_STORE_ARCHIVE_MAX_BYTES": lambda: conf.archive_max_bytes,
}

IMAGES = ("avif", "bmp", "gif", "jpeg", "png", "webp")
SHOWN = frozenset({"text/plain", *(f"image/{name}" for name in IMAGES)})

DEFAULTS: dict[str, Any] = {
    "DELIVERY_STORE_BACKEND": None,
    "DELIVERY_STORE_ROOT": None,
    "DEVILRY_FSHIERDELIVERYSTORE_ROOT": None,
    "DEVILRY_FSHIERDELIVERYSTORE_INTERVAL": 1000,
    "DELIVERY_STORE_SITE": None,
    "DELIVERY_STORE_RETENTION_DAYS": timedelta(days=30),
    "DELIVERY_STORE_GRACE_HOURS": timedelta(hours=24),
    "DELIVERY_STORE_SERVE": "stream",
    "DELIVERY_STORE_REDIRECT_SECONDS": 60,
    "DELIVERY_STORE_REDIRECT_MIN_BYTES": 1048576,
    "DELIVERY_STORE_INLINE_TYPES": SHOWN,
    "DELIVERY_STORE_UPLOAD_MAX_FILES": 100,
    "DELIVERY_STORE_UPLOAD_MAX_BYTES": 104857600,
    "DELIVERY_STORE_UPLOAD_MAX_TOTAL_BYTES": 524288000,
    "DELIVERY_STORE_ARCHIVE_MAX_FILES": 100000,
    "DELIVERY_STORE_ARCHIVE_MAX_BYTES": 107374182400,
}

VALID: list[tuple[str, Any, Any]] = [
    ("DELIVERY_STORE_BACKEND", "a.B", "a.B"),
    (
        "DELIVERY_STORE_BACKEND",
        "devilry_storage.storages.FsHierDeliveryStore",
        "devilry_storage.storages.FsHierDeliveryStore",
    ),
    ("DELIVERY_STORE_ROOT", "/srv/deliveries", "/srv/deliveries"),
    ("DELIVERY_STORE_ROOT", pathlib.Path("/srv/deliveries"), "/srv/deliveries"),
    ("DELIVERY_STORE_ROOT", "", None),
    ("DEVILRY_FSHIERDELIVERYSTORE_ROOT", "/srv/hier", "/srv/hier"),
    ("DEVILRY_FSHIERDELIVERYSTORE_ROOT", pathlib.Path("/srv/hier"), "/srv/hier"),
    ("DEVILRY_FSHIERDELIVERYSTORE_ROOT", "", None),
    ("DEVILRY_FSHIERDELIVERYSTORE_INTERVAL", 10, 10),
    ("DEVILRY_FSHIERDELIVERYSTORE_INTERVAL", 2, 2),
    ("DELIVERY_STORE_SITE", "a secret", "a secret"),
    ("DELIVERY_STORE_RETENTION_DAYS", 0, timedelta(0)),
    ("DELIVERY_STORE_RETENTION_DAYS", 0.5, timedelta(hours=12)),
    ("DELIVERY_STORE_RETENTION_DAYS", 365, timedelta(days=365)),
    ("DELIVERY_STORE_GRACE_HOURS", 0, timedelta(0)),
    ("DELIVERY_STORE_GRACE_HOURS", 1.5, timedelta(minutes=90)),
    ("DELIVERY_STORE_GRACE_HOURS", 48, timedelta(days=2)),
    ("DELIVERY_STORE_SERVE", "sendfile", "sendfile"),
    ("DELIVERY_STORE_SERVE", "redirect", "redirect"),
    ("DELIVERY_STORE_SERVE", {"deliveries": "redirect"}, {"deliveries": "redirect"}),
    ("DELIVERY_STORE_SERVE", {}, {}),
    ("DELIVERY_STORE_REDIRECT_SECONDS", 1, 1),
    ("DELIVERY_STORE_REDIRECT_MIN_BYTES", 0, 0),
    ("DELIVERY_STORE_INLINE_TYPES", [], frozenset()),
    ("DELIVERY_STORE_INLINE_TYPES", ("application/pdf",), frozenset({"application/pdf"})),
    ("DELIVERY_STORE_UPLOAD_MAX_FILES", 1, 1),
    ("DELIVERY_STORE_UPLOAD_MAX_BYTES", 0, 0),
    ("DELIVERY_STORE_UPLOAD_MAX_TOTAL_BYTES", 2**40, 2**40),
    ("DELIVERY_STORE_ARCHIVE_MAX_FILES", 70_000, 70_000),
    ("DELIVERY_STORE_ARCHIVE_MAX_BYTES", 0, 0),
]

NOT_A_PATH: list[Any] = [
    17,
    True,
    False,
    b"/srv",
    ["/srv"],
    {"location": "/srv"},
    "/srv\0",
    object(),
]
NOT_A_NUMBER: list[Any] = [-1, -0.001, "30", "", True, False, float("nan"), float("inf"), 1e6]
NOT_A_NUMBER += [Decimal(30), timedelta(days=30), [30], b"30", 10**400, -float("inf")]

NOT_AN_INTEGER: list[Any] = [
    -1,
    1.0,
    "1",
    "",
    True,
    False,
    float("nan"),
    Decimal(1),
    [1],
    b"1",
    2**63,
]

INVALID: dict[str, list[Any]] = {
    "DELIVERY_STORE_BACKEND": [
        *["", "FsHierDeliveryStore", "a.", ".a", "a..B", "a/B", "a.B()", "a.B ", "a b.C"],
        *[17, True, b"a.B", ["a.B"], object(), dict],
    ],
    "DELIVERY_STORE_ROOT": NOT_A_PATH,
    "DEVILRY_FSHIERDELIVERYSTORE_ROOT": NOT_A_PATH,
    "DEVILRY_FSHIERDELIVERYSTORE_INTERVAL": [
        *[1, 0, -1000, 1000.0, "1000", "", True, False],
        *[float("nan"), Decimal(1000), [1000], b"10"],
    ],
    "DELIVERY_STORE_SITE": ["", 17, True, b"a secret", ["a secret"], object()],
    "DELIVERY_STORE_RETENTION_DAYS": NOT_A_NUMBER,
    "DELIVERY_STORE_GRACE_HOURS": NOT_A_NUMBER,
    "DELIVERY_STORE_SERVE": [
        *["", "Stream", "x-accel", 1, True, ["stream"], object()],
        *[{"deliveries": ""}, {"deliveries": None}, {1: "stream"}, {"deliveries": ["stream"]}],
    ],
    "DELIVERY_STORE_REDIRECT_SECONDS": [0, *NOT_AN_INTEGER],
    "DELIVERY_STORE_REDIRECT_MIN_BYTES": NOT_AN_INTEGER,
    "DELIVERY_STORE_INLINE_TYPES": [
        *[
            "text/plain",
            "",
            1,
            True,
            [1],
            [None],
            {"text/plain": True},
            ["TEXT/PLAIN"],
            ["text/*"],
        ],
        *[["text/html"], ["image/svg+xml"], ["text/plain", "application/xhtml+xml"], ["text/xml"]],
    ],
    "DELIVERY_STORE_UPLOAD_MAX_FILES": [0, *NOT_AN_INTEGER],
    "DELIVERY_STORE_UPLOAD_MAX_BYTES": NOT_AN_INTEGER,
    "DELIVERY_STORE_UPLOAD_MAX_TOTAL_BYTES": NOT_AN_INTEGER,
    "DELIVERY_STORE_ARCHIVE_MAX_FILES": [0, *NOT_AN_INTEGER],
    "DELIVERY_STORE_ARCHIVE_MAX_BYTES": NOT_AN_INTEGER,
}


def test_tables_contain_every_setting() -> None:
    """A new setting needs an entry in each of the tables above."""
    properties = {name for name in vars(Settings) if not name.startswith("_")}
    assert len(properties) == len(READ)
    assert READ.keys() == DEFAULTS.keys() == INVALID.keys() == {name for name, *_ in VALID}


def test_every_setting_is_tested() -> None:
    """By the tests above."""
    names = {value.name for value in vars(Settings).values() if isinstance(value, Setting)}
    assert names == READ.keys()


def test_missing_setting_has_its_default() -> None:
    """All settings are optional."""
    with override_settings():
        for name in READ:
            if hasattr(settings, name):
                delattr(settings, name)
        assert {name: read() for name, read in READ.items()} == DEFAULTS


def test_setting_of_none_has_its_default() -> None:
    """None is equivalent to a missing setting."""
    with override_settings(**dict.fromkeys(READ)):
        assert {name: read() for name, read in READ.items()} == DEFAULTS


def test_settings_are_read_at_each_use(subtests: pytest.Subtests) -> None:
    """override_settings() takes effect immediately, and so does its end."""
    for name, value, expected in VALID:
        with subtests.test(name, value=value):
            before = READ[name]()
            with override_settings(**{name: value}):
                assert READ[name]() == expected
                assert type(READ[name]()) is type(expected)
            assert READ[name]() == before


@pytest.mark.filterwarnings("ignore::BytesWarning")
def test_invalid_value_is_an_error(subtests: pytest.Subtests) -> None:
    """The message begins with the setting, quotes the value and has a remedy."""
    table = ((name, value) for name, values in INVALID.items() for value in values)
    for name, value in table:
        with subtests.test(name, value=value), override_settings(**{name: value}):
            with pytest.raises(ImproperlyConfigured) as caught:
                READ[name]()
            assert str(caught.value).startswith(f"{name} {value!r} is not a")
            assert ": set it to " in str(caught.value)
            # Other settings are not affected.
            for other, read in READ.items():
                if other != name:
                    read()
