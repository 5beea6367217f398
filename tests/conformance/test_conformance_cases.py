"""The conformance suite has enough cases, which have a requirement and the right flags."""

from __future__ import annotations

from collections import Counter

import pytest
from django.test import SimpleTestCase

from devilry_storage.storages import DeliveryStoreMixin
from devilry_storage.storages.protocols import FLAGS
from devilry_storage.testing import MemoryDeliveryStore
from devilry_storage.testing import TestDeliveryStoreMixin as Suite
from devilry_storage.testing._support.case import needs

from .. import conformance_table
from ..harness import conformance

CASES = conformance.names_of_cases()


def test_suite_has_enough_cases() -> None:
    """At least 60 cases, and 6 for each promise that does not depend on a disk."""
    promises = Counter(conformance.requirement_of(case)[0] for case in CASES)
    assert len(CASES) >= 60
    for promise in (1, 2, 4, 5):
        assert promises[f"Promise {promise}"] >= 6


def test_case_states_its_requirement() -> None:
    """The docstring starts with a known heading and one sentence, which the manual shows."""
    requirements = {case: conformance.requirement_of(case) for case in CASES}
    assert {heading for heading, _ in requirements.values()} <= conformance_table.TITLES.keys()
    assert [case for case, (_, sentence) in requirements.items() if ". " in sentence] == []
    assert [case for case, (_, sentence) in requirements.items() if sentence[-1:] != "."] == []


def test_names_of_cases_are_unique() -> None:
    """If two classes of the suite had a case of the same name, only one would run."""
    defined = [name for part in Suite.__mro__ for name in vars(part) if name in set(CASES)]
    assert len(defined) == len(CASES)


def test_every_flag_is_tested_and_described() -> None:
    """A flag that no case needs would promise nothing."""
    assert {flag for case in CASES for flag in conformance.flags_of(case)} == set(FLAGS)
    assert list(conformance_table.FLAGS) == list(FLAGS)
    assert all(hasattr(DeliveryStoreMixin, flag) for flag in FLAGS)


def test_needs_rejects_unknown_flags() -> None:
    """A misspelt flag would never skip its case."""
    with pytest.raises(AssertionError):
        needs("atomic_creation")


class NothingPromised(MemoryDeliveryStore):
    atomic_create = whole_or_absent = durable = confined = bounded_memory = atomic_copy = False


class NothingDeclared(MemoryDeliveryStore):
    bounded_memory = None  # type: ignore[assignment]  # not declared


class NothingPromisedCases(Suite, SimpleTestCase):
    __test__ = False

    def make_store(self) -> DeliveryStoreMixin:
        return NothingPromised()


class NothingDeclaredCases(Suite, SimpleTestCase):
    __test__ = False

    def make_store(self) -> DeliveryStoreMixin:
        return NothingDeclared()


def test_false_flag_skips_only_its_cases() -> None:
    """Cases that need a disk are skipped as well, because the store is in memory."""
    found = conformance.outcomes(NothingPromisedCases)
    skipped = {case for case, outcome in found.items() if outcome == conformance.SKIPPED}
    on_disk = {case for case in CASES if hasattr(getattr(Suite, case), "on_disk")}
    assert skipped == {case for case in CASES if conformance.flags_of(case)} | on_disk
    assert conformance.FAILED not in found.values()


def test_undeclared_flag_runs_its_cases() -> None:
    """A flag that is None skips nothing."""
    found = conformance.outcomes(
        NothingDeclaredCases,
        [
            "test_large_file_is_streamed_with_little_memory",
            "test_large_file_is_read_with_little_memory",
        ],
    )
    assert set(found.values()) == {conformance.PASSED}


class DevilryStyleCases(Suite, SimpleTestCase):
    __test__ = False

    def setUp(self) -> None:
        self.root = "an attribute of Devilry's own tests"
        super().setUp()

    def get_storageobj(self) -> MemoryDeliveryStore:
        return MemoryDeliveryStore()


def test_devilry_style_class_works() -> None:
    """Tests may define ``get_storageobj()`` and override ``setUp()``."""
    cases = ["test_life_cycle", "test_copy", "test_saved_file_can_be_read", "test_scan_is_lazy"]
    found = conformance.outcomes(DevilryStyleCases, cases)
    assert set(found.values()) == {conformance.PASSED}


class WithoutStoreCases(Suite, SimpleTestCase):
    __test__ = False


def test_missing_make_store_is_an_error() -> None:
    """The message names the method to define."""
    with pytest.raises(NotImplementedError, match=r"define make_store\(self\)"):
        WithoutStoreCases("test_copy").make_store()


def test_mixin_itself_is_not_collected() -> None:
    """Only its subclasses that are a TestCase are collected."""
    assert Suite.__test__ is False
    assert conformance.PEERS["FileSystemStorage"].__test__ is True
