"""The manual documents all public names, and no others."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from django.core.management import get_commands
from django.dispatch import Signal

from devilry_storage import checks, exceptions, resolving, signals, storages
from devilry_storage.conf import Setting, Settings

from ..harness.manual import DOCS, ROOT, pages


def _text() -> str:
    return "\n".join(page.read_text(encoding="utf-8") for page in pages())


def _page(name: str) -> str:
    return (DOCS / f"{name}.rst").read_text(encoding="utf-8")


def _headings(text: str) -> list[str]:
    found = re.findall(r"^(\S.*)\n([-=~])\2+$", text, flags=re.MULTILINE)
    return [heading for heading, _ in found]


def test_every_setting_has_a_heading() -> None:
    """The heading has name, type and default as in the code."""
    declared = set(re.findall(r"#: ``(.+?)``: ", inspect.getsource(Settings)))
    assert len(declared) == sum(isinstance(value, Setting) for value in vars(Settings).values())
    headings = {heading.strip("`") for heading in _headings(_page("settings")) if ":" in heading}
    assert headings == declared


def test_documented_settings_exist() -> None:
    """For every setting that a page names."""
    declared = {value.name for value in vars(Settings).values() if isinstance(value, Setting)}
    for name in set(re.findall(r"\b(?:DELIVERY_STORE|DEVILRY)_[A-Z_]+\b", _text())):
        assert name in declared


def test_every_option_of_stores_on_disk_is_documented() -> None:
    """On the page of the stores."""
    page = _page("stores")
    for store in (storages.FsDeliveryStore, storages.FsHierDeliveryStore):
        passed_on = {"self", "unknown", "args", "options"}
        for option in set(inspect.signature(store.__init__).parameters) - passed_on:
            assert f"``{option}" in page, option


def test_every_check_has_a_heading() -> None:
    """No page names an id that does not exist."""
    modules = Path(checks.__file__).parent.glob("*.py")
    source = "".join(module.read_text(encoding="utf-8") for module in modules)
    known = set(re.findall(r'"(devilry_storage\.[EW]\d+)"', source))
    headings = [heading.split()[0].strip("`:") for heading in _headings(_page("checks"))[1:]]
    assert sorted(headings) == sorted(known)
    assert set(re.findall(r"\bdevilry_storage\.[EW]\d+\b", _text())) == known


def test_every_exception_is_documented() -> None:
    """On the page of exceptions."""
    page = _page("exceptions")
    for module in (exceptions, resolving):
        for name, value in vars(module).items():
            own = inspect.isclass(value) and value.__module__ == module.__name__
            if own and issubclass(value, Exception):
                assert name in page


def test_every_signal_is_documented() -> None:
    """On the page of signals."""
    page = _page("signals")
    for name, value in vars(signals).items():
        if isinstance(value, Signal):
            assert name in page


def test_every_command_is_documented() -> None:
    """No page names a command that does not exist."""
    named = set(re.findall(r"manage\.py ([a-z_]+)", _text()))
    known = get_commands()
    assert named <= {*known, "demo"}
    assert {name for name, app in known.items() if app == "devilry_storage"} <= named


def test_public_names_are_in_the_reference() -> None:
    """The reference has every exported name of the public modules."""
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


def test_every_page_is_in_the_index() -> None:
    """The table of contents lists all pages."""
    listed = set(re.findall(r"^   ([\w-]+)$", _page("index"), flags=re.MULTILINE))
    assert listed == {page.stem for page in DOCS.glob("*.rst")} - {"index"}
