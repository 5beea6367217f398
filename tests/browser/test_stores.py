"""The store browser in Chromium: in every look, and by keyboard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.urls import reverse

from devilry_storage.deliveries.models import AssignmentGroup, Delivery
from devilry_storage.storages import FsHierDeliveryStore
from devilry_storage.testing import override_deliverystore
from tests.harness.users import make_user

from .window import Window, Windows

URL = "/admin/devilry_storage/storebrowser/"
FOLDER = f"{URL}devilry_deliveries.filemeta/"


@pytest.fixture
def store(transactional_db: None, tmp_path: Path) -> Any:
    """Use a store in which one delivery has files in all states."""
    store = FsHierDeliveryStore(str(tmp_path / "deliveries"))
    with override_deliverystore(store):
        group = AssignmentGroup.objects.create(name="Group 4")
        delivery = Delivery.objects.create(
            pk=1005, assignment_group=group, delivered_by=make_user("kim")
        )
        delivery.add_files(
            {"essay.pdf": b"1" * 20_000, "lost.txt": b"22", "cut.txt": b"3", "old.txt": b"4"}
        )
        delivery.finish()
        names = {row.filename: row.content.name for row in delivery.files}
        store.delete(names["lost.txt"])
        store.delete(names["cut.txt"])
        store.save(names["cut.txt"], ContentFile(b""))
        delivery.files.get(filename="old.txt").delete()
        store.save("0/1/1005/999999", ContentFile(b"5"))
        store.save("0/1/1005/" + "long" * 40 + ".txt", ContentFile(b"6"))
        store.save("0/0/17/8", ContentFile(b"7"))
        store.save("notes/essay.txt", ContentFile(b"8"))
        yield store


PAGES = {
    "stores": URL,
    "store": FOLDER,
    "store-branches": f"{FOLDER}?folder=0",
    "store-delivery": f"{FOLDER}?folder=0/1/1005",
    "store-found": f"{FOLDER}?folder=0/1/1005&name=0/1/1005/999999",
    "store-empty": f"{FOLDER}?folder=no/such/folder",
    "store-orphan": f"{FOLDER}bury/?name=0/1/1005/999999",
}


def test_pages_are_sound_in_every_look(
    open_browser: Windows,
    admin: Any,
    store: Any,
    look: tuple[int, str],
    stock_violations: set[str],
) -> None:
    """No page is too wide, and axe-core finds no problems that Django's pages do not have."""
    width, scheme = look
    window = open_browser(admin, width=width, scheme=scheme)
    for name, path in PAGES.items():
        window.go(path)
        window.screenshot(f"{name}-{width}-{scheme}")
        window.assert_sound()
        violations = window.violations()
        assert violations.keys() <= stock_violations, (name, violations)


def test_missing_store_is_reported(
    open_browser: Windows, admin: Any, store: Any, look: tuple[int, str]
) -> None:
    """The page has an error note."""
    location = Path(store.location)
    location.rename(location.with_name("elsewhere"))
    window = open_browser(admin, width=look[0], scheme=look[1])
    window.go(FOLDER)
    window.screenshot(f"store-gone-{look[0]}-{look[1]}")
    assert "cannot be listed" in window.page.get_by_role("alert").inner_text()
    window.assert_sound()


def _tab_to(window: Window, text: str) -> None:
    """Press Tab until the element with this text has the focus."""
    for _time in range(80):
        window.page.keyboard.press("Tab")
        focused = window.page.evaluate(
            "(document.activeElement.ariaLabel || document.activeElement.innerText || "
            "document.activeElement.value || document.activeElement.id || '').trim()"
        )
        if focused == text:
            return
    raise AssertionError(f"{text!r} cannot be reached")


def _enter(window: Window) -> None:
    """Press Enter and wait for the next page."""
    with window.page.expect_navigation():
        window.page.keyboard.press("Enter")


def test_store_browser_works_by_keyboard(open_browser: Windows, admin: Any, store: Any) -> None:
    """From the index of the admin to a file, and to the deletion of an unrecorded file."""
    window = open_browser(admin)
    window.go(reverse("admin:index"))
    name = "devilry_storage.storages.filesystem.FsHierDeliveryStore"
    for text in ("Delivery stores", name, "0/", "1/", "1005/"):
        _tab_to(window, text)
        _enter(window)
    assert window.page.get_by_text("essay.pdf").count() == 1
    _tab_to(window, "jump-to")
    window.page.keyboard.type("17")
    _enter(window)
    for text in ("Delete: 8", "Yes, delete"):
        _tab_to(window, text)
        _enter(window)
    assert "0/0/17/8" in window.page.locator("ul.messagelist").inner_text()
    window.assert_sound()
