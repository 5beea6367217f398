"""Fixtures of the slow proofs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import database_racing


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """Remove the folder after the test; pytest keeps those of the last three runs."""
    yield tmp_path
    shutil.rmtree(tmp_path)


@pytest.fixture
def without_fsync() -> Iterator[None]:
    """Disable fsync for stores on disk and for SQLite; races do not depend on it."""
    with database_racing.without_fsync():
        yield
