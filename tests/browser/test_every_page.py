"""Every page of the admin for the package's models, and the screenshots of the manual.

To renew the screenshots, run::

    DEVILRY_STORAGE_SCREENSHOTS=docs/images pytest -m browser -k screenshots
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib import admin as admin_site
from django.urls import NoReverseMatch, reverse

from devilry_storage.deliveries.models import Delivery, FileMeta
from devilry_storage.storages import FsHierDeliveryStore
from devilry_storage.testing import override_deliverystore

from .school import fill
from .window import HEIGHT, Windows

if TYPE_CHECKING:
    from .campus import Open

pytest_plugins = ["tests.browser.campus_fixtures"]

APPS = {"devilry_storage", "devilry_deliveries"}
PAGES = ("changelist", "add", "change", "delete", "history", "preview")

STORE = "/admin/devilry_storage/storebrowser/devilry_deliveries.filemeta/"


class SchoolStore(FsHierDeliveryStore):
    """A store that shows a typical location in screenshots."""

    def location_text(self) -> str:
        return "/srv/deliveries"


@pytest.fixture
def delivery(admin: Any, tmp_path: Path) -> Iterator[Delivery]:
    """Return a delivery whose folder has files in all states."""
    with override_deliverystore(SchoolStore(tmp_path / "deliveries")) as store:
        yield fill(store)


def pages() -> Iterator[str]:
    """Yield the path of each page of each model, with the id of its last row if necessary."""
    yield reverse("admin:index")
    for app in sorted(APPS):
        yield reverse("admin:app_list", args=[app])
    for model in admin_site.site._registry:
        meta = model._meta
        if meta.app_label not in APPS:
            continue
        for page in PAGES:
            name = f"admin:{meta.app_label}_{meta.model_name}_{page}"
            try:
                yield reverse(name)
                continue
            except NoReverseMatch:
                pass
            try:
                reverse(name, args=[1])
            except NoReverseMatch:
                continue
            for row in model._default_manager.order_by("-pk")[:1]:
                yield reverse(name, args=[row.pk])


def test_every_page_is_sound_in_every_look(
    open_browser: Windows, admin: Any, delivery: Delivery, stock_violations: set[str]
) -> None:
    """No request fails, no page is too wide, and axe-core finds no new problems.

    The checkboxes that delete inline rows are Django's own.
    """
    faults: dict[str, Any] = {}
    seen = set()
    for scheme in ("light", "dark"):
        window = open_browser(admin, scheme=scheme)
        for path in pages():
            answer = window.go(path)
            assert answer is not None
            if answer.status == 403:  # rows that are read-only
                window.faults.clear()
                continue
            seen.add(path)
            for width in (1280, 320):
                window.page.set_viewport_size({"width": width, "height": HEIGHT})
                window.screenshot(f"{path.strip('/').replace('/', '-')}-{width}-{scheme}")
                if window.overflow() > 0:
                    faults[f"{path} at {width}"] = f"{window.overflow()} pixels too wide"
            for rule, where in window.violations().items():
                if rule not in stock_violations and not (rule == "label" and "-DELETE" in where):
                    faults[f"{path}, {scheme}: {rule}"] = where
            if window.faults:
                faults[path] = window.faults[:]
                window.faults.clear()
    assert faults == {}
    assert len(seen) > 20


def test_screenshots_of_the_manual(
    open_browser: Windows, admin: Any, delivery: Delivery, opened: Open
) -> None:
    """The pages have the content that the manual describes."""
    window = open_browser(admin)
    folder = str(delivery.files.earliest("pk").content.name).rpartition("/")[0]
    preview = FileMeta.objects.filter(filename="queue.py").latest("pk")
    months = "section:has(#months-title)"
    shown = {
        "store-browser": (f"{STORE}?folder={folder}", "Unrecorded file", ""),
        "deliveries": (
            reverse("admin:devilry_deliveries_delivery_changelist"),
            "Exercise 3",
            "#content",
        ),
        "dashboard": (
            reverse("admin:devilry_storage_monthlysum_changelist"),
            "Deliveries",
            months,
        ),
        "preview": (
            reverse("admin:devilry_deliveries_filemeta_preview", args=[preview.pk]),
            "def get",
            "#content",
        ),
    }
    for name, (path, text, part) in shown.items():
        window.page.set_viewport_size(
            {"width": 1440 if part == "#content" else 1100, "height": 560}
        )
        window.go(path)
        assert text in window.page.inner_text("#content")
        window.screenshot(name, part)
    student = opened("anna")
    student.go("/")
    student.page.click("main a")
    student.page.set_viewport_size({"width": 1100, "height": 560})
    student.screenshot("student")
    assert window.faults == student.faults == []
