"""Waiting for what comes by itself, as a server's end of what its client has left."""

from __future__ import annotations

import time
from collections.abc import Callable


def eventually(holds: Callable[[], bool]) -> bool:
    """Wait until it holds, at most 20 seconds, and tell whether it does."""
    deadline = time.monotonic() + 20
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.01)
    return holds()
