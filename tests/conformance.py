"""Run the conformance suite on a store and tell what came of each case.

The classes of cases here are run by :func:`outcomes`; pytest must not find them in a test module,
because those of the peers fail.
"""

from __future__ import annotations

import gc
import unittest
import warnings
from collections.abc import Iterable
from functools import cache
from typing import Any

from django.core.files.storage import FileSystemStorage, InMemoryStorage
from django.test import SimpleTestCase

from devilry_storage.storages import DeliveryStoreMixin
from devilry_storage.testing import TestDeliveryStoreMixin
from devilry_storage.testing.case import NOT_POSSIBLE_HERE

PASSED, FAILED, SKIPPED, NOT_HERE = "passed", "failed", "skipped", "not possible here"

Outcomes = dict[str, str]


class BareFileSystemStorage(DeliveryStoreMixin, FileSystemStorage):
    """FileSystemStorage with the mixin; nobody has said anything about its flags."""


class BareInMemoryStorage(DeliveryStoreMixin, InMemoryStorage):
    """InMemoryStorage with the mixin; nobody has said anything about its flags."""


class Peer(TestDeliveryStoreMixin, SimpleTestCase):
    """A peer hangs where it is expected to: that need not take long."""

    patience = 3.0


class FileSystemStorageCases(Peer):
    def make_store(self) -> DeliveryStoreMixin:
        return BareFileSystemStorage(self.tmp_path / "store")


class InMemoryStorageCases(Peer):
    def make_store(self) -> DeliveryStoreMixin:
        return BareInMemoryStorage()


PEERS = {
    "FileSystemStorage": FileSystemStorageCases,
    "InMemoryStorage": InMemoryStorageCases,
}


def names_of_cases() -> list[str]:
    """Return the suite's cases in their order."""
    found = {}
    for part in TestDeliveryStoreMixin.__mro__:
        found.update(dict.fromkeys(name for name in vars(part) if name.startswith("test_")))
    return list(found)


def outcomes(cases: type[unittest.TestCase], names: Iterable[str] = ()) -> Outcomes:
    """Run the named cases, by default all, and return {case: what came of it}."""
    chosen = list(names) or names_of_cases()
    result = unittest.TestResult()
    suite: Any = unittest.TestSuite(map(cases, chosen))
    with warnings.catch_warnings():
        # What a faulty store leaves open behind it is its own affair.
        warnings.simplefilter("ignore", ResourceWarning)
        suite(result)
        gc.collect()
    found = dict.fromkeys(chosen, PASSED)
    for test, reason in result.skipped:
        found[_name(test)] = NOT_HERE if reason.startswith(NOT_POSSIBLE_HERE) else SKIPPED
    for test, _ in [*result.failures, *result.errors]:
        found[_name(test)] = FAILED
    assert list(found) == chosen, "a class of cases failed as a whole"
    return found


def _name(test: Any) -> str:
    name: str = getattr(test, "_testMethodName", repr(test))
    return name


@cache
def outcomes_of_peers() -> dict[str, Outcomes]:
    """Return {peer: {case: what came of it}}, run once for a process."""
    return {peer: outcomes(cases) for peer, cases in PEERS.items()}


def flags_of(case: str) -> tuple[str, ...]:
    """Return the flags without which no store can pass the case."""
    flags: tuple[str, ...] = getattr(getattr(TestDeliveryStoreMixin, case), "needs", ())
    return flags


def words_of(case: str) -> tuple[str, str]:
    """Return the first line of the case's docstring in two: whose it is, and what it says."""
    line = (getattr(TestDeliveryStoreMixin, case).__doc__ or "").partition("\n")[0]
    heading, _, words = line.partition(": ")
    return heading, words
