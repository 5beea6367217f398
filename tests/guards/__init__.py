"""Guards of the package, a way to break each of them, and the tests that must fail then.

A guard is a condition, a lock, a flag of a system call or an order of steps that keeps a promise.
``python -m tests.guards`` breaks them one by one in a copy of the checkout and runs only the tests
listed for the guard. A guard whose tests still pass is reported: its promise is not tested.

Each module has a list ``GUARDS`` with the guards of one part of the package.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Guard:
    """A guard, a way to break it, and the tests that must fail then.

    - ``module`` is a path relative to ``devilry_storage/``.
    - ``intact`` is a text that occurs exactly once in the module; ``broken`` replaces it.
    - ``tests`` are node ids of pytest, without parameters if any of them may fail.
    - ``needs`` lists the markers of tests outside of the quick suite: ``postgres``, ``servers``.
    """

    module: str
    intact: str
    broken: str
    tests: tuple[str, ...]
    needs: tuple[str, ...] = ()
