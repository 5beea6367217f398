"""Fixtures: Chromium, a live server, and accessibility problems of Django's own admin pages."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness import machine
from tests.harness.users import make_superuser

from .window import Windows, running

if TYPE_CHECKING:
    from playwright.sync_api import Browser

HERE = Path(__file__).parent

#: The widths and colour schemes of the tests.
LOOKS = [(1280, "light"), (1280, "dark"), (320, "light"), (320, "dark")]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Return Chromium, one for each process."""
    machine.need(machine.CHROMIUM)
    # Playwright runs an event loop in this thread, in which Django does not allow queries.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    try:
        with running() as browser:
            yield browser
    finally:
        del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture
def open_browser(browser: Browser, live_server: Any) -> Iterator[Windows]:
    """Return a function that opens windows on the live server."""
    windows = Windows(browser, live_server.url)
    yield windows
    windows.close()


@pytest.fixture
def admin(transactional_db: None) -> Any:
    """Return a superuser."""
    return make_superuser()


@pytest.fixture(params=LOOKS, ids=lambda look: f"{look[0]}-{look[1]}")
def look(request: pytest.FixtureRequest) -> tuple[int, str]:
    """Return a width and a colour scheme; a test with this fixture runs with each."""
    width_and_scheme: tuple[int, str] = request.param
    return width_and_scheme


_STOCK = [
    "",
    "auth/group/",
    "auth/group/?q=a",
    "auth/group/add/",
    "auth/group/{pk}/change/",
    "auth/group/{pk}/delete/",
]


#: A cache, as the search takes as long as several tests.
_found_on_stock: set[str] = set()


@pytest.fixture
def stock_violations(
    open_browser: Windows, admin: Any, monkeypatch: pytest.MonkeyPatch
) -> set[str]:
    """Return the rules that Django's own admin pages violate.

    They have a long name and a help text of the search, as the pages of the package.
    """
    from django.contrib.admin import site
    from django.contrib.auth.models import Group

    if _found_on_stock:
        return _found_on_stock
    monkeypatch.setattr(site._registry[Group], "search_help_text", "A part of the name.")
    name = "a group with a name that is as long as the name of a file that a student delivered"
    group, _ = Group.objects.get_or_create(name=name)
    for scheme in ("light", "dark"):
        window = open_browser(admin, scheme=scheme)
        for path in _STOCK:
            window.go(f"/admin/{path.format(pk=group.pk)}")
            _found_on_stock.update(window.violations())
    return _found_on_stock
