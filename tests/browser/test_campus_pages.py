"""Every page of the example site in all widths and colour schemes, with axe-core."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .campus import Campus, choose, deliver, errors, slow_line, written
from .conftest import LOOKS
from .window import HEIGHT

if TYPE_CHECKING:
    from .campus import Open
    from .window import Window

pytest_plugins = ["tests.browser.campus_fixtures"]

GROUP = "/groups/1/"
LONG = "a rather long name that a student gave to a chapter of the thesis, draft number 3 of 7.txt"


def welcome(window: Window, folder: Path) -> None:
    window.go("/")


def login(window: Window, folder: Path) -> None:
    window.go("/login/")
    window.page.fill("[name=username]", "anna")
    window.page.fill("[name=password]", "wrong")
    window.page.click("main button")
    window.page.wait_for_selector("[role=alert]")


def home(window: Window, folder: Path) -> None:
    window.go("/")


def group(window: Window, folder: Path) -> None:
    window.go(GROUP)


def chosen(window: Window, folder: Path) -> None:
    """Choose files, one of them too large, and press the button."""
    window.go(GROUP)
    files = {LONG: b"x" * 70_000, "x" * 200: b"", "large.bin": bytes(21 * 1024**2)}
    choose(window, written(folder / "chosen", files))
    window.page.click("[data-deliver]")
    errors(window)


def delivered(window: Window, folder: Path) -> None:
    """Open the page that is shown after a delivery."""
    window.go(GROUP)
    choose(window, written(folder / "delivered", {LONG: b"x" * 70_000, "x" * 200: b""}))
    deliver(window)


def delivery(window: Window, folder: Path) -> None:
    window.go("/deliveries/1/")


def absent(window: Window, folder: Path) -> None:
    window.go("/deliveries/4711/")
    assert window.faults == [f"404: {window.url}/deliveries/4711/"]
    window.faults.clear()


#: The users and the pages that they open.
PAGES: list[tuple[str, Callable[[Window, Path], None]]] = [
    ("", welcome),
    ("", login),
    ("anna", home),
    ("anna", group),
    ("anna", chosen),
    ("anna", delivered),
    ("eva", home),
    ("eva", group),
    ("eva", delivery),
    ("admin", home),
    ("anna", absent),
]


@pytest.mark.parametrize(("user", "page"), PAGES, ids=lambda it: getattr(it, "__name__", it))
def test_page_is_sound_in_every_look(
    opened: Open, tmp_path: Path, user: str, page: Callable[[Window, Path], None]
) -> None:
    """At 1280 and 320 pixels, light and dark, axe-core finds no serious problem."""
    window = opened(user)
    page(window, tmp_path)
    for width, scheme in LOOKS:
        window.page.set_viewport_size({"width": width, "height": HEIGHT})
        window.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        window.screenshot(f"campus-{user or 'anonymous'}-{page.__name__}-{width}-{scheme}")
        window.assert_sound()
        if (width, scheme) in {(1280, "light"), (320, "dark")}:
            assert window.violations() == {}


def test_page_is_sound_while_files_are_sent(opened: Open, tmp_path: Path) -> None:
    """The progress bar has a label, and the button is marked as disabled."""
    window = opened("anna", width=320)
    window.go(GROUP)
    choose(window, written(tmp_path / "sent", {"large.bin": bytes(5 * 1024**2)}))
    with slow_line(window, 1024**2):
        window.page.click("[data-deliver]")
        window.page.get_by_text(re.compile("^[1-9]0 % sent")).wait_for()
        window.screenshot("campus-anna-sending-320-light")
        assert window.page.get_by_label("Sent").is_visible()
        assert window.page.get_attribute("[data-deliver]", "aria-disabled") == "true"
        window.assert_sound()
        assert window.violations() == {}
        window.page.click("[data-cancel]")
        errors(window)


def test_admin_is_reached_from_the_front_page(opened: Open) -> None:
    """Staff have a link to it."""
    window = opened("admin")
    window.go("/")
    window.page.click("nav a[href='/admin/']")
    window.page.wait_for_selector("#user-tools")
    window.assert_sound()


def test_examiner_downloads_files_and_archives(
    campus: Campus, opened: Open, tmp_path: Path
) -> None:
    """Single files, a delivery, and the latest deliveries."""
    sent = written(tmp_path / "sent", {"essay.txt": b"An essay.", "blåbær.txt": b"berry"})
    window = opened("anna")
    window.go(GROUP)
    choose(window, sent)
    deliver(window)
    window = opened("eva")
    window.go("/")

    def download(text: str) -> Path:
        with window.page.expect_download() as begun:
            window.page.get_by_role("link", name=text).click()
        path = tmp_path / begun.value.suggested_filename
        begun.value.save_as(path)
        return path

    members = names_in(download("Download the latest deliveries"))
    assert {file.path.name for file in sent} <= members
    window.page.click("main a:has-text('Anna and Bjarne')")
    window.page.click(".files .name >> nth=0")
    assert {file.path.name for file in sent} <= names_in(download("Download all files"))
    for file in sent:
        saved = download(file.path.name)
        assert (saved.name, saved.read_bytes()) == (file.path.name, file.path.read_bytes())
    window.assert_sound()


def names_in(path: Path) -> set[str]:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name.rpartition("/")[2] for name in archive.namelist()}
