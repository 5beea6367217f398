"""What other storages do not promise: the suite finds these faults in them, no others.

The same on Django 4.2, 5.2 and 6.1: tox runs it on each.
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
        "test_unflushed_upload_is_stored_whole",
        "test_stored_upload_is_cut_off_from_its_handle",
        "test_raising_source_leaves_nothing",
        "test_source_that_raises_at_once_leaves_nothing",
        "test_plain_reader_that_raises_leaves_nothing",
        "test_keyboard_interrupt_leaves_nothing",
        "test_source_of_no_bytes_leaves_nothing",
        "test_source_that_says_something_exists_is_not_read_again",
        "test_failed_save_can_be_tried_again",
        "test_growing_file_is_not_seen",
        "test_nothing_else_is_seen_during_a_save",
        "test_reader_during_a_rewrite_sees_whole_files",
        "test_full_disk_leaves_nothing",
        "test_killed_writer_leaves_nothing",
        "test_killed_rewriter_leaves_the_old_bytes",
        "test_rewrite_left_by_with",
        "test_rewrite_left_by_closing",
        "test_rewrite_left_by_try_finally",
        "test_rewrite_left_by_exit_stack",
        "test_rewrite_left_by_half_a_zip",
        "test_rewrite_left_by_dropping_a_generator",
        "test_rewrite_never_closed",
        "test_rewrite_left_while_another_error_is_handled",
        "test_rewrite_closed_while_an_error_is_handled",
        "test_rewrite_in_a_forked_child",
        "test_rewrite_is_seen_on_close",
        "test_new_name_in_a_new_folder",
        "test_new_name_left_by_with",
        "test_name_deleted_during_its_save",
        "test_two_processes_with_temporary_uploads",
        "test_saved_file_is_on_the_disk",
        "test_new_folders_are_on_the_disk",
        "test_written_file_is_on_the_disk",
        "test_rewritten_file_is_on_the_disk",
        "test_temporary_upload_is_on_the_disk",
        "test_failing_fsync_is_no_success",
        "test_deletion_is_on_the_disk",
        "test_symlink_to_a_file_is_not_read",
        "test_symlink_to_a_folder_is_not_read",
        "test_symlinks_are_not_listed",
        "test_symlink_cycle_is_not_followed",
        "test_nothing_is_saved_through_a_symlinked_folder",
        "test_nothing_is_rewritten_through_a_symlink",
        "test_nothing_is_deleted_through_a_symlink",
        "test_fifo_is_not_read",
        "test_fifo_is_not_written",
        "test_fifo_is_not_shown",
        "test_device_is_not_read",
        "test_rewrite_leaves_a_hard_link_alone",
    },
    "InMemoryStorage": {
        "test_temporary_upload_can_be_saved_twice",
        "test_raising_source_leaves_nothing",
        "test_source_that_raises_at_once_leaves_nothing",
        "test_plain_reader_that_raises_leaves_nothing",
        "test_keyboard_interrupt_leaves_nothing",
        "test_source_of_no_bytes_leaves_nothing",
        "test_raising_temporary_upload_leaves_nothing",
        "test_source_that_says_something_exists_is_not_read_again",
        "test_failed_save_can_be_tried_again",
        "test_growing_file_is_not_seen",
        "test_nothing_else_is_seen_during_a_save",
        "test_reader_during_a_rewrite_sees_whole_files",
        "test_rewrite_left_by_with",
        "test_rewrite_left_by_closing",
        "test_rewrite_left_by_try_finally",
        "test_rewrite_left_by_exit_stack",
        "test_rewrite_left_by_half_a_zip",
        "test_rewrite_left_by_dropping_a_generator",
        "test_rewrite_never_closed",
        "test_rewrite_left_while_another_error_is_handled",
        "test_rewrite_closed_while_an_error_is_handled",
        "test_rewrite_in_a_forked_child",
        "test_rewrite_is_seen_on_close",
        "test_new_name_in_a_new_folder",
        "test_new_name_left_by_with",
        "test_rewrite_of_nothing",
        "test_name_deleted_during_its_save",
        "test_two_readers_have_positions_of_their_own",
        "test_shorter_rewrite_leaves_no_tail",
    },
    "S3Storage": {
        "test_rewrite_left_by_with",
        "test_rewrite_left_by_closing",
        "test_rewrite_left_by_try_finally",
        "test_rewrite_left_by_exit_stack",
        "test_rewrite_left_by_half_a_zip",
        "test_rewrite_left_by_dropping_a_generator",
        "test_rewrite_left_while_another_error_is_handled",
        "test_rewrite_closed_while_an_error_is_handled",
        "test_rewrite_in_a_forked_child",
        "test_new_name_left_by_with",
        "test_rewrite_of_nothing",
        "test_zip_through_a_writer",
        "test_name_taken_during_a_save",
        "test_name_taken_during_a_save_of_a_temporary_upload",
        "test_key_taken_during_a_save",
        "test_eight_saves_of_one_name_under_way",
        "test_folder_is_not_written_over",
        "test_large_file_is_saved_with_little_memory",
        "test_large_file_is_written_with_little_memory",
        "test_large_file_is_streamed_with_little_memory",
        "test_large_file_is_read_with_little_memory",
        "test_large_file_is_copied_with_little_memory",
        "test_range_is_streamed_with_little_memory",
    },
}

#: Faults that no flag could own up to: no store is made of this peer by the mixin alone.
BEYOND_FLAGS = {
    "S3Storage": {
        "test_zip_through_a_writer",  # what is sought and overwritten is appended
        "test_folder_is_not_written_over",  # where the server has folders, ClientError comes out
    },
}

#: Cases that do not apply to a peer, besides those for disks.
NOT_APPLYING = {
    "InMemoryStorage": {  # which is where it keeps them
        "test_large_file_is_saved_with_little_memory",
        "test_large_file_is_written_with_little_memory",
        "test_large_file_is_copied_with_little_memory",
    },
}

PEERS = [
    pytest.param(peer, marks=[pytest.mark.servers] if cases.server else [])
    for peer, cases in conformance.PEERS.items()
]


def _declared(peer: str) -> conformance.Outcomes:
    """Return what comes of each case where all of them can be tried."""
    cases = conformance.names_of_cases()
    skipped = NOT_APPLYING.get(peer, set())
    if peer != "FileSystemStorage":
        on_disk = {
            each for each in cases if hasattr(getattr(TestDeliveryStoreMixin, each), "on_disk")
        }
        skipped = skipped | on_disk
    return {
        **dict.fromkeys(cases, conformance.PASSED),
        **dict.fromkeys(skipped, conformance.SKIPPED),
        **dict.fromkeys(FAULTS[peer], conformance.FAILED),
    }


@pytest.mark.parametrize("peer", PEERS)
def test_a_peer_fails_exactly_the_listed_cases(peer: str) -> None:
    """With the bare mixin and no flags declared every fault is found, and nothing is blamed.

    The right to make devices may be missing here; every other case is run on every machine.
    """
    if server := conformance.PEERS[peer].server:
        s3servers.need(server)
    found, declared = conformance.outcomes_of(peer), _declared(peer)
    if found["test_device_is_not_read"] == conformance.NOT_HERE:
        del found["test_device_is_not_read"], declared["test_device_is_not_read"]
    assert found == declared


def test_the_faults_of_peers_that_led_to_this_package_are_among_them() -> None:
    """The faults that were measured before there was a suite."""
    assert FAULTS["FileSystemStorage"] >= {
        "test_raising_source_leaves_nothing",
        "test_two_processes_with_temporary_uploads",
        "test_symlink_to_a_file_is_not_read",
        "test_fifo_is_not_read",
        "test_growing_file_is_not_seen",
    }
    assert FAULTS["InMemoryStorage"] >= {
        "test_shorter_rewrite_leaves_no_tail",
        "test_two_readers_have_positions_of_their_own",
        "test_raising_source_leaves_nothing",
    }
    assert FAULTS["S3Storage"] >= {
        "test_eight_saves_of_one_name_under_way",
        "test_zip_through_a_writer",
        "test_rewrite_left_by_with",
        "test_large_file_is_read_with_little_memory",
    }


def test_every_fault_is_of_a_case_that_names_a_flag() -> None:
    """A flag can tell what a store made of a peer cannot do, but for two faults of S3Storage."""
    for peer, names in FAULTS.items():
        without = {name for name in names if not conformance.flags_of(name)}
        assert without == BEYOND_FLAGS.get(peer, set())


def test_the_manual_shows_who_fails_what() -> None:
    """``python -m tests.conformance_table`` writes the page anew.

    It shows what is declared above, wherever it is read: here not all of it may be tried.
    """
    declared = {peer: _declared(peer) for peer in conformance.PEERS}
    assert Path(conformance_table.PAGE).read_text(encoding="utf-8") == conformance_table.page(
        declared
    )
