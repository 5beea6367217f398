"""The suite finds exactly the listed faults in Django's and django-storages' own storages.

The faults are the same on Django 4.2, 5.2 and 6.1; tox tests each version.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from devilry_storage.testing import TestDeliveryStoreMixin

from .. import conformance_table
from ..harness import conformance, s3servers

FAULTS = {
    "FileSystemStorage": {
        "test_temporary_upload_can_be_saved_twice",
        "test_unflushed_upload_is_stored_completely",
        "test_later_writes_to_an_upload_are_not_stored",
        "test_raising_source_leaves_nothing",
        "test_source_that_raises_at_once_leaves_nothing",
        "test_plain_reader_that_raises_leaves_nothing",
        "test_keyboard_interrupt_leaves_nothing",
        "test_source_of_numbers_leaves_nothing",
        "test_file_exists_error_of_the_source_is_not_retried",
        "test_failed_save_can_be_repeated",
        "test_file_is_invisible_during_its_save",
        "test_temporary_files_are_invisible",
        "test_old_bytes_are_readable_during_a_rewrite",
        "test_full_disk_leaves_nothing",
        "test_killed_writer_leaves_nothing",
        "test_killed_rewrite_leaves_the_old_bytes",
        "test_rewrite_with_an_exception_in_with",
        "test_rewrite_with_an_exception_in_closing",
        "test_rewrite_with_an_exception_in_try_finally",
        "test_rewrite_with_an_exception_in_an_exit_stack",
        "test_rewrite_with_an_exception_in_a_zip",
        "test_rewrite_in_a_dropped_generator",
        "test_rewrite_never_closed",
        "test_rewrite_with_a_second_exception",
        "test_rewrite_closed_in_an_except_block",
        "test_rewrite_in_a_forked_child",
        "test_rewrite_is_published_on_close",
        "test_rewrite_makes_folders_on_close",
        "test_new_name_with_an_exception_in_with",
        "test_name_deleted_during_its_save",
        "test_two_processes_with_temporary_uploads",
        "test_saved_file_is_fsynced",
        "test_new_folders_are_fsynced",
        "test_written_file_is_fsynced",
        "test_rewritten_file_is_fsynced",
        "test_temporary_upload_is_fsynced",
        "test_failed_fsync_fails_the_save",
        "test_deletion_is_fsynced",
        "test_symlink_to_a_file_is_not_read",
        "test_symlink_to_a_folder_is_not_read",
        "test_symlinks_are_not_listed",
        "test_symlink_cycle_is_not_followed",
        "test_save_rejects_symlinked_folders",
        "test_rewrite_does_not_follow_symlinks",
        "test_delete_does_not_follow_symlinks",
        "test_fifo_is_not_read",
        "test_fifo_is_not_rewritten",
        "test_fifo_is_not_listed",
        "test_device_is_not_read",
        "test_rewrite_does_not_change_hard_links",
    },
    "InMemoryStorage": {
        "test_temporary_upload_can_be_saved_twice",
        "test_raising_source_leaves_nothing",
        "test_source_that_raises_at_once_leaves_nothing",
        "test_plain_reader_that_raises_leaves_nothing",
        "test_keyboard_interrupt_leaves_nothing",
        "test_source_of_numbers_leaves_nothing",
        "test_vanished_temporary_upload_leaves_nothing",
        "test_file_exists_error_of_the_source_is_not_retried",
        "test_failed_save_can_be_repeated",
        "test_file_is_invisible_during_its_save",
        "test_temporary_files_are_invisible",
        "test_old_bytes_are_readable_during_a_rewrite",
        "test_rewrite_with_an_exception_in_with",
        "test_rewrite_with_an_exception_in_closing",
        "test_rewrite_with_an_exception_in_try_finally",
        "test_rewrite_with_an_exception_in_an_exit_stack",
        "test_rewrite_with_an_exception_in_a_zip",
        "test_rewrite_in_a_dropped_generator",
        "test_rewrite_never_closed",
        "test_rewrite_with_a_second_exception",
        "test_rewrite_closed_in_an_except_block",
        "test_rewrite_in_a_forked_child",
        "test_rewrite_is_published_on_close",
        "test_rewrite_makes_folders_on_close",
        "test_new_name_with_an_exception_in_with",
        "test_rewrite_without_a_write_empties_the_file",
        "test_name_deleted_during_its_save",
        "test_readers_have_independent_positions",
        "test_shorter_rewrite_leaves_no_tail",
        "test_eight_threads_read_one_file",
    },
    "S3Storage": {
        "test_rewrite_with_an_exception_in_with",
        "test_rewrite_with_an_exception_in_closing",
        "test_rewrite_with_an_exception_in_try_finally",
        "test_rewrite_with_an_exception_in_an_exit_stack",
        "test_rewrite_with_an_exception_in_a_zip",
        "test_rewrite_in_a_dropped_generator",
        "test_rewrite_with_a_second_exception",
        "test_rewrite_closed_in_an_except_block",
        "test_rewrite_in_a_forked_child",
        "test_new_name_with_an_exception_in_with",
        "test_rewrite_without_a_write_empties_the_file",
        "test_zip_can_be_written",
        "test_name_taken_during_a_save",
        "test_name_taken_during_a_temporary_upload",
        "test_key_taken_during_a_save",
        "test_eight_nested_saves_of_one_name",
        "test_folder_is_not_overwritten",
        "test_large_file_is_saved_with_little_memory",
        "test_large_file_is_written_with_little_memory",
        "test_large_file_is_streamed_with_little_memory",
        "test_large_file_is_read_with_little_memory",
        "test_large_file_is_copied_with_little_memory",
        "test_range_is_streamed_with_little_memory",
    },
}

#: Faults that no flag declares: the mixin alone does not make a store of this peer.
BEYOND_FLAGS = {
    "S3Storage": {
        "test_zip_can_be_written",  # after seek() it appends instead of overwriting
        "test_folder_is_not_overwritten",  # ClientError where the server has folders
    }
}

#: Cases that do not apply to a peer, besides the cases for disks.
NOT_APPLYING = {
    "InMemoryStorage": {  # keeps its files in memory
        "test_large_file_is_saved_with_little_memory",
        "test_large_file_is_written_with_little_memory",
        "test_large_file_is_copied_with_little_memory",
    }
}

PEERS = [
    pytest.param(peer, marks=[pytest.mark.servers] if cases.server else [])
    for peer, cases in conformance.PEERS.items()
]


def _declared(peer: str) -> conformance.Outcomes:
    """Return the expected outcome of every case on a machine that can run them all."""
    cases = conformance.names_of_cases()
    skipped = NOT_APPLYING.get(peer, set())
    if peer != "FileSystemStorage":
        on_disk = {
            case for case in cases if hasattr(getattr(TestDeliveryStoreMixin, case), "on_disk")
        }
        skipped = skipped | on_disk
    return {
        **dict.fromkeys(cases, conformance.PASSED),
        **dict.fromkeys(skipped, conformance.SKIPPED),
        **dict.fromkeys(FAULTS[peer], conformance.FAILED),
    }


@pytest.mark.parametrize("peer", PEERS)
def test_peer_fails_exactly_the_listed_cases(peer: str) -> None:
    """The peer has only the mixin and declares no flags.

    The case that makes a device may be impossible on this machine; all others always run.
    """
    if server := conformance.PEERS[peer].server:
        s3servers.need(server)
    found, declared = conformance.outcomes_of(peer), _declared(peer)
    if found["test_device_is_not_read"] == conformance.NOT_HERE:
        del found["test_device_is_not_read"], declared["test_device_is_not_read"]
    assert found == declared


def test_known_faults_of_peers_are_listed() -> None:
    """Faults that are known independently of the suite."""
    assert FAULTS["FileSystemStorage"] >= {
        "test_raising_source_leaves_nothing",
        "test_two_processes_with_temporary_uploads",
        "test_symlink_to_a_file_is_not_read",
        "test_fifo_is_not_read",
        "test_file_is_invisible_during_its_save",
    }
    assert FAULTS["InMemoryStorage"] >= {
        "test_shorter_rewrite_leaves_no_tail",
        "test_readers_have_independent_positions",
        "test_raising_source_leaves_nothing",
    }
    assert FAULTS["S3Storage"] >= {
        "test_eight_nested_saves_of_one_name",
        "test_zip_can_be_written",
        "test_rewrite_with_an_exception_in_with",
        "test_large_file_is_read_with_little_memory",
    }


def test_flags_cover_every_fault() -> None:
    """A store made of a peer can declare its faults by flags, except for two of S3Storage."""
    for peer, names in FAULTS.items():
        without = {name for name in names if not conformance.flags_of(name)}
        assert without == BEYOND_FLAGS.get(peer, set())


def test_manual_shows_the_outcomes_of_peers() -> None:
    """``python -m tests.conformance_table`` writes the page.

    It is compared with the expected outcomes, because this machine may not run every case.
    """
    declared = {peer: _declared(peer) for peer in conformance.PEERS}
    assert Path(conformance_table.PAGE).read_text(encoding="utf-8") == conformance_table.page(
        declared
    )
