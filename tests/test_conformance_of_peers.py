"""What Django's own storages do not promise: the suite finds these faults in them, no others.

The same on Django 4.2, 5.2 and 6.1: tox runs it on each.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from . import conformance, conformance_table

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
        "test_rewrite_is_seen_on_close",
        "test_new_name_in_a_new_folder",
        "test_new_name_left_by_with",
        "test_rewrite_of_nothing",
        "test_name_deleted_during_its_save",
        "test_two_readers_have_positions_of_their_own",
        "test_shorter_rewrite_leaves_no_tail",
    },
}


@pytest.mark.parametrize("peer", conformance.PEERS)
def test_a_peer_fails_exactly_the_listed_cases(peer: str) -> None:
    """With the bare mixin and no flags declared every fault is found, and nothing is blamed."""
    found = conformance.outcomes_of_peers()[peer]
    failed = {name for name, outcome in found.items() if outcome == conformance.FAILED}
    not_here = {name for name, outcome in found.items() if outcome == conformance.NOT_HERE}
    assert failed == FAULTS[peer] - not_here


def test_nothing_but_the_right_to_make_devices_may_be_missing_here() -> None:
    """Every other case is run on every machine."""
    for found in conformance.outcomes_of_peers().values():
        not_here = {name for name, outcome in found.items() if outcome == conformance.NOT_HERE}
        assert not_here <= {"test_device_is_not_read"}


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


def test_every_fault_is_of_a_case_that_names_a_flag() -> None:
    """So a store made of a peer can say what it cannot do, and pass the rest."""
    for names in FAULTS.values():
        assert all(conformance.flags_of(name) for name in names)


def test_the_manual_shows_who_fails_what() -> None:
    """``python -m tests.conformance_table`` writes the page anew."""
    found = conformance.outcomes_of_peers()
    for peer, names in FAULTS.items():
        for name in names:
            # Where no device can be made, the page still says what comes of it elsewhere.
            if found[peer][name] == conformance.NOT_HERE:
                found[peer][name] = conformance.FAILED
    assert Path(conformance_table.PAGE).read_text(encoding="utf-8") == conformance_table.page(
        found
    )
