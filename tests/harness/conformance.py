"""Run the conformance suite on a store and return the outcome of each case.

:func:`outcomes` runs the classes of cases. They are not in a test module, because cases of the
peers fail, and pytest would collect them.
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
    """FileSystemStorage with the mixin and no declared flags."""


class BareInMemoryStorage(DeliveryStoreMixin, InMemoryStorage):
    """InMemoryStorage with the mixin and no declared flags."""


class BareS3Storage(DeliveryStoreMixin, S3Storage):  # type: ignore[misc]  # untyped
    """django-storages' S3Storage with the mixin and no declared flags."""

    def _create_session(self) -> Any:
        # One session for each thread, not for each case: making one takes 0.25 seconds.
        if not hasattr(_thread_local, "session"):
            _thread_local.session = super()._create_session()
        return _thread_local.session


_thread_local = threading.local()


class Peer(TestDeliveryStoreMixin, SimpleTestCase):
    """The cases of a peer. Some are expected to hang, so the patience is short."""

    patience = 3.0
    #: The server that the peer needs; see ``tests.harness.s3servers``.
    server = ""


class FileSystemStorageCases(Peer):
    def make_store(self) -> DeliveryStoreMixin:
        return BareFileSystemStorage(self.tmp_path / "store")


class InMemoryStorageCases(Peer):
    def make_store(self) -> DeliveryStoreMixin:
        return BareInMemoryStorage()


class S3StorageCases(Peer):
    """S3Storage on SeaweedFS with file_overwrite=False. Each case has a prefix of one bucket."""

    patience = 20.0  # Making a client for each thread takes long.
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
    """Return the names of the suite's cases, in order of definition."""
    names = {}
    for part in TestDeliveryStoreMixin.__mro__:
        names.update(dict.fromkeys(name for name in vars(part) if name.startswith("test_")))
    return list(names)


def outcomes(cases: type[unittest.TestCase], names: Iterable[str] = ()) -> Outcomes:
    """Run the named cases, by default all, and return {case: outcome}."""
    chosen = list(names) or names_of_cases()
    result = unittest.TestResult()
    suite: Any = unittest.TestSuite(map(cases, chosen))
    with warnings.catch_warnings():
        # A faulty store may leave files open.
        warnings.simplefilter("ignore", ResourceWarning)
        suite(result)
        gc.collect()
    found = dict.fromkeys(chosen, PASSED)
    for test, reason in result.skipped:
        found[_name(test)] = NOT_HERE if reason.startswith(NOT_POSSIBLE_HERE) else SKIPPED
    for test, _ in [*result.failures, *result.errors]:
        found[_name(test)] = FAILED
    assert list(found) == chosen, "the class of cases failed in setUpClass()"
    return found


def _name(test: Any) -> str:
    name: str = getattr(test, "_testMethodName", repr(test))
    return name


@cache
def outcomes_of(peer: str) -> Outcomes:
    """Return {case: outcome} of a peer; the cases are run once per process."""
    return outcomes(PEERS[peer])


def flags_of(case: str) -> tuple[str, ...]:
    """Return the flags that the case needs."""
    flags: tuple[str, ...] = getattr(getattr(TestDeliveryStoreMixin, case), "needs", ())
    return flags


def requirement_of(case: str) -> tuple[str, str]:
    """Return heading and sentence of the first line of the case's docstring."""
    line = (getattr(TestDeliveryStoreMixin, case).__doc__ or "").partition("\n")[0]
    heading, _, sentence = line.partition(": ")
    return heading, sentence
