"""The example site on disk, and windows on it.

A module asks for them by ``pytest_plugins = ["tests.browser.campus_fixtures"]``.
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
    """The site on disk, one for all tests of a process."""
    with running(tmp_path_factory.mktemp("campus")) as site:
        yield site


@pytest.fixture
def opened(browser: Browser, campus: Campus) -> Iterator[Open]:
    """Opens windows on the site, by a user's name, a width, a scheme, with scripts or without."""
    with windows(browser, campus) as open_window:
        yield open_window
