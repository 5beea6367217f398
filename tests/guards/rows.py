"""Guards of rows, deliveries and tombstones: saving, removing, purging, restoring, counting."""

from __future__ import annotations

from . import Guard

ADOPT = "tests/models/test_filefield_adopt.py::"
CHECK = "tests/test_check.py::"
DELIVERIES = "tests/models/test_filefield_deliveries.py::"
FIELDFILE = "tests/models/test_filefield_fieldfile.py::"
FORMS = "tests/models/test_filefield_forms.py::"
HISTORICAL = "tests/models/test_filefield_historical.py::"
ISOLATION = "tests/models/test_isolation.py::"
INSTANCES = "tests/models/test_filefield_instances.py::"
MANAGERS = "tests/models/test_managers.py::"
MANY_ROWS = "tests/models/test_many_rows.py::"
ORDINARY = "tests/ordinary/test_deletion.py::"
ORPHANS = "tests/deletion/test_orphans.py::"
PREFIX_INDEX = "tests/models/test_prefix_index.py::"
PURGE = "tests/deletion/test_purge.py::"
RECEIVERS = "tests/models/test_receivers.py::"
REFUSED = "tests/models/test_filefield_refused.py::"
REPLICAS = "tests/models/test_replicas.py::test_everything_is_written_to_the_primary"
RESTORING = "tests/deletion/test_restoring.py::"
ROWS = "tests/models/test_filefield_rows.py::"
SIGNALS = "tests/models/test_filefield_signals.py::"
STALE = "tests/models/test_stale_delivery.py::"
UNUSUAL = "tests/models/test_unusual_models.py::"
STATEMENTS = "tests/models/test_statements.py::"
STATISTICS = "tests/test_statistics.py::"
STORES = "tests/models/test_filefield_stores.py::"
POOLS = "tests/storages/test_pools.py::"
TENANT_ROWS = "tests/models/test_tenant_rows.py::"
TO_FIELD = "tests/models/test_to_field.py::"
TRANSACTIONS = "tests/models/test_transactions.py::"
VISIBLE = "tests/models/test_filefield_visible.py::"

HOST_NOW = '__import__("django.utils.timezone", fromlist=["now"]).now()'
"""An expression for the host's clock, for modules that do not import it."""

NOT_RESTORABLE = f"{RESTORING}test_impossible_restore_changes_nothing"

LOOKING = [
    Guard(
        "deletion/removal.py",
        "if not permission.is_recognised and (reason := store.unavailable_reason()):",
        'if reason := "":',
        (f"{PURGE}test_empty_store_is_refused_without_identity",),
    ),
    Guard(
        "deletion/removal.py",
        "if not permission.is_recognised and (reason := store.unavailable_reason()):",
        "if reason := store.unavailable_reason():",
        (f"{PURGE}test_empty_store_is_refused_without_identity",),
    ),
    Guard(
        "deletion/removal.py",
        'oldest = list(read(rows.order_by("pk")[: sample // 3]))',
        "oldest: list[Any] = []",
        (f"{PURGE}test_purge_refuses_if_many_rows_lack_their_file[oldest]",),
    ),
    Guard(
        "deletion/removal.py",
        'newest = list(read(rows.order_by("-pk")[: sample - 2 * (sample // 3)]))',
        "newest: list[Any] = []",
        (f"{PURGE}test_purge_refuses_if_many_rows_lack_their_file[newest]",),
    ),
    Guard(
        "deletion/removal.py",
        "sample - 2 * (sample // 3)",
        "sample // 3",
        (f"{PURGE}test_delete_without_retention_checks_newest_row",),
    ),
    Guard(
        "deletion/removal.py",
        "for _ in range(sample // 3):",
        "for _ in range(0):",
        (f"{PURGE}test_purge_looks_up_random_rows",),
    ),
    Guard(
        "deletion/removal.py",
        "problems == looked or problems >= max(2, looked / 5)",
        "problems >= max(2, looked / 5)",
        (
            f"{PURGE}test_many_problems_are_two_and_a_fifth_or_all[1-1-True]",
            f"{PURGE}test_remove_now_refuses_wrong_store",
        ),
    ),
    Guard(
        "deletion/removal.py",
        "problems >= max(2, looked / 5)",
        "problems >= 1",
        (f"{PURGE}test_purge_refuses_if_many_rows_lack_their_file[one]",),
    ),
    Guard(
        "deletion/removal.py",
        "problems >= max(2, looked / 5)",
        "problems >= 2",
        (f"{PURGE}test_many_problems_are_two_and_a_fifth_or_all",),
    ),
    Guard(
        "deletion/removal.py",
        "    for other in sharing(model, store):\n        rows = stored_rows(other, using)",
        "    for other in [model]:\n        rows = stored_rows(other, using)",
        (f"{PURGE}test_purge_refuses_if_rows_of_second_model_lack_files",),
    ),
    Guard(
        "deletion/removal.py",
        "return (problem if rows.filter(pk=row.pk, content=name).exists() else",
        "return (problem if True else",
        (f"{TRANSACTIONS}test_purge_ignores_a_newest_row_that_is_deleted_meanwhile",),
    ),
    Guard(
        "deletion/removal.py",
        "        if row.size in {None, size}:\n",
        "        if True:\n",
        (f"{PURGE}test_sizes_of_rows_count_without_identity",),
    ),
    Guard(
        "deletion/removal.py",
        "    if len(problems) >= max(2, looked / 5):\n        raise OtherFiles(",
        "    if False:\n        raise OtherFiles(",
        (f"{PURGE}test_purge_refuses_if_many_sizes_differ",),
    ),
    Guard(
        "deletion/removal.py",
        "    return set(problems)\n",
        "    return set()\n",
        (f"{PURGE}test_sampled_file_of_another_size_is_kept",),
    ),
    Guard(
        "deletion/removal.py",
        "random.sample(sorted(sizes), min(sample, len(sizes)))",
        "sorted(sizes)",
        (f"{PURGE}test_only_sizes_of_a_sample_are_read",),
    ),
]

CLAIMING = [
    Guard(
        "tables.py",
        "cast(T, self.filter(due__lte=DatabaseNow()))",
        "self.all()",
        (f"{PURGE}test_only_files_that_are_due_are_removed",),
    ),
    Guard(
        "tables.py",
        "cast(T, self.filter(due__lte=DatabaseNow()))",
        f"self.filter(due__lte={HOST_NOW})",
        (f"{PURGE}test_purge_uses_the_clock_of_the_database",),
    ),
    Guard(
        "deletion/removal.py",
        "tombstones.buried().filter(alias=store_label(model))",
        "tombstones.filter(alias=store_label(model))",
        (f"{PURGE}test_claim_takes_each_tombstone_once",),
    ),
    Guard(
        "deletion/removal.py",
        "tombstones.buried().filter(alias=store_label(model))",
        "tombstones.buried()",
        (f"{PURGE}test_claim_leaves_tombstones_of_other_stores",),
    ),
    Guard(
        "deletion/removal.py",
        "created__gt=DatabaseNow() - conf.grace",
        "created__gt=DatabaseNow()",
        (
            f"{PURGE}test_orphan_is_kept_for_the_grace_time",
            f"{ORPHANS}test_buried_orphan_cannot_be_adopted",
        ),
    ),
    Guard(
        "deletion/removal.py",
        "IS_ORPHAN & Q(created__gt",
        "Q(created__gt",
        (f"{PURGE}test_remove_now_removes_files_before_their_due_time",),
    ),
    Guard(
        "deletion/removal.py",
        "unnamed = tombstones.exclude(_named(model, using))",
        "unnamed = tombstones",
        (f"{PURGE}test_purge_keeps_file_that_a_row_names",),
    ),
    Guard(
        "deletion/removal.py",
        "    named = Q()\n    for other in sharing(model, store_for(model)):\n",
        "    named = Q()\n    for other in [model]:\n",
        (f"{PURGE}test_purge_keeps_file_of_second_model_in_the_store",),
    ),
    Guard(
        "deletion/removal.py",
        "tombstones.filter(pk__in=chosen).update",
        "Tombstone.objects.using(using).filter(pk__in=chosen).update",
        (
            f"{PURGE}test_purge_waits_for_a_restore",
            f"{ISOLATION}test_only_one_session_claims_a_tombstone[read committed]",
        ),
        needs=("postgres",),
    ),
    Guard(
        "deletion/removal.py",
        "tombstones.filter(pk__in=chosen).update",
        'tombstones.filter(pk__in=[each["pk"] for each in chosen]).update',
        (f"{PURGE}test_row_that_names_the_file_before_the_claim_keeps_it",),
    ),
    Guard(
        "deletion/removal.py",
        'claimed=DatabaseNow(), rows=[], filename=""',
        "claimed=DatabaseNow()",
        (f"{PURGE}test_claimed_tombstone_keeps_no_rows",),
    ),
    Guard(
        "deletion/removal.py",
        "with durable_transaction(using):",
        "with transaction.atomic(using=using):",
        (
            f"{PURGE}test_claim_is_refused_in_a_transaction",
            f"{PURGE}test_claim_is_durable_where_the_session_is_not",
        ),
    ),
    Guard(
        "db/transactions.py",
        "transaction.atomic(using=using, durable=True)",
        "transaction.atomic(using=using)",
        (f"{PURGE}test_claim_is_refused_in_a_transaction",),
    ),
    Guard(
        "db/transactions.py",
        'cursor.execute(f"PRAGMA synchronous = {_SQLITE_FULL}")',
        "pass",
        (f"{PURGE}test_claim_is_durable_where_the_session_is_not",),
    ),
    Guard(
        "db/transactions.py",
        "        try:\n            yield\n        finally:\n",
        "        if True:\n            yield\n",
        (f"{PURGE}test_claim_is_durable_where_the_session_is_not[refused]",),
    ),
    Guard(
        "db/transactions.py",
        'cursor.execute(f"PRAGMA synchronous = {before}")',
        "pass",
        (f"{PURGE}test_claim_is_durable_where_the_session_is_not[claimed]",),
    ),
    Guard(
        "db/transactions.py",
        "WHERE current_setting('synchronous_commit') = 'off'",
        "WHERE false",
        (f"{PURGE}test_claim_is_durable_where_the_session_is_not",),
        needs=("postgres",),
    ),
    Guard(
        "db/transactions.py",
        "set_config('synchronous_commit', 'on', true)",
        "set_config('synchronous_commit', 'on', false)",
        (f"{PURGE}test_claim_is_durable_where_the_session_is_not",),
        needs=("postgres",),
    ),
    Guard(
        "db/transactions.py",
        "    if is_in_transaction(using):\n",
        "    if False:\n",
        (f"{PURGE}test_purge_is_refused_in_a_transaction",),
    ),
    Guard(
        "db/transactions.py",
        "return connection.in_atomic_block or not connection.get_autocommit()",
        "return connection.in_atomic_block",
        (f"{PURGE}test_purge_is_refused_without_autocommit",),
    ),
    Guard(
        "db/transactions.py",
        "not (blocks and all(",
        "not (blocks and any(",
        (f"{RESTORING}test_purge_is_refused_in_a_transaction_of_a_test",),
    ),
]

REMOVING = [
    Guard(
        "deletion/removal.py",
        "and removal.name not in uncompared",
        "and True",
        (f"{PURGE}test_file_of_another_size_is_removed_only_with_also",),
    ),
    Guard(
        "deletion/removal.py",
        "or removal.name in compared)",
        ")",
        (f"{PURGE}test_sampled_file_of_another_size_is_kept",),
    ),
    Guard(
        "deletion/removal.py",
        "and (not store.size_costs_request or compared is None or removal.name in compared)",
        "and (compared is None or removal.name in compared)",
        (f"{PURGE}test_file_of_another_folder_is_kept_for_its_size",),
    ),
    Guard(
        "deletion/removal.py",
        "and (not store.size_costs_request or compared is None or removal.name in compared)",
        "",
        (f"{PURGE}test_only_sizes_of_a_sample_are_read",),
    ),
    Guard(
        "deletion/removal.py",
        "for removal in removals], sizes=sizes)",
        "for removal in removals])",
        (f"{PURGE}test_file_of_another_folder_is_kept_for_its_size",),
    ),
    Guard(
        "deletion/removal.py",
        "_event(removal, failures.get(removal.name))",
        "_event(removal, None)",
        (f"{PURGE}test_failed_removal_is_kept_with_its_error",),
    ),
    Guard(
        "deletion/removal.py",
        "if isinstance(exception, WrongSize):",
        "if False:",
        (f"{PURGE}test_file_of_another_size_is_removed_only_with_also",),
    ),
    Guard(
        "deletion/removal.py",
        'rows.update(attempts=F("attempts") + 1, last_error=reason)',
        "rows.update(last_error=reason)",
        (f"{PURGE}test_failed_removal_is_kept_with_its_error",),
    ),
    Guard(
        "deletion/removal.py",
        'rows.update(done=DatabaseNow(), last_error="")',
        "pass",
        (f"{PURGE}test_purge_removes_a_delivery_and_keeps_its_neighbour",),
    ),
    Guard(
        "deletion/removal.py",
        "pks.setdefault(event.reason, []).append",
        "pks.setdefault(event.reason + ' ' * len(pks), []).append",
        (f"{PURGE}test_results_are_recorded_by_few_statements",),
    ),
    Guard(
        "deletion/removal.py",
        "        if connections[using].in_atomic_block or connections[using].is_usable():\n",
        "        if True:\n",
        (f"{PURGE}test_session_that_ends_during_the_removal_is_reopened",),
        needs=("postgres",),
    ),
    Guard(
        "deletion/removal.py",
        "        if connections[using].in_atomic_block or connections[using].is_usable():\n",
        "        if False:\n",
        (f"{PURGE}test_error_of_an_open_session_is_raised",),
    ),
    Guard(
        "deletion/removal.py",
        "        connections[using].close()\n",
        "",
        (f"{PURGE}test_session_that_ends_during_the_removal_is_reopened",),
        needs=("postgres",),
    ),
    Guard(
        "deletion/removal.py",
        "transaction.on_commit(remove_committed, using=using, robust=True)",
        "remove_committed()",
        (f"{PURGE}test_delete_without_retention_removes_after_commit",),
    ),
    Guard(
        "deletion/removal.py",
        "transaction.on_commit(remove_committed, using=using, robust=True)",
        "transaction.on_commit(remove_committed, using=using)",
        (f"{TRANSACTIONS}test_delete_ignores_a_removal_that_fails_after_commit",),
    ),
    Guard(
        "deletion/removal.py",
        "dict(islice(files.items(), AFTER_COMMIT))",
        "files",
        (f"{PURGE}test_delete_without_retention_removes_limited_number_of_files",),
    ),
    Guard(
        "deletion/removal.py",
        "reason = refusal(model, using, sample=1, lately=True)",
        'reason = ""',
        (f"{PURGE}test_delete_without_retention_keeps_files_of_emptied_root",),
    ),
    Guard(
        "deletion/removal.py",
        "alias=store_label(model), name__in=list(files)",
        "name__in=list(files)",
        (f"{PURGE}test_delete_without_retention_keeps_file_of_other_alias",),
    ),
    Guard(
        "deletion/removal.py",
        "alias=store_label(model), name__in=list(files)",
        "alias=store_label(model)",
        (f"{PURGE}test_delete_without_retention_leaves_other_due_tombstones",),
    ),
    Guard(
        "deletion/removal.py",
        "claim(model, tombstones.due())",
        "claim(model, tombstones)",
        (f"{PURGE}test_retention_of_a_rolled_back_delete_does_not_count",),
    ),
]

BURYING = [
    Guard(
        "deletion/deleting.py",
        "connection.execute_wrappers.insert(0, burial)",
        "connection.execute_wrappers.append(burial)",
        (f"{MANY_ROWS}test_wrappers_of_the_site_are_removed_as_usual",),
    ),
    Guard(
        "deletion/deleting.py",
        "(one for one in burials if one.block is block)",
        "burials",
        (f"{MANY_ROWS}test_delete_after_one_that_failed_buries_its_row",),
        needs=("postgres",),  # on SQLite, BEGIN is a statement between them
    ),
    Guard(
        "deletion/deleting.py",
        "if not self.connection.needs_rollback and self in wrappers:",
        "if self in wrappers:",
        (f"{MANY_ROWS}test_refused_statement_does_not_prevent_burying",),
    ),
    Guard(
        "deletion/deleting.py",
        "            if self.block in self.connection.atomic_blocks:",
        "            if True:",
        (f"{MANY_ROWS}test_delete_that_fails_buries_nothing_later",),
    ),
    Guard(
        "deletion/deleting.py",
        "with transaction.mark_for_rollback_on_error(using):",
        "if True:",
        (f"{MANY_ROWS}test_failure_that_a_receiver_ignores_prevents_the_delete",),
    ),
    Guard(
        "deletion/deleting.py",
        "        lock_deliveries(known)\n",
        "        pass\n",
        (f"{MANY_ROWS}test_delivery_is_locked_before_its_files",),
    ),
    Guard(
        "deletion/deleting.py",
        "            lock_deliveries(getattr(row, column) for row in buried)\n",
        "            pass\n",
        (f"{MANY_ROWS}test_row_is_buried_as_it_is_in_the_database",),
    ),
    Guard(
        "db/rows.py",
        '.order_by("pk").select_for_update',
        ".select_for_update",
        (f"{MANY_ROWS}test_delivery_is_locked_before_its_files",),
        needs=("postgres",),
    ),
    Guard(
        "abstract_models/bulk.py",
        "        delivery._lock_unfinished(using)\n",
        "",
        (f"{MANY_ROWS}test_copy_fails_if_it_is_finished_meanwhile",),
    ),
    Guard(
        "abstract_models/bulk.py",
        "is_own_save or is_child",
        "is_child",
        (f"{MANY_ROWS}test_overridden_save_of_the_site_is_called_for_copies",),
    ),
    Guard(
        "deletion/burying.py",
        "[DatabaseNow(), DatabaseNow() + conf.retention]",
        "[DatabaseNow(), DatabaseNow()]",
        (f"{PURGE}test_purge_keeps_files_that_are_not_due",),
    ),
    Guard(
        "deletion/burying.py",
        "[DatabaseNow(), DatabaseNow() + conf.retention]",
        f"[models.Value({HOST_NOW} + after, models.DateTimeField()) "
        "for after in (conf.retention * 0, conf.retention)]",
        (f"{PURGE}test_purge_uses_the_clock_of_the_database",),
    ),
    Guard(
        "deletion/burying.py",
        'if name not in {"name", "alias"}]',
        'if name not in {"name", "alias", "created", "due"}]',
        (f"{RESTORING}test_name_that_is_buried_again_gets_a_new_due_time",),
    ),
    Guard(
        "deletion/burying.py",
        'if name not in {"name", "alias"}]',
        'if name not in {"name", "alias", "rows"}]',
        (f"{RESTORING}test_name_that_is_buried_again_gets_a_new_due_time",),
    ),
    Guard(
        "deletion/burying.py",
        "cls=_Exact)",
        "cls=DjangoJSONEncoder)",
        (f"{RESTORING}test_deleted_row_is_restored_exactly",),
    ),
    Guard(
        "deletion/burying.py",
        "        families[pk].append(row)\n",
        "        pass\n",
        (f"{ROWS}test_deleted_child_is_buried_once",),
    ),
    Guard(
        "deletion/burying.py",
        '"size": row.size,',
        '"size": None,',
        (f"{PURGE}test_file_of_another_folder_is_kept_for_its_size",),
    ),
    Guard(
        "tables.py",
        "models.Q(model__in=own) | ~models.Q(alias__in=elsewhere)",
        "~models.Q(alias__in=elsewhere)",
        (f"{ORPHANS}test_tombstone_counts_under_an_alias_of_another_store",),
    ),
    Guard(
        "tables.py",
        "models.Q(model__in=own) | ~models.Q(alias__in=elsewhere)",
        "models.Q(model__in=own)",
        (f"{ORPHANS}test_tombstone_counts_whatever_its_model_was_called",),
    ),
    Guard(
        "tables.py",
        "elsewhere.add(others.alias or label(other))",
        "pass",
        (f"{ORPHANS}test_tombstone_of_another_store_does_not_count",),
    ),
    Guard(
        "tables.py",
        "name__in=list(names)",
        "name__in=[]",
        (f"{TRANSACTIONS}test_late_tombstone_gives_the_file_another_name",),
    ),
    Guard(
        "deletion/burying.py",
        "            guard.save(force_insert=True, using=using)\n",
        "",
        (
            f"{ISOLATION}test_burying_waits_for_rows_that_name_the_bytes",
            f"{ISOLATION}test_row_cannot_name_bytes_that_are_being_buried",
        ),
        needs=("postgres",),
    ),
    Guard(
        "deletion/burying.py",
        "            Tombstone.objects.using(using).filter(pk=guard.pk).delete()\n",
        "",
        (f"{ADOPT}test_file_of_any_valid_name_is_adopted",),
    ),
    Guard(
        "deletion/burying.py",
        "    refuse_named_by_row(model, name, using, pk=pk)\n    if",
        "    if",
        (
            f"{RESTORING}test_raw_save_of_the_name_of_another_row_is_refused",
            f"{TRANSACTIONS}test_bytes_adopted_by_another_model_are_not_adopted",
        ),
    ),
    Guard(
        "deletion/burying.py",
        "    if Tombstone.objects.using(using).naming(model, [name]).exists():\n",
        "    if False:\n",
        (f"{RESTORING}test_raw_save_of_a_name_buried_under_another_alias_is_refused",),
    ),
    Guard(
        "deletion/burying.py",
        "    except IntegrityError as exception:\n        raise named_by_tombstone(name)",
        "    except KeyError as exception:\n        raise named_by_tombstone(name)",
        (f"{RESTORING}test_raw_save_of_a_buried_name_is_refused",),
    ),
    Guard(
        "deletion/burying.py",
        "for other in sharing(declaring, store_for(declaring)):",
        "for other in [declaring]:",
        (f"{TRANSACTIONS}test_bytes_adopted_by_another_model_are_not_adopted",),
    ),
    Guard(
        "deletion/burying.py",
        "        if other is declaring and pk is not None:\n",
        "        if pk is not None:\n",
        (f"{RESTORING}test_raw_save_of_the_name_of_another_model_is_refused",),
    ),
    Guard(
        "deletion/burying.py",
        "            rows = rows.exclude(pk=pk)\n",
        "            pass\n",
        (f"{RESTORING}test_raw_save_of_the_name_of_another_row_is_refused",),
    ),
    Guard(
        "tables.py",
        'fields=["name", "alias"], name="devilry_storage_tombstone_name"',
        'fields=["name", "alias", "model"], name="devilry_storage_tombstone_name"',
        ("tests/models/test_filefield_swap.py::test_another_store_needs_no_migration",),
    ),
]

PURGING = [
    Guard(
        "deletion/purging.py",
        'refuse_in_transaction(using, "A purge")',
        "pass",
        (f"{PURGE}test_purge_is_refused_in_a_transaction[purge]",),
    ),
    Guard(
        "deletion/purging.py",
        'refuse_in_transaction(using, "Removing deleted files")',
        "pass",
        (f"{PURGE}test_purge_is_refused_in_a_transaction[remove_now]",),
    ),
    Guard(
        "tables.py",
        "models.Q(due__lte=DatabaseNow())",
        f"models.Q(due__lte={HOST_NOW})",
        (f"{PURGE}test_purge_uses_the_clock_of_the_database[behind]",),
    ),
    Guard(
        "tables.py",
        " | models.Q(claimed__isnull=False)\n",
        "\n",
        (f"{PURGE}test_purge_finishes_removals_that_are_not_due",),
    ),
    Guard(
        "deletion/purging.py",
        "same = [tombstone for tombstone in chosen if tombstone.alias == alias]",
        "same = chosen",
        (f"{PURGE}test_remove_now_handles_each_store_separately",),
    ),
    Guard(
        "deletion/purging.py",
        "        if current == alias:\n",
        "        if True:\n",
        (
            f"{PURGE}test_remove_now_skips_tombstones_of_other_aliases",
            f"{PURGE}test_purge_keeps_files_with_tombstones_of_other_aliases",
        ),
    ),
    Guard(
        "deletion/purging.py",
        "        if model is None:\n            unresolved",
        "        if False:\n            unresolved",
        (f"{PURGE}test_remove_now_skips_tombstones_of_removed_models",),
    ),
    Guard(
        "deletion/purging.py",
        "        except ImproperlyConfigured:\n            current",
        "        except KeyError:\n            current",
        (f"{PURGE}test_purge_refuses_model_without_a_store",),
    ),
    Guard(
        "deletion/purging.py",
        "    reason, compared = _check(model, recorded, using)\n    if reason:\n"
        "        yield _refused(model, reason)\n        return\n    for batch",
        "    compared: Collection[str] = ()\n    for batch",
        (f"{PURGE}test_remove_now_refuses_wrong_store",),
    ),
    Guard(
        "deletion/purging.py",
        "    reason, compared = _check(model, recorded, using, dry=dry_run)\n    if reason:\n"
        "        yield _refused(model, reason)\n        return\n    if dry_run",
        "    compared: Collection[str] = ()\n    if dry_run",
        (f"{PURGE}test_folder_of_another_site_is_refused",),
    ),
    Guard(
        "deletion/purging.py",
        '        return "", differing(model, recorded, using, SAMPLE)\n',
        '        return "", ()\n',
        (f"{PURGE}test_purge_refuses_if_many_sizes_differ",),
    ),
    Guard(
        "deletion/purging.py",
        "    except OtherFiles as exception:\n        return str(exception), ()\n",
        "    except OtherFiles:\n        return '', ()\n",
        (f"{PURGE}test_purge_refuses_if_many_sizes_differ",),
    ),
    Guard(
        "deletion/purging.py",
        '    except OSError as exception:\n        return f"the store cannot be checked',
        '    except KeyError as exception:\n        return f"the store cannot be checked',
        (f"{PURGE}test_purge_refuses_a_store_that_fails",),
    ),
    Guard(
        "deletion/purging.py",
        "        # Another model without a known store may use this one, and its rows may name "
        "these files.\n        return str(exception), ()\n",
        '        return "", ()\n',
        (f"{PURGE}test_second_model_without_a_store_stops_the_purge",),
    ),
    Guard(
        "deletion/purging.py",
        "    if dry_run:\n        for",
        "    if False:\n        for",
        (f"{PURGE}test_dry_run_lists_names_and_removes_nothing",),
    ),
    Guard(
        "deletion/purging.py",
        "    while claim(model, due) == CLAIMED_AT_ONCE:\n        pass\n",
        "    claim(model, due)\n",
        (f"{PURGE}test_purge_removes_several_batches",),
    ),
    Guard(
        "deletion/purging.py",
        "        last = batch[-1].pk\n",
        "        last += 1\n",
        (f"{PURGE}test_failing_removals_are_tried_once_in_a_purge",),
    ),
    Guard(
        "deletion/purging.py",
        "compared=names, uncompared=also)",
        "compared=names)",
        (f"{PURGE}test_file_of_another_size_is_removed_only_with_also",),
    ),
    Guard(
        "deletion/purging.py",
        "removals, due = tombstones.removals(), tombstones.due()",
        "removals, due = tombstones.removals(), Tombstone.objects.using(using).due()",
        (f"{PURGE}test_purge_keeps_files_with_tombstones_of_other_aliases",),
    ),
    Guard(
        "deletion/purging.py",
        "removals, due = tombstones.removals(), tombstones.due()",
        "removals, due = Tombstone.objects.using(using).removals(), tombstones.due()",
        (f"{PURGE}test_purge_keeps_files_of_removals_of_other_aliases",),
    ),
    Guard(
        "deletion/purging.py",
        "removals = list(rows.removals().order_by",
        "removals = list(rows.order_by",
        (f"{PURGE}test_orphan_is_kept_for_the_grace_time",),
    ),
    Guard(
        "deletion/purging.py",
        "    if not dry_run:\n        _forget_done(using)\n",
        "    _forget_done(using)\n",
        (f"{PURGE}test_dry_run_keeps_old_removals",),
    ),
    Guard(
        "deletion/purging.py",
        "done__lt=DatabaseNow() - KEPT_DONE",
        "done__lt=DatabaseNow()",
        (f"{PURGE}test_finished_removals_are_deleted_after_thirty_days",),
    ),
    Guard(
        "deletion/purging.py",
        "old.filter(pk__in=some).delete()[0] == _FORGOTTEN_AT_ONCE:",
        "old.filter(pk__in=some).delete()[0] > _FORGOTTEN_AT_ONCE:",
        (f"{PURGE}test_dry_run_keeps_old_removals",),
    ),
    Guard(
        "deletion/purging.py",
        "before = store.current_time() - conf.grace",
        "before = store.current_time()",
        (f"{PURGE}test_temp_files_are_removed_after_the_grace_time",),
    ),
    Guard(
        "deletion/purging.py",
        "before = store.current_time() - conf.grace",
        f"before = {HOST_NOW} - conf.grace",
        (f"{PURGE}test_temp_files_are_old_by_the_clock_of_the_store",),
    ),
    Guard(
        "deletion/purging.py",
        "        if reason:\n            continue\n        try:\n            before",
        "        try:\n            before",
        (f"{PURGE}test_temp_files_of_refused_store_are_kept",),
    ),
    Guard(
        "deletion/purging.py",
        "remove_stale_uploads(before, dry_run=dry_run)",
        "remove_stale_uploads(before)",
        (f"{PURGE}test_temp_files_are_removed_after_the_grace_time",),
    ),
    Guard(
        "deletion/purging.py",
        "tombstones = Tombstone.objects.using(using).not_done().filter(model__in=labels)",
        "tombstones = Tombstone.objects.none()",
        (f"{PURGE}test_emptied_root_is_reported_while_a_tombstone_waits",),
    ),
    Guard(
        "deletion/purging.py",
        "using(using).not_done().filter(model__in=labels)",
        "using(using).filter(model__in=labels)",
        (f"{PURGE}test_store_without_files_left_is_not_an_error",),
    ),
    Guard(
        "deletion/purging.py",
        "for expected in (*rows, tombstones)",
        "for expected in (tombstones,)",
        (f"{PURGE}test_missing_root_is_reported_if_nothing_is_due",),
    ),
    Guard(
        "deletion/purging.py",
        "                checked[alias] = event.reason\n",
        "                checked.pop(alias)\n",
        (f"{PURGE}test_store_is_refused_once",),
    ),
    Guard(
        "deletion/removal.py",
        "for tombstone in tombstones.filter(named).iterator():",
        "for tombstone in tombstones.iterator():",
        (f"{PURGE}test_tombstone_that_becomes_due_meanwhile_is_not_reported",),
    ),
    Guard(
        "deletion/purging.py",
        "    for name in sorted(not_found):\n",
        "    for name in ():\n",
        (f"{PURGE}test_file_of_another_size_is_removed_only_with_also",),
    ),
    Guard(
        "deletion/purging.py",
        "        except OSError as exception:  # the next store may work\n",
        "        except KeyError as exception:\n",
        (f"{PURGE}test_symlinked_temp_folder_is_not_followed",),
    ),
    Guard(
        "management/commands/purge_deliveries.py",
        '            (not_found, "names given with --also were not found"),\n',
        "",
        (f"{PURGE}test_command_fails_for_an_unknown_name_after_the_purge",),
    ),
]

ORDINARY_ROWS = [
    Guard(
        "integrity.py",
        "ordinary = ordinary_rows_named(model, names, using)",
        "ordinary = ()",
        (f"{ORDINARY}test_file_of_an_ordinary_row_is_not_an_orphan",),
    ),
    Guard(
        "deletion/removal.py",
        "    if ordinary_fields_in(store_for(model)):\n        unnamed",
        "    if False:\n        unnamed",
        (
            f"{ORDINARY}test_tombstone_whose_name_an_ordinary_row_has_is_kept",
            f"{ORDINARY}test_file_of_an_ordinary_row_is_kept_after_commit",
        ),
    ),
    Guard(
        "deletion/removal.py",
        "named = _named_by_ordinary(model, removals, using)",
        "named: list[Event] = []",
        (f"{ORDINARY}test_ordinary_row_written_after_the_claim_keeps_the_file",),
    ),
    Guard(
        "deletion/removal.py",
        "unnamed = unnamed.filter(pk__in=_without_ordinary(model, unnamed))",
        "unnamed = tombstones.filter(pk__in=_without_ordinary(model, unnamed))",
        (f"{ORDINARY}test_row_of_a_file_that_is_written_before_the_claim_keeps_it",),
    ),
    Guard(
        "integrity.py",
        "rows = stored_rows(owner, database)",
        "rows = owner._default_manager.using(database)",
        (f"{ORDINARY}test_tombstone_whose_name_an_ordinary_row_has_is_kept",),
    ),
    Guard(
        "registry.py",
        " if found.store.location_text() == location",
        " if found.store is store",
        (f"{ORDINARY}test_row_of_a_field_with_a_store_at_the_same_location_counts",),
    ),
    Guard(
        "db/routing.py",
        "databases = {router.db_for_write(model)}",
        'databases = {"default"}',
        (f"{ORDINARY}test_databases_with_rows_of_a_field",),
    ),
    Guard(
        "db/routing.py",
        "    if router.allow_migrate_model(using, model):\n        databases.add(using)\n",
        "",
        (f"{ORDINARY}test_databases_with_rows_of_a_field",),
    ),
]

SAVING = [
    Guard(
        "db/rows.py",
        "models.QuerySet(model, using=using).order_by()",
        "model._base_manager.using(using).order_by()",
        (
            f"{MANAGERS}test_base_manager_does_not_matter",
            f"{MANAGERS}test_file_of_a_hidden_row_is_buried",
            f"{MANAGERS}test_deleted_delivery_buries_files_of_children",
            f"{MANAGERS}test_file_of_any_row_is_kept",
        ),
    ),
    Guard(
        "db/rows.py",
        "    row = model.__new__(model)\n    row._state = ModelState()\n",
        "    row = model.from_db(using, [field.attname for field in fields], values)\n",
        (f"{MANAGERS}test_no_instance_of_a_stored_row_is_created",),
    ),
    Guard(
        "abstract_models/filemeta.py",
        "            if not any(names.values()):\n",
        "            if True:\n",
        (f"{MANAGERS}test_row_with_a_missing_image_is_loaded_and_restored",),
    ),
    Guard(
        "restoring.py",
        '[{**record, "fields": fields}]',
        "[record]",
        (f"{MANAGERS}test_row_with_a_missing_image_is_loaded_and_restored",),
    ),
    Guard(
        "restoring.py",
        "                restored.object.__dict__.update(names)\n",
        "",
        (f"{MANAGERS}test_row_with_a_missing_image_is_loaded_and_restored",),
    ),
    Guard(
        "abstract_models/bulk.py",
        "{**sources, **dict(descendants([*sources.values()], using))}",
        "sources",
        (f"{MANAGERS}test_copy_of_a_delivery_has_rows_of_children",),
    ),
    Guard(
        "abstract_models/querysets.py",
        "return _visible(rows, user, by_permission=by_permission)",
        "return rows",
        (f"{MANAGERS}test_default_manager_of_the_site_decides_what_is_shown",),
    ),
    Guard(
        "db/rows.py",
        "rows.update(**{pk: F(pk)})",
        "pass",
        (f"{TRANSACTIONS}test_first_statement_waits_for_the_write_lock",),
    ),
    Guard(
        "db/rows.py",
        '_with_isolation(rows, rows.db).order_by("pk").select_for_update(no_key=True)',
        "_with_isolation(rows, rows.db)",
        (
            f"{TRANSACTIONS}test_delivery_finished_while_waiting_takes_no_file",
            f"{TRANSACTIONS}test_content_replaced_while_waiting_is_buried",
        ),
        needs=("postgres",),
    ),
    Guard(
        "db/rows.py",
        '_REPEATABLE = "repeatable read"',
        '_REPEATABLE = "no level"',
        (
            f"{ISOLATION}test_finish_sees_changes_by_other_sessions[repeatable read-add_file]",
            f"{ISOLATION}test_finish_sees_changes_by_other_sessions[repeatable read-add_files]",
            f"{ISOLATION}test_deliveries_of_a_group_get_different_numbers",
            f"{ISOLATION}test_level_set_in_the_transaction_is_used",
        ),
        needs=("postgres",),
    ),
    Guard(
        "db/rows.py",
        "select_for_update(no_key=True)",
        "select_for_update()",
        (f"{TRANSACTIONS}test_row_of_a_locked_delivery_can_be_inserted",),
        needs=("postgres",),
    ),
    Guard(
        "fields.py",
        "is_given = self.attname in values and not instance._state.adding",
        "is_given = not instance._state.adding",
        (f"{RECEIVERS}test_values_that_django_sets_on_deferred_content_remove_nothing",),
    ),
    Guard(
        "fields.py",
        "            named._is_unproven = True\n",
        "",
        (f"{REFUSED}test_bulk_create_rejects_names_given_as_strings",),
    ),
    Guard(
        "fields.py",
        "saved = values[self.attname] = values.pop(SAVED_CONTENT)",
        "saved = values.pop(SAVED_CONTENT)",
        (f"{RECEIVERS}test_file_that_a_receiver_assigns_is_stored",),
    ),
    Guard(
        "abstract_models/filemeta.py",
        "            and SAVED_CONTENT not in self.__dict__\n",
        "",
        (f"{RECEIVERS}test_nested_saves_store_the_content_once",),
    ),
    Guard(
        "abstract_models/filemeta.py",
        "            self._send(signals.pre_save, using)\n            if self.__dict__",
        "            if self.__dict__",
        (f"{RECEIVERS}test_receivers_that_refuse_leave_nothing",),
    ),
    Guard(
        "abstract_models/filemeta.py",
        "            if self.content.name == name:",
        "            if True:",
        (f"{RECEIVERS}test_receiver_that_replaces_stored_content_is_obeyed",),
    ),
    Guard(
        "abstract_models/filemeta.py",
        "        if row.content.name != content.name:",
        "        if False:",
        (f"{RECEIVERS}test_row_of_an_earlier_time_is_saved_or_refused",),
    ),
    Guard(
        "storages/content.py",
        "                file.was_read = again.started",
        "                pass",
        (f"{RECEIVERS}test_pipe_that_a_receiver_read_is_not_saved_again",),
    ),
    Guard(
        "storages/content.py",
        "        rewinds(again)\n",
        "",
        (f"{RECEIVERS}test_receivers_read_the_file_before_it_is_stored",),
    ),
    Guard(
        "fields.py",
        "(origin == own and (current is None or is_historical(self.model)))",
        "origin is not None",
        (f"{REFUSED}test_names_of_other_rows_and_models_are_rejected",),
    ),
    Guard(
        "fields.py",
        "values[name] = F(name)",
        "pass",
        (f"{HISTORICAL}test_historical_model_changes_other_columns_and_empty_rows",),
    ),
    Guard(
        "abstract_models/filemeta.py",
        "        self.__dict__.update(kept)\n",
        "",
        (f"{RECEIVERS}test_receivers_that_reload_the_row_change_nothing",),
    ),
    Guard(
        "abstract_models/filemeta.py",
        'if self.__dict__["content"]._committed:  # a receiver has',
        "if False:  # a receiver has",
        (f"{RECEIVERS}test_receiver_that_puts_the_stored_file_back_keeps_it",),
    ),
    Guard(
        "abstract_models/filemeta.py",
        "        if ids != self.key_ids():",
        "        if False:",
        (f"{RECEIVERS}test_row_of_an_earlier_time_is_saved_or_refused",),
    ),
    Guard(
        "abstract_models/filemeta.py",
        "names.get(name, name) for name in update_fields",
        "name for name in update_fields",
        (f"{RECEIVERS}test_update_fields_may_name_columns",),
    ),
    Guard(
        "abstract_models/filemeta.py",
        "row.content.name != stored.get(row.pk)",
        "False",
        (f"{REFUSED}test_bulk_update_rejects_outdated_names",),
    ),
    Guard(
        "abstract_models/filemeta.py",
        "super().bulk_update(objs, others, *args",
        "super().bulk_update(objs, names, *args",
        (f"{REFUSED}test_bulk_update_rejects_outdated_names",),
    ),
    Guard(
        "restoring.py",
        "        if committed:  # a hook",
        "        if False:  # a hook",
        (f"{RECEIVERS}test_hook_after_commit_that_raises_ends_a_restore",),
    ),
    Guard(
        "abstract_models/filemeta.py",
        "super().save(force_insert=(models.Model,), using=using)",
        "super().save(using=using)",
        (
            f"{REFUSED}test_save_of_a_new_row_rejects_a_taken_pk",
            f"{REFUSED}test_save_of_a_child_rejects_a_taken_pk",
        ),
    ),
    Guard(
        "abstract_models/filemeta.py",
        "super().save(force_insert=(models.Model,), using=using)",
        "super().save(force_insert=True, using=using)",
        (
            f"{REFUSED}test_save_of_a_child_rejects_a_taken_pk",
            f"{REFUSED}test_save_rejects_the_taken_pk_of_a_plain_parent",
        ),
    ),
    Guard(
        "abstract_models/filemeta.py",
        "if using not in {self._state.db or using, database_of(self)}:",
        "if False:",
        (f"{REFUSED}test_save_rejects_another_database",),
    ),
    Guard(
        "db/routing.py",
        "return router.db_for_write(type(row), instance=row)",
        "return row._state.db or router.db_for_write(type(row), instance=row)",
        (REPLICAS,),
    ),
    Guard(
        "abstract_models/delivery.py",
        "using in {None, self._state.db, database_of(self)}:",
        "using in {None, self._state.db}:",
        (REPLICAS,),
    ),
    Guard(
        "restoring.py",
        "using = database_of(tombstone)",
        'using = tombstone._state.db or ""',
        (REPLICAS,),
    ),
    Guard(
        "integrity.py", "using = database_of(delivery)", "using = delivery.files.db", (REPLICAS,)
    ),
    Guard(
        "abstract_models/delivery.py",
        "group_id, using, (), by=target)",
        "group_id, using, ())",
        (f"{TO_FIELD}test_finish_lists_the_folder_once",),
    ),
    Guard(
        "integrity.py",
        "store.layout.folder(row.key_ids()[0])",
        "store.layout.folder(delivery.pk)",
        (f"{TO_FIELD}test_folder_of_a_delivery_is_that_of_its_keys",),
    ),
    Guard(
        "abstract_models/querysets.py",
        "key = target_name(delivery, GROUP)",
        'key = "pk"',
        (f"{TO_FIELD}test_each_person_sees_the_right_rows",),
    ),
    Guard(
        "archive/builders.py",
        "delivery__in=deliveries.order_by().values(target_name(rows.model, DELIVERY))",
        'delivery__in=deliveries.order_by().values("pk")',
        (f"{TO_FIELD}test_archives_have_the_files_of_their_deliveries",),
    ),
    Guard(
        "checks/models.py",
        'if connections[alias].vendor not in {"postgresql", "sqlite"}',
        "if False",
        ("tests/checks/test_checks.py::test_unsupported_database_stops_check_and_migrate",),
    ),
    Guard(
        "abstract_models/filemeta.py",
        "if pending is not None:\n            self._check_accepts_content(using)\n"
        "        self._set",
        "if False:\n            self._check_accepts_content(using)\n        self._set",
        (f"{REFUSED}test_finished_delivery_takes_no_file",),
    ),
    Guard(
        "abstract_models/filemeta.py",
        "            self._check_accepts_content(using)\n        with self._shown",
        "            pass\n        with self._shown",
        (f"{REFUSED}test_finished_delivery_takes_no_file",),
    ),
    Guard(
        "abstract_models/filemeta.py",
        "delivery = row._delivery(using, get)",
        "pass",
        (f"{TRANSACTIONS}test_replacement_fails_when_moved_into_a_finished_delivery",),
    ),
    Guard(
        "abstract_models/filemeta.py",
        "            with not_about_names():\n                self._record_once",
        "            if True:\n                self._record_once",
        (f"{RECEIVERS}test_hook_after_commit_that_raises_ends_a_save",),
    ),
    Guard(
        "abstract_models/filemeta.py",
        "may_be_used or (is_given and self.is_buried(key, using))",
        "may_be_used",
        (f"{TRANSACTIONS}test_nothing_is_stored_under_a_buried_key",),
    ),
    Guard(
        "abstract_models/recording.py",
        '"lock": " FOR NO KEY UPDATE SKIP LOCKED",',
        '"lock": "",',
        (f"{TRANSACTIONS}test_delivery_finished_while_waiting_takes_no_file[add_file]",),
        needs=("postgres",),
    ),
    Guard(
        "abstract_models/recording.py",
        "AND current_setting('transaction_isolation') = 'read committed'",
        "",
        (f"{ISOLATION}test_finish_sees_changes_by_other_sessions[repeatable read-add_file]",),
        needs=("postgres",),
    ),
    Guard(
        "db/transactions.py",
        ' or "isolation_level" in connections[using].settings_dict["OPTIONS"]:',
        ":",
        (f"{ISOLATION}test_finish_sees_changes_by_other_sessions[repeatable read-add_file]",),
        needs=("postgres",),
    ),
    Guard(
        "db/transactions.py",
        "    if has_transaction(using) or ",
        "    if ",
        (f"{STATEMENTS}test_failed_record_leaves_the_transaction_usable",),
        needs=("postgres",),
    ),
    Guard(
        "db/rows.py",
        'of=(field.name, "self")',
        'of=("self",)',
        (f"{TRANSACTIONS}test_delivery_finished_while_waiting_takes_no_file[replace]",),
        needs=("postgres",),
    ),
    Guard(
        "abstract_models/recording.py",
        "AND NOT EXISTS (SELECT 1 FROM {tombstones} AS devilry_t WHERE devilry_t.name = %s)",
        "AND %s IS NOT NULL",
        (f"{TRANSACTIONS}test_late_tombstone_gives_the_file_another_name",),
    ),
    Guard(
        "abstract_models/recording.py",
        " AND NOT devilry_d.{successful}",
        "",
        (f"{STATEMENTS}test_finished_delivery_takes_no_file",),
    ),
    Guard(
        "abstract_models/recording.py",
        "is not AbstractDelivery.refuse_finished",
        "is None",
        (f"{STATEMENTS}test_own_refuse_finished_is_called",),
    ),
    Guard(
        "abstract_models/recording.py",
        "        or has_receivers(type(row))\n",
        "",
        (f"{INSTANCES}test_pre_save_and_post_save_are_sent_once",),
    ),
    Guard(
        "abstract_models/recording.py",
        " AND {content} IS NULL{unchanged}",
        "{unchanged}",
        (f"{STATEMENTS}test_content_stored_meanwhile_is_buried",),
    ),
    Guard(
        "abstract_models/delivery.py",
        "constraint.deferrable is None and not constraint.include",
        "True",
        (f"{UNUSUAL}test_only_constraints_of_every_database_are_trusted",),
    ),
    Guard(
        "db/rows.py",
        "    related = field.related_model\n",
        "    related = field.related_model._meta.concrete_model\n",
        (f"{UNUSUAL}test_delivery_is_of_the_class_that_the_row_refers_to",),
    ),
    Guard(
        "db/rows.py",
        """        or any('"' in table for table in tables)""",
        "        or False",
        (f"{UNUSUAL}test_tables_in_a_schema_are_locked_one_by_one",),
    ),
    Guard(
        "deletion/burying.py",
        "        if size > INSERTED_BYTES:\n",
        "        if False:\n",
        (f"{UNUSUAL}test_large_rows_are_buried_in_several_statements",),
    ),
    Guard(
        "abstract_models/delivery.py",
        "return is_unique and not model._meta.parents",
        "return not model._meta.parents",
        (f"{STATEMENTS}test_filename_is_looked_up_without_a_constraint",),
    ),
    Guard(
        "abstract_models/delivery.py",
        'if getattr(file, "was_read", False) != was_read:',
        "if False:",
        (f"{STATEMENTS}test_integrity_error_of_the_record_is_final",),
    ),
    Guard(
        "db/rows.py",
        "if not transaction.get_connection(using).needs_rollback:",
        "if True:",
        (f"{INSTANCES}test_failing_source_in_a_broken_transaction_sends_no_statement",),
    ),
    Guard(
        "abstract_models/filemeta.py",
        "pk=self.pk, **unchanged()",
        "pk=self.pk, content__isnull=True",
        (f"{TRANSACTIONS}test_failing_writer_keeps_a_row_taken_over_from_it",),
    ),
    Guard(
        "abstract_models/filemeta.py",
        "pk=self.pk, **unchanged()",
        "pk=self.pk, created=self.created",
        (f"{TRANSACTIONS}test_error_after_the_record_keeps_the_row[add_file]",),
    ),
    Guard(
        "abstract_models/filemeta.py",
        "if row is None or row.delivery_id == self.delivery_id:",
        "if True:",
        (f"{REFUSED}test_finished_delivery_takes_no_file",),
    ),
    Guard(
        "abstract_models/filemeta.py",
        'return loaded_columns(self) - {*CONTENT_FIELDS, "created", "verified_at"}',
        'return loaded_columns(self) - {*CONTENT_FIELDS, "created"}',
        (f"{INSTANCES}test_stale_save_keeps_a_later_verification",),
    ),
    Guard(
        "abstract_models/filemeta.py",
        'return loaded_columns(self) - {*CONTENT_FIELDS, "created", "verified_at"}',
        'return loaded_columns(self) - {*CONTENT_FIELDS, "verified_at"}',
        (f"{TRANSACTIONS}test_stale_save_does_not_undo_a_takeover",),
    ),
    Guard(
        "abstract_models/filemeta.py",
        "self._record, using, columns, only)",
        "self._record, using, columns, {})",
        (f"{TRANSACTIONS}test_writer_whose_row_was_taken_over_fails",),
    ),
    Guard(
        "abstract_models/filemeta.py",
        '{"content__isnull": True, "created": self.created}',
        '{"created": self.created}',
        (f"{TRANSACTIONS}test_added_file_does_not_replace_concurrent_content[create]",),
    ),
    Guard(
        "abstract_models/filemeta.py",
        '{"content__isnull": True, "created": self.created}',
        '{"content__isnull": True, "created": models.F("created")}',
        (
            f"{TRANSACTIONS}test_writer_whose_row_was_taken_over_fails[add_file-being stored]",
            f"{TRANSACTIONS}test_new_row_with_the_same_id_gets_no_content[create]",
        ),
    ),
    Guard(
        "abstract_models/filemeta.py",
        "self._store(pending, using, only=self._unchanged())",
        "self._store(pending, using, only={})",
        (f"{TRANSACTIONS}test_writer_whose_row_was_taken_over_fails[again-stored]",),
    ),
    Guard(
        "abstract_models/filemeta.py",
        '        self.__dict__.pop("_is_taken_over", None)\n',
        "",
        (f"{TRANSACTIONS}test_later_saves_replace_content_of_a_taken_over_row",),
    ),
    Guard(
        "abstract_models/filemeta.py",
        "            if is_computed:",
        "            if False:",
        (f"{TRANSACTIONS}test_save_accepts_a_time_computed_by_the_database",),
    ),
    Guard(
        "abstract_models/filemeta.py",
        "return update_fields - CONTENT_FIELDS",
        "return update_fields",
        (
            f"{INSTANCES}test_stale_save_does_not_write_the_old_name",
            f"{INSTANCES}test_save_does_not_write_assigned_size_and_hash",
        ),
    ),
    Guard(
        "abstract_models/filemeta.py",
        "rows.update(verified_at=None, **columns)",
        "rows.update(**columns)",
        (f"{INSTANCES}test_changed_content_is_not_verified",),
    ),
    Guard(
        "abstract_models/filemeta.py",
        "                delivery.refuse_finished()\n            # Before COMMIT",
        "                pass\n            # Before COMMIT",
        (f"{TRANSACTIONS}test_replacement_fails_when_the_delivery_is_finished_meanwhile",),
    ),
    Guard(
        "abstract_models/filemeta.py",
        "                if self.is_buried(name, using):",
        "                if False:",
        (f"{TRANSACTIONS}test_late_tombstone_gives_the_file_another_name",),
    ),
    Guard(
        "abstract_models/filemeta.py",
        "            rows = rows.filter(unused(type(row), [name], using))\n",
        "            pass\n",
        (f"{TRANSACTIONS}test_late_tombstone_gives_the_file_another_name",),
    ),
    Guard(
        "abstract_models/filemeta.py",
        "signals.pre_save.connect(_before_raw_save, sender=sender)",
        "pass",
        (
            f"{RESTORING}test_raw_save_of_a_buried_name_is_refused",
            f"{RESTORING}test_raw_save_of_the_name_of_another_row_is_refused",
        ),
    ),
    Guard(
        "abstract_models/filemeta.py",
        "reserve(_declaring(instance), name, using, pk=instance.pk)",
        "reserve(_declaring(instance), name, using)",
        (f"{RESTORING}test_raw_save_of_the_name_of_another_row_is_refused",),
    ),
    Guard(
        "abstract_models/filemeta.py",
        "                bury(row, delivery, using)\n            if columns is None",
        "                pass\n            if columns is None",
        (f"{ROWS}test_new_content_buries_the_old",),
    ),
    Guard(
        "abstract_models/filemeta.py",
        "                bury(row, delivery, using)\n\n    def _unchanged",
        "                pass\n\n    def _unchanged",
        (f"{ROWS}test_removed_content_is_buried",),
    ),
    Guard(
        "abstract_models/filemeta.py",
        "    bury_before_delete(instance, using)\n",
        "    pass\n",
        (f"{ROWS}test_deleted_row_is_buried",),
    ),
    Guard(
        "abstract_models/filemeta.py",
        "        and declaring_model(sender) is sender._meta.concrete_model\n",
        "        and not sender._meta.proxy\n",
        (f"{ROWS}test_deleted_child_is_buried_once", f"{ROWS}test_deleted_row_is_buried"),
    ),
    Guard(
        "abstract_models/filemeta.py",
        "self, using: str, *, lock: bool = True",
        "self, using: str, *, lock: bool = False",
        (f"{TRANSACTIONS}test_content_replaced_while_waiting_is_buried",),
        needs=("postgres",),
    ),
    Guard(
        "abstract_models/filemeta.py",
        "name = validate_storage_name(name)",
        "pass",
        (f"{ADOPT}test_invalid_name_is_rejected",),
    ),
    Guard(
        "abstract_models/filemeta.py",
        "partial(lock_row, columns=_STATE))\n"
        "            if isinstance(delivery, AbstractDelivery):\n"
        "                delivery.refuse_finished()\n            self.filename",
        "partial(read_row, columns=_STATE))\n"
        "            if isinstance(delivery, AbstractDelivery):\n"
        "                delivery.refuse_finished()\n            self.filename",
        (f"{TRANSACTIONS}test_delivery_finished_while_waiting_takes_no_file[adopt]",),
        needs=("postgres",),
    ),
    Guard(
        "abstract_models/filemeta.py",
        "                delivery.refuse_finished()\n            self.filename",
        "                pass\n            self.filename",
        (f"{ADOPT}test_invalid_row_is_not_inserted",),
    ),
    Guard(
        "abstract_models/filemeta.py",
        "            reserve(declaring, name, using)\n",
        "",
        (f"{TRANSACTIONS}test_bytes_adopted_and_deleted_meanwhile_are_not_adopted",),
    ),
    Guard(
        "abstract_models/filemeta.py",
        "        refuse_named_by_row(declaring, name, using)\n        if buried_names"
        "(declaring, [name], using):\n            raise named_by_tombstone(name)\n",
        "",
        (f"{ADOPT}test_file_in_use_is_not_read",),
    ),
    Guard(
        "abstract_models/filemeta.py",
        'exclusions -= {"filename", "delivery"}',
        "pass",
        (f"{FORMS}test_taken_filename_is_a_form_error",),
    ),
    Guard(
        "db/rows.py",
        "        state.adding, state.db = adding, db\n",
        "",
        (f"{ROWS}test_new_row_with_a_failing_store_leaves_no_trace[full]",),
    ),
    Guard(
        "db/rows.py",
        "        and field.attname not in deferred\n",
        "",
        (f"{STALE}test_save_does_not_write_deferred_columns",),
    ),
    Guard(
        "fields.py",
        "signals.pre_delete.connect(_refuse_historical, sender=sender)",
        "pass",
        (f"{HISTORICAL}test_historical_model_cannot_store_or_delete_files",),
    ),
    Guard(
        "fields.py",
        "return F(self.attname)",
        "return file",
        (f"{HISTORICAL}test_historical_model_changes_other_columns_and_empty_rows",),
    ),
    Guard(
        "resolving.py",
        " and current.given_storage == field.given_storage:",
        ":",
        (f"{HISTORICAL}test_historical_model_does_not_guess_its_store",),
    ),
    Guard(
        "resolving.py",
        "if is_historical(field.model):",
        "if False:",
        (f"{HISTORICAL}test_historical_model_does_not_guess_its_store",),
    ),
    Guard(
        "fields.py",
        "with opened(value._file) as source, shown(source) as file:",
        "with opened(value._file) as file:",
        (f"{FORMS}test_pipe_is_not_stored_without_what_a_validator_read",),
    ),
    Guard(
        "storages/content.py",
        'if getattr(file, "was_read", False) and not rewinds(file):',
        "if False:",
        (f"{FIELDFILE}test_pipe_cannot_be_saved_again_after_a_failure",),
    ),
    Guard(
        "abstract_models/bulk.py",
        "return can_insert and has_own_id and not has_receivers(model)",
        "return can_insert and has_own_id",
        (f"{RECEIVERS}test_receivers_that_refuse_leave_nothing",),
    ),
    Guard(
        "abstract_models/bulk.py",
        "if clean in contents:",
        "if filename in contents:",
        (f"{DELIVERIES}test_add_files_rejects_equivalent_filenames",),
    ),
    Guard(
        "abstract_models/bulk.py",
        "    delivery.refuse_finished()\n",
        "",
        (f"{REFUSED}test_finished_delivery_takes_no_file",),
    ),
    Guard(
        "abstract_models/bulk.py",
        "content__isnull=True, created__in=created",
        "content__isnull=True",
        (f"{TRANSACTIONS}test_failing_writer_keeps_a_row_taken_over_from_it[add_files]",),
    ),
    Guard(
        "abstract_models/bulk.py",
        "content__isnull=True, created__in=created",
        "created__in=created",
        (f"{TRANSACTIONS}test_error_after_the_record_keeps_the_row[add_files]",),
    ),
    Guard(
        "abstract_models/bulk.py",
        "        delivery._lock_unfinished(using)\n",
        "",
        (f"{TRANSACTIONS}test_add_files_fails_when_the_delivery_is_finished_meanwhile",),
    ),
    Guard(
        "abstract_models/bulk.py",
        "lambda name: name in used",
        "lambda name: False",
        (f"{TRANSACTIONS}test_files_of_add_files_survive_a_purge",),
    ),
    Guard(
        "abstract_models/bulk.py",
        "        unused(model, names, using),\n",
        "",
        (f"{TRANSACTIONS}test_late_tombstone_fails_add_files",),
    ),
    Guard(
        "abstract_models/bulk.py",
        "used |= {keys[row.pk] for row, _ in pairs if row._is_taken_over}",
        "pass",
        (f"{TRANSACTIONS}test_taken_over_rows_get_alternative_names",),
    ),
    Guard(
        "abstract_models/bulk.py",
        "        content__isnull=True,\n        created__in",
        "        created__in",
        (f"{TRANSACTIONS}test_add_files_keeps_content_that_another_save_stored",),
    ),
    Guard(
        "abstract_models/bulk.py",
        "        created__in={row.created for row, *_ in stored},\n",
        "",
        (
            f"{TRANSACTIONS}test_writer_whose_row_was_taken_over_fails[add_files-being stored]",
            f"{TRANSACTIONS}test_new_row_with_the_same_id_gets_no_content[add_files]",
        ),
    ),
    Guard(
        "abstract_models/filemeta.py",
        '        if "filename" in columns:\n',
        "        if False:\n",
        (f"{REFUSED}test_save_rejects_invalid_filenames",),
    ),
    Guard(
        "abstract_models/filemeta.py",
        "        with restored_on_error(self), transaction.atomic(using=using):\n"
        "            row, delivery = self._row_and_delivery(using)\n            if isinstance(",
        "        with transaction.atomic(using=using):\n"
        "            row, delivery = self._row_and_delivery(using)\n            if isinstance(",
        (f"{TRANSACTIONS}test_error_after_the_record_restores_the_instance",),
    ),
    Guard(
        "abstract_models/filemeta.py",
        "except (DeliveryFinished, ObjectDoesNotExist) as exception:",
        "except DeliveryFinished as exception:",
        (f"{FORMS}test_full_clean_rejects_content_of_a_deleted_row",),
    ),
    Guard(
        "storages/content.py",
        "            yield file\n    elif",
        "            yield file\n        content.close()\n    elif",
        (f"{DELIVERIES}test_content_in_every_form_is_stored",),
    ),
]

DELIVERING = [
    Guard(
        "abstract_models/delivery.py",
        'loaded_columns(self) - {"number", "successful"}',
        "loaded_columns(self)",
        (f"{STALE}test_stale_save_does_not_unfinish_a_delivery",),
    ),
    Guard(
        "abstract_models/delivery.py",
        'update_fields -= {"time_of_delivery"}',
        "pass",
        (f"{STALE}test_stale_save_does_not_unfinish_a_delivery",),
    ),
    Guard(
        "abstract_models/delivery.py",
        "            self._refuse_incomplete(using)\n",
        "",
        (f"{DELIVERIES}test_incomplete_delivery_cannot_be_finished[missing]",),
    ),
    Guard(
        "abstract_models/delivery.py",
        "    if size != row.size:",
        "    if False:",
        (f"{DELIVERIES}test_incomplete_delivery_cannot_be_finished[size]",),
    ),
    Guard(
        "abstract_models/delivery.py",
        "    if not name:\n",
        "    if False:\n",
        (f"{DELIVERIES}test_incomplete_delivery_cannot_be_finished[empty]",),
    ),
    Guard(
        "abstract_models/delivery.py",
        "        current.refuse_finished()\n",
        "",
        (f"{DELIVERIES}test_finished_delivery_cannot_be_finished_again",),
    ),
    Guard(
        "abstract_models/delivery.py",
        "            self._drop_from_tombstones(using)\n",
        "",
        (f"{RESTORING}test_finished_delivery_is_not_restored_unfinished",),
    ),
    Guard(
        "tables.py",
        """{member.format('pk')} = %s AND {member.format('model')} IN ({labels})""",
        """{member.format('pk')} = %s AND ({member.format('model')} IN ({labels}) OR true)""",
        (f"{RESTORING}test_finish_removes_the_delivery_from_tombstones",),
    ),
    Guard(
        "abstract_models/delivery.py",
        "of_it.select_for_update(skip_locked=True)",
        "of_it.select_for_update()",
        (f"{TRANSACTIONS}test_finish_does_not_wait_for_locked_tombstones",),
        needs=("postgres",),
    ),
    Guard(
        "abstract_models/delivery.py",
        "    lock_row(to_group.related_model, group_id, using, (), by=target)\n",
        "",
        (f"{TRANSACTIONS}test_finish_waits_for_the_lock_of_the_group",),
        needs=("postgres",),
    ),
    Guard(
        "abstract_models/delivery.py",
        "if not self.successful:\n            raise DeliveryStateError",
        "if False:\n            raise DeliveryStateError",
        (f"{DELIVERIES}test_unfinished_delivery_cannot_be_copied",),
    ),
    Guard(
        "abstract_models/delivery.py",
        "undone_on_error(twin.delete, using",
        "undone_on_error(lambda: None, using",
        (f"{DELIVERIES}test_failing_copy_leaves_nothing[full]",),
    ),
    Guard(
        "abstract_models/bulk.py",
        "delivery.files.using(using).filter(content__isnull=False)",
        "delivery.files.using(using)",
        (f"{DELIVERIES}test_copy_leaves_out_rows_without_content",),
    ),
    Guard(
        "abstract_models/delivery.py",
        "mine = rows.filter(pk=row.pk, created=row.created, content__isnull=True)",
        "mine = rows.filter(pk=row.pk, content__isnull=True)",
        (f"{TRANSACTIONS}test_failing_writer_keeps_a_row_taken_over_from_it[again]",),
    ),
    Guard(
        "abstract_models/delivery.py",
        "mine.update(created=left_behind[row.pk])",
        "pass",
        (f"{DELIVERIES}test_abandoned_row_is_taken_over",),
    ),
    Guard(
        "abstract_models/delivery.py",
        "        if row.content:\n            raise FileExistsError(f",
        "        if False:\n            raise FileExistsError(f",
        (f"{DELIVERIES}test_taken_filename_is_rejected",),
    ),
    Guard(
        "abstract_models/delivery.py",
        "if row.created > now - conf.grace or not",
        "if not",
        (f"{DELIVERIES}test_abandoned_row_is_taken_over",),
    ),
    Guard(
        "abstract_models/delivery.py",
        "\n            pk=row.pk, created=row.created, content__isnull=True\n",
        "\n            pk=row.pk, content__isnull=True\n",
        (f"{TRANSACTIONS}test_row_changed_since_it_was_read_is_not_taken_over[taken over]",),
    ),
    Guard(
        "abstract_models/delivery.py",
        "\n            pk=row.pk, created=row.created, content__isnull=True\n",
        "\n            pk=row.pk, created=row.created\n",
        (f"{TRANSACTIONS}test_row_changed_since_it_was_read_is_not_taken_over[stored]",),
    ),
    Guard(
        "abstract_models/delivery.py",
        "now = read_at(row)",
        "now = timezone.now()",
        (f"{TRANSACTIONS}test_takeover_uses_the_clock_of_the_database",),
    ),
    Guard(
        "db/clock.py",
        "timezone.utc if settings.USE_TZ else None",
        "timezone.utc",
        (
            f"{TRANSACTIONS}test_takeover_works_without_time_zones",
            f"{PURGE}test_purge_and_restore_work_without_time_zones",
        ),
    ),
    Guard(
        "abstract_models/delivery.py",
        "                if row := rows.exclude(pk__in=left_behind).first():\n",
        "                if row := None:\n",
        (f"{TRANSACTIONS}test_filename_taken_meanwhile_raises_file_exists_error",),
    ),
]

FIELDS_AND_STORES = [
    Guard(
        "fields.py",
        "if not self._is_stored(value):\n            if is_historical",
        "if False:\n            if is_historical",
        (
            f"{REFUSED}test_bulk_create_rejects_pending_files",
            f"{REFUSED}test_update_rejects_files_and_text",
        ),
    ),
    Guard(
        "fields.py",
        "if self.is_pending_file:\n            raise NotCommitted",
        "if False:\n            raise NotCommitted",
        (f"{REFUSED}test_instance_with_an_unsaved_upload_cannot_be_copied",),
    ),
    Guard(
        "fields.py",
        "if mode not in READ_MODES:",
        "if False:",
        (f"{FIELDFILE}test_open_rejects_write_modes",),
    ),
    Guard(
        "fields.py",
        "if not self.is_pending_file or isinstance(self._file, FieldFile):",
        "if True:",
        (f"{FIELDFILE}test_upload_stays_open_until_it_is_saved",),
    ),
    Guard(
        "storages/content.py",
        "if _is_text(file) and file._committed:",
        "if _is_text(file):",
        (f"{FIELDFILE}test_upload_is_stored_even_if_another_file_has_its_name",),
    ),
    Guard(
        "storages/content.py",
        'file.file = file.storage.open(str(file.name), "rb")',
        "pass",
        (f"{FIELDFILE}test_plain_file_that_is_open_as_text_is_stored_as_bytes",),
    ),
    Guard(
        "fields.py",
        "return self.copy_of(value, instance) if value else",
        "return value.copy_for(instance) if value else",
        (f"{ROWS}test_new_content_buries_the_old",),
    ),
    Guard(
        "fields.py",
        "if file.instance is not instance:",
        "if False:",
        (f"{INSTANCES}test_copy_of_an_instance_reads_and_saves_the_same_row",),
    ),
    Guard(
        "fields.py",
        'kwargs["widget"] = forms.FileInput',
        'kwargs["widget"] = forms.ClearableFileInput',
        (f"{FORMS}test_form_field_accepts_empty_files_and_cannot_be_cleared",),
    ),
    Guard(
        "resolving.py",
        "if isinstance(store, DeliveryStoreMixin):\n        return store\n",
        "if True:\n        return store\n",
        (f"{STORES}test_other_storages_are_rejected",),
    ),
    Guard(
        "resolving.py",
        'getattr(field.model, "deliverystore", None)',
        'getattr(model, "deliverystore", None)',
        (f"{STORES}test_proxy_and_child_use_the_store_of_their_parent",),
    ),
    Guard(
        "abstract_models/querysets.py",
        "            return manager.visible_to(user)\n",
        "            pass\n",
        ("tests/serving/test_costs.py::test_rule_of_the_site_decides_about_permissions",),
    ),
    Guard(
        "abstract_models/querysets.py",
        "if not user.is_active or not user.is_authenticated:",
        "if not user.is_authenticated:",
        (f"{VISIBLE}test_inactive_users_see_nothing",),
    ),
    Guard(
        "abstract_models/querysets.py",
        'f"{prefix}{GROUP}__in": examined, f"{prefix}successful": True',
        'f"{prefix}{GROUP}__in": examined',
        (f"{VISIBLE}test_rows_depend_on_the_roles_in_the_groups",),
    ),
    Guard(
        "abstract_models/querysets.py",
        'view_{meta.model_name}"',
        'change_{meta.model_name}"',
        (f"{VISIBLE}test_users_with_the_view_permission_see_all_rows",),
    ),
    Guard(
        "tables.py",
        "super().get_queryset().none()",
        "super().get_queryset()",
        ("tests/admin/test_stores.py::test_dumpdata_skips_store_browser",),
    ),
    Guard(
        "deliveries/models.py",
        'fields=["delivery", "filename"],',
        'fields=["delivery", "filename", "id"],',
        (f"{FORMS}test_taken_filename_is_a_form_error",),
    ),
    Guard(
        "fields.py",
        "        if not self._committed:\n            raise NoURL",
        "        if False:\n            raise NoURL",
        (f"{FIELDFILE}test_pending_file_has_no_url",),
    ),
    Guard(
        "fields.py",
        "return committed and value.field.model is self.model",
        "return committed",
        (f"{REFUSED}test_update_rejects_files_and_text",),
    ),
    Guard(
        "fields.py",
        "isinstance(value, StoredName) or not value",
        "True",
        (f"{REFUSED}test_update_rejects_files_and_text",),
    ),
    Guard(
        "fields.py",
        "return _NOBODYS_NAME",
        "return str(value.name)",
        (f"{FIELDFILE}test_pending_file_matches_no_row",),
    ),
    Guard(
        "fields.py",
        'str(file) if self._is_stored(file) else ""',
        "str(file)",
        ("tests/models/test_filefield_restore.py::test_pending_file_is_not_serialised",),
    ),
    Guard(
        "fields.py",
        "delete.alters_data = True",
        "delete.alters_data = False",
        (f"{FIELDFILE}test_templates_cannot_change_data",),
    ),
    Guard(
        "abstract_models/delivery.py",
        "finish.alters_data = True",
        "finish.alters_data = False",
        (f"{FIELDFILE}test_templates_cannot_change_data",),
    ),
    Guard(
        "abstract_models/querysets.py",
        ' or not {"candidates", "examiners"} <= _names(group):',
        ":",
        (f"{VISIBLE}test_group_model_without_candidates_needs_the_permission",),
    ),
    Guard(
        "abstract_models/querysets.py",
        "groups.filter(candidates=user).values(key)",
        "groups.values(key)",
        (f"{VISIBLE}test_rows_depend_on_the_roles_in_the_groups",),
    ),
    Guard(
        "db/indexes.py",
        '"{} COLLATE NOCASE"',
        '"{}"',
        (f"{PREFIX_INDEX}test_istartswith_uses_the_index",),
    ),
    Guard(
        "db/indexes.py",
        '"text_pattern_ops"',
        '"text_ops"',
        (f"{PREFIX_INDEX}test_index_is_bytewise_on_postgresql",),
        needs=("postgres",),
    ),
]

RESTORED = [
    Guard(
        "restoring.py",
        "    return any(issubclass(model, base) or issubclass(base, model) for base in bases)",
        "    return True",
        (f"{RESTORING}test_rows_of_other_models_are_not_restored",),
    ),
    Guard(
        "restoring.py",
        "    for source in (tombstone, _last_of_delivery(tombstone, using)):",
        "    for source in (tombstone,):",
        (f"{RESTORING}test_rows_of_other_models_are_not_restored",),
    ),
    Guard(
        "restoring.py",
        "            tombstone = _unclaimed(lock_row(Tombstone, tombstone.pk, using), subject)\n",
        "",
        (f"{RESTORING}test_file_that_is_claimed_during_a_restore_is_not_restored",),
    ),
    Guard(
        "restoring.py",
        "_unclaimed(lock_row(Tombstone, tombstone.pk, using), subject)",
        "_unclaimed(Tombstone.objects.using(using).filter(pk=tombstone.pk).first(), subject)",
        (f"{TRANSACTIONS}test_file_removed_while_waiting_is_not_restored",),
        needs=("postgres",),
    ),
    Guard(
        "restoring.py",
        "    if tombstone.claimed is not None:\n",
        "    if tombstone.done is not None:\n",
        (f"{RESTORING}test_claimed_tombstone_cannot_be_restored",),
    ),
    Guard(
        "restoring.py",
        "return _unclaimed(now, subject), model",
        "return tombstone, model",
        (f"{RESTORING}test_claimed_tombstone_cannot_be_restored",),
    ),
    Guard(
        "restoring.py",
        "    _check_row(row, delivery, tombstone, subject)\n    name = _duplicate",
        "    name = _duplicate",
        (f"{RESTORING}test_refused_restore_stores_nothing",),
    ),
    Guard(
        "restoring.py",
        "            _check_row(row, delivery, tombstone, subject)\n            if row is None",
        "            if row is None",
        (f"{RESTORING}test_content_stored_during_a_restore_is_kept",),
    ),
    Guard(
        "restoring.py",
        "    name = _duplicate(tombstone, model, row, subject, using)\n"
        "    committed: list[bool] = []\n    try:\n"
        "        with transaction.atomic(using=using):\n",
        "    committed: list[bool] = []\n    try:\n        with transaction.atomic(using=using):\n"
        "            name = _duplicate(tombstone, model, row, subject, using)\n",
        (f"{RESTORING}test_bytes_are_duplicated_outside_transactions",),
    ),
    Guard(
        "restoring.py",
        "            row._set_content(name, tombstone.size, tombstone.sha256)\n        elif",
        "            row._set_content(tombstone.name, tombstone.size, tombstone.sha256)\n"
        "        elif",
        (f"{RESTORING}test_deleted_row_is_restored_exactly",),
    ),
    Guard(
        "restoring.py",
        '{"content": StoredName(name), "size"',
        '{"content": StoredName(tombstone.name), "size"',
        (f"{RESTORING}test_row_without_content_gets_its_content_back",),
    ),
    Guard(
        "restoring.py",
        "            Tombstone.objects.using(using).filter(pk=tombstone.pk).update(\n"
        "                rows=[], created=DatabaseNow(), due=DatabaseNow() + conf.retention\n"
        "            )\n",
        "",
        (f"{RESTORING}test_file_is_restored_once",),
    ),
    Guard(
        "restoring.py",
        "            Tombstone.objects.using(using).filter(pk=tombstone.pk).update(\n"
        "                rows=[], created=DatabaseNow(), due=DatabaseNow() + conf.retention\n"
        "            )\n",
        "            tombstone.delete(using=using)\n",
        (f"{RESTORING}test_deleted_row_is_restored_exactly",),
    ),
    Guard(
        "restoring.py",
        "rows=[], created=DatabaseNow(), due=DatabaseNow() + conf.retention",
        "rows=[]",
        (f"{RESTORING}test_deleted_row_is_restored_exactly",),
    ),
    Guard(
        "restoring.py",
        "if (current := store_label(model)) != tombstone.alias:",
        "if (current := store_label(model)) is None:",
        (f"{NOT_RESTORABLE}[_other_store]",),
    ),
    Guard(
        "restoring.py",
        "if tombstone.size not in {None, size}:",
        "if False:",
        (f"{NOT_RESTORABLE}[_other_size]",),
    ),
    Guard(
        "restoring.py",
        "    _check_delivery(delivery, tombstone, subject)\n    return row",
        "    return row",
        (f"{NOT_RESTORABLE}[_finished_without]",),
    ),
    Guard(
        "restoring.py",
        "    if row.content:\n        raise NotRestorable(",
        "    if False:\n        raise NotRestorable(",
        (f"{NOT_RESTORABLE}[_other_content]",),
    ),
    Guard(
        "restoring.py",
        "if created is None or _milliseconds(created) != _milliseconds(row.created):",
        "if created is None:",
        (f"{NOT_RESTORABLE}[_stored_by_another_upload]",),
    ),
    Guard(
        "restoring.py",
        'same.exclude(rows=[]).order_by("-created", "-pk")',
        'same.exclude(rows=[]).order_by("created", "pk")',
        (f"{RESTORING}test_delivery_is_restored_in_its_last_state",),
    ),
    Guard(
        "restoring.py",
        "    _renumber(row, using)\n",
        "",
        (f"{RESTORING}test_restored_delivery_gets_next_number_if_its_own_is_used",),
    ),
    Guard(
        "restoring.py",
        "        if not field.null:\n",
        "        if False:\n",
        (f"{NOT_RESTORABLE}[_group_gone]",),
    ),
    Guard(
        "restoring.py",
        "using=using, ignorenonexistent=True",
        "using=using",
        (f"{RESTORING}test_removed_columns_are_ignored",),
    ),
    Guard(
        "restoring.py",
        "    _check_delivery(delivery, tombstone, subject)\n    if row.content",
        "    if row.content",
        (f"{RESTORING}test_content_replaced_before_the_finish_is_not_restored",),
    ),
    Guard(
        "restoring.py",
        "if others.filter(number=row.number).exists():",
        "if True:",
        (f"{RESTORING}test_restored_delivery_keeps_its_free_number",),
    ),
    Guard(
        "restoring.py",
        "    if row is None or row.content.name == tombstone.name:\n",
        "    if row is None:\n",
        (f"{RESTORING}test_row_that_names_the_buried_file_gets_another_name",),
    ),
]

COMPARED = [
    Guard(
        "deletion/orphans.py",
        "due=DatabaseNow() + max(conf.retention, conf.grace)",
        "due=DatabaseNow() + conf.retention",
        (f"{ORPHANS}test_orphan_is_kept_for_retention_and_grace_time",),
    ),
    Guard(
        "deletion/orphans.py",
        "if verdict.state is not State.ORPHAN:",
        "if verdict.state is State.TOMBSTONED:",
        (f"{ORPHANS}test_foreign_file_is_refused",),
    ),
    Guard(
        "deletion/orphans.py",
        "    if newest is None:\n",
        "    if False:\n",
        (f"{ORPHANS}test_every_file_is_refused_without_rows",),
    ),
    Guard(
        "deletion/orphans.py",
        "if reason := refusal(model, using, SAMPLE):",
        'if reason := "":',
        (f"{ORPHANS}test_every_file_is_refused_if_rows_lack_files",),
    ),
    Guard(
        "deletion/orphans.py",
        "if file_id > highest_file or delivery_id > highest_delivery:",
        "if file_id > highest_file:",
        (f"{ORPHANS}test_ids_higher_than_all_rows_are_refused",),
    ),
    Guard(
        "deletion/orphans.py",
        "content__isnull=False) for other in sharing(model, store)\n",
        "content__isnull=False) for other in [model]\n",
        (f"{ORPHANS}test_ids_of_second_model_in_the_store_count",),
    ),
    Guard(
        "deletion/orphans.py",
        "if modified > newest.timestamp():",
        "if False:",
        (f"{ORPHANS}test_file_newer_than_all_rows_is_refused",),
    ),
    Guard(
        "deletion/orphans.py",
        "if modified > (store.current_time() - conf.grace).timestamp():",
        "if False:",
        (f"{ORPHANS}test_file_younger_than_the_grace_time_is_refused",),
    ),
    Guard(
        "deletion/orphans.py",
        "(store.current_time() - conf.grace)",
        f"({HOST_NOW} - conf.grace)",
        (f"{ORPHANS}test_clock_of_the_host_does_not_count",),
    ),
    Guard(
        "deletion/orphans.py",
        "        created=DatabaseNow(),\n        due=DatabaseNow()",
        f"        created={HOST_NOW},\n        due={HOST_NOW}",
        (f"{ORPHANS}test_clock_of_the_host_does_not_count",),
    ),
    Guard(
        "deletion/orphans.py",
        "    if _is_being_stored(model, delivery_id, file_id, store, using):\n",
        "    if False:\n",
        (f"{ORPHANS}test_file_of_a_row_without_content_is_refused",),
    ),
    Guard(
        "deletion/orphans.py",
        "if any(row.key_ids() == (delivery_id, file_id) for row in rows):",
        "if any(rows):",
        (f"{ORPHANS}test_orphan_with_only_the_file_id_of_a_row_is_buried",),
    ),
    Guard(
        "deletion/orphans.py",
        "    for other in sharing(model, store):\n",
        "    for other in [model]:\n",
        (f"{ORPHANS}test_file_of_a_row_of_second_model_without_content_is_refused",),
    ),
    Guard(
        "deletion/orphans.py",
        "    if rows_named(model, [name], using):\n        Tombstone.",
        "    if False:\n        Tombstone.",
        (f"{ORPHANS}test_file_adopted_meanwhile_is_not_buried[before]",),
    ),
    Guard(
        "deletion/orphans.py",
        "        Tombstone.objects.using(using).buried().filter(pk=tombstone.pk).delete()\n",
        "",
        (f"{ORPHANS}test_file_adopted_meanwhile_is_not_buried[before]",),
    ),
    Guard(
        "abstract_models/filemeta.py",
        "if row.content and row.content.name != name:\n                bury",
        "if False:\n                bury",
        (f"{RESTORING}test_raw_save_buries_other_content_of_the_row",),
    ),
    Guard(
        "abstract_models/filemeta.py",
        "if not has_transaction(using):",
        "if False:",
        (f"{RESTORING}test_raw_save_outside_a_transaction_is_refused",),
    ),
    Guard(
        "deletion/orphans.py",
        "if orphans <= max(1, len(listed) // ONE_IN):",
        "if orphans <= max(2, len(listed) // ONE_IN):",
        (f"{ORPHANS}test_many_orphans_are_refused",),
    ),
    Guard(
        "deletion/orphans.py",
        "    except IntegrityError as exception:",
        "    except KeyError as exception:",
        (f"{ORPHANS}test_second_of_two_concurrent_burials_is_refused",),
    ),
    Guard(
        "integrity.py",
        "    for other in sharing(model, store_for(model)):",
        "    for other in [model]:",
        (f"{ORPHANS}test_file_of_second_model_in_the_store_is_refused",),
    ),
    Guard(
        "integrity.py",
        "State.ORPHAN if is_key(entry.name) else State.FOREIGN",
        "State.ORPHAN",
        (f"{CHECK}test_each_name_has_one_state",),
    ),
    Guard(
        "integrity.py",
        "if row.size in {None, entry.size} else",
        "if True else",
        (f"{CHECK}test_each_name_has_one_state",),
    ),
    Guard(
        "integrity.py",
        "for name in rows.keys() - {entry.name for entry in listing}:",
        "for name in []:",
        (f"{CHECK}test_adopted_file_is_looked_up_by_name",),
    ),
    Guard(
        "usage.py",
        "rows.order_by()[: BOUND + 1].count()",
        "rows.count()",
        (f"{STATISTICS}test_waiting_counts_up_to_a_limit",),
    ),
    Guard(
        "usage.py",
        "        .filter(content__isnull=False)\n",
        "",
        (f"{STATISTICS}test_sums_are_by_month_and_model",),
    ),
    Guard(
        "usage.py",
        "stored.filter(refreshed__lt=now).delete()",
        "pass",
        (f"{STATISTICS}test_refresh_replaces_the_sums",),
    ),
    Guard(
        "usage.py",
        "zone = timezone.get_default_timezone() if",
        "zone = timezone.get_current_timezone() if",
        (f"{STATISTICS}test_months_are_in_the_time_zone_of_the_site",),
    ),
    Guard(
        "deletion/orphans.py",
        "posixpath.dirname(posixpath.dirname(name))",
        "posixpath.dirname(name)",
        (f"{ORPHANS}test_many_orphans_are_refused",),
    ),
    Guard(
        "deletion/orphans.py",
        "islice(store.scan(around), LOOKED_AT)",
        "store.scan(around)",
        (f"{ORPHANS}test_number_of_listed_files_is_limited",),
    ),
    Guard(
        "usage.py",
        "Tombstone.objects.using(using).past_due().not_done()",
        "Tombstone.objects.using(using).not_done()",
        (f"{STATISTICS}test_waiting_counts_up_to_a_limit",),
    ),
]

GUARDS: list[Guard] = [
    *LOOKING,
    *CLAIMING,
    *REMOVING,
    *BURYING,
    *PURGING,
    *ORDINARY_ROWS,
    *SAVING,
    *DELIVERING,
    *FIELDS_AND_STORES,
    *RESTORED,
    *COMPARED,
    Guard(
        "abstract_models/bulk.py",
        "store_for(model).with_fixed_location()",
        "store_for(model)",
        (f"{TENANT_ROWS}test_threads_of_add_files_use_the_tenant_of_the_call",),
    ),
    Guard(
        "abstract_models/bulk.py",
        "isinstance(content, FieldFile) or id(source_of(content)) in shared",
        "id(source_of(content)) in shared",
        (f"{TENANT_ROWS}test_threads_of_add_files_use_the_tenant_of_the_call",),
    ),
    Guard(
        "abstract_models/bulk.py",
        "isinstance(content, FieldFile) or id(source_of(content)) in shared",
        "isinstance(content, FieldFile)",
        (f"{DELIVERIES}test_one_file_under_several_names_is_stored_whole",),
    ),
    Guard(
        "abstract_models/bulk.py",
        "    _refuse_second_reading(contents)\n",
        "",
        (f"{DELIVERIES}test_file_that_is_read_once_is_stored_under_one_name",),
    ),
    Guard(
        "storages/content.py",
        "if isinstance(inner, UploadedFile) and inner.closed:",
        "if False:",
        (f"{DELIVERIES}test_closed_upload_is_not_opened_by_its_name",),
    ),
    Guard(
        "abstract_models/bulk.py",
        "if future.done() and future.exception():",
        "if False:",
        (f"{POOLS}test_work_continues_after_the_main_thread_has_ended",),
    ),
    Guard(
        "archive/builders.py",
        "store_for(files.model).with_fixed_location()",
        "store_for(files.model)",
        (f"{TENANT_ROWS}test_archive_reads_at_the_location_of_the_call",),
    ),
    Guard(
        "archive/builders.py",
        "    store = store.with_fixed_location()\n",
        "",
        (f"{TENANT_ROWS}test_archive_reads_at_the_location_of_the_call",),
    ),
    Guard(
        "deletion/removal.py",
        "if store_for(buried).location_text() == location:",
        "if True:",
        (f"{TENANT_ROWS}test_commit_at_another_location_removes_nothing_there",),
    ),
]
