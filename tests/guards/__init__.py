"""Guards of the package, each with a way to break it and the tests that must fail then.

A guard is a condition, a lock, a flag of a system call or an order of steps that keeps a promise.
``python -m tests.guards`` breaks them one by one in a copy of the checkout and runs only the tests
that each one names. A guard whose tests still pass is reported: its promise is not tested.

Each module here has the guards of one part of the package in a list ``GUARDS``.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Guard:
    """One guard: where it is, how to break it, which tests notice.

    ``module`` is relative to ``devilry_storage/``. ``intact`` is source text that occurs exactly
    once in it; ``broken`` replaces it. ``tests`` are pytest's node ids, without parameters where
    all of them may fail. ``needs`` lists the markers of tests that need more than the quick
    suite: ``postgres`` or ``servers``.
    """

    module: str
    intact: str
    broken: str
    tests: tuple[str, ...]
    needs: tuple[str, ...] = ()
