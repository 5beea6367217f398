"""Run the conformance suite on a store and tell what came of each case.

The classes of cases here are run by :func:`outcomes`; pytest must not find them in a test module,
because those of the peers fail.
"""

from __future__ import annotations

import gc
import threading
import unittest
import uuid
import warnings
from collections.abc import Iterable
from functools import cache
from typing import Any

from django.core.files.storage import FileSystemStorage, InMemoryStorage
from django.test import SimpleTestCase
from storages.backends.s3 import S3Storage

from devilry_storage.storages import DeliveryStoreMixin
from devilry_storage.testing import TestDeliveryStoreMixin
from devilry_storage.testing._support.case import NOT_POSSIBLE_HERE

from . import s3servers

PASSED, FAILED, SKIPPED, NOT_HERE = "passed", "failed", "skipped", "not possible here"

Outcomes = dict[str, str]


class BareFileSystemStorage(DeliveryStoreMixin, FileSystemStorage):
    """FileSystemStorage with the mixin; nobody has said anything about its flags."""


class BareInMemoryStorage(DeliveryStoreMixin, InMemoryStorage):
    """InMemoryStorage with the mixin; nobody has said anything about its flags."""


class BareS3Storage(DeliveryStoreMixin, S3Storage):  # type: ignore[misc]  # untyped
    """django-storages' S3Storage with the mixin; nobody has said anything about its flags."""

    def _create_session(self) -> Any:
        # As always one for each thread, but not for each case as well: it takes a quarter of a
        # second.
        if not hasattr(_of_thread, "session"):
            _of_thread.session = super()._create_session()
        return _of_thread.session


_of_thread = threading.local()


class Peer(TestDeliveryStoreMixin, SimpleTestCase):
    """A peer hangs where it is expected to: that need not take long."""

    patience = 3.0
    #: The server that it needs, see ``tests.harness.s3servers``.
    server = ""


class FileSystemStorageCases(Peer):
    def make_store(self) -> DeliveryStoreMixin:
        return BareFileSystemStorage(self.tmp_path / "store")


class InMemoryStorageCases(Peer):
    def make_store(self) -> DeliveryStoreMixin:
        return BareInMemoryStorage()


class S3StorageCases(Peer):
    """On SeaweedFS, told never to overwrite; each case below a prefix of one bucket."""

    patience = 20.0  # it makes a client for each thread, which takes its time
    server = "seaweedfs"

    def make_store(self) -> DeliveryStoreMixin:
        options = s3servers.get(self.server).options(_bucket(self.server))
        return BareS3Storage(file_overwrite=False, location=uuid.uuid4().hex, **options)


@cache
def _bucket(server: str) -> str:
    return s3servers.get(server).bucket()


PEERS: dict[str, type[Peer]] = {
    "FileSystemStorage": FileSystemStorageCases,
    "InMemoryStorage": InMemoryStorageCases,
    "S3Storage": S3StorageCases,
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
def outcomes_of(peer: str) -> Outcomes:
    """Return {case: what came of it} of a peer, run once for a process."""
    return outcomes(PEERS[peer])


def flags_of(case: str) -> tuple[str, ...]:
    """Return the flags without which no store can pass the case."""
    flags: tuple[str, ...] = getattr(getattr(TestDeliveryStoreMixin, case), "needs", ())
    return flags


def words_of(case: str) -> tuple[str, str]:
    """Return the first line of the case's docstring in two: whose it is, and what it says."""
    line = (getattr(TestDeliveryStoreMixin, case).__doc__ or "").partition("\n")[0]
    heading, _, words = line.partition(": ")
    return heading, words
