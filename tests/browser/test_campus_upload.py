"""Uploads to the example site: dropped, chosen, by keyboard, and without script."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .campus import Campus, Sent, choose, deliver, drop, errors, slow_line, written

if TYPE_CHECKING:
    from .campus import Open
    from .window import Window

pytest_plugins = ["tests.browser.campus_fixtures"]

GROUP = "/groups/1/"

#: Records the announcements for screen readers and the values of the progress bar.
LISTEN = """
    window.heard = []; window.seen = [];
    const state = document.querySelector('[role=status][data-state]');
    new MutationObserver(() => heard.push(state.textContent)).observe(state, {childList: true});
    const bar = document.querySelector('progress');
    new MutationObserver(() => {
        if (bar.checkVisibility()) seen.push(bar.value);
    }).observe(bar, {attributes: true});
    window.addEventListener('pagehide', () => {
        sessionStorage.heard = JSON.stringify(heard); sessionStorage.seen = JSON.stringify(seen);
    });
"""


@pytest.fixture
def thirty(tmp_path: Path) -> list[Sent]:
    """Return files of 0 bytes to 1.5 MB, with unusual names."""
    odd = ["blåbær.txt", "наука.txt", "论文.pdf", "a & b <c>.txt", 'it\'s "it".md', "empty"]
    names = [*odd, *(f"part {number}.bin" for number in range(30 - len(odd)))]
    chance = random.Random(4)
    return written(
        tmp_path / "thirty",
        {
            name: chance.randbytes(n * 50_000 if name != "empty" else 0)
            for n, name in enumerate(names)
        },
    )


def shown(window: Window) -> set[tuple[str, str]]:
    """Return name and SHA-256 of the files on the page of a delivery."""
    rows = window.page.locator("main .files li")
    names = rows.locator(".name").all_inner_texts()
    return set(zip(names, rows.locator("code").all_inner_texts(), strict=True))


def arriving(path: Path) -> str:
    """Return the filename that browsers send (HTML, "Multipart form data")."""
    return path.name.replace('"', "%22")


def expected(sent: list[Sent]) -> set[tuple[str, str]]:
    return {(arriving(file.path), file.sha256) for file in sent}


def stored(campus: Campus, sent: list[Sent]) -> bool:
    """Check that rows and store have each of these files with its size and bytes."""
    rows = {(name, size, digest): key for name, size, digest, key in campus.finished()}
    for file in sent:
        key = rows[arriving(file.path), file.size, file.sha256]
        data = (campus.shown.store / key).read_bytes()
        assert hashlib.sha256(data).hexdigest() == file.sha256
    return True


def test_thirty_dropped_files_are_delivered(
    campus: Campus, opened: Open, thirty: list[Sent]
) -> None:
    """The progress is announced, and names, sizes and checksums are shown."""
    window = opened("anna")
    window.go(GROUP)
    drop(window, [file.path for file in thirty])
    assert "30 files chosen" in window.page.locator("[data-state]").inner_text()
    assert window.page.locator("[data-list] li").count() == 30
    window.page.evaluate(LISTEN)
    with slow_line(window, 10_000_000):
        deliver(window)
    assert "was received in full: 30 files" in window.page.locator(".messages").inner_text()
    assert shown(window) == expected(thirty)
    assert stored(campus, thirty)
    seen = window.page.evaluate("JSON.parse(sessionStorage.seen)")
    assert len(set(seen)) >= 5
    assert seen == sorted(seen)
    assert 100 in seen
    heard = window.page.evaluate("JSON.parse(sessionStorage.heard)")
    assert heard[0] == "Sending files."
    assert heard[-1] == "All files were sent and are being stored."
    assert {text for text in heard if text.endswith(" % sent.")} >= {"50 % sent."}
    assert len(heard) <= 13  # one announcement for each tenth
    window.assert_sound()


def test_files_dropped_beside_the_field_are_chosen_too(opened: Open, tmp_path: Path) -> None:
    """They are added to the chosen files and do not replace the page."""
    one, two = written(tmp_path / "two", {"1.txt": b"1", "2.txt": b"2"})
    window = opened("anna")
    window.go(GROUP)
    choose(window, [one])
    drop(window, [two.path], "h1")
    assert window.page.locator("[data-list] .name").all_inner_texts() == ["1.txt", "2.txt"]
    window.page.click("[aria-label='Remove 1.txt']")
    drop(window, [two.path])  # a duplicate is ignored
    deliver(window)
    assert shown(window) == expected([two])
    window.assert_sound()


def test_dropped_folder_is_reported(opened: Open, tmp_path: Path) -> None:
    """Browsers present a folder as a file that cannot be read. Other files are kept."""
    (one,) = written(tmp_path / "files", {"1.txt": b"1"})
    folder = tmp_path / "a folder"
    folder.mkdir()
    window = opened("anna")
    window.go(GROUP)
    drop(window, [folder, one.path])
    assert errors(window) == ["“a folder” is a folder. Drop the files in it instead."]
    deliver(window)
    assert shown(window) == expected([one])


def test_duplicate_filename_is_reported(opened: Open, tmp_path: Path) -> None:
    """Neither file replaces the other."""
    (one,) = written(tmp_path / "one", {"main.py": b"1"})
    (two,) = written(tmp_path / "two", {"main.py": b"22"})
    window = opened("anna")
    window.go(GROUP)
    drop(window, [one.path])
    drop(window, [two.path])
    window.page.click("[data-deliver]")
    assert errors(window) == ["Duplicate filename “main.py”: filenames must be unique."]
    window.page.locator("[aria-label='Remove main.py']").first.click()
    deliver(window)
    assert shown(window) == expected([two])


def test_delivery_by_keyboard_alone(campus: Campus, opened: Open, tmp_path: Path) -> None:
    """From the login to the download, with a visible focus."""
    sent = written(tmp_path / "sent", {"essay.txt": b"An essay."})
    window = opened()
    page, keyboard = window.page, window.page.keyboard
    window.go("/")

    def tab_to(selector: str) -> None:
        for _ in range(40):
            if page.evaluate(f"document.activeElement.matches({selector!r})"):
                outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
                assert outline != "none"
                return
            keyboard.press("Tab")
        raise AssertionError(f"{selector} cannot be reached.")

    tab_to("main a[href='/login/']")
    keyboard.press("Enter")
    page.wait_for_url("**/login/")
    tab_to("[name=username]")
    keyboard.type("anna")
    keyboard.press("Tab")
    keyboard.type(campus.password())
    keyboard.press("Enter")
    page.wait_for_url(f"{campus.url}/")
    tab_to(f"a[href='{GROUP}']")
    keyboard.press("Enter")
    page.wait_for_url(f"**{GROUP}")
    tab_to("input[type=file]")
    with page.expect_file_chooser() as chooser:
        keyboard.press("Space")
    assert chooser.value.is_multiple()
    chooser.value.set_files([file.path for file in sent])
    tab_to("[data-deliver]")
    keyboard.press("Enter")
    page.wait_for_url("**/deliveries/*/")
    tab_to(".files .name")
    with page.expect_download() as download:
        keyboard.press("Enter")
    assert download.value.suggested_filename == "essay.txt"
    assert Path(download.value.path()).read_bytes() == b"An essay."
    window.assert_sound()


def test_skip_link_leads_to_the_content(opened: Open) -> None:
    """It is the first link and visible with focus."""
    window = opened("anna")
    window.go(GROUP)
    window.page.keyboard.press("Tab")
    skip = window.page.locator(".skip")
    box = skip.bounding_box()
    assert box is not None
    assert box["y"] >= 0
    window.page.keyboard.press("Enter")
    assert window.page.evaluate("document.activeElement.id") == "content"


def test_form_works_without_script(campus: Campus, opened: Open, tmp_path: Path) -> None:
    """It leads to the same page, without progress."""
    sent = written(tmp_path / "sent", {"1.txt": b"1", "2.txt": b"22", "empty": b""})
    window = opened("anna", script=False)
    window.go(GROUP)
    drop(window, [file.path for file in sent])  # handled by the browser itself
    deliver(window)
    assert "was received in full: 3 files" in window.page.locator(".messages").inner_text()
    assert shown(window) == expected(sent)
    assert stored(campus, sent)
    window.assert_sound()


def test_browser_requires_a_file(campus: Campus, opened: Open) -> None:
    """Without a file nothing is sent."""
    before = campus.deliveries()
    window = opened("anna")
    window.go(GROUP)
    window.page.click("[data-deliver]")
    assert window.page.evaluate("document.querySelector('input[type=file]').matches(':invalid')")
    assert window.page.url.endswith(GROUP)
    assert campus.deliveries() == before
