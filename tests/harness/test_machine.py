"""A missing component fails tests in CI, and skips them elsewhere."""

from __future__ import annotations

import pytest

from . import machine

CONFTEST = """
from tests.conftest import pytest_make_collect_report, pytest_runtest_makereport
"""
SKIPPING = f"""
import pytest
import unittest


def test_needs_a_component():
    pytest.skip("{machine.MISSING[0]}nginx: install it.")


class CaseOfTheSuite(unittest.TestCase):
    def test_needs_a_device(self):
        self.skipTest("{machine.MISSING[1]}no device may be made.")


def test_is_for_another_database():
    pytest.skip("SQLite has one writer at a time.")
"""
SKIPPING_MODULE = f"""
import pytest
pytest.skip("{machine.MISSING[0]}a server: install it.", allow_module_level=True)
"""


@pytest.mark.parametrize(
    ("ci", "outcomes"), [("1", {"failed": 2, "errors": 1, "skipped": 1}), ("", {"skipped": 4})]
)
def test_missing_component_fails_only_in_ci(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, ci: str, outcomes: dict[str, int]
) -> None:
    """Tests, cases of the conformance suite and whole modules may need a component."""
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_skipping=SKIPPING, test_module=SKIPPING_MODULE)
    monkeypatch.setenv("DEVILRY_STORAGE_CI", ci)
    options = ("-p", "no:django", "-p", "no:devilry_storage", "-p", "no:randomly")
    result = pytester.runpytest_inprocess("--continue-on-collection-errors", *options)
    assert result.parseoutcomes() == outcomes
