"""Fixtures of the slow proofs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import database_racing


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """Remove the folder at once; pytest would keep those of its last three runs."""
    yield tmp_path
    shutil.rmtree(tmp_path)


@pytest.fixture
def without_fsync() -> Iterator[None]:
    """Let stores on disk write without fsync, which decides no race."""
    with database_racing.without_fsync():
        yield
