"""The window of the tests sees what goes wrong in it."""

from __future__ import annotations

from typing import Any

from .window import Windows


def test_a_sound_page_is_found_sound(open_browser: Windows, look: tuple[int, str]) -> None:
    """Django's own login page, in every look."""
    width, scheme = look
    window = open_browser(width=width, scheme=scheme)
    window.go("/admin/login/")
    assert "Log in" in window.page.title()
    window.screenshot(f"login-{width}-{scheme}")
    window.assert_sound()


def test_whoever_is_logged_in_has_the_admin(open_browser: Windows, admin: Any) -> None:
    """The cookie is taken."""
    window = open_browser(admin)
    window.go("/admin/")
    assert window.page.locator("#user-tools").is_visible()


def test_a_missing_file_a_script_that_fails_and_a_page_too_wide_are_found(
    open_browser: Windows,
) -> None:
    """Each of the faults is seen, so that none passes by."""
    window = open_browser()
    window.go("/nowhere/")
    assert window.faults == [f"404: {window.url}/nowhere/"]
    window.go("/admin/login/")
    with window.page.expect_event("pageerror"):
        window.page.evaluate("setTimeout(() => { throw new Error('broken'); }, 0)")
    assert window.faults[1:] == ["script: broken"]
    window.page.evaluate("document.body.style.width = '5000px'")
    assert window.overflow() > 0


def test_an_image_without_a_text_is_a_grave_violation(open_browser: Windows) -> None:
    """axe-core runs, and finds something."""
    window = open_browser()
    window.go("/admin/login/")
    before = window.violations().keys()
    window.page.evaluate("document.body.append(document.createElement('img'))")
    assert window.violations().keys() - before == {"image-alt"}
