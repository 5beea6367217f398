"""The proofs write gigabytes: they give them back."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """Remove the folder at once; pytest would keep those of its last three runs."""
    yield tmp_path
    shutil.rmtree(tmp_path)
