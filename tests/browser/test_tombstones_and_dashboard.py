"""Deleted files, the dashboard and the copying of deliveries in Chromium: every look, keyboard."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.models import MonthlySum, Tombstone
from devilry_storage.usage import refresh

from .conftest import LOOKS
from .window import Window, Windows

TOMBSTONES = "/admin/devilry_storage/tombstone/"
DASHBOARD = "/admin/devilry_storage/monthlysum/"

PAGES = {
    "dashboard": DASHBOARD,
    "tombstones": TOMBSTONES,
    "tombstone": f"{TOMBSTONES}{{pk}}/change/",
    "remove": f"{TOMBSTONES}{{pk}}/remove/",
}


@pytest.fixture
def tombstone(admin: Any) -> Any:
    """Return the last tombstone of a site with files of six months."""
    group = AssignmentGroup.objects.create(name="Anna and Bo")
    for month, files in ((1, 3), (2, 8), (3, 5), (5, 12), (6, 2)):
        delivery = Delivery.begin(group, admin)
        delivery.add_files({f"exercise-{n}.txt": b"x" * 2000 * month for n in range(files)})
        delivery.finish()
        created = datetime(2026, month, 15, tzinfo=timezone.utc)
        FileMeta.objects.filter(delivery=delivery).update(created=created)
    refresh()
    Delivery.begin(group, admin)
    name = "a-rather-long-name-of-a-program-that-prints-all-of-its-arguments-in-order.py"
    delivery.files[0].delete()
    other = Delivery.begin(group, admin)
    other.add_file(name, b"print()").delete()
    Tombstone.objects.filter(filename="exercise-0.txt").update(
        due=datetime(2026, 7, 1, tzinfo=timezone.utc)
    )
    return Tombstone.objects.get(filename=name)


@pytest.mark.parametrize("page", PAGES)
def test_page_is_sound_in_every_look(
    open_browser: Windows, admin: Any, tombstone: Any, stock_violations: set[str], page: str
) -> None:
    """No page is too wide, and axe-core finds no problems that Django's pages do not have."""
    for width, scheme in LOOKS:
        window = open_browser(admin, width=width, scheme=scheme)
        window.go(PAGES[page].format(pk=tombstone.pk))
        window.screenshot(f"{page}-{width}-{scheme}")
        window.assert_sound()
        found = window.violations()
        assert found.keys() <= stock_violations, found


def press(window: Window, name: str) -> None:
    """Press Tab until the element with this text has the focus, then Enter."""
    for _ in range(80):
        window.page.keyboard.press("Tab")
        focused = "document.activeElement"
        text = window.page.evaluate(f"{focused}.value || {focused}.textContent.trim()")
        if text == name:
            with window.page.expect_navigation():
                window.page.keyboard.press("Enter")
            return
    raise AssertionError(f"{name!r} cannot be reached by keyboard.")


def test_file_is_restored_by_keyboard(open_browser: Windows, admin: Any, tombstone: Any) -> None:
    """On the page of the deleted file."""
    window = open_browser(admin)
    window.go(PAGES["tombstone"].format(pk=tombstone.pk))
    press(window, "Restore")
    assert "1 file was restored." in window.page.content()
    assert FileMeta.objects.filter(filename=tombstone.filename).exists()
    window.assert_sound()


def test_file_is_removed_by_keyboard(open_browser: Windows, admin: Any, tombstone: Any) -> None:
    """The page asks for confirmation."""
    window = open_browser(admin)
    window.go(PAGES["tombstone"].format(pk=tombstone.pk))
    press(window, "Remove permanently…")
    assert Tombstone.objects.filter(pk=tombstone.pk).exists()
    press(window, "Yes, remove permanently")
    assert "1 file was removed permanently." in window.page.content()
    assert Tombstone.objects.get(pk=tombstone.pk).done is not None
    window.assert_sound()


def test_statistics_are_updated_by_keyboard(
    open_browser: Windows, admin: Any, tombstone: Any
) -> None:
    """The button of the dashboard works without script."""
    MonthlySum.objects.all().delete()
    window = open_browser(admin)
    window.go(DASHBOARD)
    assert "There are no statistics yet" in window.page.content()
    press(window, "Update statistics")
    assert window.page.locator("svg[role=img]").count() == 3
    window.assert_sound()


def test_deliveries_are_copied_to_a_group_found_by_its_name(
    open_browser: Windows, admin: Any, stock_violations: set[str]
) -> None:
    """The field is autocompleted, as on the delivery's own page."""
    group, other = (AssignmentGroup.objects.create(name=name) for name in ("Anna", "Bo"))
    delivery = Delivery.begin(group, admin)
    delivery.add_file("a.txt", b"a")
    delivery.finish()
    for width, scheme in LOOKS:
        window = open_browser(admin, width=width, scheme=scheme)
        window.go("/admin/devilry_deliveries/delivery/")
        window.page.check("input.action-select")
        window.page.select_option("select[name=action]", "copy")
        window.page.click("button[name=index]")
        window.page.click(".select2-selection")
        window.page.keyboard.type("bo")
        window.page.click(".select2-results__option:has-text('Bo')")
        window.screenshot(f"copy-{width}-{scheme}")
        window.assert_sound()
        found = window.violations()
        assert found.keys() <= stock_violations, found
    window.page.click("input[name=copy]")
    window.page.wait_for_selector(".messagelist")
    assert other.deliveries.get().copy_of == delivery
