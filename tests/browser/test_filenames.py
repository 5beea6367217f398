"""Hostile filenames: Chromium saves files under them, and the admin shows them as text."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.urls import reverse
from playwright.sync_api import Error

from devilry_storage.deliveries.models import AssignmentGroup, Delivery
from devilry_storage.storages import FsHierDeliveryStore, S3DeliveryStore
from devilry_storage.testing import override_deliverystore
from tests.harness import s3servers
from tests.storages.test_hostile_names import TABLE

from .window import Window, Windows

#: All valid filenames of the table.
NAMES = sorted({line.filename for line in TABLE if line.filename})


def saved_by_chromium(name: str) -> str:
    """Return the name under which Chromium saves a file on Linux.

    Characters that are invisible or not allowed on some system become ``_``. Dots at both ends
    are removed.
    """
    if not name.strip("-_"):
        return "download"
    name = name.lstrip(" .").rstrip(".")
    if name[:1] == "~":
        name = f"_{name[1:]}"
    if name[-1:].isspace() or name[-1:] == "~":
        name = f"{name[:-1]}_"
    return "".join("_" if _is_replaced(character) else character for character in name)


def _is_replaced(character: str) -> bool:
    code = ord(character)
    return (
        character in '"*/:<>?\\|'
        or unicodedata.category(character) == "Cf"
        or 0xFDD0 <= code <= 0xFDEF
        or code & 0xFFFE == 0xFFFE
    )


def saved_names(window: Window, paths: Iterable[str]) -> Iterator[str]:
    """Yield the name under which Chromium saves the response to each path."""
    for path in paths:
        with window.page.expect_download() as saved:
            try:
                window.go(path)
            except Error as error:
                if "Download is starting" not in error.message:
                    raise
        yield saved.value.suggested_filename
        saved.value.cancel()


def test_most_names_are_saved_unchanged() -> None:
    """saved_by_chromium() changes less than half of them."""
    unchanged = [name for name in NAMES if saved_by_chromium(name) == name]
    assert len(unchanged) > len(NAMES) / 2
    assert saved_by_chromium("Øving 1 «én» (2).tar.gz") == "Øving 1 «én» (2).tar.gz"


@pytest.mark.parametrize("way", ["stream", pytest.param("redirect", marks=pytest.mark.servers)])
def test_files_are_saved_under_their_names(
    open_browser: Windows, admin: Any, settings: Any, tmp_path: Path, way: str
) -> None:
    """From Django, and from S3 by a redirect."""
    settings.DELIVERY_STORE_SERVE = way
    settings.DELIVERY_STORE_REDIRECT_MIN_BYTES = 0
    store: FsHierDeliveryStore | S3DeliveryStore
    if way == "redirect":
        server = s3servers.need("seaweedfs")
        store = S3DeliveryStore(**server.options(server.bucket()))
    else:
        store = FsHierDeliveryStore(tmp_path, durable=False)
    with override_deliverystore(store):
        delivery = Delivery.begin(AssignmentGroup.objects.create(name="group"))
        rows = delivery.add_files({name: [b"x"] for name in NAMES})
        delivery.finish()
        label = rows[0]._meta.label_lower
        paths = [reverse("devilry_storage:download", args=[label, row.pk]) for row in rows]
        window = open_browser(admin)
        saved = dict(zip(NAMES, saved_names(window, paths), strict=True))
    assert saved == {name: saved_by_chromium(name) for name in NAMES}
    assert window.faults == []


def test_admin_shows_names_as_text(open_browser: Windows, admin: Any) -> None:
    """In lists, forms and confirmations."""
    delivery = Delivery.begin(AssignmentGroup.objects.create(name="group"))
    rows = delivery.add_files({name: [b"x"] for name in NAMES})
    window = open_browser(admin)
    window.page.on("dialog", lambda dialog: window.faults.append(f"dialog: {dialog.message}"))
    label = rows[0]._meta
    lists = f"/admin/{label.app_label}/{label.model_name}/"
    change = f"/admin/devilry_deliveries/delivery/{delivery.pk}/change/"
    for path in (lists, change, f"{lists}?all=", f"{change[:-7]}delete/"):
        window.go(path)
        shown = window.page.content()
        assert "<svg onload" not in shown
        assert "<img src=x" not in shown
    shown = window.page.inner_text("body")
    for name in NAMES:
        assert " ".join(name.split()) in " ".join(shown.split())
    assert window.faults == []
