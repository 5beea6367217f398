"""A process that forks while it writes: the child's copy of the writer is not the child's file."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import pytest

from .disk import DATA, NAME, read, store_at


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork()")
def test_a_child_that_ends_leaves_its_parents_unpublished_bytes_alone(tmp_path: Path) -> None:
    """It drops its copy of the writer, as at exit; the parent still publishes."""
    store = store_at(tmp_path / "root")
    writer = store.open(NAME, "wb")
    writer.write(DATA)
    with warnings.catch_warnings():
        # CPython warns of fork() beside threads; this child touches none of them.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        writer.discard()
        os._exit(0)
    os.waitpid(child, 0)
    writer.close()
    assert read(store, NAME) == DATA
