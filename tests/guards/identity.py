"""Guards of the identity of stores."""

from __future__ import annotations

from . import Guard

IDENTITY = "tests/identity/test_identity.py::"
SHOWN = "tests/identity/test_identity_shown.py::"

GUARDS: list[Guard] = [
    # -- identity/recognition.py --
    Guard(
        "identity/recognition.py",
        "Identity(read_mark(found.own), remembered)",
        "Identity(read_mark(found.own), found.remembered())",
        (f"{IDENTITY}test_concurrent_save_makes_the_mark_between_two_reads",),
    ),
    Guard(
        "identity/recognition.py",
        "files.most_are_missing or lost or doubtful",
        "lost or doubtful",
        (f"{IDENTITY}test_copy_of_the_rows_alone_is_refused_until_forced",),
    ),
    Guard(
        "identity/recognition.py",
        "files.most_are_missing or lost or doubtful",
        "2 * files.there <= files.looked_up or lost or doubtful",
        (f"{IDENTITY}test_save_needs_half_of_the_newest_files",),
    ),
    Guard(
        "identity/recognition.py",
        "files.most_are_missing or lost or doubtful",
        "files.most_are_missing",
        (f"{IDENTITY}test_emptied_store_removes_nothing",),
    ),
    Guard(
        "identity/recognition.py",
        "unmarked and removing and next(found.store.scan(), None) is None",
        "False",
        (f"{IDENTITY}test_store_that_never_had_a_mark_and_is_empty_removes_nothing",),
    ),
    Guard(
        "identity/recognition.py",
        "    if dry or has_transaction(found.using):\n",
        "    if dry:\n",
        (f"{IDENTITY}test_site_of_the_store_stores_and_removes",),
    ),
    Guard(
        "identity/recognition.py",
        "    if dry or has_transaction(found.using):\n",
        "    if has_transaction(found.using):\n",
        (f"{SHOWN}test_command_does_not_make_a_mark",),
    ),
    Guard(
        "identity/recognition.py",
        "uuid4() if remembered is None else remembered.uuid",
        "uuid4()",
        (f"{IDENTITY}test_lost_mark_is_made_again_with_the_remembered_uuid",),
    ),
    Guard(
        "identity/permission.py",
        "own.volume() == last.volume and (",
        "(",
        (f"{IDENTITY}test_check_is_repeated_if_the_folder_is_replaced",),
    ),
    Guard(
        "identity/permission.py",
        "    if is_in_test_case(using):\n        found.own.expect(known=False)\n        return\n",
        "",
        (f"{IDENTITY}InTestCase::test_fixtures_without_files_do_not_stop_saves",),
    ),
    Guard(
        "identity/permission.py",
        "        raise\n    except OSError as exception:\n",
        "        raise\n    except ZeroDivisionError as exception:\n",
        (f"{IDENTITY}test_invalid_mark_stops_removing_not_storing",),
    ),
    Guard(
        "identity/permission.py",
        "_mark_problem(found, identity, dry=dry) or _alias_problem(found, identity)",
        "_mark_problem(found, identity, dry=dry)",
        (f"{IDENTITY}test_two_aliases_of_one_store_remove_nothing",),
    ),
    Guard(
        "identity/permission.py",
        "    if mark.site not in own and not any(",
        "    if not any(",
        (f"{IDENTITY}test_site_of_the_store_stores_and_removes",),
    ),
    Guard(
        "identity/permission.py",
        "    if mark.site not in own and not any(",
        "    if False and not any(",
        (f"{IDENTITY}test_other_site_stores_but_removes_only_when_accepted",),
    ),
    Guard(
        "identity/accepting.py",
        "site.digest not in own and site.removed is not None and site.removed > since",
        "site.digest not in own and site.removed is not None",
        (f"{IDENTITY}test_accept_is_refused_while_another_site_removes",),
    ),
    Guard(
        "identity/accepting.py",
        "        _refuse_in_use(found, [",
        "        (found, [",
        (f"{IDENTITY}test_accept_without_a_mark_is_refused_while_another_site_removes",),
    ),
    Guard(
        "identity/permission.py",
        "site.removed > now - _NOTED_EVERY",
        "site.removed < now",
        (f"{IDENTITY}test_removing_is_noted_once_a_day",),
    ),
    Guard(
        "identity/stores.py",
        'if getattr(declaring, "deliverystore", None) is not None:',
        "if False:",
        (f"{IDENTITY}test_overridden_store_has_no_mark",),
    ),
    # -- identity/marks.py --
    Guard(
        "identity/marks.py",
        "if len(data) > LONGEST_OWN:",
        "if False:",
        (f"{IDENTITY}test_mark_that_is_too_long_is_invalid",),
    ),
    Guard(
        "identity/marks.py",
        'fields.get("version") != _VERSION',
        "False",
        (f"{IDENTITY}test_mark_with_an_invalid_field_is_invalid",),
    ),
    # -- identity/stores.py --
    Guard(
        "identity/stores.py",
        "(current, *settings.SECRET_KEY_FALLBACKS)",
        "(current,)",
        (f"{IDENTITY}test_site_known_by_an_earlier_key_adds_its_current_one",),
    ),
    Guard(
        "identity/stores.py",
        "[str(uuid), *_database(using)]",
        "[str(uuid)]",
        (f"{IDENTITY}test_restored_dump_with_the_same_key_does_not_remove",),
        needs=("postgres",),
    ),
    # -- Users of the identity --
    Guard(
        "storages/own.py",
        "            os.close(self._tree.enter_temps(create=True))\n",
        "",
        (f"{IDENTITY}test_missing_folder_of_temp_files_is_created",),
    ),
    Guard(
        "storages/filesystem.py",
        "create=not is_expected(tree.root)",
        "create=True",
        (f"{IDENTITY}test_ordinary_name_is_not_stored_on_an_unmounted_disk",),
    ),
    Guard(
        "deletion/removal.py",
        "    if permission.problem:\n        return permission.problem\n",
        "",
        (f"{IDENTITY}test_other_site_stores_but_removes_only_when_accepted",),
    ),
    Guard(
        "identity/permission.py",
        "if last and time.monotonic() < last.until and found.own.volume() == last.volume:",
        "if last and time.monotonic() < last.until:",
        ("tests/deletion/test_purge.py::test_delete_without_retention_checks_the_identity_once",),
    ),
    Guard(
        "deletion/removal.py",
        "    if len(failures) < len(removals):\n        note_removal(model, using)\n",
        "",
        (f"{IDENTITY}test_removing_is_noted_once_a_day",),
    ),
    Guard(
        "identity/accepting.py",
        "        if files.most_are_missing:\n",
        "        if False:\n",
        (f"{IDENTITY}test_copy_of_the_rows_alone_is_refused_until_forced",),
    ),
    Guard(
        "identity/recognition.py",
        "lost = unmarked and remembered is not None",
        "lost = False",
        (f"{IDENTITY}test_save_on_unmounted_disk_is_refused_without_rows",),
    ),
    Guard(
        "deletion/removal.py",
        "if not is_same_disk(model, using):",
        "if False:",
        ("tests/deletion/test_purge.py::test_disk_unmounted_during_a_purge_keeps_tombstones",),
    ),
    Guard(
        "deletion/removal.py",
        "if problem and (is_missing or not permission.is_recognised):",
        "if problem:",
        ("tests/deletion/test_purge.py::test_sizes_of_rows_count_without_identity",),
    ),
    Guard(
        "deletion/removal.py",
        "if problem and (is_missing or not permission.is_recognised):",
        "if problem and is_missing:",
        ("tests/deletion/test_purge.py::test_sizes_of_rows_count_without_identity",),
    ),
    Guard(
        "deletion/removal.py",
        "reason = refusal(model, using, sample=1, lately=True)",
        "reason = refusal(model, using, sample=1)",
        ("tests/deletion/test_purge.py::test_delete_without_retention_checks_the_identity_once",),
    ),
    Guard(
        "abstract_models/filemeta.py",
        "        check_writing(type(self), using)\n        store =",
        "        store =",
        (f"{IDENTITY}test_save_on_unmounted_disk_is_refused",),
    ),
    Guard(
        "abstract_models/bulk.py",
        "    check_writing(model, using)\n",
        "",
        (f"{IDENTITY}test_save_on_unmounted_disk_is_refused",),
    ),
    Guard(
        "storages/base.py",
        '        getattr(filemeta, "before_storing", lambda: None)()\n',
        "",
        (f"{IDENTITY}test_save_on_unmounted_disk_is_refused",),
    ),
]
