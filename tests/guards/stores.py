"""Guards of the stores, their layouts, names and settings, and of the system checks."""

from __future__ import annotations

from . import Guard

BACKENDS = "tests/storages/test_backends.py::"
CHECKS = "tests/checks/test_checks.py::"
CONF = "tests/test_conf.py::"
CONTENTS = "tests/storages/test_contents.py::"
COSTS = "tests/archive/test_costs.py::"
DECONSTRUCT = "tests/storages/test_deconstruct.py::"
DISK = "tests/conformance/test_conformance.py::TestFsHierDeliveryStore::"
DISK_MODES = "tests/storages/disk/test_disk_modes.py::"
DISK_OPTIONS = "tests/storages/disk/test_disk_options.py::"
DISK_PUBLISHING = "tests/storages/disk/test_disk_publishing.py::"
DISK_REMOVING = "tests/storages/disk/test_disk_removing.py::"
DISK_SYNCS = "tests/storages/disk/test_disk_syncs.py::"
UPLOADS = "tests/forms/test_upload_handler.py::"
DISK_TRAPS = "tests/storages/disk/test_disk_traps.py::"
DJANGOS_DISK = "tests/conformance/test_conformance.py::TestStoreMadeOfFileSystemStorage::"
DJANGOS_MEMORY = "tests/conformance/test_conformance.py::TestStoreMadeOfInMemoryStorage::"
HOSTILE_NAMES = "tests/storages/test_hostile_names.py::"
INFO = "tests/checks/test_info.py::"
LAYOUT = "tests/test_layout.py::"
MEMORY = "tests/conformance/test_conformance.py::TestMemoryDeliveryStore::"
NAMES = "tests/test_names.py::"
OVERRIDES = "tests/storages/test_overrides.py::"
PAGING = "tests/storages/test_paging.py::"
POOLS = "tests/storages/test_pools.py::"
PURGE = "tests/deletion/test_purge.py::"
PURGE_S3 = "tests/deletion/test_purge_s3.py::"
S3_CHECKSUMS = "tests/storages/s3/test_s3_checksums.py::"
S3_CLIENTS = "tests/storages/s3/test_s3_clients.py::"
S3_CONDITIONS = "tests/storages/s3/test_s3_conditions.py::"
S3_SEAWEEDFS = "tests/conformance/test_conformance_s3.py::TestS3DeliveryStoreOnSeaweedFS::"
S3_DELETE_MANY = "tests/storages/s3/test_s3_delete_many.py::"
S3_ENCRYPTION = "tests/storages/s3/test_s3_encryption.py::"
S3_ERRORS = "tests/storages/s3/test_s3_errors.py::"
S3_LISTING = "tests/storages/s3/test_s3_listing.py::"
S3_MEDIA_TYPES = "tests/storages/s3/test_s3_media_types.py::"
S3_MOCK = "tests/storages/s3/test_s3_mock.py::"
S3_NAMES = "tests/storages/s3/test_s3_impossible_names.py::"
S3_OPTIONS = "tests/storages/s3/test_s3_options.py::"
S3_PROBE = "tests/storages/s3/test_s3_probe.py::"
S3_PARTS = "tests/storages/s3/test_s3_parts.py::"
S3_READERS = "tests/storages/s3/test_s3_readers.py::"
S3_REPEATS = "tests/storages/s3/test_s3_repeats.py::"
S3_REQUESTS = "tests/storages/s3/test_s3_requests.py::"
S3_RESPONSES = "tests/storages/s3/test_s3_responses.py::"
S3_ODD = f"{S3_RESPONSES}test_odd_response_is_handled_or_an_error"
S3_FRAMES = "tests/storages/s3/test_s3_frames.py::"
S3_SECRETS = "tests/storages/s3/test_s3_secrets.py::"
S3_SIGNATURES = "tests/storages/s3/test_s3_signatures.py::"
S3_UPLOADS = "tests/storages/s3/test_s3_uploads.py::"
TENANTS = "tests/storages/test_tenants.py::"
S3_URLS = "tests/storages/s3/test_s3_urls.py::"
SPOOLS = "tests/storages/test_spools.py::"
WRITERS = "tests/storages/test_writers.py::"

GUARDS: list[Guard] = [
    # -- storages/staged.py --
    Guard(
        "storages/staged.py",
        "os.O_CREAT | os.O_EXCL | NOFOLLOW",
        "os.O_CREAT | NOFOLLOW",
        (f"{DISK_TRAPS}test_save_does_not_open_planted_temp_files",),
    ),
    Guard(
        "storages/staged.py",
        "            with tree.explaining_denial():\n",
        "            if True:\n",
        (f"{DISK_MODES}test_denied_temp_folder_names_the_remedy",),
    ),
    Guard(
        "storages/staged.py",
        "0o666 if tree.file_mode is None else 0o600",
        "0o666",
        (f"{DISK_MODES}test_temp_file_is_private_while_it_is_written",),
    ),
    Guard(
        "storages/staged.py",
        "            view = view[os.write(self._fd, view) :]",
        ("            os.write(self._fd, view)\n            break"),
        (f"{DISK_PUBLISHING}test_short_writes_store_the_whole_content",),
    ),
    Guard(
        "storages/staged.py",
        "            os.fchmod(self._fd, self._tree.file_mode)",
        "            pass",
        (f"{DISK_MODES}test_modes_of_options_are_exact",),
    ),
    Guard(
        "storages/staged.py",
        "self._tree.give_group(self._fd, self._folder)",
        "os.fstat(self._fd)",
        (f"{DISK_MODES}test_files_and_folders_get_the_group_of_the_root",),
    ),
    Guard(
        "storages/staged.py",
        "            sync(self._fd)",
        "            pass",
        (f"{DISK_SYNCS}test_save_syncs_the_file_and_its_new_folders",),
    ),
    Guard(
        "storages/staged.py",
        (
            "                if self._tree.durable:\n"
            "                    sync(folder)\n"
            "                return name"
        ),
        "                return name",
        (f"{DISK_SYNCS}test_save_syncs_the_file_and_its_new_folders",),
    ),
    Guard(
        "storages/staged.py",
        (
            "            self._check_replaced(leaf, folder, name)\n"
            "            if self._tree.durable:\n"
            "                sync(folder)"
        ),
        "            self._check_replaced(leaf, folder, name)",
        (f"{DISK_SYNCS}test_delete_and_rewrite_sync_the_folder",),
    ),
    Guard(
        "storages/staged.py",
        "                self._tree.stat_in(folder, leaf, name)",
        "                pass",
        (f"{DISK_TRAPS}test_planted_entry_is_unsafe",),
    ),
    Guard(
        "storages/staged.py",
        "            os.link(\n                self._name, leaf, src_dir_fd=self._folder, "
        "dst_dir_fd=folder, follow_symlinks=False\n",
        "            os.rename(\n                self._name, leaf, src_dir_fd=self._folder, "
        "dst_dir_fd=folder\n",
        (f"{DISK}test_taken_name_leads_to_an_alternative_name",),
    ),
    Guard(
        "storages/staged.py",
        "            if not self._is_ours(leaf, folder):",
        "            if True:",
        (f"{DISK_PUBLISHING}test_save_succeeds_despite_races",),
    ),
    Guard(
        "storages/staged.py",
        "            if not self._is_ours(leaf, folder):",
        "            if False:",
        (f"{DISK}test_taken_name_leads_to_an_alternative_name",),
    ),
    Guard(
        "storages/staged.py",
        "exception.errno in _NO_HARD_LINKS",
        "False",
        (f"{DISK_PUBLISHING}test_file_system_without_hard_links_is_named_in_the_error",),
    ),
    Guard(
        "storages/staged.py",
        "suppress(FileNotFoundError),  # a delete",
        "suppress(ZeroDivisionError),  # a delete",
        (f"{DISK_PUBLISHING}test_save_succeeds_despite_races",),
    ),
    Guard(
        "storages/staged.py",
        " or not self._owner.is_this_process()",
        "",
        ("tests/storages/disk/test_disk_forks.py",),
    ),
    Guard(
        "storages/staged.py",
        ('        self._owner.require(self._name)\n        view = memoryview(data).cast("B")\n'),
        '        view = memoryview(data).cast("B")\n',
        ("tests/storages/disk/test_disk_forks.py",),
    ),
    Guard(
        "storages/staged.py",
        ("        self._owner.require(self._name)\n        if self._sealed:\n"),
        "        if self._sealed:\n",
        ("tests/storages/disk/test_disk_forks.py",),
    ),
    Guard(
        "storages/staged.py",
        ", follow_symlinks=False\n            )\n",
        "            )\n",
        (f"{DISK_TRAPS}test_exchanged_temp_file_fails_the_save",),
    ),
    Guard(
        "storages/staged.py",
        (
            "        if not self._is_ours(leaf, folder):\n"
            "            raise self._tree.foreign(name)\n"
        ),
        "",
        (
            f"{DISK_TRAPS}test_exchanged_temp_file_fails_the_save",
            f"{DISK_TRAPS}test_entry_that_replaces_the_linked_file_fails_the_save",
        ),
    ),
    Guard(
        "storages/staged.py",
        "        self._check_temp(name)\n        try:\n            os.link(",
        "        try:\n            os.link(",
        (f"{DISK_TRAPS}test_exchanged_temp_file_fails_the_save",),
    ),
    Guard(
        "storages/staged.py",
        "            self._check_temp(name)\n            try:",
        "            try:",
        (f"{DISK_TRAPS}test_rewrite_does_not_publish_exchanged_temp_files",),
    ),
    Guard(
        "storages/staged.py",
        "            self._check_replaced(leaf, folder, name)\n",
        "",
        (f"{DISK_TRAPS}test_temp_file_exchanged_before_the_rename_fails_the_rewrite",),
    ),
    Guard(
        "storages/staged.py",
        "            self._check_temp(name)\n            raise self._explained",
        "            raise self._explained",
        (f"{DISK_TRAPS}test_exchanged_temp_file_fails_the_save",),
    ),
    Guard(
        "storages/staged.py",
        " and there.st_nlink == 1",
        "",
        (f"{DISK_TRAPS}test_temp_file_exchanged_before_the_rename_fails_the_rewrite",),
    ),
    Guard(
        "storages/staged.py",
        "if not plain or os.fstat(self._fd).st_nlink:",
        "if not plain:",
        (f"{DISK_TRAPS}test_temp_file_moved_before_the_rename_fails_the_rewrite",),
    ),
    Guard(
        "storages/staged.py",
        "if not plain or os.fstat(self._fd).st_nlink:",
        "if True:",
        (f"{DISK_TRAPS}test_concurrent_rewrites_both_succeed",),
    ),
    Guard(
        "storages/staged.py",
        "        if self._is_ours(self._name, self._folder):\n            os.unlink",
        "        if True:\n            os.unlink",
        (f"{DISK_TRAPS}test_temp_file_exchanged_after_the_link_is_kept",),
    ),
    Guard(
        "storages/staged.py",
        " or other._tree != self._tree or",
        " or",
        (f"{UPLOADS}test_changed_upload_is_copied",),
    ),
    Guard(
        "storages/staged.py",
        " or not other._is_whole()",
        "",
        (f"{UPLOADS}test_changed_upload_is_copied",),
    ),
    Guard(
        "storages/staged.py",
        "if not os.path.samestat(os.fstat(self._folder), os.fstat(other._folder)):",
        "if False:",
        (f"{UPLOADS}test_upload_is_copied_if_the_root_leads_elsewhere",),
    ),
    Guard(
        "storages/staged.py",
        "        if not self._owner.is_this_process():\n            return False\n",
        "",
        (f"{UPLOADS}test_child_process_copies_the_upload",),
    ),
    Guard(
        "storages/staged.py",
        "is_ours and self._whole == _fingerprint(self._fd)",
        "is_ours",
        (f"{UPLOADS}test_changed_upload_is_copied",),
    ),
    Guard(
        "storages/staged.py",
        "fd = os.open(self._name, READ, dir_fd",
        "fd = os.open(self._name, READ | os.O_RDWR, dir_fd",
        (f"{UPLOADS}test_upload_cannot_be_written_to",),
    ),
    Guard(
        "storages/staged.py",
        "        if not os.path.samestat(os.fstat(fd), os.fstat(self._fd)):\n",
        "        if False:\n",
        (f"{UPLOADS}test_temp_file_exchanged_while_it_is_received_is_an_error",),
    ),
    Guard(
        "storages/spool.py",
        'fd = os.open(f"/proc/self/fd/{self.fileno()}", os.O_RDONLY)',
        "fd = os.dup(self.fileno())",
        (f"{UPLOADS}test_spooled_upload_has_a_position_of_its_own",),
    ),
    Guard(
        "storages/pools.py",
        "            if not self._threads:\n                raise\n",
        "            raise\n",
        (f"{POOLS}test_work_is_done_if_the_system_starts_no_more_threads",),
    ),
    Guard(
        "storages/s3/reading.py",
        "            self._position = start  # the caller gets none of the pieces\n",
        "",
        (f"{S3_READERS}test_reader_goes_on_after_an_error",),
        needs=("servers",),
    ),
    Guard(
        "uploads.py",
        "                    check_writing(model, router.db_for_write(model))\n",
        "                    pass\n",
        (f"{UPLOADS}test_unmounted_store_receives_nothing",),
    ),
    Guard(
        "storages/spool.py",
        '"rb", buffering=0)',
        '"rb")',
        (f"{UPLOADS}test_spooled_upload_is_not_copied",),
    ),
    Guard(
        "storages/received.py",
        "self.file is self._reader\n            and",
        "True\n            and",
        (f"{UPLOADS}test_changed_upload_is_copied",),
    ),
    Guard(
        "storages/received.py",
        "            and type(self) is Received\n",
        "",
        (f"{UPLOADS}test_changed_upload_is_copied",),
    ),
    Guard(
        "storages/received.py",
        '            and not {"chunks", "read"} & vars(self).keys()\n',
        "",
        (f"{UPLOADS}test_changed_upload_is_copied",),
    ),
    Guard(
        "uploads.py",
        "        except (OSError, NotImplementedError, ImproperlyConfigured):",
        "        except NotImplementedError:",
        (f"{UPLOADS}test_store_that_receives_nothing_makes_the_form_fail",),
    ),
    Guard(
        "storages/staged.py",
        "            os.close(os.dup(self._fd))\n",
        "            pass\n",
        (f"{DISK_PUBLISHING}test_failing_close_publishes_nothing",),
    ),
    Guard(
        "storages/staged.py",
        "        self._sealed = True\n",
        "        self._sealed = True\n        os.close(self._fd)\n        self._fd = -1\n",
        (f"{DISK_TRAPS}test_exchanged_temp_file_fails_the_save",),
    ),
    Guard(
        "storages/staged.py",
        "(self._unlink, self._close)",
        "(self._close,)",
        (f"{DISK_PUBLISHING}test_failed_save_leaves_no_temp_file",),
    ),
    Guard(
        "storages/staged.py",
        "            except OSError as exception:\n                logger.warning(",
        "            except ZeroDivisionError as exception:\n                logger.warning(",
        (f"{DISK_PUBLISHING}test_save_ignores_a_failing_removal_of_its_temp_file",),
    ),
    # -- storages/tree.py --
    Guard(
        "storages/tree.py",
        "_FOLDER = _ROOT | NOFOLLOW",
        "_FOLDER = _ROOT",
        (f"{DISK_TRAPS}test_symlinked_folder_at_any_level_is_unsafe",),
    ),
    Guard(
        "storages/tree.py",
        "_walk(TEMP_FOLDER, _PRIVATE, ",
        "_walk(TEMP_FOLDER, self.folder_mode, ",
        (f"{DISK_MODES}test_temp_folders_are_private",),
    ),
    Guard(
        "storages/tree.py",
        "        with self.explaining_denial():\n            return self._walk",
        "        if True:\n            return self._walk",
        (f"{DISK_MODES}test_denied_temp_folder_names_the_remedy",),
    ),
    Guard(
        "storages/tree.py",
        "            if not os.path.lexists(own):\n                raise",
        "            if False:\n                raise",
        (f"{DISK_MODES}test_unwritable_root_raises_the_system_error",),
    ),
    Guard(
        "storages/tree.py",
        "READ = os.O_RDONLY | NOFOLLOW | ",
        "READ = os.O_RDONLY | ",
        (f"{DISK_TRAPS}test_entry_planted_between_stat_and_open_is_not_read",),
    ),
    Guard(
        "storages/tree.py",
        'getattr(os, "O_NONBLOCK", 0) | CLOEXEC',
        "CLOEXEC",
        (f"{DISK_TRAPS}test_entry_planted_between_stat_and_open_is_not_read",),
    ),
    Guard(
        "storages/tree.py",
        "self._regular(os.fstat(file), name)",
        "os.fstat(file)",
        (f"{DISK_TRAPS}test_entry_planted_between_stat_and_open_is_not_read",),
    ),
    Guard(
        "storages/tree.py",
        "        self.stat_in(fd, leaf, name)\n        file = os.open(",
        "        file = os.open(",
        (f"{DISK_TRAPS}test_planted_entry_is_unsafe",),
    ),
    Guard(
        "storages/tree.py",
        "                _prune(folder, fd)",
        "                pass",
        (f"{DISK_SYNCS}test_retry_syncs_a_folder_whose_sync_failed",),
    ),
    Guard(
        "storages/tree.py",
        "            sync(above)",
        "            pass",
        (f"{DISK_SYNCS}test_save_syncs_the_file_and_its_new_folders",),
    ),
    Guard(
        "storages/tree.py",
        "with suppress(FileExistsError):  # made by another process",
        "if True:",
        (f"{DISK_PUBLISHING}test_save_succeeds_despite_races",),
    ),
    Guard(
        "storages/tree.py",
        "        if mode is not None:\n",
        "        if False:\n",
        (f"{DISK_MODES}test_modes_of_options_are_exact",),
    ),
    Guard(
        "storages/tree.py",
        "mode | (os.fstat(fd).st_mode & stat.S_ISGID)",
        "mode",
        (f"{DISK_MODES}test_setgid_bit_is_inherited",),
    ),
    Guard(
        "storages/tree.py",
        "{errno.ENOENT, errno.ENAMETOOLONG}",
        "{errno.ENOENT}",
        (f"{HOSTILE_NAMES}test_too_long_name_is_a_missing_file",),
    ),
    Guard(
        "storages/tree.py",
        "                        except FileNotFoundError:\n                            continue",
        "                        except ZeroDivisionError:\n                            continue",
        (f"{DISK_PUBLISHING}test_scan_skips_files_that_vanish",),
    ),
    Guard(
        "storages/tree.py",
        "prefix or entry.name != RESERVED\n",
        "True\n",
        (f"{DISK}test_temporary_files_are_invisible",),
    ),
    Guard(
        "storages/tree.py",
        "opened = self._open_folder(folder, fd)",
        "opened = os.open(folder, _ROOT, dir_fd=fd)",
        (f"{DISK_TRAPS}test_scan_does_not_enter_folders_that_are_exchanged",),
    ),
    Guard(
        "storages/tree.py",
        "except (FileNotFoundError, NotADirectoryError):\n                continue",
        "except ZeroDivisionError:\n                continue",
        (f"{DISK}test_listing_of_a_missing_folder",),
    ),
    Guard(
        "storages/tree.py",
        ("except (FileNotFoundError, NotADirectoryError):\n                    continue"),
        "except ZeroDivisionError:\n                    continue",
        (f"{DISK_TRAPS}test_scan_does_not_enter_folders_that_are_exchanged",),
    ),
    Guard(
        "storages/tree.py",
        "                if not levels:\n",
        "                if False:\n",
        (f"{DISK_PUBLISHING}test_scan_of_deep_folders_opens_few_at_a_time",),
    ),
    Guard(
        "storages/tree.py",
        " if folders or entry.name != RESERVED",
        "",
        (f"{DISK}test_temporary_files_are_invisible",),
    ),
    Guard(
        "storages/tree.py",
        "found = self.stat_in(fd, leaf, removal.name).st_size",
        "found = os.stat(leaf, dir_fd=fd, follow_symlinks=False).st_size",
        (f"{DISK_TRAPS}test_planted_entry_is_unsafe",),
    ),
    Guard(
        "storages/tree.py",
        "if removal.size not in {None, found}:\n",
        "if False:\n",
        (f"{DISK}test_delete_many_keeps_files_of_other_sizes",),
    ),
    Guard(
        "storages/tree.py",
        "                is_made = False\n",
        "                raise\n",
        (f"{DISK_PUBLISHING}test_duplicate_succeeds_despite_races",),
    ),
    Guard(
        "storages/tree.py",
        "            if not os.path.samestat(there, os.fstat(source)):\n",
        "            if False:\n",
        (
            f"{DISK_PUBLISHING}test_duplicate_does_not_use_the_name_of_another_file",
            f"{DISK_PUBLISHING}test_duplicate_of_an_exchanged_file_fails",
        ),
    ),
    Guard(
        "storages/tree.py",
        "                if is_made:\n",
        "                if False:\n",
        (f"{DISK_PUBLISHING}test_duplicate_of_an_exchanged_file_fails",),
    ),
    Guard(
        "storages/tree.py",
        "src_dir_fd=from_, dst_dir_fd=to, follow_symlinks=False",
        "src_dir_fd=from_, dst_dir_fd=to",
        (f"{DISK_PUBLISHING}test_duplicate_of_an_exchanged_file_fails[before]",),
    ),
    Guard(
        "storages/tree.py",
        "            if self.durable:\n                sync(to)\n",
        "",
        (f"{DISK_SYNCS}test_duplicate_syncs_the_folder_of_the_new_name",),
    ),
    Guard(
        "storages/tree.py",
        "                with suppress(FileNotFoundError):\n                    self._link(",
        "                with suppress(ZeroDivisionError):\n                    self._link(",
        (f"{DISK_PUBLISHING}test_duplicate_succeeds_despite_races",),
    ),
    Guard(
        "storages/tree.py",
        "                self.stat(name)\n        raise",
        "        raise",
        (f"{DISK_PUBLISHING}test_duplicate_of_a_vanishing_file_fails_at_once",),
    ),
    Guard(
        "storages/tree.py",
        "            os.utime(fd)\n",
        "",
        (f"{DISK_PUBLISHING}test_current_time_is_that_of_new_files",),
    ),
    Guard(
        "storages/tree.py",
        "            return time.time()  # nothing is stored yet\n",
        "            raise\n",
        (f"{DISK_PUBLISHING}test_current_time_is_that_of_new_files",),
    ),
    Guard(
        "storages/filesystem.py",
        "return self._time(self._tree.time())",
        "return super().current_time()",
        (f"{DISK_PUBLISHING}test_current_time_is_that_of_the_file_system",),
    ),
    Guard(
        "storages/filesystem.py",
        "first_free(self._candidates(key, fresh=True), link)",
        "first_free(self._candidates(key, fresh=False), link)",
        (f"{DISK}test_duplicate",),
    ),
    Guard(
        "storages/tree.py",
        "                sync(fd)  # of a missing file",
        "                pass  # of a missing file",
        (
            f"{DISK_REMOVING}test_delete_many_syncs_each_folder_once",
            f"{DISK_REMOVING}test_removal_after_a_crash_syncs_what_was_removed_before[neighbour]",
        ),
    ),
    Guard(
        "storages/tree.py",
        "                        sync(fd)\n        return failures",
        "                        pass\n        return failures",
        (f"{DISK_REMOVING}test_delete_many_syncs_each_folder_once",),
    ),
    Guard(
        "storages/tree.py",
        "            return True  # by a process",
        "            return False  # by a process",
        (f"{DISK_REMOVING}test_removal_after_a_crash_syncs_what_was_removed_before[nothing]",),
    ),
    Guard(
        "storages/tree.py",
        "        return True  # removed by another process",
        "        return False  # removed by another process",
        (f"{DISK_REMOVING}test_removal_syncs_a_folder_that_another_process_removed",),
    ),
    *(
        Guard(
            "storages/tree.py",
            f"with _reporting(failures, {removals}){rest}",
            f"with suppress(ZeroDivisionError){rest}",
            (f"{DISK_REMOVING}test_failing_names_do_not_stop_the_others",),
        )
        for removals, rest in (
            ("[removal]", ":"),
            ("files", ":"),
            ("inside", ","),
            ("pruned", ":"),
        )
    ),
    Guard(
        "storages/tree.py",
        "            failures.setdefault(removal.name, exception)",
        "            pass",
        (f"{DISK_REMOVING}test_failing_names_do_not_stop_the_others",),
    ),
    Guard(
        "storages/filesystem.py",
        " = 8, 10, 1000",
        " = 1, 10, 1000",
        (f"{DISK_REMOVING}test_delete_many_removes_in_several_threads",),
    ),
    Guard(
        "storages/tree.py",
        ".st_mtime < before:",
        ".st_mtime > 0:",
        (f"{PURGE}test_temp_files_are_removed_after_the_grace_time",),
    ),
    Guard(
        "storages/tree.py",
        ("                        if remove:\n                            os.unlink"),
        ("                        if True:\n                            os.unlink"),
        (f"{PURGE}test_temp_files_are_removed_after_the_grace_time",),
    ),
    Guard(
        "storages/tree.py",
        ('            if os.listdir(self.root):\n                return ""'),
        '            return ""',
        (f"{PURGE}test_empty_root_is_refused",),
    ),
    # -- storages/filesystem.py --
    Guard(
        "storages/filesystem.py",
        ("        except (FileNotFoundError, UnsafeEntry):\n            return False"),
        ("        except FileNotFoundError:\n            return False"),
        (f"{DISK_TRAPS}test_planted_entry_is_unsafe",),
    ),
    Guard(
        "storages/filesystem.py",
        ("        if relative.split(os.sep)[0] == os.pardir:\n            return None\n"),
        "",
        (f"{DISK_OPTIONS}test_only_stores_below_media_root_have_a_base_url",),
    ),
    Guard(
        "storages/filesystem.py",
        "prune=self.is_key(name)",
        "prune=False",
        (f"{DISK_PUBLISHING}test_delete_removes_only_empty_folders_of_deliveries",),
    ),
    Guard(
        "storages/filesystem.py",
        "prune=self.is_key(name)",
        "prune=True",
        (f"{DISK_PUBLISHING}test_delete_removes_only_empty_folders_of_deliveries",),
    ),
    # -- storages/_django.py --
    Guard(
        "storages/_django.py",
        "max_length and len(name) > max_length",
        "max_length and len(name) > max_length + 1",
        (f"{DISK}test_names_one_character_too_long_are_shortened",),
    ),
    Guard(
        "storages/_django.py",
        "            if self.is_key(name):",
        "            if False:",
        (f"{MEMORY}test_open_rejects_writing_to_keys",),
    ),
    Guard(
        "storages/free_names.py",
        "found = validate_storage_name(namer.get_available_name(name, max_length))",
        "found = namer.get_available_name(name, max_length)",
        (
            f"{DJANGOS_DISK}test_hostile_alternative_names_are_rejected",
            f"{MEMORY}test_hostile_alternative_names_are_rejected",
        ),
    ),
    Guard(
        "storages/free_names.py",
        '            if getattr(exception, "not_about_names", False):\n                raise\n',
        "            pass\n",
        (f"{MEMORY}test_file_exists_error_of_the_source_is_not_retried",),
    ),
    Guard(
        "storages/free_names.py",
        "if self._calls > 2 * ALTERNATIVE_NAMES:",
        "if False:",
        (f"{MEMORY}test_save_gives_up_if_every_alternative_is_taken",),
    ),
    Guard(
        "storages/_django.py",
        "                if found in chosen:\n",
        "                if False:\n",
        (f"{MEMORY}test_available_name_that_is_taken_overwrites_nothing",),
    ),
    Guard(
        "storages/_django.py",
        "        if store._overrides_save():\n",
        "        if False:\n",
        (f"{OVERRIDES}test_overridden_methods_are_asked",),
    ),
    Guard(
        "storages/_django.py",
        "        if creating is StorageContract:\n",
        "        if False:\n",
        (f"{OVERRIDES}test_backend_that_overwrites_is_checked_first",),
    ),
    Guard(
        "storages/filesystem.py",
        "return self._create_first(self._candidates(name), content)",
        "return super()._save(name, content)",
        (f"{OVERRIDES}test_save_step_that_fails_leaves_no_part",),
    ),
    Guard(
        "testing/memory.py",
        "return self._create_first(self._candidates(name), content)",
        "return super()._save(name, content)",
        (f"{OVERRIDES}test_save_step_overwrites_nothing",),
    ),
    Guard(
        "storages/options.py",
        "lambda value: value is False",
        "lambda value: True",
        (f"{DISK_OPTIONS}test_invalid_option_value_is_rejected",),
    ),
    # -- storages/writer.py --
    Guard(
        "storages/writer.py",
        "            else:\n                self._hash = None\n",
        "",
        (f"{MEMORY}test_writer_can_seek", f"{DISK}test_writer_can_seek"),
    ),
    Guard(
        "storages/writer.py",
        "            self._hash = None\n            try:\n",
        "            try:\n",
        (f"{WRITERS}test_truncated_writer_records_the_final_bytes",),
    ),
    Guard(
        "storages/writer.py",
        "            self._sink_position = -1  # unknown, if this is interrupted\n",
        "",
        (f"{WRITERS}test_writer_stores_nothing_else_after_an_interruption",),
    ),
    Guard(
        "storages/writer.py",
        "        self._sink_position = -1  # see above\n",
        "",
        (f"{WRITERS}test_writer_stores_nothing_else_after_an_interruption",),
    ),
    Guard(
        "storages/spool.py",
        "            on_disk.seek(position)\n",
        "",
        (f"{WRITERS}test_spool_keeps_its_position_when_it_moves_to_the_disk",),
    ),
    Guard(
        "storages/_django.py",
        "        return super().exists(name) and not self._is_folder(name)",
        "        return super().exists(name)",
        (f"{DJANGOS_DISK}test_folder_cannot_be_used_as_a_file",),
    ),
    Guard(
        "storages/_django.py",
        ("        if not self._is_folder(name):\n            super().delete(name)"),
        "        super().delete(name)",
        (f"{DJANGOS_MEMORY}test_delete_keeps_folders",),
    ),
    Guard(
        "storages/_django.py",
        (
            "            if super().exists(name):\n"
            "                raise\n"
            "            raise FileNotFoundError"
        ),
        "            raise FileNotFoundError",
        (f"{BACKENDS}test_error_of_a_stored_file_is_not_translated",),
    ),
    Guard(
        "storages/_django.py",
        "super().listdir(self._folder(path))",
        "super().listdir(path or '')",
        (f"{DISK}test_listings_reject_hostile_names",),
    ),
    Guard(
        "storages/_django.py",
        "        with rereadable(content) as source:\n",
        "        source = content\n        if True:\n",
        ("tests/storages/test_contents.py",),
    ),
    # -- storages/base.py --
    Guard(
        "storages/base.py",
        "        if start or stop is not None:\n",
        "        if False:\n",
        (f"{MEMORY}test_stream_rejects_sha256_with_a_range",),
    ),
    Guard(
        "storages/protocols.py",
        " or (is_buried is not None and is_buried(key))",
        "",
        (f"{BACKENDS}test_write_open_does_not_use_names_of_tombstones",),
    ),
    Guard(
        "storages/protocols.py",
        "return stored_name(filemeta) is not None or",
        "return",
        (f"{MEMORY}test_new_content_gets_a_new_name",),
    ),
    Guard(
        "storages/base.py",
        "self._create_first(self._candidates(key, fresh=True), file)",
        "self._create_first(self._candidates(key, fresh=False), file)",
        (f"{MEMORY}test_duplicate",),
    ),
    Guard(
        "storages/base.py",
        "                    self._refuse_other_size(name, sizes[name])\n",
        "                    pass\n",
        (f"{MEMORY}test_delete_many_keeps_files_of_other_sizes",),
    ),
    Guard(
        "storages/base.py",
        "        with suppress(FileNotFoundError):\n            if (found",
        "        if True:\n            if (found",
        (f"{MEMORY}test_delete_many_keeps_files_of_other_sizes",),
    ),
    Guard(
        "storages/s3/store.py",
        "_without_batches.add(server)",
        "pass",
        (f"{S3_DELETE_MANY}test_server_without_batches_deletes_one_by_one",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/store.py",
        'exception.code != "MalformedXML" and len(failures) < len(names)',
        "True",
        (
            f"{S3_DELETE_MANY}test_malformed_batch_is_deleted_one_by_one_but_the_next_is_not",
            f"{S3_DELETE_MANY}test_refusal_is_forgotten_if_nothing_can_be_deleted",
        ),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/errors.py",
        "impossible and operation not in _READS",
        "False",
        (f"{S3_NAMES}test_name_that_a_server_rejects",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/errors.py",
        "if missing or impossible:",
        "if missing:",
        (f"{S3_NAMES}test_name_that_a_server_rejects",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/bucket.py",
        'operation == "head_object" and error_code(exception) == "400"',
        "False",
        (
            f"{S3_NAMES}test_name_that_a_server_rejects",
            f"{S3_NAMES}test_other_reason_for_status_400_is_reported",
        ),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/store.py",
        "or len(key.encode()) > LONGEST_KEY",
        "",
        (f"{S3_NAMES}test_long_name_does_not_block_other_names",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/store.py",
        "if self.is_key(name):\n            # Students",
        "if False:\n            # Students",
        (f"{S3_MEDIA_TYPES}test_key_has_a_safe_type_and_is_an_attachment",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/store.py",
        'parameters |= {"ContentType": safe, "ContentDisposition": "attachment"}',
        'parameters = {"ContentType": safe, "ContentDisposition": "attachment", **parameters}',
        (f"{S3_MEDIA_TYPES}test_object_parameters_do_not_make_keys_unsafe",),
        needs=("servers",),
    ),
    Guard(
        "storages/base.py",
        "file.name = filename or name",
        "pass",
        (f"{S3_MEDIA_TYPES}test_key_has_a_safe_type_and_is_an_attachment",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/storage.py",
        "public.endpoint_url = self.public_endpoint_url",
        "pass",
        (f"{S3_SIGNATURES}test_every_url_has_the_public_endpoint",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/options.py",
        'for option in ("endpoint_url", "public_endpoint_url"):',
        'for option in ("endpoint_url",):',
        (f"{S3_SIGNATURES}test_public_endpoint_with_a_password_is_not_shown",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/errors.py",
        'operation == "delete_objects" and status in _UNSUPPORTED',
        'operation == "delete_objects"',
        (f"{S3_DELETE_MANY}test_other_error_is_reported_and_forgotten",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/store.py",
        "_failures(lambda name: self._refuse_other_size(name, given[name]), given)",
        "dict[str, Exception]()",
        (f"{S3_SEAWEEDFS}test_delete_many_keeps_files_of_other_sizes",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/store.py",
        "        names = [name for name in names if name not in failures]\n",
        "",
        (f"{S3_SEAWEEDFS}test_delete_many_keeps_files_of_other_sizes",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/store.py",
        "[name, *remaining], exception)}\n        except (OSError, ValueError) as",
        "[name, *remaining], exception)}\n        except ValueError as",
        (f"{S3_DELETE_MANY}test_file_of_unknown_size_is_kept",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/store.py",
        "            found = self._unshared(candidate)\n",
        "            found = str(candidate)\n",
        (f"{S3_CONDITIONS}test_large_files_and_copies_share_no_name",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/store.py",
        "            name = self._unshared(name)\n",
        "            name = str(name)\n",
        (f"{S3_CONDITIONS}test_large_files_and_copies_share_no_name",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/store.py",
        "        name = unshared(name)\n        if self.exists(name):\n",
        "        name = unshared(name)\n        if False:\n",
        (f"{S3_CONDITIONS}test_alternative_name_that_is_used_is_not_overwritten",),
        needs=("servers",),
    ),
    Guard(
        "storages/free_names.py",
        "alternative_names(name, _max_length.get(), Storage().get_alternative_name)",
        "iter([name])",
        (f"{S3_CONDITIONS}test_large_files_and_copies_share_no_name",),
        needs=("servers",),
    ),
    Guard(
        "storages/free_names.py",
        "alternative_names(name, _max_length.get(), Storage().get_alternative_name)",
        "alternative_names(name, None, Storage().get_alternative_name)",
        (f"{S3_CONDITIONS}test_large_files_and_copies_share_no_name",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/store.py",
        "            return super().duplicate(name, key, filename=filename)\n",
        "            pass\n",
        (f"{S3_REQUESTS}test_duplicate_without_checksum_is_read_and_written",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/store.py",
        "return self._time(parsedate_to_datetime(date))",
        "return super().current_time()",
        (f"{S3_REQUESTS}test_current_time_is_that_of_the_server",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/store.py",
        "        except (TypeError, ValueError) as exception:\n            raise StoreFailure(\n"
        '                f"list_objects_v2',
        "        except KeyError as exception:\n            raise StoreFailure(\n"
        '                f"list_objects_v2',
        (f"{S3_REQUESTS}test_response_without_a_date_is_an_error",),
        needs=("servers",),
    ),
    Guard(
        "storages/base.py",
        "            except Exception as exception:  # noqa: BLE001  # backends",
        "            except ValueError as exception:  #",
        (f"{BACKENDS}test_delete_many_returns_the_errors_of_the_backend",),
    ),
    Guard(
        "storages/base.py",
        (
            "        except FileNotFoundError as exception:\n"
            "            raise DeliveryFileNotFound(name, filemeta) from exception"
        ),
        (
            "        except ZeroDivisionError as exception:\n"
            "            raise DeliveryFileNotFound(name, filemeta) from exception"
        ),
        (f"{MEMORY}test_errors_have_the_filemeta",),
    ),
    Guard(
        "storages/base.py",
        ('        if self.listdir("") == ([], []):\n            return "the store is empty"\n'),
        "",
        (f"{BACKENDS}test_empty_store_is_unavailable",),
    ),
    # -- storages/chunks.py, storages/spool.py, storages/writer.py --
    Guard(
        "storages/chunks.py",
        ("        if withheld:\n            yield withheld\n        withheld = chunk"),
        ('        yield chunk\n        withheld = b""'),
        (f"{MEMORY}test_damaged_file_is_not_streamed_to_its_end",),
    ),
    Guard(
        "storages/spool.py",
        "tempfile.TemporaryFile(buffering=0)",
        "tempfile.TemporaryFile()",
        (f"{SPOOLS}test_child_that_exits_leaves_the_spool_alone",),
    ),
    Guard(
        "storages/spool.py",
        "        view = view[file.write(view) :]",
        ("        file.write(view)\n        break"),
        (f"{SPOOLS}test_spool_returns_the_added_bytes",),
    ),
    Guard(
        "storages/writer.py",
        "if exception is None or any(exception is earlier for earlier in self._in_flight):",
        "if exception is None:",
        (f"{MEMORY}test_writer_used_in_an_except_block",),
    ),
    Guard(
        "storages/writer.py",
        "if exception is None or any(exception is earlier for earlier in self._in_flight):",
        "if True:",
        (f"{MEMORY}test_writer_with_an_exception_in_try_finally",),
    ),
    Guard(
        "storages/writer.py",
        (
            "            self._close_cleanly()\n"
            "        else:\n"
            "            self.discard()\n"
            "\n"
            "    def __del__"
        ),
        (
            "            self._close_cleanly()\n"
            "        else:\n"
            "            self._close_cleanly()\n"
            "\n"
            "    def __del__"
        ),
        (f"{MEMORY}test_writer_with_an_exception_in_with",),
    ),
    Guard(
        "storages/writer.py",
        "        exception = exception.__context__\n",
        "        exception = None\n",
        (f"{MEMORY}test_writer_in_nested_except_blocks",),
    ),
    Guard(
        "storages/writer.py",
        ("            self.discard()\n            logger.error("),
        ("            self.discard()\n            logger.debug("),
        (f"{MEMORY}test_writer_closed_in_an_except_block",),
    ),
    Guard(
        "storages/writer.py",
        "self.closed = self.discarded = True",
        "self.closed = True",
        (f"{MEMORY}test_writer_closed_in_an_except_block",),
    ),
    Guard(
        "storages/writer.py",
        "        self._owner.require(self.name)\n        if self.closed:\n",
        "        if self.closed:\n",
        ("tests/storages/disk/test_disk_forks.py",),
    ),
    Guard(
        "storages/spool.py",
        "        self._owner.require(self.name)\n        # SpooledTemporaryFile",
        "        # SpooledTemporaryFile",
        (f"{SPOOLS}test_child_cannot_add_to_a_spool",),
    ),
    Guard(
        "storages/writer.py",
        "                self._owner.require(self.name)\n",
        "",
        (f"{MEMORY}test_writer_in_a_forked_child",),
    ),
    Guard(
        "storages/writer.py",
        ("        except BaseException:\n            self._broken = True"),
        ("        except Exception:\n            self._broken = True"),
        (f"{SPOOLS}test_writer_interrupted_in_a_write_stores_nothing",),
    ),
    Guard(
        "storages/chunks.py",
        "    with not_about_names():\n",
        "    if True:\n",
        (f"{MEMORY}test_file_exists_error_of_the_source_is_not_retried",),
    ),
    # -- storages/content.py --
    Guard(
        "storages/content.py",
        "                self._failure = exception\n",
        "",
        (f"{CONTENTS}test_second_attempt_at_a_broken_source_fails",),
    ),
    Guard(
        "storages/content.py",
        ("        if not _has_djangos_chunks(file):\n            return False"),
        "        pass",
        (f"{CONTENTS}test_every_content_is_stored_whole",),
    ),
    Guard(
        "storages/content.py",
        ("    if not _has_djangos_chunks(content):\n        return False\n"),
        "",
        (f"{BACKENDS}test_backend_gets_seekable_bytes",),
    ),
    Guard(
        "storages/content.py",
        "regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)",
        "regular = True",
        (f"{CONTENTS}test_file_that_is_not_really_seekable_is_stored_whole",),
    ),
    Guard(
        "storages/content.py",
        "return isinstance(content.read(0), bytes)",
        "return True",
        (f"{BACKENDS}test_backend_gets_seekable_bytes",),
    ),
    # -- testing/memory.py --
    Guard(
        "testing/memory.py",
        (
            "            if name in self._blobs:\n"
            '                raise FileExistsError(f"{name!r} is taken.")\n'
        ),
        "",
        (f"{MEMORY}test_taken_name_leads_to_an_alternative_name",),
    ),
    # -- storages/paging.py --
    Guard(
        "storages/paging.py",
        're.compile("0|[1-9][0-9]*")',
        're.compile("[0-9]+")',
        (f"{PAGING}test_numbers_are_sorted_by_value_before_names",),
    ),
    Guard(
        "storages/paging.py",
        "if position_of(entry) > last",
        "if position_of(entry) >= last",
        (f"{MEMORY}test_pages_show_every_entry_once",),
    ),
    Guard(
        "storages/paging.py",
        'if len(first) > limit else ""',
        'if len(first) >= limit else ""',
        (f"{PAGING}test_file_and_folder_of_one_name_are_two_entries",),
    ),
    Guard(
        "storages/paging.py",
        '        slash = "" if self.is_file else "/"',
        '        slash = ""',
        (f"{PAGING}test_file_and_folder_of_one_name_are_two_entries",),
    ),
    # -- storages/options.py --
    Guard(
        "storages/options.py",
        "_is_integer(value, 1, 0o7777)",
        "_is_integer(value, 0, 0o7777)",
        (f"{DISK_OPTIONS}test_invalid_option_value_is_rejected",),
    ),
    Guard(
        "storages/options.py",
        "_is_integer(value, 2)",
        "_is_integer(value, 1)",
        (f"{DISK_OPTIONS}test_invalid_option_value_is_rejected",),
    ),
    Guard(
        "storages/options.py",
        "0 <= value < math.inf",
        "0 <= value",
        (f"{S3_ERRORS}test_invalid_option_deadline_is_rejected",),
        needs=("servers",),
    ),
    # -- layout.py --
    Guard(
        "layout.py",
        '"(0|[1-9][0-9]{0,4299})"',
        '"([0-9]{1,4300})"',
        (f"{LAYOUT}test_mutated_keys_do_not_parse",),
    ),
    Guard(
        "layout.py",
        '"(0|[1-9][0-9]{0,4299})"',
        'r"(0|[1-9]\\d{0,4299})"',
        (f"{LAYOUT}test_mutated_keys_do_not_parse",),
    ),
    Guard("layout.py", "{0,4299}", "*", (f"{LAYOUT}test_mutated_keys_do_not_parse",)),
    Guard(
        "layout.py",
        "self._key.fullmatch(key)",
        "self._key.match(key)",
        (f"{LAYOUT}test_mutated_keys_do_not_parse",),
    ),
    Guard(
        "layout.py",
        "[A-Za-z0-9]{{7}}",
        "[A-Za-z0-9]{{6,8}}",
        (f"{LAYOUT}test_suffixes_of_another_length_do_not_parse",),
    ),
    Guard(
        "layout.py",
        "    if value < 0:\n",
        "    if False:\n",
        (f"{LAYOUT}test_invalid_ids_are_rejected",),
    ),
    Guard(
        "layout.py",
        ("        if sub >= self.interval:\n            return None\n"),
        "",
        (f"{LAYOUT}test_folders_without_possible_ids_are_not_branches",),
    ),
    Guard(
        "layout.py",
        ("        if self.folder(delivery) != name:\n            return None\n"),
        "",
        (f"{LAYOUT}test_folders_without_possible_ids_are_not_branches",),
    ),
    Guard(
        "layout.py",
        "    return int(value)\n",
        "    return value\n",
        (f"{LAYOUT}test_subclasses_of_int_become_digits",),
    ),
    Guard(
        "layout.py",
        "if not re.fullmatch(_INTEGER, name)",
        "if not name.isdigit()",
        (
            f"{LAYOUT}test_foreign_folders_are_not_branches",
            f"{LAYOUT}test_flat_branches_are_in_numeric_order",
        ),
    ),
    # -- names.py --
    Guard(
        "names.py",
        'elif text.startswith("/"):',
        "elif False:",
        (f"{NAMES}test_error_has_name_reason_and_remedy",),
    ),
    Guard(
        "names.py",
        'elif ".." in (parts := text.split("/")):',
        'elif (parts := text.split("/")) is None:',
        (f"{DISK}test_save_rejects_hostile_names",),
    ),
    Guard(
        "names.py",
        "    elif _is_reserved(parts[0]):",
        "    elif parts[0].startswith(RESERVED):",
        (f"{NAMES}test_all_spellings_of_the_reserved_name_are_rejected",),
    ),
    Guard(
        "names.py",
        "if len(text) > FILENAME_MAX_LENGTH:",
        "if len(text) > FILENAME_MAX_LENGTH + 1:",
        (f"{NAMES}test_filename_length_is_counted_in_nfc",),
    ),
    Guard(
        "names.py",
        '    if not text.strip(". "):',
        '    if text in {".", ".."}:',
        (f"{NAMES}test_error_for_filename_has_name_reason_and_remedy",),
    ),
    Guard(
        "names.py",
        "return str.__str__(name) if isinstance(name, str) else None",
        "return name if isinstance(name, str) else None",
        (f"{NAMES}test_subclasses_of_str_are_validated_by_value",),
    ),
    Guard(
        "names.py",
        ("    elif _SURROGATE.search(text):\n        reason"),
        ("    elif False:\n        reason"),
        (f"{NAMES}test_error_has_name_reason_and_remedy",),
    ),
    Guard(
        "names.py",
        "    if _DIRECTION.search(text):",
        "    if False:",
        (f"{NAMES}test_error_for_filename_has_name_reason_and_remedy",),
    ),
    # -- conf.py --
    Guard(
        "conf.py",
        "isinstance(media_type, str) and media_type in SAFE_TYPES for media_type in value",
        "isinstance(media_type, str) for media_type in value",
        (f"{CONF}test_invalid_value_is_an_error",),
    ),
    # -- checks/stores.py --
    Guard(
        "checks/stores.py",
        "os.access(folder, os.W_OK | os.X_OK)",
        "os.access(folder, os.W_OK)",
        (f"{CHECKS}test_location_without_permission_is_an_error",),
    ),
    Guard(
        "checks/stores.py",
        "os.access(folder, os.W_OK | os.X_OK)",
        "os.access(folder, os.X_OK)",
        (f"{CHECKS}test_location_without_permission_is_an_error",),
    ),
    Guard(
        "checks/stores.py",
        "        if not getattr(store, flag):",
        "        if getattr(store, flag) is False:",
        (f"{CHECKS}test_each_missing_guarantee_is_a_warning",),
    ),
    Guard(
        "checks/stores.py",
        "        if not getattr(store, flag):",
        "        if getattr(store, flag) is None:",
        (f"{CHECKS}test_each_missing_guarantee_is_a_warning",),
    ),
    Guard(
        "checks/stores.py",
        '        "whole_or_absent": "a process that is killed may leave an incomplete file",\n',
        "",
        (f"{CHECKS}test_each_missing_guarantee_is_a_warning",),
    ),
    Guard(
        "checks/stores.py",
        "if getattr(store, flag) is None]",
        "if not getattr(store, flag)]",
        (f"{CHECKS}test_each_missing_guarantee_is_a_warning",),
    ),
    Guard(
        "checks/stores.py",
        "mode is None or mode & 0o007",
        "mode is not None and mode & 0o007",
        (f"{CHECKS}test_missing_folder_mode_is_a_warning",),
    ),
    Guard(
        "checks/stores.py",
        "mode & 0o007",
        "mode & 0o004",
        (f"{CHECKS}test_any_permission_for_others_is_a_warning",),
    ),
    Guard(
        "checks/stores.py",
        "    return os.path.realpath(store.location)",
        "    return store.location",
        (f"{CHECKS}test_symlink_into_media_root_is_public",),
    ),
    Guard(
        "checks/stores.py",
        "            messages += _modes(model, store)\n",
        "",
        (f"{CHECKS}test_world_readable_modes_are_a_warning_in_production",),
    ),
    Guard(
        "checks/stores.py",
        "            messages += _open_temps(model, store)\n",
        "",
        (f"{CHECKS}test_open_folder_of_temp_files_is_a_warning_in_production",),
    ),
    Guard(
        "checks/stores.py",
        "        except FileNotFoundError:\n            return  # removed since",
        "        except ValueError:\n            return  # removed since",
        (f"{CHECKS}test_folder_of_temp_files_may_vanish_during_the_check",),
    ),
    Guard(
        "checks/stores.py",
        "        if not os.access(temps, os.W_OK | os.X_OK):\n",
        "        if False:\n",
        (f"{CHECKS}test_folder_of_temp_files_without_permission_is_an_error",),
    ),
    Guard(
        "checks/stores.py",
        ("    while not os.path.lexists(folder):\n        folder = os.path.dirname(folder)\n"),
        "",
        (f"{CHECKS}test_missing_location_has_no_messages",),
    ),
    # -- checks/models.py --
    Guard(
        "checks/models.py",
        "paths = [os.path.realpath(location)",
        "paths = [os.path.abspath(location)",
        (f"{CHECKS}test_store_within_another_store_is_an_error",),
    ),
    # -- checks/serving.py --
    Guard(
        "checks/serving.py",
        "not Path(folder).is_relative_to(os.path.abspath(root))",
        "not folder.startswith(str(root))",
        (f"{CHECKS}test_sendfile_root_beside_the_store_is_an_error",),
    ),
    # -- checks/database.py --
    Guard(
        "checks/database.py",
        "with transaction.atomic(using=alias), connections",
        "with connections",
        (f"{CHECKS}test_strict_isolation_level_is_a_warning",),
        needs=("postgres",),
    ),
    Guard(
        "checks/database.py",
        "            continue  # adopted, or an alternative name",
        "            pass",
        (f"{CHECKS}test_adopted_names_are_not_compared_with_the_interval",),
    ),
    Guard(
        "checks/database.py",
        '"(0|[1-9][0-9]*)"',
        'r"(0|[1-9]\\d*)"',
        (f"{CHECKS}test_adopted_names_are_not_compared_with_the_interval",),
    ),
    # -- storages/s3/writing.py --
    Guard(
        "storages/s3/writing.py",
        '            condition = {"IfNoneMatch": "*"}\n',
        "",
        (f"{S3_ERRORS}test_used_name_raises_file_exists",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/writing.py",
        "            require_conditions(self.bucket)\n",
        "",
        (f"{S3_CONDITIONS}test_no_small_file_if_server_ignores_conditions",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/writing.py",
        "get(TOKEN) == self.token)",
        "get(TOKEN))",
        (f"{S3_REQUESTS}test_alternative_name_costs_two_more_requests",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/writing.py",
        "if not repeated or not self._is_ours():",
        "if True:",
        (
            f"{S3_REPEATS}test_upload_with_lost_response_keeps_its_name",
            f"{S3_REPEATS}test_save_repeated_by_a_balancer_keeps_its_name",
        ),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/writing.py",
        ' or exception.code == "NoSuchUpload"',
        "",
        (f"{S3_REPEATS}test_upload_with_lost_response_keeps_its_name",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/writing.py",
        "if not repeated or not self._is_ours():",
        "if not repeated:",
        (f"{S3_REPEATS}test_aborted_upload_is_not_reported_as_success",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/writing.py",
        "        except FileNotFoundError:\n            # It was",
        "        except OSError:\n            # It was",
        (f"{S3_REPEATS}test_failed_check_of_a_used_name_is_an_error",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/checksums.py",
        '"ChecksumAlgorithm": "SHA256", ',
        "",
        (f"{S3_ENCRYPTION}test_bucket_with_object_lock_accepts_uploads",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/writing.py",
        "            abandon(self.bucket, self.name, upload)\n",
        "            pass\n",
        (f"{S3_ERRORS}test_denied_large_save_leaves_no_upload",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/checksums.py",
        '"ChecksumAlgorithm": "SHA256", "ChecksumSHA256": _base64(sha256)',
        "",
        (f"{S3_REPEATS}test_each_upload_has_a_checksum",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/writing.py",
        "**known, TOKEN: self.token}",
        "**known}",
        (f"{S3_REPEATS}test_upload_with_lost_response_keeps_its_name",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/writing.py",
        '    return sorted(sent, key=itemgetter("PartNumber"))',
        "    return sent",
        (f"{S3_PARTS}test_parts_are_returned_in_order",),
    ),
    Guard(
        "storages/s3/writing.py",
        "length *= 2",
        "length *= 1",
        (f"{S3_PARTS}test_parts_have_room_for_the_largest_object",),
    ),
    Guard(
        "storages/s3/writing.py",
        ('        if exception.code != "NoSuchUpload":\n            raise'),
        "        raise",
        (f"{S3_UPLOADS}test_already_aborted_upload_does_not_stop_the_rest",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/writing.py",
        "    if not honours_conditions(bucket):",
        "    if False:",
        (f"{S3_CONDITIONS}test_no_small_file_if_server_ignores_conditions",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/writing.py",
        ("            if exception.code in _NOT_IMPLEMENTED:\n                return False\n"),
        "",
        (f"{S3_CONDITIONS}test_server_without_conditional_writes_is_rejected",),
        needs=("servers",),
    ),
    # -- storages/s3/errors.py --
    # -- storages/s3/probing.py --
    Guard(
        "storages/s3/probing.py",
        "    except ConditionFailed:\n        return False\n",
        "    except OSError:\n        return False\n",
        (f"{S3_PROBE}test_endpoint_that_refuses_to_write_is_named",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/probing.py",
        'abort(self._bucket, name, upload["UploadId"])',
        "pass",
        (f"{S3_PROBE}test_endpoint_that_refuses_to_write_is_named",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/store.py",
        "name = self.layout.key(*self.layout.parse(name))",
        "pass",
        ("tests/storages/s3/test_s3_conditions.py::test_large_files_and_copies_share_no_name",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/probing.py",
        'partial(self._bucket.call, "delete_object", name)',
        "print",
        (f"{S3_PROBE}test_probe_touches_only_its_own_objects",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/errors.py",
        '_FINAL = {"NoSuchUpload", "PreconditionFailed"}',
        "_FINAL = set()",
        (f"{S3_REPEATS}test_upload_with_lost_response_keeps_its_name",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/errors.py",
        'code not in {*_ABOUT_THE_BUCKET, "NoSuchUpload"}',
        "code not in _ABOUT_THE_BUCKET",
        (f"{S3_UPLOADS}test_already_aborted_upload_does_not_stop_the_rest",),
        needs=("servers",),
    ),
    # -- storages/s3/bucket.py --
    Guard(
        "storages/s3/bucket.py",
        "attempt < self.attempts",
        "attempt <= self.attempts",
        (f"{S3_ERRORS}test_option_attempts_limits_attempts",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/bucket.py",
        "attempt < self.attempts and seconds < self.deadline",
        "attempt < self.attempts",
        (f"{S3_ERRORS}test_no_attempt_begins_after_the_deadline",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/bucket.py",
        (
            "            with self._lock:\n"
            "                client = self._clients.get(key)\n"
            "                if client is None:\n"
            "                    client = self._clients[key] = make()"
        ),
        "            client = self._clients[key] = make()",
        (f"{S3_CLIENTS}test_concurrent_threads_create_one_client",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/storage.py",
        "return sha256(repr(values).encode()).hexdigest()",
        "return repr(values)",
        (f"{S3_FRAMES}test_failed_requests_show_no_secret",),
    ),
    Guard(
        "storages/s3/bucket.py",
        "    @sensitive_variables()\n    def call(",
        "    def call(",
        (f"{S3_FRAMES}test_failed_requests_show_no_secret",),
    ),
    Guard(
        "storages/s3/store.py",
        "    @sensitive_variables()\n    def __init__(",
        "    def __init__(",
        (f"{S3_FRAMES}test_failed_store_shows_no_secret",),
    ),
    Guard(
        "resolving.py",
        "@sensitive_variables()  # Django's frames contain the options\n",
        "",
        (f"{S3_FRAMES}test_wrong_options_show_no_secret",),
    ),
    Guard(
        "serving/responses.py",
        "@sensitive_variables()\ndef _redirect(",
        "def _redirect(",
        (f"{S3_FRAMES}test_failed_redirect_does_not_show_its_url",),
    ),
    Guard(
        "storages/s3/bucket.py",
        "not 0 < seconds <= LONGEST_URL",
        "not 0 < seconds",
        (f"{S3_URLS}test_url_is_valid_for_a_week_at_most",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/bucket.py",
        "following == remembered or ",
        "",
        (f"{S3_REPEATS}test_listing_with_repeated_markers_ends",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/bucket.py",
        " or empty == _EMPTY_PAGES",
        "",
        (f"{S3_REPEATS}test_listing_of_empty_pages_ends",),
        needs=("servers",),
    ),
    # -- storages/s3/reading.py --
    Guard(
        "storages/s3/reading.py",
        "if self.etag and (etag, size) != (self.etag, self.size):",
        "if False:",
        (f"{S3_REPEATS}test_replaced_file_is_stale_without_if_match",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/reading.py",
        "if self._rest is not None and self._process != os.getpid():",
        "if False:",
        (f"{S3_READERS}test_forked_child_has_a_connection_of_its_own",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/reading.py",
        "        self._stop_following()\n        self._keep(0)",
        "        self._keep(0)",
        (f"{S3_READERS}test_connection_is_closed_with_the_reader",),
        needs=("servers",),
    ),
    # -- storages/s3/redaction.py --
    Guard(
        "storages/s3/redaction.py",
        '"botocore.parsers"',
        '"botocore"',
        (f"{S3_SECRETS}test_loggers_that_log_secrets_have_the_filter",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/redaction.py",
        '"botocore.tokens"',
        '"botocore"',
        (f"{S3_SECRETS}test_loggers_that_log_secrets_have_the_filter",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/redaction.py",
        '    "SAMLAssertion",\n',
        "",
        (f"{S3_SECRETS}test_redact_replaces_only_the_values_of_secrets",),
        needs=("servers",),
    ),
    # -- storages/s3/options.py --
    Guard(
        "storages/s3/options.py",
        'if "@" in str(getattr(store, option))',
        'if "@@" in str(getattr(store, option))',
        (f"{S3_SECRETS}test_endpoint_with_a_password_is_rejected_without_showing_it",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/options.py",
        "if UNSIGNED in {store.signature_version, sites.signature_version}:",
        "if UNSIGNED is store.signature_version:",
        (f"{S3_OPTIONS}test_invalid_options_are_rejected",),
        needs=("servers",),
    ),
    # -- storages/s3/store.py --
    Guard(
        "storages/s3/store.py",
        'ours = bool(prefix) or name.startswith(f"{RESERVED}/") or self.is_key(name)',
        "ours = True",
        (f"{S3_UPLOADS}test_foreign_uploads_are_kept_without_a_location",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/store.py",
        ' or upload["Initiated"].timestamp() >= before.timestamp()',
        "",
        (f"{PURGE_S3}test_uploads_are_aborted_after_the_grace_time",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/store.py",
        "            if not dry_run:\n                abort(",
        "            if True:\n                abort(",
        (f"{PURGE_S3}test_uploads_are_aborted_after_the_grace_time",),
        needs=("servers",),
    ),
    Guard(
        "storages/base.py",
        " if key not in self.secret_options}",
        "}",
        (f"{DECONSTRUCT}test_store_without_alias_is_rebuilt_without_secrets",),
    ),
    Guard(
        "storages/s3/store.py",
        "value if HONOURED[key] else REDACTED",
        "value",
        (f"{INFO}test_info_hides_options_that_may_be_secret",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/store.py",
        "if NOT_IN_XML.search(key) or",
        "if",
        (f"{S3_DELETE_MANY}test_failed_single_deletion_is_reported_by_name",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/store.py",
        "return dict.fromkeys(names.values(), exception)",
        "return {}",
        (f"{S3_ERRORS}test_failed_batch_is_reported_for_each_name",),
        needs=("servers",),
    ),
    # -- storages/s3/listing.py --
    Guard(
        "storages/s3/listing.py",
        'name not in {"", RESERVED} and',
        'name != "" and',
        (f"{INFO}test_probe_leaves_no_listed_file",),
        needs=("servers",),
    ),
    # -- storages/s3/checksums.py --
    Guard(
        "storages/s3/checksums.py",
        """    if not _are_new(client):
        return {"ContentMD5": _md5(data)}
    # A bucket""",
        """    if not _are_new(client):
        return {}
    # A bucket""",
        (f"{S3_REPEATS}test_each_upload_has_a_checksum",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/checksums.py",
        """    if not _are_new(client):
        return {"ContentMD5": _md5(data)}
    return {""",
        """    if not _are_new(client):
        return {}
    return {""",
        (f"{S3_REPEATS}test_each_upload_has_a_checksum",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/checksums.py",
        'client.meta.config.request_checksum_calculation != "when_required"',
        "True",
        (f"{S3_CHECKSUMS}test_older_server_gets_no_new_checksum",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/checksums.py",
        'params["context"].pop("checksum", None)',
        "pass",
        (f"{S3_CHECKSUMS}test_older_server_gets_no_new_checksum",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/checksums.py",
        'if "Range" in params:',
        "if False:",
        (f"{S3_CHECKSUMS}test_each_operation_sends_only_known_headers",),
        needs=("servers",),
    ),
    # -- storages/tree.py --
    Guard(
        "storages/tree.py",
        "suppress(FileNotFoundError):  # published",
        "suppress(ZeroDivisionError):  # published",
        (f"{DISK_PUBLISHING}test_stale_temps_skips_files_that_vanish",),
    ),
    Guard(
        "storages/tree.py",
        ("        if stat.S_ISDIR(status.st_mode):\n            raise self._missing(name)\n"),
        "",
        (f"{DISK_PUBLISHING}test_folder_is_a_missing_file",),
    ),
    # -- storages/options.py --
    Guard(
        "storages/options.py",
        (
            "        raise ImproperlyConfigured(\n"
            '            f"{type(store).__name__} has no option'
        ),
        (
            "        continue\n"
            "        raise ImproperlyConfigured(\n"
            '            f"{type(store).__name__} has no option'
        ),
        (f"{DISK_OPTIONS}test_unknown_option_is_rejected",),
    ),
    # -- storages/s3/store.py --
    Guard(
        "storages/s3/store.py",
        "except BatchRejected as exception:",
        "except ZeroDivisionError as exception:",
        (f"{S3_DELETE_MANY}test_malformed_batch_is_deleted_one_by_one_but_the_next_is_not",),
        needs=("servers",),
    ),
    # -- checks/database.py --
    Guard(
        "checks/database.py",
        '"(0|[1-9][0-9]*)"',
        '"([0-9]+)"',
        (f"{CHECKS}test_adopted_names_are_not_compared_with_the_interval",),
    ),
    # -- Tenants, pools and references --
    Guard(
        "storages/filesystem.py",
        "if folders == self._folders:",
        "if False:",
        (f"{COSTS}test_small_file_takes_five_system_calls",),
    ),
    Guard(
        "storages/filesystem.py",
        "with suppress(FileNotFoundError):",
        "with suppress(ZeroDivisionError):",
        (f"{COSTS}test_folder_that_was_made_again_is_entered_again",),
    ),
    Guard(
        "storages/filesystem.py",
        "size = left if 0 < left <= _WHOLE else CHUNK_SIZE",
        "size = left or CHUNK_SIZE",
        (f"{COSTS}test_large_file_is_read_in_chunks",),
    ),
    Guard(
        "storages/filesystem.py",
        "reader.stream if is_plain else self.stream",
        "reader.stream",
        (f"{COSTS}test_subclass_that_decodes_what_it_stores_is_asked",),
    ),
    Guard(
        "storages/filesystem.py",
        "        finally:\n            reader.close()\n",
        "        finally:\n            pass\n",
        (f"{COSTS}test_no_descriptor_is_left",),
    ),
    Guard(
        "storages/filesystem.py",
        "os.path.abspath(self._required(self.location)),",
        "os.fspath(self._required(self.location)),",
        (f"{TENANTS}test_location_of_a_tenant_may_have_a_slash_or_be_relative",),
    ),
    Guard(
        "storages/aliases.py",
        "if unwrapped(storages[alias]) is store:",
        "if storages[alias] == store:",
        (
            "tests/storages/test_aliases.py::test_stores_that_are_equal_have_aliases_of_their_own[EqualStore]",
        ),
    ),
    Guard(
        "storages/_django.py",
        "store = self.with_fixed_location()",
        "store = self",
        (f"{TENANTS}test_source_that_reads_in_another_tenant_does_not_move_the_save",),
        needs=("servers",),
    ),
    Guard(
        "storages/base.py",
        "        store = self.with_fixed_location()\n        if sha256 is None:",
        "        store = self\n        if sha256 is None:",
        (f"{TENANTS}test_open_files_keep_the_location_of_their_opening",),
    ),
    Guard(
        "storages/base.py",
        "return self.with_fixed_location()._scan(prefix)",
        "return self._scan(prefix)",
        (f"{TENANTS}test_open_files_keep_the_location_of_their_opening",),
    ),
    Guard(
        "storages/base.py",
        "if store is self and (now :=",
        "if False and (now :=",
        (f"{TENANTS}test_writer_of_an_own_store_is_refused_at_another_location",),
    ),
    Guard(
        "storages/filesystem.py",
        "Reader(self._at(tree), name",
        "Reader(self, name",
        (f"{TENANTS}test_open_files_keep_the_location_of_their_opening",),
    ),
    Guard(
        "storages/s3/storage.py",
        "if kept is None or kept[0] != now:",
        "if kept is None:",
        (f"{TENANTS}test_operations_use_the_location_of_the_tenant",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/storage.py",
        "        check_location(self, location)\n        return Bucket(",
        "        return Bucket(",
        (f"{TENANTS}test_impossible_location_of_a_tenant_is_an_error",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/storage.py",
        "Reader(self._at(remote), name",
        "Reader(self, name",
        (f"{TENANTS}test_open_files_keep_the_location_of_their_opening",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/store.py",
        "SpoolSink(self.with_fixed_location()._create_hashed",
        "SpoolSink(self._create_hashed",
        (f"{TENANTS}test_open_files_keep_the_location_of_their_opening",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/store.py",
        "store, sink = self.with_fixed_location(), self._sink()",
        "store, sink = self, self._sink()",
        (f"{TENANTS}test_open_files_keep_the_location_of_their_opening",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/store.py",
        "        store = self.with_fixed_location()\n        return BucketObjects(",
        "        store = self\n        return BucketObjects(",
        (f"{TENANTS}test_open_files_keep_the_location_of_their_opening",),
        needs=("servers",),
    ),
    Guard(
        "storages/s3/store.py",
        "return self.with_fixed_location()._remove_stale_uploads(",
        "return self._remove_stale_uploads(",
        (f"{TENANTS}test_abandoned_uploads_are_removed_from_the_location_of_the_call",),
        needs=("servers",),
    ),
    Guard(
        "storages/pools.py",
        "if self._is_closed or str(exception) not in _SHUT_DOWN:",
        "if True:",
        (f"{POOLS}test_work_continues_after_the_main_thread_has_ended",),
    ),
    Guard(
        "storages/pools.py",
        '    "cannot schedule new futures after shutdown",\n',
        "",
        (f"{POOLS}test_pool_in_use_continues_after_the_main_thread_has_ended",),
    ),
    Guard(
        "storages/s3/bucket.py",
        '"Body": bytes(data)}',
        '"Body": data}',
        (f"{S3_MOCK}test_bodies_of_all_lengths_are_accepted",),
    ),
    Guard(
        "storages/base.py",
        "if (alias := alias_of(self)) is not None:",
        "if (alias := None) is not None:",
        (f"{DECONSTRUCT}test_store_of_an_alias_is_rebuilt_as_this_very_store",),
    ),
    Guard(
        "storages/s3/store.py",
        '            del options["object_parameters"]',
        "            pass",
        (f"{DECONSTRUCT}test_store_without_alias_is_rebuilt_without_secrets",),
    ),
    Guard(
        "storages/s3/store.py",
        '            options.pop("custom_domain", None)  # invalid without its keys',
        "            pass",
        (f"{DECONSTRUCT}test_store_without_alias_is_rebuilt_without_secrets",),
    ),
]
