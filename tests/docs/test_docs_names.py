"""README and manual name all that the package has for its users, and nothing that it has not."""

from __future__ import annotations

import inspect
import re

from django.core.management import get_commands
from django.dispatch import Signal

from devilry_storage import exceptions, resolving, signals, storages
from devilry_storage.checks import ids
from devilry_storage.conf import Settings

from ..harness.manual import DOCS, ROOT, pages


def _text() -> str:
    return "\n".join(page.read_text(encoding="utf-8") for page in pages())


def _page(name: str) -> str:
    return (DOCS / f"{name}.rst").read_text(encoding="utf-8")


def _headings(text: str) -> list[str]:
    found = re.findall(r"^(\S.*)\n([-=~])\2+$", text, flags=re.MULTILINE)
    return [heading for heading, _ in found]


def test_each_setting_has_a_typed_signature() -> None:
    """The settings page has a heading for each setting that exists, as its code declares it."""
    declared = {
        re.match(r"``(.+?)``", inspect.getdoc(each) or "")[1]  # type: ignore[index]
        for _, each in inspect.getmembers(Settings, lambda it: isinstance(it, property))
    }
    headings = {each.strip("`") for each in _headings(_page("settings")) if ":" in each}
    assert headings == declared


def test_no_other_setting_is_named() -> None:
    """A setting that a page names is one that is read."""
    declared = " ".join(inspect.getdoc(each) or "" for each in vars(Settings).values())
    for name in set(re.findall(r"\b(?:DELIVERY_STORE|DEVILRY)_[A-Z_]+\b", _text())):
        assert name in declared


def test_each_option_is_named() -> None:
    """The page of the stores has each option that a store takes."""
    page = _page("stores")
    for each in (storages.FsDeliveryStore, storages.FsHierDeliveryStore):
        for option in set(inspect.signature(each.__init__).parameters) - {"self", "unknown"}:
            assert f"``{option}" in page, option


def test_each_check_is_explained() -> None:
    """The page of checks has a heading for each id; no page names another id."""
    known = {value for name, value in vars(ids).items() if name.isupper() and name[0] != "_"}
    headings = {each.split()[0].strip("`:") for each in _headings(_page("checks"))[1:]}
    assert headings == known
    assert set(re.findall(r"\bdevilry_storage\.[EW]\d+\b", _text())) == known


def test_each_exception_is_explained() -> None:
    """The page of exceptions has each that the package defines."""
    page = _page("exceptions")
    for module in (exceptions, resolving):
        for name, each in vars(module).items():
            own = inspect.isclass(each) and each.__module__ == module.__name__
            if own and issubclass(each, Exception):
                assert name in page


def test_each_signal_is_explained() -> None:
    """The page of signals has each signal."""
    page = _page("signals")
    for name, each in vars(signals).items():
        if isinstance(each, Signal):
            assert name in page


def test_each_command_is_there() -> None:
    """A page names each command of the package, and none that does not exist."""
    named = set(re.findall(r"manage\.py ([a-z_]+)", _text()))
    known = get_commands()
    assert named <= {*known, "demo"}
    assert {name for name, app in known.items() if app == "devilry_storage"} <= named


def test_public_names_are_in_the_reference() -> None:
    """The reference has each name that a public module exports."""
    page = _page("reference")
    for module in (
        "models.py",
        "storages/__init__.py",
        "testing/__init__.py",
        "admin/__init__.py",
    ):
        source = (ROOT / "devilry_storage" / module).read_text()
        for name in re.findall(r'^    "(\w+)",$', source, flags=re.MULTILINE):
            assert name in page, f"{module}.{name}"


def test_every_page_is_reached_from_the_index() -> None:
    """No page is left out of the table of contents."""
    listed = set(re.findall(r"^   ([\w-]+)$", _page("index"), flags=re.MULTILINE))
    assert listed == {page.stem for page in DOCS.glob("*.rst")} - {"index"}
