"""The suite itself: enough cases, each with its requirement, each skipped only for its flag."""

from __future__ import annotations

from collections import Counter

import pytest
from django.test import SimpleTestCase

from devilry_storage.storages import DeliveryStoreMixin, MemoryDeliveryStore
from devilry_storage.storages.protocols import FLAGS
from devilry_storage.testing import TestDeliveryStoreMixin as Suite
from devilry_storage.testing._support.case import needs

from .. import conformance_table
from ..harness import conformance

CASES = conformance.names_of_cases()


def test_there_are_enough_cases() -> None:
    """At least 60 functions, and 6 for each promise that a store can break."""
    promises = Counter(conformance.words_of(case)[0] for case in CASES)
    assert len(CASES) >= 60
    for promise in (1, 2, 4, 5):
        assert promises[f"Promise {promise}"] >= 6


def test_a_case_states_its_requirement() -> None:
    """The docstring's first line is one sentence under a known heading: the manual's words."""
    said = {case: conformance.words_of(case) for case in CASES}
    assert {heading for heading, _ in said.values()} <= conformance_table.TITLES.keys()
    assert [case for case, (_, words) in said.items() if ". " in words] == []
    assert [case for case, (_, words) in said.items() if not words.endswith(".")] == []


def test_no_case_hides_another() -> None:
    """Two parts of the suite with a case of one name would run one of them."""
    defined = [name for part in Suite.__mro__ for name in vars(part) if name in set(CASES)]
    assert len(defined) == len(CASES)


def test_every_flag_is_named_and_explained() -> None:
    """A flag that no case names would promise nothing."""
    assert {flag for case in CASES for flag in conformance.flags_of(case)} == set(FLAGS)
    assert list(conformance_table.FLAGS) == list(FLAGS)
    assert all(hasattr(DeliveryStoreMixin, flag) for flag in FLAGS)


def test_an_unknown_flag_is_refused() -> None:
    """A misspelt flag would never skip its case."""
    with pytest.raises(AssertionError):
        needs("atomic_creation")


class NothingPromised(MemoryDeliveryStore):
    atomic_create = whole_or_absent = durable = confined = bounded_memory = atomic_copy = False


class EverythingDemanded(MemoryDeliveryStore):
    bounded_memory = None  # type: ignore[assignment]  # taken back, as if nobody had said


class NothingPromisedCases(Suite, SimpleTestCase):
    __test__ = False

    def make_store(self) -> DeliveryStoreMixin:
        return NothingPromised()


class EverythingDemandedCases(Suite, SimpleTestCase):
    __test__ = False

    def make_store(self) -> DeliveryStoreMixin:
        return EverythingDemanded()


def test_false_skips_the_cases_that_name_the_flag_and_no_others() -> None:
    """Besides those that need a disk, which a store in memory has not."""
    found = conformance.outcomes(NothingPromisedCases)
    skipped = {case for case, outcome in found.items() if outcome == conformance.SKIPPED}
    on_disk = {case for case in CASES if hasattr(getattr(Suite, case), "on_disk")}
    assert skipped == {case for case in CASES if conformance.flags_of(case)} | on_disk
    assert conformance.FAILED not in found.values()


def test_none_demands_what_true_demands() -> None:
    """A store of which nobody has said anything is asked everything that applies to it."""
    found = conformance.outcomes(
        EverythingDemandedCases,
        [
            "test_large_file_is_streamed_with_little_memory",
            "test_large_file_is_read_with_little_memory",
        ],
    )
    assert set(found.values()) == {conformance.PASSED}


class DevilrysOwnStyleCases(Suite, SimpleTestCase):
    __test__ = False

    def setUp(self) -> None:
        self.root = "a name that tests of old used themselves"
        super().setUp()

    def get_storageobj(self) -> MemoryDeliveryStore:
        return MemoryDeliveryStore()


def test_cases_in_devilrys_own_style_are_run() -> None:
    """``get_storageobj()`` stands for ``make_store()``, and ``setUp()`` may be overridden."""
    cases = ["test_life_cycle", "test_copy", "test_saved_file_can_be_read", "test_scan_is_lazy"]
    found = conformance.outcomes(DevilrysOwnStyleCases, cases)
    assert set(found.values()) == {conformance.PASSED}


class WithoutStoreCases(Suite, SimpleTestCase):
    __test__ = False


def test_a_class_that_names_no_store_says_so() -> None:
    """The first error of whoever tries the suite tells what to write."""
    with pytest.raises(NotImplementedError, match=r"define make_store\(self\)"):
        WithoutStoreCases("test_copy").make_store()


def test_the_mixin_itself_is_not_collected() -> None:
    """Importing it into a test module adds no tests, mixing it into a TestCase does."""
    assert Suite.__test__ is False
    assert conformance.PEERS["FileSystemStorage"].__test__ is True
