"""Options of the stores on disk and in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from devilry_storage.storages import (
    DeliveryStoreMixin,
    FsDeliveryStore,
    FsHierDeliveryStore,
    MemoryDeliveryStore,
)

NO_MODE = [0, -1, 0o10000, True, "640", 6.4]
NO_INTERVAL = [1, 0, -10, True, "10", 10.0]
INVALID: dict[str, list[Any]] = {
    "location": ["", 17, b"", True],
    "base_url": [17, b"/media/", Path("/media")],
    "file_permissions_mode": NO_MODE,
    "directory_permissions_mode": NO_MODE,
    "interval": NO_INTERVAL,
    "durable": [None, 0, 1, "yes"],
}


@pytest.mark.parametrize(
    ("option", "value"), [(name, value) for name, values in INVALID.items() for value in values]
)
def test_invalid_option_value_is_rejected(option: str, value: Any) -> None:
    """The error names the option, its value and the store."""
    with pytest.raises(ImproperlyConfigured) as caught:
        FsHierDeliveryStore(**{"location": "/srv", option: value})
    message = f"Invalid value {value!r} for option {option!r} of FsHierDeliveryStore: "
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("store", [FsDeliveryStore, FsHierDeliveryStore, MemoryDeliveryStore])
def test_unknown_option_is_rejected(store: Callable[..., DeliveryStoreMixin]) -> None:
    """Its value may be a secret, so only its name is shown."""
    with pytest.raises(ImproperlyConfigured, match="has no option 'secret'") as caught:
        store(secret="hidden")
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("location", "url"),
    [("media", "/media/"), ("media/a/b", "/media/a/b/"), ("media-b", None), ("", None)],
)
def test_only_stores_below_media_root_have_a_base_url(
    tmp_path: Path, location: str, url: str | None
) -> None:
    with override_settings(MEDIA_ROOT=str(tmp_path / "media"), MEDIA_URL="/media/"):
        assert FsHierDeliveryStore(tmp_path / location).base_url == url
