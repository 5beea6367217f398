"""The example site in another process, windows on it, and helpers for uploads."""

from __future__ import annotations

import hashlib
import http.cookiejar
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import HTTPCookieProcessor

from tests.harness.example_site import Server, Shown, run, serving

from .window import HEIGHT, Window

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    Open = Callable[..., Window]

#: A query for the files of finished deliveries of the example project.
FINISHED = """
    SELECT filename, size, sha256, content FROM devilry_deliveries_filemeta
    WHERE delivery_id IN (SELECT id FROM devilry_deliveries_delivery WHERE successful)
"""


@dataclass
class Campus:
    """The running site, the output of its demo, and the cookies of logged-in users."""

    server: Server
    shown: Shown
    cookies: dict[str, list[Any]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return self.server.url

    def at(self, url: str) -> Campus:
        """Return the same site with another URL."""
        return Campus(replace(self.server, url=url), self.shown)

    def password(self) -> str:
        return self.shown.password()

    def cookies_of(self, user: str) -> list[Any]:
        """Log in once and return the cookies in the format of Playwright."""
        if user not in self.cookies:
            opener = self.server.site(user, self.password())
            (jar,) = (
                handler.cookiejar
                for handler in opener.handlers
                if isinstance(handler, HTTPCookieProcessor)
            )
            self.cookies[user] = [self._cookie(cookie) for cookie in jar]
        return self.cookies[user]

    def _cookie(self, cookie: http.cookiejar.Cookie) -> dict[str, Any]:
        return {"name": cookie.name, "value": cookie.value or "", "url": self.url}

    def finished(self) -> list[tuple[str, int, str, str]]:
        """Return name, size, SHA-256 and key of every file of a finished delivery."""
        return self.shown.rows(FINISHED, self.database)

    def deliveries(self) -> int:
        """Return the number of deliveries, finished or not."""
        query = "SELECT count(*) FROM devilry_deliveries_delivery"
        ((count,),) = self.shown.rows(query, self.database)
        number: int = count
        return number

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Lock the database, so that the server waits before it writes."""
        with closing(sqlite3.connect(self.shown.data / self.database)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.rollback()

    @property
    def database(self) -> str:
        return next(path.name for path in sorted(self.shown.data.glob("*.sqlite3")))


@contextmanager
def running(folder: Path, **more: str) -> Iterator[Campus]:
    """Run the demo with two small files in this folder, and serve its site."""
    source = folder / "source"
    source.mkdir()
    (source / "a.txt").write_text("a")
    (source / "b.txt").write_text("b")
    ran = run(folder / "data", "demo", "--s3-server", "none", "--source", source, **more)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    with serving(folder / "data", folder / "log", **more) as server:
        yield Campus(server, Shown(folder / "data", ran.stdout))


@contextmanager
def windows(browser: Browser, campus: Campus) -> Iterator[Open]:
    """Yield a function that opens windows on the site; close them at the end."""
    with ExitStack() as stack:

        def open_window(
            user: str = "", *, width: int = 1280, scheme: str = "light", script: bool = True
        ) -> Window:
            context = browser.new_context(
                viewport={"width": width, "height": HEIGHT},
                color_scheme="dark" if scheme == "dark" else "light",
                java_script_enabled=script,
                accept_downloads=True,
            )
            stack.callback(context.close)
            if user:
                context.add_cookies(campus.cookies_of(user))
            return Window(context, campus.url)

        yield open_window


# -- Uploads --


@dataclass(frozen=True)
class Sent:
    """A local file to deliver."""

    path: Path
    size: int
    sha256: str


def written(folder: Path, files: dict[str, bytes]) -> list[Sent]:
    """Write files into a folder."""
    folder.mkdir(exist_ok=True)
    sent = []
    for name, data in files.items():
        (folder / name).write_bytes(data)
        sent.append(Sent(folder / name, len(data), hashlib.sha256(data).hexdigest()))
    return sent


def drop(window: Window, paths: Sequence[Path], selector: str = "input[type=file]") -> None:
    """Drag files from the desktop and drop them on an element."""
    box = window.page.locator(selector).bounding_box()
    assert box is not None
    session = window.context.new_cdp_session(window.page)
    position = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, "data": data, **position})
    session.detach()


def choose(window: Window, sent: Sequence[Sent]) -> None:
    """Choose files with the file input."""
    window.page.set_input_files("input[type=file]", [file.path for file in sent])


@contextmanager
def slow_line(window: Window, bytes_a_second: int) -> Iterator[None]:
    """Limit the upload rate of the window."""
    session = window.context.new_cdp_session(window.page)
    limits = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": bytes_a_second}
    session.send("Network.enable")
    session.send("Network.emulateNetworkConditions", {"offline": False, **limits})
    yield
    session.detach()


def deliver(window: Window) -> None:
    """Press the button and wait for the page of the delivery."""
    window.page.click("[data-deliver]")
    window.page.wait_for_url("**/deliveries/*/")


def errors(window: Window) -> list[str]:
    """Wait for the errors of the upload form and return their texts."""
    window.page.wait_for_selector("[role=alert] li")
    return window.page.locator("[role=alert] li").all_inner_texts()
