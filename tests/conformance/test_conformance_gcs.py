"""Third-party backends can pass the suite: django-storages' GoogleCloudStorage with the mixin."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.files import File
from django.test import SimpleTestCase

from devilry_storage.storages import DeliveryStoreMixin
from devilry_storage.storages.content import seekable
from devilry_storage.storages.writer import Writer
from devilry_storage.testing import TestDeliveryStoreMixin

from ..harness import conformance, gcs

gcs.need()

from google.api_core.exceptions import PreconditionFailed  # noqa: E402  # where it is installed
from storages.backends.gcloud import GoogleCloudStorage  # noqa: E402  # see above

pytestmark = pytest.mark.servers


class GoogleDeliveryStore(DeliveryStoreMixin, GoogleCloudStorage):  # type: ignore[misc]  # untyped
    atomic_create = whole_or_absent = bounded_memory = atomic_copy = False
    durable = confined = True


class CreatingGoogleDeliveryStore(GoogleDeliveryStore):
    atomic_create = whole_or_absent = atomic_copy = True

    def _create(self, name: str, content: File[Any]) -> str:
        blob = self.bucket.blob(self._normalize_name(name))
        with seekable(content) as file:
            try:
                blob.upload_from_file(file, rewind=True, size=file.size, if_generation_match=0)
            except PreconditionFailed:
                raise FileExistsError(f"{name!r} is taken.") from None
        return name

    def _open_to_write(self, name: str, mode: str) -> Writer:
        sink = self._spool()
        return Writer(sink, name, lambda writer: self._save(name, sink), mode)


class BareGoogleStore(DeliveryStoreMixin, GoogleCloudStorage):  # type: ignore[misc]  # untyped
    """A store that declares no flags."""


class GoogleCases(TestDeliveryStoreMixin, SimpleTestCase):
    __test__ = False

    store_class: type[Any] = BareGoogleStore

    def make_store(self) -> DeliveryStoreMixin:
        # Otherwise a name that ends in ".gz" is marked as compressed and cannot be read.
        unencoded = {"content_encoding": None}
        store: Any = self.store_class(**gcs.options(), object_parameters=unencoded)
        self.addCleanup(store.client.close)
        return store  # type: ignore[no-any-return]


class TestGoogleDeliveryStore(GoogleCases):
    __test__ = True
    store_class = GoogleDeliveryStore


class TestCreatingGoogleDeliveryStore(GoogleCases):
    __test__ = True
    store_class = CreatingGoogleDeliveryStore


FAULTS = {
    "test_rewrite_with_an_exception_in_with",
    "test_rewrite_with_an_exception_in_closing",
    "test_rewrite_with_an_exception_in_try_finally",
    "test_rewrite_with_an_exception_in_an_exit_stack",
    "test_rewrite_with_an_exception_in_a_zip",
    "test_rewrite_in_a_dropped_generator",
    "test_rewrite_with_a_second_exception",
    "test_rewrite_closed_in_an_except_block",
    "test_rewrite_in_a_forked_child",
    "test_rewrite_without_a_write_empties_the_file",
    "test_new_name_with_an_exception_in_with",
    "test_name_taken_during_a_save",
    "test_name_taken_during_a_temporary_upload",
    "test_key_taken_during_a_save",
    "test_eight_nested_saves_of_one_name",
    "test_large_file_is_saved_with_little_memory",
    "test_large_file_is_written_with_little_memory",
    "test_large_file_is_streamed_with_little_memory",
    "test_large_file_is_read_with_little_memory",
    "test_large_file_is_copied_with_little_memory",
    "test_range_is_streamed_with_little_memory",
}


def test_exactly_the_listed_cases_fail_without_flags() -> None:
    """Runs the cases that need a flag; the classes above run the others."""
    flagged = [case for case in conformance.names_of_cases() if conformance.flags_of(case)]
    found = conformance.outcomes(GoogleCases, flagged)
    assert {case for case, outcome in found.items() if outcome == conformance.FAILED} == FAULTS


def test_every_false_flag_is_necessary() -> None:
    """A listed case needs the flag, except for atomic_copy: a copy is created like a save."""
    needed = {flag for case in FAULTS for flag in conformance.flags_of(case)}
    false = {name for name, value in vars(GoogleDeliveryStore).items() if value is False}
    assert false == needed | {"atomic_copy"}
