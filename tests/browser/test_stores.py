"""The store browser as it looks, and a walk through it by keyboard alone."""

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
def kept(transactional_db: None, tmp_path: Path) -> Any:
    """A store in which one delivery has a file in every state."""
    # A path that reads well in the manual's picture, wherever the tests run.
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
    "store-asked": f"{FOLDER}?folder=0/1/1005&name=0/1/1005/999999",
    "store-nothing": f"{FOLDER}?folder=no/such/folder",
    "store-orphan": f"{FOLDER}bury/?name=0/1/1005/999999",
}


def test_each_page_looks_as_the_admin_does(
    open_browser: Windows, admin: Any, kept: Any, look: tuple[int, str], stock_violations: set[str]
) -> None:
    """Sound, no wider than the window, and nothing grave beyond Django's own pages."""
    width, scheme = look
    window = open_browser(admin, width=width, scheme=scheme)
    for name, path in PAGES.items():
        window.go(path)
        window.screenshot(f"{name}-{width}-{scheme}")
        window.assert_sound()
        violations = window.violations()
        assert violations.keys() <= stock_violations, (name, violations)


def test_a_store_that_is_gone_is_told(
    open_browser: Windows, admin: Any, kept: Any, look: tuple[int, str]
) -> None:
    """As an error note of the admin's."""
    kept_at = Path(kept.location)
    kept_at.rename(kept_at.with_name("elsewhere"))
    window = open_browser(admin, width=look[0], scheme=look[1])
    window.go(FOLDER)
    window.screenshot(f"store-gone-{look[0]}-{look[1]}")
    assert "cannot be shown" in window.page.get_by_role("alert").inner_text()
    window.assert_sound()


def _press_to(window: Window, text: str) -> None:
    """Press Tab until what has this text has the focus, and can be seen to have it."""
    for _time in range(80):
        window.page.keyboard.press("Tab")
        focused = window.page.evaluate(
            "(document.activeElement.ariaLabel || document.activeElement.innerText || "
            "document.activeElement.value || document.activeElement.id || '').trim()"
        )
        if focused == text:
            return
    raise AssertionError(f"{text!r} is not reached")


def _enter(window: Window) -> None:
    """Press Enter, which leads to another page."""
    with window.page.expect_navigation():
        window.page.keyboard.press("Enter")


def test_a_walk_by_keyboard_alone(open_browser: Windows, admin: Any, kept: Any) -> None:
    """From the admin's first page to a file, then to another delivery, and an orphan's end."""
    window = open_browser(admin)
    window.go(reverse("admin:index"))
    store = "devilry_storage.storages.filesystem.FsHierDeliveryStore"
    for text in ("Delivery stores", store, "0/", "1/", "1005/"):
        _press_to(window, text)
        _enter(window)
    assert window.page.get_by_text("essay.pdf").count() == 1
    _press_to(window, "jump-to")
    window.page.keyboard.type("17")
    _enter(window)
    for text in ("Remove: 8", "Yes, write the tombstone"):
        _press_to(window, text)
        _enter(window)
    assert "0/0/17/8" in window.page.locator("ul.messagelist").inner_text()
    window.assert_sound()
