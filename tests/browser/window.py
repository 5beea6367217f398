"""Windows of Chromium that record the faults of a page."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from django.conf import settings
from django.test import Client

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page, Response

SCREENSHOTS = "DEVILRY_STORAGE_SCREENSHOTS"

#: These options prevent requests to other hosts.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

HEIGHT = 800

#: The impacts of problems that tests report.
SERIOUS = {"serious", "critical"}


def chromium() -> str | None:
    """Return the path of the installed Chromium."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


@contextmanager
def running() -> Iterator[Browser]:
    """Run Chromium without a screen."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


class Window:
    """A page in its own browser context, logged in as ``user`` if given."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.url = url
        self.context = context
        self.faults: list[str] = []
        self.page: Page = context.new_page()
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.faults.append(f"script: {error}"))
        self.page.on("response", self._on_response)
        self.page.on("requestfailed", lambda request: self._on_failure(request.url))

    def _on_console(self, message: Any) -> None:
        # _on_response() reports failed responses.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.faults.append(f"console: {message.text}")

    def _on_response(self, response: Response) -> None:
        if response.status >= 400 and not response.url.endswith("/favicon.ico"):
            self.faults.append(f"{response.status}: {response.url}")

    def _on_failure(self, url: str) -> None:
        # Downloads are reported as failed, too.
        if urlsplit(url).path.startswith(settings.STATIC_URL):
            self.faults.append(f"failed: {url}")

    def go(self, path: str) -> Response | None:
        """Open a path of the site."""
        return self.page.goto(self.url + path)

    def log_in(self, user: Any) -> None:
        """Set the session cookie of a user."""
        client = Client()
        client.force_login(user)
        cookie = client.cookies[settings.SESSION_COOKIE_NAME]
        self.context.add_cookies([{"name": cookie.key, "value": cookie.value, "url": self.url}])

    def screenshot(self, name: str, part: str = "") -> Path | None:
        """Save a screenshot of the page or of one element, if the folder for them is set."""
        folder = os.environ.get(SCREENSHOTS)
        if not folder:
            return None
        path = Path(folder) / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        if part:
            self.page.locator(part).screenshot(path=path)
        else:
            self.page.screenshot(path=path, full_page=True)
        return path

    def overflow(self) -> int:
        """Return by how many pixels the page is too wide."""
        width: int = self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        return width

    def violations(self) -> dict[str, str]:
        """Return the serious problems that axe-core finds: the rule and the elements."""
        # The autocompletion fields are Django's own.
        context = {"exclude": [".select2-container"]}
        violations = Axe().run(self.page, context=context).response["violations"]
        return {
            violation["id"]: "; ".join(node["html"] for node in violation["nodes"])
            for violation in violations
            if violation["impact"] in SERIOUS
        }

    def assert_sound(self) -> None:
        """Check that nothing failed on the page and that it is not too wide."""
        assert self.faults == []
        assert self.overflow() <= 0


class Windows:
    """Open windows on one site, and close them all."""

    def __init__(self, browser: Browser, url: str) -> None:
        self._browser = browser
        self.url = url
        self._contexts: list[BrowserContext] = []

    def __call__(
        self, user: Any = None, *, width: int = 1280, scheme: str = "light", url: str = ""
    ) -> Window:
        """Open a window with a width in pixels and a colour scheme, ``light`` or ``dark``."""
        context = self._browser.new_context(
            viewport={"width": width, "height": HEIGHT},
            color_scheme="dark" if scheme == "dark" else "light",
            accept_downloads=True,
        )
        self._contexts.append(context)
        window = Window(context, url or self.url)
        if user is not None:
            window.log_in(user)
        return window

    def close(self) -> None:
        for context in self._contexts:
            context.close()
