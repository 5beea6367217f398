"""Options of the stores on disk and in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import ContentFile
from django.test import override_settings
from django.urls import NoReverseMatch, reverse, reverse_lazy

from devilry_storage.exceptions import NoURL
from devilry_storage.storages import DeliveryStoreMixin, FsDeliveryStore, FsHierDeliveryStore
from devilry_storage.testing import MemoryDeliveryStore

NO_MODE = [0, -1, 0o10000, True, "640", 6.4]
NO_INTERVAL = [1, 0, -10, True, "10", 10.0]
INVALID: dict[str, list[Any]] = {
    "location": ["", 17, b"", True],
    "base_url": [17, b"/media/", Path("/media")],
    "file_permissions_mode": NO_MODE,
    "directory_permissions_mode": NO_MODE,
    "interval": NO_INTERVAL,
    "durable": [None, 0, 1, "yes"],
    "allow_overwrite": [True, None, 1],
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


@pytest.mark.parametrize("store", [FsDeliveryStore, FsHierDeliveryStore])
def test_options_of_django_are_accepted(store: type[FsDeliveryStore]) -> None:
    """Also by position; the reason is named for the one that contradicts the store."""
    assert store("/srv", "/files", 0o640, 0o750, False).base_url == "/files/"
    with pytest.raises(ImproperlyConfigured, match="save\\(\\) never overwrites"):
        store("/srv", allow_overwrite=True)


def test_base_url_may_be_lazy_and_assigned() -> None:
    """Like that of FileSystemStorage. It is evaluated when it is used."""
    with pytest.raises(NoReverseMatch):
        _ = FsHierDeliveryStore("/srv", base_url=reverse_lazy("missing")).base_url
    store = FsHierDeliveryStore("/srv", base_url=reverse_lazy("admin:index"))
    assert store.url("a.txt") == f"{reverse('admin:index')}a.txt"
    assert store.deconstruct()[2]["base_url"] == reverse("admin:index")
    store.base_url = None
    with pytest.raises(NoURL):
        store.url("a.txt")


def test_location_may_be_assigned(tmp_path: Path) -> None:
    """Like that of FileSystemStorage; a changed setting resets what was assigned, as there."""
    store = FsHierDeliveryStore(durable=False)
    store.location = str(tmp_path)
    store.save("a.txt", ContentFile(b"data"))
    assert (tmp_path / "a.txt").read_bytes() == b"data"
    assert store.exists(str(tmp_path))
    assert store.listdir(str(tmp_path)) == ([], ["a.txt"])
    with override_settings(MEDIA_ROOT=str(tmp_path / "media")):
        assert store.location != str(tmp_path)


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
