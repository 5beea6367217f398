"""The site with all packages."""

from __future__ import annotations

from django.core.checks import ERROR, run_checks


def test_checks_find_no_error() -> None:
    assert [found for found in run_checks() if found.level >= ERROR] == []
