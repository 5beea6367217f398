"""Run the commands and the server of the example project, and read their output."""

from __future__ import annotations

import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, build_opener

ROOT = Path(__file__).parents[2]
MANAGE = ROOT / "example_project" / "manage.py"
PATIENCE = 120.0

ROWS = "SELECT content, size, sha256 FROM devilry_deliveries_filemeta WHERE content IS NOT NULL"
TOMBSTONES = "SELECT name, size, sha256 FROM devilry_storage_tombstone"

FILES = "/admin/devilry_deliveries/filemeta/"
GONE = "/admin/devilry_storage/tombstone/"


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-W", "error", str(MANAGE), *map(str, arguments)]


def environment(data: Path, **more: str) -> dict[str, str]:
    unwanted = ("DJANGO_SETTINGS_MODULE", "DELIVERY_STORE", "AWS_")
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(unwanted)},
        "PYTHONPATH": str(ROOT),
        "EXAMPLE_DATA": str(data),
        "COLUMNS": "200",
        **more,
    }


def run(data: Path, *arguments: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments),
        env=environment(data, **more),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@dataclass(frozen=True)
class Shown:
    """The data folder and the output of a finished demo."""

    data: Path
    printed: str

    @property
    def store(self) -> Path:
        return self.data / "deliveries"

    def rows(self, query: str, database: str = "db.sqlite3") -> list[Any]:
        with closing(sqlite3.connect(self.data / database)) as connection:
            return connection.execute(query).fetchall()

    def figure(self, pattern: str) -> int:
        """Return the number in the summary that the pattern's group matches."""
        summary = self.printed.partition("\nSummary ")[2]
        return int(the_one(pattern, summary))

    def password(self, user: str = "admin") -> str:
        return the_one(rf"user {user}, password (\S+)", self.printed)


def the_one(pattern: str, text: str) -> str:
    """Return the pattern's group; the pattern must match exactly once."""
    found: list[str] = re.findall(pattern, text)
    assert len(found) == 1, f"{pattern!r} in {text}"
    return found[0]


@dataclass(frozen=True)
class Server:
    url: str
    log: Path

    def admin(self, password: str) -> Any:
        """Return an opener that is logged in to the admin."""
        return self._logged_in("/admin/", "admin", password)

    def site(self, user: str, password: str) -> Any:
        """Return an opener that is logged in to the site."""
        return self._logged_in("/", user, password)

    def _logged_in(self, path: str, user: str, password: str) -> Any:
        browser = build_opener(HTTPCookieProcessor(CookieJar()))
        login = f"{self.url}{path}login/"
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', read(browser, login))
        assert token
        fields = {"username": user, "password": password, "csrfmiddlewaretoken": token[1]}
        with browser.open(f"{login}?next={path}", urlencode(fields).encode()) as response:
            assert response.url == f"{self.url}{path}"
        return browser


def read(browser: Any, url: str) -> str:
    with browser.open(url, timeout=PATIENCE) as response:
        text: str = response.read().decode()
    return text


@contextmanager
def serving(data: Path, log: Path, **more: str) -> Iterator[Server]:
    """Run the development server inside the block, and interrupt it afterwards.

    The reloader is off, except for a store in memory, for which the project turns it off itself.
    """
    in_memory = more.get("DELIVERY_STORE") == "memory"
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    with log.open("w") as output:
        server = subprocess.Popen(
            command("runserver", address, *(() if in_memory else ("--noreload",))),
            env=environment(data, **more),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for(f"http://{address}/", server, log)
        yield Server(f"http://{address}", log)
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(PATIENCE)


def wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + PATIENCE
    while server.poll() is None and time.monotonic() < until:
        try:
            with build_opener().open(url, timeout=PATIENCE):
                return
        except URLError:
            time.sleep(0.1)
    raise AssertionError(f"{url} does not respond: {log.read_text()}")
