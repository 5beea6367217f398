"""The window for tests records the faults of a page."""

from __future__ import annotations

from typing import Any

from .window import Windows


def test_login_page_is_sound(open_browser: Windows, look: tuple[int, str]) -> None:
    """Django's own page has no faults in any look."""
    width, scheme = look
    window = open_browser(width=width, scheme=scheme)
    window.go("/admin/login/")
    assert "Log in" in window.page.title()
    window.screenshot(f"login-{width}-{scheme}")
    window.assert_sound()


def test_window_is_logged_in(open_browser: Windows, admin: Any) -> None:
    """The session cookie is accepted."""
    window = open_browser(admin)
    window.go("/admin/")
    assert window.page.locator("#user-tools").is_visible()


def test_faults_of_a_page_are_recorded(open_browser: Windows) -> None:
    """Missing files, failing scripts and pages that are too wide."""
    window = open_browser()
    window.go("/nowhere/")
    assert window.faults == [f"404: {window.url}/nowhere/"]
    window.go("/admin/login/")
    with window.page.expect_event("pageerror"):
        window.page.evaluate("setTimeout(() => { throw new Error('broken'); }, 0)")
    assert window.faults[1:] == ["script: broken"]
    window.page.evaluate("document.body.style.width = '5000px'")
    assert window.overflow() > 0


def test_image_without_text_is_a_violation(open_browser: Windows) -> None:
    """axe-core runs and reports problems."""
    window = open_browser()
    window.go("/admin/login/")
    before = window.violations().keys()
    window.page.evaluate("document.body.append(document.createElement('img'))")
    assert window.violations().keys() - before == {"image-alt"}
