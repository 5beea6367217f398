"""Fixtures with the example site.

A module uses them with ``pytest_plugins = ["tests.browser.campus_fixtures"]``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from .campus import Campus, running, windows

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from .campus import Open


@pytest.fixture(scope="session")
def campus(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[Campus]:
    """Return a site with its store on disk, one for each process."""
    with running(tmp_path_factory.mktemp("campus")) as site:
        yield site


@pytest.fixture
def opened(browser: Browser, campus: Campus) -> Iterator[Open]:
    """Return a function that opens windows on the site."""
    with windows(browser, campus) as open_window:
        yield open_window
