"""Guards of what is sent to clients, of forms and of the admin's pages."""

from __future__ import annotations

from tests.guards import Guard

_HTTP = "tests/serving/test_http.py"
_DOWNLOADS = "tests/serving/test_downloads.py"
_DOWNLOAD_COSTS = "tests/serving/test_costs.py"
_ARCHIVES = "tests/archive/test_archives.py"
_DAMAGED = "tests/archive/test_damaged.py"
_PATHS = "tests/archive/test_paths.py"
_RECORDS = "tests/archive/test_zip_records.py"
_COSTS = "tests/archive/test_costs.py"
_FORMS = "tests/forms/test_forms.py"
_SAVING = "tests/forms/test_forms_saving.py"
_PROTECTING = "tests/serving/test_protecting.py"
_STREAMING = "tests/serving/test_streaming.py"
_TRANSFERS = "tests/serving/test_transfers.py"
_WAYS = "tests/serving/test_ways.py"
_ACTIONS = "tests/admin/test_actions.py"
_ADDING = "tests/admin/test_adding.py"
_FINISHING = "tests/admin/test_finishing.py"
_LISTS = "tests/admin/test_lists.py"
_MANY = "tests/admin/test_many_rows.py"
_PAGES = "tests/admin/test_pages.py"
_PERMISSIONS = "tests/admin/test_permissions.py"
_PREVIEWS = "tests/admin/test_previews.py"
_RESTORING = "tests/admin/test_restoring.py"
_STORES = "tests/admin/test_stores.py"
_TOKENS = "tests/admin/test_tokens.py"
_DASHBOARD = "tests/test_statistics.py"

_ORDINARY = "tests/ordinary/test_serving.py"

GUARDS: list[Guard] = [
    # -- HTTP --
    Guard(
        "apps.py",
        "        from . import checks  # noqa: F401  # registers them\n",
        "",
        ("tests/test_second_project.py::test_checks_are_registered_by_the_app",),
    ),
    Guard(
        "admin/tombstones.py",
        "return format_datetime(tombstone.due) if tombstone.is_restorable else EMPTY_VALUE",
        "return tombstone.due  # type: ignore",
        (f"{_RESTORING}::test_page_shows_until_when_a_file_can_be_restored",),
    ),
    Guard(
        "rfc9110.py",
        'if not _lists(headers["If-Match"], current.etag, weak=False):',
        'if not _lists(headers["If-Match"], current.etag, weak=True):',
        (f"{_HTTP}::test_evaluate_follows_rfc_9110",),
    ),
    Guard(
        "rfc9110.py",
        'return 304 if _lists(headers["If-None-Match"], current.etag, weak=True) else 0',
        'return 304 if _lists(headers["If-None-Match"], current.etag, weak=False) else 0',
        (f"{_HTTP}::test_evaluate_follows_rfc_9110",),
    ),
    Guard(
        "rfc9110.py",
        'if method == "GET" and "Range" in headers and',
        'if "Range" in headers and',
        (f"{_HTTP}::test_evaluate_follows_rfc_9110",),
    ),
    Guard(
        "rfc9110.py",
        ' and _if_range(headers.get("If-Range"), current):',
        ":",
        (f"{_HTTP}::test_evaluate_follows_rfc_9110",),
    ),
    Guard(
        "rfc9110.py",
        "return bool(current.etag) and value == current.etag",
        'return bool(current.etag) and value.removeprefix("W/") == current.etag',
        (f"{_HTTP}::test_evaluate_follows_rfc_9110",),
    ),
    Guard(
        "rfc9110.py",
        "return current.modified is not None and parse_http_date_safe(value)",
        "return parse_http_date_safe(value)",
        (f"{_HTTP}::test_conditions_without_validators_are_ignored",),
    ),
    Guard(
        "rfc9110.py",
        'if unit.lower() != "bytes" or len(ranges) != 1:',
        'if unit.lower() != "bytes" or not ranges:',
        (f"{_HTTP}::test_evaluate_follows_rfc_9110",),
    ),
    Guard(
        "rfc9110.py",
        "if last and _number(last) < _number(first):",
        "if last and last < first:",
        (f"{_HTTP}::test_byte_range_matches_python_range",),
    ),
    Guard(
        "rfc9110.py",
        'int(digits.lstrip("0")[:640] or "0")',
        "int(digits)",
        (f"{_HTTP}::test_evaluate_follows_rfc_9110",),
    ),
    Guard(
        "rfc9110.py",
        'plain = _NOT_PLAIN.sub("_", filename)',
        'plain = filename.replace("\\n", "_")',
        (
            f"{_HTTP}::test_filename_is_escaped_in_content_disposition",
            f"{_HTTP}::test_hostile_names_inject_nothing_into_the_header",
        ),
    ),
    Guard(
        "rfc9110.py",
        'encoded = quote(filename, safe="!#$&+^`|~", errors="replace")',
        'encoded = quote(filename, safe="!#$&+^`|~\'()*;", errors="replace")',
        (
            f"{_HTTP}::test_filename_is_escaped_in_content_disposition",
            f"{_HTTP}::test_hostile_names_inject_nothing_into_the_header",
        ),
    ),
    Guard(
        "media_types.py",
        "        if encoding is not None:\n            return _COMPRESSED.get(encoding, OCTETS)\n",
        "",
        ("tests/storages/s3/test_s3_urls.py::test_type_comes_from_the_filename",),
    ),
    # -- Serving --
    Guard(
        "serving/responses.py",
        '    response["X-Content-Type-Options"] = "nosniff"\n',
        "",
        (f"{_PROTECTING}::test_every_response_of_a_download_is_protected",),
    ),
    Guard(
        "serving/responses.py",
        '    response["Referrer-Policy"] = "no-referrer"\n',
        "",
        (f"{_PROTECTING}::test_redirect_is_protected_and_not_cached",),
    ),
    Guard(
        "serving/responses.py",
        '    response["Cross-Origin-Resource-Policy"] = "same-origin"\n',
        "",
        (f"{_PROTECTING}::test_preview_image_is_protected",),
    ),
    Guard(
        "serving/responses.py",
        "_VIEWER if shown_as == PDF else _SANDBOX",
        "_VIEWER if shown_as else _SANDBOX",
        (f"{_PROTECTING}::test_inline_pdf_has_no_sandbox",),
    ),
    Guard(
        "serving/responses.py",
        '    patch_vary_headers(response, ["Cookie"])\n',
        "",
        (f"{_PROTECTING}::test_every_response_of_a_download_is_protected",),
    ),
    Guard(
        "serving/responses.py",
        'response["Cache-Control"] = "private, no-cache"',
        'response["Cache-Control"] = "no-cache"',
        (f"{_PROTECTING}::test_archive_is_protected",),
    ),
    Guard(
        "serving/responses.py",
        "    file.set_validators(response)\n"
        '    return protect(response, shown_as=file.media_type if file.shown else "")\n\n\n'
        "def _streamed(",
        "    file.set_validators(response)\n"
        "    return protect(response, shown_as=file.media_type)\n\n\n"
        "def _streamed(",
        (f"{_PROTECTING}::test_inline_pdf_has_no_sandbox",),
    ),
    Guard(
        "serving/responses.py",
        'if request.method == "HEAD" or outcome.status not in {200, 206}:',
        "if outcome.status not in {200, 206}:",
        (f"{_TRANSFERS}::test_missing_file_is_not_found_and_logged[wsgi]",),
    ),
    Guard(
        "serving/responses.py",
        "chunks = file.store.stream(file.name, sha256=file.sha256 or None)",
        "chunks = file.store.stream(file.name)",
        (f"{_TRANSFERS}::test_range_of_the_whole_file_is_verified",),
    ),
    Guard(
        "serving/responses.py",
        "if outcome.stop - outcome.start == file.size:",
        "if outcome.status == 200:",
        (f"{_TRANSFERS}::test_range_of_the_whole_file_is_verified",),
    ),
    Guard(
        "serving/responses.py",
        '(request.method == "HEAD" or file.size < conf.redirect_min_bytes)',
        "file.size < conf.redirect_min_bytes",
        (f"{_PROTECTING}::test_head_or_small_file_is_not_redirected",),
    ),
    Guard(
        "serving/responses.py",
        '    file = File(store, name, name.rpartition("/")[2], size, size_verified=True)\n',
        "    from ..media_types import sent_type\n\n"
        '    leaf = name.rpartition("/")[2]\n'
        "    file = File(store, name, leaf, size, media_type=sent_type(leaf), shown=True)\n",
        (f"{_STORES}::test_files_without_rows_are_attachments",),
    ),
    Guard(
        "serving/stored_file.py",
        "        inline and media_type in conf.inline_types",
        "        inline",
        (f"{_WAYS}::test_only_safe_types_are_displayed_inline",),
    ),
    Guard(
        "serving/stored_file.py",
        "shown=inline and media_type in conf.inline_types",
        "shown=inline",
        ("tests/ordinary/test_serving.py",),
    ),
    Guard(
        "serving/stored_file.py",
        "if isinstance(delivery, AbstractDelivery) and delivery.successful:",
        "if isinstance(delivery, AbstractDelivery):",
        (f"{_DOWNLOADS}::test_only_files_of_finished_deliveries_have_last_modified",),
    ),
    Guard(
        "serving/stored_file.py",
        '        response["Content-Encoding"] = "identity"\n',
        "",
        (f"{_PROTECTING}::test_sendfile_response_is_protected",),
    ),
    Guard(
        "serving/stored_file.py",
        "if not _SHA256.fullmatch(sha256):",
        "if not sha256:",
        (f"{_DOWNLOADS}::test_malformed_checksum_is_not_sent",),
    ),
    Guard(
        "serving/stored_file.py",
        "if size != self.size:",
        "if size < self.size:",
        (f"{_TRANSFERS}::test_head_checks_the_size",),
    ),
    Guard(
        "media_types.py",
        "return _TYPES.get(extension, OCTETS)",
        'return _TYPES.get(extension, f"text/{extension}")',
        (f"{_WAYS}::test_only_safe_types_are_displayed_inline",),
    ),
    Guard(
        "media_types.py",
        'return f"{media_type}; charset=utf-8" if media_type == _TEXT else media_type',
        "return media_type",
        (f"{_DOWNLOADS}::test_candidate_downloads_the_whole_file",),
    ),
    Guard(
        "serving/streaming.py",
        "        if left:\n            yield chunk\n        else:\n            withheld = chunk\n",
        "        yield chunk\n",
        (f"{_STREAMING}::test_content_of_another_length_is_never_complete",),
    ),
    Guard(
        "serving/streaming.py",
        "        if len(chunk) > left:\n",
        "        if len(chunk) > length:\n",
        (f"{_STREAMING}::test_content_of_another_length_is_never_complete",),
    ),
    Guard(
        "serving/streaming.py",
        "    if left:\n        raise ChecksumMismatch(",
        "    if left == length > 0:\n        raise ChecksumMismatch(",
        (f"{_STREAMING}::test_content_of_another_length_is_never_complete",),
    ),
    Guard(
        "serving/streaming.py",
        "            if close is not None:\n                close()\n",
        "",
        (f"{_STREAMING}::test_close_closes_the_source_and_reports_once",),
    ),
    Guard(
        "serving/streaming.py",
        "            if self._is_closed:\n                return\n",
        "",
        (f"{_STREAMING}::test_close_closes_the_source_and_reports_once",),
    ),
    Guard(
        "serving/streaming.py",
        "release_connections()  # receivers of signals may have opened some\n",
        "pass\n",
        (f"{_STREAMING}::test_connections_are_released_before_and_after_the_bytes",),
    ),
    Guard(
        "serving/streaming.py",
        "            self._outcome = FAILED\n",
        "",
        (f"{_STREAMING}::test_close_closes_the_source_and_reports_once",),
    ),
    Guard(
        "serving/streaming.py",
        "            await sync_to_async(self.close)()\n",
        "",
        (f"{_TRANSFERS}::test_damaged_file_breaks_the_transfer[asgi-only whole chunks]",),
    ),
    Guard(
        "serving/streaming.py",
        "read() if self._body.is_read else await asyncio.to_thread(read)",
        "read()",
        (f"{_TRANSFERS}::test_files_are_not_read_in_the_event_loop",),
    ),
    Guard(
        "serving/streaming.py",
        "return self.is_read and self._length <= SHORT",
        "return True",
        (f"{_DOWNLOAD_COSTS}::test_only_long_downloads_close_persistent_connections",),
    ),
    Guard(
        "serving/streaming.py",
        "            connection.close_if_unusable_or_obsolete()\n",
        "            pass\n",
        (f"{_DOWNLOAD_COSTS}::test_only_long_downloads_close_persistent_connections",),
    ),
    Guard(
        "serving/streaming.py",
        "        if connection.in_atomic_block:\n            continue\n",
        "",
        (f"{_DOWNLOAD_COSTS}::test_download_needs_one_statement_besides_the_login",),
    ),
    Guard(
        "serving/access_log.py",
        'quote(str(getattr(user, "pk", None))),',
        'str(getattr(user, "pk", None)),',
        (f"{_DOWNLOADS}::test_access_log_escapes_user_input",),
    ),
    Guard(
        "serving/access_log.py",
        "file_served.send_robust(",
        "file_served.send(",
        (f"{_DOWNLOADS}::test_failing_signal_receiver_does_not_affect_the_download",),
    ),
    Guard(
        "serving/access_log.py",
        'if instance is not None and request.method == "GET":',
        "if instance is not None:",
        (f"{_DOWNLOADS}::test_every_request_is_logged_once",),
    ),
    Guard(
        "serving/responses.py",
        '    response["Cache-Control"] = "no-store"\n',
        "",
        (f"{_PROTECTING}::test_redirect_is_protected_and_not_cached",),
    ),
    Guard(
        "serving/responses.py",
        "    response = _SecretRedirect(url)\n",
        "    response = HttpResponseRedirect(url)\n",
        (f"{_PROTECTING}::test_redirect_is_protected_and_not_cached",),
    ),
    Guard(
        "serving/responses.py",
        "    file.verify_size()  # by the store, which does not follow symlinks\n",
        "",
        (f"{_WAYS}::test_sendfile_rejects_symlinks",),
    ),
    Guard(
        "serving/responses.py",
        '    if "X-Accel-Redirect" not in response:\n',
        "    if response:\n",
        (f"{_WAYS}::test_sendfile_leaves_conditions_and_ranges_to_the_web_server",),
    ),
    Guard(
        "serving/responses.py",
        '        del response["Content-Length"]\n',
        "        pass\n",
        (f"{_PROTECTING}::test_sendfile_response_is_protected",),
    ),
    Guard(
        "serving/responses.py",
        "        file.set_validators(response)\n"
        '    return protect(response, shown_as=file.media_type if file.shown else "")',
        "        file.set_validators(response)\n    return response",
        (f"{_PROTECTING}::test_sendfile_response_is_protected",),
    ),
    # -- Views --
    Guard(
        "views/base.py",
        "if not (user.is_authenticated and user.is_active):",
        "if not user.is_authenticated:",
        (f"{_DOWNLOADS}::test_anonymous_and_inactive_users_are_redirected_to_login",),
    ),
    Guard(
        "views/base.py",
        "visible_rows(model, user, by_permission=self._by_permission)",
        "model._default_manager.all()",
        (f"{_DOWNLOADS}::test_visible_to_decides_who_may_download",),
    ),
    Guard(
        "views/base.py",
        "if row is None and may_view(self.request.user, self.get_model()):",
        "if False:",
        (f"{_DOWNLOADS}::test_visible_to_decides_who_may_download",),
    ),
    Guard(
        "views/base.py",
        " and not rows.query.deferred_loading[0]:",
        ":",
        (f"{_DOWNLOAD_COSTS}::test_views_with_own_querysets_need_few_statements",),
    ),
    Guard(
        "views/base.py",
        "        self.object = self.get_object()\n"
        "        return super().dispatch(request, *args, **kwargs)",
        '        if request.method in {"GET", "HEAD"}:\n'
        "            self.object = self.get_object()\n"
        "        return super().dispatch(request, *args, **kwargs)",
        (f"{_DOWNLOADS}::test_hidden_rows_look_like_missing_rows",),
    ),
    Guard(
        "views/base.py",
        'if str(pk) == str(self.kwargs["pk"]) else None',
        "if pk is not None else None",
        (f"{_DOWNLOADS}::test_id_has_one_spelling_in_a_url",),
    ),
    Guard(
        "views/base.py",
        "            view = transaction.non_atomic_requests(using=alias)(view)\n",
        "            pass\n",
        (f"{_DOWNLOADS}::test_no_transaction_is_open_during_downloads",),
    ),
    Guard(
        "views/downloads.py",
        'serve(request, self.object, inline="inline" in request.GET)',
        "serve(request, self.object, inline=True)",
        (f"{_WAYS}::test_only_safe_types_are_displayed_inline",),
    ),
    Guard(
        "views/archives.py",
        'return protect(HttpResponse(str(exception), status=413, content_type="text/plain"))',
        'return HttpResponse(str(exception), status=413, content_type="text/plain")',
        (f"{_PROTECTING}::test_archive_is_protected",),
    ),
    Guard(
        "views/archives.py",
        '    response["Content-Encoding"] = "identity"\n    return protect(response)\n',
        "    return protect(response)\n",
        (f"{_PROTECTING}::test_archive_is_protected",),
    ),
    Guard(
        "views/archives.py",
        '    response["Content-Encoding"] = "identity"\n    return protect(response)\n',
        '    response["Content-Encoding"] = "identity"\n    return response\n',
        (f"{_PROTECTING}::test_archive_is_protected",),
    ),
    Guard(
        "views/archives.py",
        '    response["Content-Disposition"] = rfc9110.content_disposition(name)\n',
        '    response["Content-Disposition"] = f\'attachment; filename="{filename}"\'\n',
        (f"{_ARCHIVES}::test_group_name_is_escaped_in_the_header",),
    ),
    Guard(
        "views/archives.py",
        "if may_view(self.request.user, model.filemeta_model()):",
        "if self.request.user.is_authenticated:",
        (f"{_ARCHIVES}::test_archives_are_hidden_like_their_files",),
    ),
    Guard(
        "views/archives.py",
        "deliveries = deliveries.filter(pk__in=readable)",
        "pass",
        (f"{_ARCHIVES}::test_deliveries_without_visible_files_are_hidden",),
    ),
    Guard(
        "views/archives.py",
        "archive = partial(of_deliveries, self.object, self.get_files())",
        "archive = partial(of_deliveries, self.object)",
        (f"{_ARCHIVES}::test_hidden_files_are_in_no_archive",),
    ),
    Guard(
        "views/archives.py",
        "    except OverflowError as exception:  # before",
        "    except KeyError as exception:  # before",
        (f"{_ARCHIVES}::test_times_at_the_edge_of_the_calendar_are_status_400",),
    ),
    # -- Archives --
    Guard(
        "archive/builders.py",
        "finished = deliveries.filter(successful=True)",
        "finished = deliveries.all()",
        (f"{_ARCHIVES}::test_latest_deliveries_selects_by_group_and_time",),
    ),
    Guard(
        "archive/builders.py",
        "readable = {entry.name for entry in entries if is_storage_name(entry.name)}",
        "readable = {entry.name for entry in entries}",
        (f"{_ARCHIVES}::test_files_with_invalid_names_are_listed_as_missing",),
    ),
    Guard(
        "archive/builders.py",
        "            if entry.name in left_out:\n                continue\n",
        "",
        (f"{_STORES}::test_zip_of_a_folder_has_deleted_files_if_permitted",),
    ),
    Guard(
        "archive/builders.py",
        "    paths, counter = ArchivePaths([SUMS, REPORT]), LimitCounter()\n",
        "    paths, counter = ArchivePaths([]), LimitCounter()\n",
        (f"{_ARCHIVES}::test_names_of_the_archives_own_files_are_reserved",),
    ),
    Guard(
        "archive/builders.py",
        "            counter.add(entry.size)\n",
        "",
        (f"{_ARCHIVES}::test_folder_archive_above_a_limit_is_rejected",),
    ),
    Guard(
        "archive/entries.py",
        "if self._files > self._max_files:",
        "if self._files > self._max_files + 1:",
        (f"{_ARCHIVES}::test_archive_above_a_limit_is_rejected",),
    ),
    Guard(
        "archive/entries.py",
        "if self._bytes > self._max_bytes:",
        "if size > self._max_bytes:",
        (f"{_ARCHIVES}::test_archive_above_a_limit_is_rejected",),
    ),
    Guard(
        "archive/entries.py",
        "                    counter.add(max(size, 0), files=0)\n",
        "",
        (f"{_ARCHIVES}::test_size_of_row_without_size_is_looked_up",),
    ),
    Guard(
        "archive/entries.py",
        ".prefetch_related(None)",
        "",
        (f"{_ARCHIVES}::test_files_of_any_model_have_an_archive",),
    ),
    Guard(
        "archive/entries.py",
        "foreign_key(self._delivery, GROUP).set_cached_value(delivery, self._last[1])",
        "delivery.assignment_group = self._last[1]",
        (f"{_ARCHIVES}::test_routers_are_not_asked_whether_rows_are_related",),
    ),
    Guard(
        "archive/readahead.py",
        "    if store.parallel_reads == 1:\n",
        "    if store.parallel_reads == 0:\n",
        (f"{_COSTS}::test_small_file_takes_five_system_calls",),
    ),
    Guard(
        "archive/zipping.py",
        "        if self._keep:\n",
        "        if True:\n",
        (f"{_COSTS}::test_member_takes_little_memory_before_the_first_byte",),
    ),
    Guard(
        "archive/paths.py",
        "if len(text.encode()) <= limit:",
        "if len(text) <= limit:",
        (f"{_ARCHIVES}::test_name_limit_counts_bytes",),
    ),
    Guard(
        "archive/paths.py",
        'unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", name).casefold())',
        'unicodedata.normalize("NFKD", name)',
        (f"{_ARCHIVES}::test_names_equal_on_some_system_are_numbered",),
    ),
    Guard(
        "archive/paths.py",
        "            while key in self._taken:\n                number += 1\n",
        "            if key in self._taken:\n                number += 1\n",
        (f"{_ARCHIVES}::test_numbering_many_equal_names_is_fast",),
    ),
    Guard(
        "archive/paths.py",
        'part = names.add(clean(name, FOLDER_BYTES, "folder"))',
        'part = clean(name, FOLDER_BYTES, "folder")',
        (f"{_ARCHIVES}::test_folders_with_equal_names_are_numbered",),
    ),
    Guard(
        "archive/entries.py",
        "        except _UNREACHABLE:\n",
        "        except FileNotFoundError:\n",
        (f"{_DAMAGED}::test_folder_that_was_replaced_has_missing_files",),
    ),
    Guard(
        "archive/entries.py",
        "        except _UNAVAILABLE:\n            raise\n",
        "",
        (f"{_DAMAGED}::test_store_that_cannot_be_asked_has_no_archive",),
    ),
    Guard(
        "archive/entries.py",
        "        except OSError:\n",
        "        except ZeroDivisionError:\n",
        (f"{_DAMAGED}::test_folder_that_the_disk_cannot_read_has_damaged_files",),
    ),
    Guard(
        "admin/store_browser.py",
        "if verdict.state is State.ORDINARY:",
        "if False:",
        ("tests/admin/test_stores.py::test_file_of_another_model_has_only_its_own_view",),
    ),
    Guard(
        "admin/store_browser.py",
        "found = set(ordinary_rows_named(model, names, using))",
        "found: set[str] = set()",
        ("tests/admin/test_stores.py::test_file_of_another_model_has_only_its_own_view",),
    ),
    Guard(
        "archive/paths.py",
        'unicodedata.normalize("NFC", without_unseen(name))',
        "without_unseen(name)",
        (f"{_ARCHIVES}::test_names_are_valid_on_every_system",),
    ),
    Guard(
        "archive/paths.py",
        '"".join(map(_unambiguous, text))',
        "text",
        (f"{_PATHS}::test_characters_that_some_system_converts_are_replaced",),
    ),
    Guard(
        "archive/paths.py",
        r"\u00a5\u00b4\u0589\u2044",
        r"\u00b4\u0589\u2044",
        (f"{_PATHS}::test_no_hostile_character_is_left",),
    ),
    Guard(
        "archive/paths.py",
        '_END.sub("", text.strip())',
        'text.strip().rstrip(" .")',
        (f"{_PATHS}::test_characters_that_some_system_converts_are_replaced",),
    ),
    Guard(
        "archive/paths.py",
        '_DEVICE.fullmatch(unicodedata.normalize("NFKC", text))',
        "_DEVICE.fullmatch(text)",
        (f"{_PATHS}::test_characters_that_some_system_converts_are_replaced",),
    ),
    Guard(
        "archive/paths.py",
        "if _folded(text).endswith(DAMAGED.casefold()):",
        "if text.endswith(DAMAGED):",
        (f"{_DAMAGED}::test_file_named_like_a_damaged_one_is_renamed",),
    ),
    Guard(
        "archive/zip_records.py",
        "if number >= _LIMIT]",
        "if number > _LIMIT]",
        (f"{_RECORDS}::test_central_header_has_large_numbers_in_its_extra_field",),
    ),
    Guard(
        "archive/zip_records.py",
        "if count >= _COUNT_LIMIT or",
        "if count > _COUNT_LIMIT or",
        (f"{_RECORDS}::test_end_records_have_zip64_for_large_numbers",),
    ),
    Guard(
        "archive/zip_records.py",
        "year = min(max(year, 1980), 2107)",
        "pass",
        (f"{_ARCHIVES}::test_unsupported_years_are_clamped",),
    ),
    Guard(
        "archive/readahead.py",
        "part = chunk[:left]",
        "part = chunk",
        (f"{_DAMAGED}::test_damaged_members_keep_what_can_be_read",),
    ),
    Guard(
        "archive/readahead.py",
        "        if left:\n            self.fault =",
        "        if left < 0:\n            self.fault =",
        (f"{_DAMAGED}::test_file_without_checksum_is_compared_by_length",),
    ),
    Guard(
        "archive/readahead.py",
        'elif self.sha256 not in {"", sha256}:',
        "elif not sha256:",
        (f"{_DAMAGED}::test_archive_has_all_files_but_the_damaged_ones",),
    ),
    Guard(
        "archive/readahead.py",
        "        except (ConnectionError, TimeoutError):\n            raise\n",
        "",
        (f"{_DAMAGED}::test_unavailable_store_breaks_the_archive",),
    ),
    Guard(
        "archive/readahead.py",
        "except (OSError, SuspiciousFileOperation) as exception:",
        "except FileNotFoundError as exception:",
        (f"{_DAMAGED}::test_damaged_members_keep_what_can_be_read",),
    ),
    Guard(
        "archive/zipping.py",
        "directory.add(entry._replace(crc=content.crc ^ 1), _WRONG)",
        "directory.add(entry, _WRONG)",
        (f"{_DAMAGED}::test_archive_has_all_files_but_the_damaged_ones",),
    ),
    Guard(
        "archive/zipping.py",
        "                entry = entry._replace(crc=content.crc)\n",
        "                entry = entry._replace(crc=content.crc ^ bool(content.fault))\n",
        (f"{_DAMAGED}::test_archive_has_all_files_but_the_damaged_ones",),
    ),
    Guard(
        "archive/zipping.py",
        "_FIRST, _INTACT, _RENAMED, _WRONG = range(4)",
        "_FIRST, _WRONG, _INTACT, _RENAMED = range(4)",
        (f"{_DAMAGED}::test_archive_has_all_files_but_the_damaged_ones",),
    ),
    Guard(
        "archive/zipping.py",
        "if _SHA256.fullmatch(sha256.lower())",
        "if sha256",
        (f"{_DAMAGED}::test_invalid_recorded_checksum_means_damaged",),
    ),
    Guard(
        "archive/zipping.py",
        "        with override(self._language):\n",
        "        with override(None):\n",
        (f"{_DAMAGED}::test_report_is_in_the_language_of_the_request",),
    ),
    # -- Forms --
    Guard(
        "upload_limits.py",
        "if not size and not self.allow_empty:",
        "if not size and self.allow_empty is None:",
        (f"{_FORMS}::test_empty_files_are_allowed_unless_limits_forbid_them",),
    ),
    Guard(
        "upload_limits.py",
        "if size > self.most_bytes:",
        "if size >= self.most_bytes:",
        (f"{_FORMS}::test_limits_are_inclusive",),
    ),
    Guard(
        "upload_limits.py",
        "if len(sizes) > self.most_files:",
        "if len(sizes) > self.most_files + 1:",
        (f"{_FORMS}::test_limits_are_inclusive",),
    ),
    Guard(
        "upload_limits.py",
        "if sum(sizes) > self.most_total_bytes:",
        "if max(sizes, default=0) > self.most_total_bytes:",
        (f"{_FORMS}::test_limits_are_inclusive",),
    ),
    Guard(
        "upload_limits.py",
        "name.lower().endswith(suffix) and len(name) > len(suffix)",
        "name.lower().endswith(suffix)",
        (f"{_FORMS}::test_other_extensions_are_rejected",),
    ),
    Guard(
        "upload_limits.py",
        '            object.__setattr__(self, "extensions", tuple(self.extensions))\n',
        "            pass\n",
        (f"{_FORMS}::test_extensions_may_be_an_iterator",),
    ),
    Guard(
        "forms.py",
        "errors = [error for upload in uploads for error in self._errors_of(upload)]",
        "errors = [*self._errors_of(uploads[-1])]",
        (f"{_FORMS}::test_every_file_is_validated_at_any_position",),
    ),
    Guard(
        "forms.py",
        "            errors += _duplicates([upload.name for upload in uploads])\n",
        "            pass\n",
        (f"{_FORMS}::test_names_equal_in_nfc_are_rejected",),
    ),
    Guard(
        "forms.py",
        'if cleaned.get("end") != EndInput.MARK:',
        'if cleaned.get("end") not in {EndInput.MARK, ""}:',
        (f"{_FORMS}::test_incomplete_requests_are_rejected",),
    ),
    Guard(
        "forms.py",
        "if current is not None and not current.successful:",
        "if current is not None:",
        (f"{_SAVING}::test_lost_commit_reply_deletes_nothing",),
    ),
    Guard(
        "forms.py",
        "            if transaction.get_connection(using).needs_rollback:\n"
        "                raise  # no page could be rendered in the caller's transaction\n",
        "",
        (f"{_SAVING}::test_failure_in_unusable_transaction_is_raised",),
    ),
    Guard(
        "forms.py",
        "self.perhaps_delivered = isinstance(exception, UNCERTAIN)",
        "self.perhaps_delivered = False",
        (f"{_SAVING}::test_failing_finish_deletes_rows_and_keeps_bytes",),
    ),
    Guard(
        "error_messages.py",
        'return _("the file storage failed; try again or contact the administrators")',
        "return str(exception)",
        (f"{_SAVING}::test_other_store_errors_are_reported_without_details",),
    ),
    Guard(
        "error_messages.py",
        "    if isinstance(exception, UNCERTAIN):\n",
        "    if isinstance(exception, InterfaceError):\n",
        (f"{_SAVING}::test_lost_commit_reply_deletes_nothing",),
    ),
    # -- Admin: permissions --
    Guard(
        "admin/base.py",
        "        return may_view(request.user, self.model)\n",
        "        return super().has_view_permission(request, obj)  # type: ignore[misc]\n",
        (
            f"{_PERMISSIONS}::test_change_permission_does_not_show_files",
            "tests/test_who_gets_what.py::test_users_get_the_results_of_the_table[editor]",
        ),
    ),
    Guard(
        "admin/deliveries.py",
        "            kept = (*kept, GROUP)",
        "            pass",
        (
            f"{_PERMISSIONS}::test_group_of_a_delivery_is_changed_by_viewers_of_files_only",
            "tests/test_who_gets_what.py::test_changes_need_permission_post_and_csrf_token[editor]",
        ),
    ),
    Guard(
        "deliveries/admin.py",
        "() if may_view(request.user, FileMeta) else",
        "() if True else",
        (f"{_PERMISSIONS}::test_group_of_a_delivery_is_changed_by_viewers_of_files_only",),
    ),
    Guard(
        "admin/deliveries.py",
        'if request.method == "POST" and may_write and is_atomic',
        'if request.method == "POST" and is_atomic',
        (f"{_PERMISSIONS}::test_row_is_locked_only_for_users_who_may_change_it",),
    ),
    Guard(
        "admin/base.py",
        "widget.viewable = rows if allowed else rows.none()",
        "widget.viewable = rows",
        (f"{_LISTS}::test_add_forms_show_names_of_viewable_rows_only",),
    ),
    Guard(
        "admin/forms.py",
        'if option["value"] not in {"", *shown}:',
        "if False:",
        (f"{_LISTS}::test_add_forms_show_names_of_viewable_rows_only",),
    ),
    Guard(
        "admin/forms.py",
        'if is_viewable else ("", "")',
        'if True else ("", "")',
        (f"{_LISTS}::test_add_forms_show_names_of_viewable_rows_only",),
    ),
    Guard(
        "admin/lists.py",
        "if disallowed := found[2].keys() - allowed:",
        "if disallowed := set():",
        (f"{_LISTS}::test_lookups_other_than_those_of_filters_are_refused",),
    ),
    Guard(
        "checks/models.py",
        "if is_asked and rule not in",
        "if False and rule not in",
        ("tests/checks/test_checks.py::test_visible_to_of_proxy_or_child_alone_is_an_error",),
    ),
    Guard(
        "admin/actions.py",
        '        permissions=["change"], description=gettext_lazy("Finish',
        '        permissions=["view"], description=gettext_lazy("Finish',
        (
            f"{_ACTIONS}::test_actions_need_permissions",
            f"{_PERMISSIONS}::test_finish_needs_change_permission",
        ),
    ),
    Guard(
        "admin/actions.py",
        '        permissions=["view_files"],\n',
        '        permissions=["view"],\n',
        (f"{_ACTIONS}::test_actions_need_permissions",),
    ),
    Guard(
        "admin/actions.py",
        "            and self.has_view_files_permission(request)\n",
        "",
        (f"{_ACTIONS}::test_copy_needs_permission_to_view_files",),
    ),
    Guard(
        "admin/actions.py",
        '            and request.user.has_perm(f"{files.app_label}.add_{files.model_name}")\n',
        "",
        (f"{_ACTIONS}::test_actions_need_permissions",),
    ),
    Guard(
        "admin/actions.py",
        "archive = of_deliveries(queryset, files)",
        "archive = of_deliveries(queryset)",
        (f"{_ACTIONS}::test_zip_omits_files_hidden_by_visible_to",),
    ),
    Guard(
        "admin/actions.py",
        "if len(deliveries) <= MAX_DELIVERIES:",
        "if deliveries:",
        (f"{_ACTIONS}::test_actions_limit_the_number_of_deliveries",),
    ),
    Guard(
        "admin/actions.py",
        "filter(pk__in=names, content__in=names.values())",
        "filter(pk__in=names)",
        (f"{_ACTIONS}::test_integrity_check_skips_bytes_replaced_meanwhile",),
    ),
    Guard(
        "admin/base.py",
        'rows.using(router.db_for_write(self.model)) if request.method == "POST" else rows',
        "rows",
        ("tests/models/test_replicas.py::test_everything_is_written_to_the_primary",),
    ),
    Guard(
        "admin/actions.py",
        "for text in errors[:MAX_ERRORS]:",
        "for text in errors:",
        (f"{_FINISHING}::test_action_reports_a_limited_number_of_errors",),
    ),
    Guard(
        "admin/tombstones.py",
        'return self._has_perm(request, "purge_tombstone") and self.has_view_permission(request)',
        'return self._has_perm(request, "purge_tombstone")',
        (f"{_RESTORING}::test_restore_and_remove_need_view_permission",),
    ),
    Guard(
        "admin/tombstones.py",
        'self._has_perm(request, "restore_tombstone") and self.has_view_permission(request)',
        'self._has_perm(request, "restore_tombstone")',
        (f"{_RESTORING}::test_restore_and_remove_need_view_permission",),
    ),
    Guard(
        "admin/tombstones.py",
        "super().get_queryset(request).filter(done=None)",
        "super().get_queryset(request)",
        (f"{_RESTORING}::test_removed_file_is_no_longer_shown",),
    ),
    Guard(
        "tables.py",
        "return self.state in {TombstoneState.DELETED, TombstoneState.ORPHAN}",
        "return True",
        (f"{_RESTORING}::test_restore_button_depends_on_the_state",),
    ),
    Guard(
        "tables.py",
        "return self.state in {TombstoneState.DELETED, TombstoneState.ORPHAN}",
        "return self.state is TombstoneState.DELETED",
        (f"{_RESTORING}::test_restore_button_depends_on_the_state[orphan]",),
    ),
    Guard(
        "tables.py",
        "        if self.claimed is not None:\n",
        "        if self.rows and self.claimed is not None:\n",
        (f"{_RESTORING}::test_claimed_unrecorded_file_is_shown_as_being_removed",),
    ),
    Guard(
        "tables.py",
        "is_orphan = self.file_id is None and self.delivery_id is None",
        "is_orphan = True",
        (f"{_RESTORING}::test_restore_button_depends_on_the_state[restored]",),
    ),
    Guard(
        "admin/tombstones.py",
        "if tombstone.state is TombstoneState.ORPHAN:",
        "if False:",
        (f"{_RESTORING}::test_unrecorded_file_is_restored_under_another_name",),
    ),
    Guard(
        "admin/tombstones.py",
        "        if is_in_transaction(using):  # ATOMIC_REQUESTS\n",
        "        if False:\n",
        (f"{_RESTORING}::test_files_are_removed_after_commit_under_atomic_requests",),
    ),
    Guard(
        "admin/tombstones.py",
        "transaction.on_commit(remove_committed, using=using)",
        "remove_committed()",
        (f"{_RESTORING}::test_files_are_removed_after_commit_under_atomic_requests",),
    ),
    Guard(
        "admin/tombstones.py",
        "return queryset.filter(**{lookup: DatabaseNow()})",
        'return queryset.filter(**{lookup: __import__("django").utils.timezone.now()})',
        (f"{_RESTORING}::test_due_filter_uses_the_clock_of_the_database",),
    ),
    Guard(
        "admin/tombstones.py",
        "        if not has_permission(request):\n            raise PermissionDenied\n",
        "",
        (f"{_RESTORING}::test_restore_and_remove_need_their_permissions",),
    ),
    Guard(
        "admin/tombstones.py",
        '        permissions=["purge"],',
        '        permissions=["view"],',
        (f"{_RESTORING}::test_restore_and_remove_need_their_permissions",),
    ),
    Guard(
        "admin/tombstones.py",
        '        permissions=["restore"],\n',
        "",
        (f"{_RESTORING}::test_restore_and_remove_need_their_permissions",),
    ),
    Guard(
        "admin/tombstones.py",
        'if "confirmed" not in request.POST:',
        'if "confirmed" in request.GET:',
        (f"{_RESTORING}::test_selected_files_are_restored_or_removed",),
    ),
    Guard(
        "admin/tombstones.py",
        '        if request.method != "POST":\n'
        '            return self._confirmation(request, [tombstone], action="")\n',
        "",
        (f"{_RESTORING}::test_get_restores_and_removes_nothing",),
    ),
    Guard(
        "admin/tombstones.py",
        '        if request.method != "POST":\n'
        '            return HttpResponseRedirect(self._url("change", tombstone.pk))\n',
        "",
        (f"{_RESTORING}::test_get_restores_and_removes_nothing",),
    ),
    Guard(
        "admin/tombstones.py",
        'tombstones = list(queryset.order_by("pk")[:MAX_FILES])',
        'tombstones = list(queryset.order_by("pk"))',
        (f"{_RESTORING}::test_actions_limit_the_number_of_deleted_files",),
    ),
    Guard(
        "admin/tombstones.py",
        "if (left_out := queryset.count() - len(tombstones)) > 0:",
        "if left_out := 0:",
        (f"{_RESTORING}::test_actions_limit_the_number_of_deleted_files",),
    ),
    Guard(
        "admin/tombstones.py",
        "return format_html('<pre class=\"devilry-rows\">{}</pre>', text)",
        "from django.utils.safestring import mark_safe\n\n"
        "        return mark_safe(f'<pre class=\"devilry-rows\">{text}</pre>')",
        (f"{_RESTORING}::test_recorded_row_is_escaped",),
    ),
    Guard(
        "admin/base.py",
        "has_add_permission = has_change_permission = has_delete_permission = denied",
        "has_add_permission = has_change_permission = denied",
        (f"{_LISTS}::test_deleted_files_are_read_only",),
    ),
    Guard(
        "admin/base.py",
        "has_add_permission = has_change_permission = has_delete_permission = denied",
        "has_add_permission = has_delete_permission = denied",
        (f"{_LISTS}::test_deleted_files_are_read_only",),
    ),
    Guard(
        "admin/dashboard.py",
        'self._has_perm(request, "refresh_statistics") and self.has_view_permission(request)',
        'self._has_perm(request, "refresh_statistics")',
        (f"{_DASHBOARD}::test_refresh_needs_the_view_permission",),
    ),
    Guard(
        "admin/dashboard.py",
        "        if not self.has_refresh_permission(request):\n"
        "            raise PermissionDenied\n",
        "",
        (f"{_DASHBOARD}::test_refresh_needs_permission_post_and_csrf_token",),
    ),
    Guard(
        "admin/dashboard.py",
        '        if request.method != "POST":\n'
        '            return HttpResponseNotAllowed(["POST"])\n',
        "",
        (f"{_DASHBOARD}::test_refresh_needs_permission_post_and_csrf_token",),
    ),
    Guard(
        "admin/dashboard.py",
        "        if not self.has_view_permission(request):\n            raise PermissionDenied\n",
        "",
        (f"{_DASHBOARD}::test_dashboard_needs_the_view_permission",),
    ),
    Guard(
        "admin/base.py",
        "        if not self.has_view_or_change_permission(request):\n"
        "            raise PermissionDenied\n",
        "",
        (f"{_PERMISSIONS}::test_pages_do_not_reveal_which_rows_exist",),
    ),
    Guard(
        "admin/base.py",
        "        if everything and paginator.has_more:\n",
        "        if everything and paginator.has_more is None:\n",
        (f"{_MANY}::test_action_on_all_rows_needs_a_complete_list",),
    ),
    Guard(
        "admin/base.py",
        "            for _message in messages.get_messages(request):\n",
        "            for _message in ():\n",
        (f"{_ADDING}::test_failure_rolls_back_deletes_of_the_same_page",),
    ),
    Guard(
        "admin/files.py",
        "        if isinstance(obj, AbstractDelivery) and obj.successful:\n"
        "            return False\n",
        "",
        (f"{_FINISHING}::test_page_of_finished_delivery_has_no_uploads",),
    ),
    Guard(
        "admin/files.py",
        "        if obj is not None and parent and not parent.has_change_permission(request, "
        "obj):\n"
        "            return False\n",
        "",
        (f"{_PERMISSIONS}::test_view_permission_allows_no_changes",),
    ),
    Guard(
        "admin/deliveries.py",
        "            with storing():\n                obj.refuse_finished()\n",
        "            pass\n",
        (f"{_FINISHING}::test_uploads_to_delivery_finished_meanwhile_are_rejected",),
    ),
    Guard(
        "admin/deliveries.py",
        "self.kept_when_finished if obj.successful else ()",
        "()",
        (f"{_FINISHING}::test_page_of_finished_delivery_has_no_uploads",),
    ),
    Guard(
        "admin/forms.py",
        "        if any(form.instance.pk is None for form in self.initial_forms):\n",
        "        if any(form.instance is None for form in self.initial_forms):\n",
        ("tests/admin/test_deleting.py::test_outdated_page_deletes_no_other_file",),
    ),
    Guard(
        "admin/forms.py",
        "self._queryset = super().get_queryset()[: self.max_shown]",
        "self._queryset = super().get_queryset()",
        (f"{_PAGES}::test_page_shows_first_of_many_files",),
    ),
    Guard(
        "admin/actions.py",
        "            field.queryset = groups.get_queryset(request)\n",
        "            pass\n",
        (f"{_ACTIONS}::test_copy_rejects_groups_hidden_by_their_admin",),
    ),
    Guard(
        "admin/utils.py",
        "    if isinstance(exception, OSError) and exception.strerror:\n"
        '        return _("the delivery store failed: %(error)s") % {"error": '
        "exception.strerror}\n",
        "",
        (f"{_ACTIONS}::test_archive_of_failing_store_is_reported",),
    ),
    Guard(
        "admin/utils.py",
        "    if isinstance(exception, OperationalError):  # perhaps",
        "    if isinstance(exception, KeyError):  # perhaps",
        (f"{_ADDING}::test_busy_database_is_reported",),
    ),
    # -- Admin: lists and searches --
    Guard(
        "admin/lists.py",
        "if term.isascii() and term.isdecimal() else None",
        "if term.isdecimal() else None",
        (f"{_LISTS}::test_digits_of_other_scripts_find_no_id",),
    ),
    Guard(
        "admin/lists.py",
        "int(term[:20])",
        "int(term)",
        (f"{_LISTS}::test_invalid_search_finds_nothing",),
    ),
    Guard(
        "admin/lists.py",
        '        if "\\0" in term:\n            return queryset.none(), False\n',
        "",
        (f"{_MANY}::test_autocompletion_with_nul_finds_nothing",),
    ),
    Guard(
        "admin/lists.py",
        "condition = begins_with(field, text, rows.db) if exact else Q(**{lookup: text})",
        "condition = Q(**{lookup: text})",
        (f"{_MANY}::test_users_are_found_by_beginning_of_login_name",),
    ),
    Guard(
        "admin/lists.py",
        "self.complete &= len(pks) <= self.limit",
        "self.complete &= len(pks) < self.limit",
        (f"{_MANY}::test_partial_search_finds_first_and_newest_matches",),
    ),
    Guard(
        "admin/lists.py",
        "return min(self._counted, self.max_rows)",
        "return self._counted",
        (f"{_MANY}::test_list_reports_rows_beyond_the_maximum",),
    ),
    Guard(
        "admin/lists.py",
        "return self._counted > self.max_rows",
        "return self._counted >= self.max_rows",
        (f"{_MANY}::test_list_of_the_maximum_is_complete",),
    ),
    Guard(
        "admin/lists.py",
        "is_sortable = field_name in (self.sortable_by or ())",
        "is_sortable = True",
        (f"{_MANY}::test_order_without_index_is_ignored",),
    ),
    Guard(
        "admin/filters.py",
        "if self.chosen and parse_value(self.target, self.chosen) is None:",
        "if self.chosen and self.target is None:",
        (
            f"{_MANY}::test_invalid_group_in_url_is_handled",
            f"{_MANY}::test_invalid_group_without_permission_is_handled",
        ),
    ),
    Guard(
        "admin/filters.py",
        "        except OverflowError as exception:\n",
        "        except KeyError as exception:\n",
        (f"{_MANY}::test_invalid_date_is_reported",),
    ),
    Guard(
        "admin/lists.py",
        "return related if related.has_view_permission(request) else None",
        "return related",
        (
            f"{_MANY}::test_filter_without_permission_has_no_search",
            f"{_ACTIONS}::test_copy_without_permission_to_view_groups_needs_an_id",
        ),
    ),
    Guard(
        "admin/forms.py",
        "valid = [text for text in value if parse_value(target, text) is not None]",
        "valid = [*value]",
        (f"{_LISTS}::test_invalid_reference_is_a_form_error",),
    ),
    # -- Admin: previews --
    Guard(
        "admin/previews.py",
        "        return escape(line)\n",
        "        return mark_safe(line)\n",
        (f"{_PREVIEWS}::test_active_content_is_shown_as_text",),
    ),
    Guard(
        "admin/previews.py",
        "_mark(char) if _is_invisible(char) else escape(char)",
        "_mark(char) if _is_invisible(char) else char",
        (f"{_PREVIEWS}::test_invisible_characters_are_marked",),
    ),
    Guard(
        "admin/previews.py",
        '_INVISIBLE = frozenset({"Cc", "Cf", "Co", "Cs", "Zl", "Zp"})',
        '_INVISIBLE = frozenset({"Cc", "Co", "Cs", "Zl", "Zp"})',
        (f"{_PREVIEWS}::test_bidirectional_controls_have_no_effect",),
    ),
    Guard(
        "admin/previews.py",
        'data = b"".join(store_for(filemeta).stream(name, 0, TEXT_BYTES + 1))',
        'data = b"".join(store_for(filemeta).stream(name, 0, TEXT_BYTES))',
        (f"{_PREVIEWS}::test_text_of_the_maximum_size_is_whole",),
    ),
    Guard(
        "admin/previews.py",
        'return "image" if (filemeta.size or 0) <= IMAGE_BYTES else ""',
        'return "image"',
        (f"{_PREVIEWS}::test_large_image_is_not_shown",),
    ),
    Guard(
        "admin/previews.py",
        '        if kind_of(row) not in {"image", "pdf"}:\n',
        "        if not kind_of(row):\n",
        (f"{_PREVIEWS}::test_previews_send_only_images_and_pdfs",),
    ),
    Guard(
        "admin/previews.py",
        "        # Before the lookup, so that the response does not depend on whether the row "
        "exists.\n"
        "        if not self.has_view_permission(request):\n            raise PermissionDenied\n",
        "",
        (f"{_PREVIEWS}::test_preview_needs_view_permission",),
    ),
    Guard(
        "admin/previews.py",
        "        if not self.has_view_permission(request, row):\n"
        "            raise PermissionDenied\n",
        "",
        (f"{_PREVIEWS}::test_preview_respects_object_permissions",),
    ),
    Guard(
        "admin/previews.py",
        "preview, shown = require_safe(self.preview_view), ",
        "preview, shown = self.preview_view, ",
        (f"{_PREVIEWS}::test_view_permission_allows_previews",),
    ),
    Guard(
        "admin/previews.py",
        '        response["Content-Security-Policy"] = _policy()\n',
        "",
        (f"{_PREVIEWS}::test_policy_allows_only_static_files",),
    ),
    Guard(
        "admin/previews.py",
        'return serve(request, row, inline=True, way="stream")',
        "return serve(request, row, inline=True)",
        (f"{_PROTECTING}::test_preview_image_is_protected",),
    ),
    Guard(
        "admin/utils.py",
        "wrapped = model_admin.admin_site.admin_view(view)",
        "wrapped = view",
        (f"{_PREVIEWS}::test_preview_needs_staff_user",),
    ),
    # -- Admin: stores --
    Guard(
        "admin/store_listing.py",
        "if text.isascii() and text.isdecimal() and len(text) <= 20:",
        "if text.isdecimal() and len(text) <= 20:",
        (f"{_STORES}::test_jump_finds_deliveries_folders_and_names",),
    ),
    Guard(
        "admin/store_listing.py",
        "if text.isascii() and text.isdecimal() and len(text) <= 20:",
        "if text.isascii() and text.isdecimal():",
        (f"{_STORES}::test_jump_finds_deliveries_folders_and_names",),
    ),
    Guard(
        "admin/store_listing.py",
        "return len(name) <= MAX_NAME_LENGTH and is_storage_name(name)",
        "return len(name) <= MAX_NAME_LENGTH",
        (f"{_STORES}::test_hostile_urls_reveal_nothing",),
    ),
    Guard(
        "admin/store_listing.py",
        "    except UnsafeEntry:\n        page = Page",
        "    except KeyError:\n        page = Page",
        (f"{_STORES}::test_symlinked_folder_is_shown_as_empty",),
    ),
    Guard(
        "admin/store_listing.py",
        'return name.encode("utf-8", "backslashreplace").decode()',
        "return name",
        (f"{_STORES}::test_names_with_invalid_bytes_are_shown_without_links",),
    ),
    Guard(
        "admin/store_listing.py",
        'for row in rows.order_by("pk")[:MAX_ROWS]:',
        'for row in rows.order_by("pk"):',
        (f"{_STORES}::test_number_of_missing_files_is_limited",),
    ),
    Guard(
        "admin/store_browser.py",
        'return self._has_perm(request, "browse_store")',
        "return request.user.is_staff",
        (f"{_STORES}::test_pages_need_permission_to_browse",),
    ),
    Guard(
        "admin/store_browser.py",
        "        if not self.has_bury_permission(request):\n            raise PermissionDenied\n",
        "",
        (f"{_STORES}::test_permission_to_browse_allows_no_downloads_or_deletes",),
    ),
    Guard(
        "admin/store_browser.py",
        "        if not self._may_download(request, verdict):\n"
        "            raise PermissionDenied\n",
        "",
        (f"{_STORES}::test_permission_to_browse_allows_no_downloads_or_deletes",),
    ),
    Guard(
        "admin/store_browser.py",
        "        if not self._may_view_all(request, configured):\n"
        "            raise PermissionDenied\n",
        "",
        (f"{_STORES}::test_permission_to_browse_allows_no_downloads_or_deletes",),
    ),
    Guard(
        "admin/store_browser.py",
        " or verdict.entry is None or verdict.row is not None:",
        " or verdict.entry is None:",
        (f"{_STORES}::test_files_with_rows_are_not_sent",),
    ),
    Guard(
        "admin/store_browser.py",
        "if not may_view(request.user, Tombstone):",
        "if False:",
        (f"{_STORES}::test_zip_of_a_folder_has_deleted_files_if_permitted",),
    ),
    Guard(
        "admin/store_browser.py",
        "return found - rows_named(model, found, using).keys()",
        "return found",
        (f"{_STORES}::test_zip_of_a_folder_has_file_with_row_and_tombstone",),
    ),
    Guard(
        "admin/store_browser.py",
        "    @method_decorator(require_safe)\n    def file_view",
        "    def file_view",
        (f"{_STORES}::test_files_with_rows_are_not_sent",),
    ),
    Guard(
        "admin/store_browser.py",
        "        if not is_name(name) and (name or required):\n",
        "        if len(name) > MAX_NAME_LENGTH:\n",
        (f"{_STORES}::test_hostile_urls_reveal_nothing",),
    ),
    Guard(
        "admin/store_browser.py",
        "        if len(after) > _MAX_TOKEN_LENGTH:\n",
        "        if after is None:\n",
        (f"{_STORES}::test_length_of_page_token_is_limited",),
    ),
    Guard(
        "admin/store_browser.py",
        "if model_admin is not None and model_admin.has_view_permission(request, row):",
        "if model_admin is not None:",
        (f"{_STORES}::test_permission_to_browse_allows_no_downloads_or_deletes",),
    ),
    Guard(
        "admin/store_browser.py",
        "if verdict is None or verdict.state is not State.ORPHAN:",
        "if verdict is None:",
        (f"{_STORES}::test_only_unrecorded_files_can_be_deleted",),
    ),
    Guard(
        "admin/utils.py",
        "wrapped = model_admin.admin_site.admin_view(view)",
        "wrapped = view",
        (f"{_STORES}::test_pages_need_permission_to_browse",),
    ),
    Guard(
        "admin/store_browser.py",
        '"problem": "" if has_entries or after else configured.store.unavailable_reason(),',
        '"problem": "",',
        (f"{_STORES}::test_unmounted_disk_is_reported",),
    ),
    # -- Templates --
    Guard(
        "templates/admin/devilry_storage/preview.html",
        'alt="{{ row.filename }}"',
        'alt="{{ row.filename|safe }}"',
        (f"{_PREVIEWS}::test_filename_of_an_image_is_escaped",),
    ),
    Guard(
        "templates/admin/devilry_storage/storebrowser/bury.html",
        "{% csrf_token %}\n",
        "",
        (f"{_TOKENS}::test_delete_confirmation_of_unrecorded_file_has_csrf_token",),
    ),
    Guard(
        "templates/admin/devilry_storage/tombstone/remove_confirmation.html",
        "{% csrf_token %}\n",
        "",
        (f"{_TOKENS}::test_remove_confirmation_has_csrf_token",),
    ),
    Guard(
        "templates/admin/devilry_storage/tombstone/change_form.html",
        "{% csrf_token %}\n",
        "",
        (f"{_TOKENS}::test_restore_button_has_csrf_token",),
    ),
    Guard(
        "templates/admin/devilry_storage/dashboard.html",
        "{% csrf_token %}\n",
        "",
        (f"{_TOKENS}::test_dashboard_button_has_csrf_token",),
    ),
    Guard(
        "templates/admin/devilry_storage/copy.html",
        "{% csrf_token %}\n",
        "\n",
        (f"{_TOKENS}::test_copy_form_has_csrf_token",),
    ),
    Guard(
        "templates/admin/devilry_storage/integrity_check.html",
        "<td>{{ problem.filename }}</td>",
        "<td>{{ problem.filename|safe }}</td>",
        (f"{_ACTIONS}::test_filename_of_a_problem_is_escaped",),
    ),
    Guard(
        "templates/admin/devilry_storage/storebrowser/files.html",
        '<th scope="row">{{ line.leaf }}</th>',
        '<th scope="row">{{ line.leaf|safe }}</th>',
        (f"{_STORES}::test_files_without_rows_are_attachments",),
    ),
    Guard(
        "templates/admin/devilry_storage/storebrowser/files.html",
        "{% else %}{{ owner.text }}{% endif %}",
        "{% else %}{{ owner.text|safe }}{% endif %}",
        (f"{_STORES}::test_owners_of_other_models_are_shown",),
    ),
    Guard(
        "templates/admin/devilry_storage/storebrowser/folder.html",
        "Search: {{ name }}",
        "Search: {% endblocktranslate %}{{ name|safe }}{% blocktranslate %}",
        (f"{_STORES}::test_name_in_url_is_escaped",),
    ),
    Guard(
        "templates/admin/devilry_storage/filter.html",
        'value="{{ field.value }}"',
        'value="{{ field.value|safe }}"',
        (f"{_MANY}::test_parameters_in_forms_of_filters_are_escaped",),
    ),
    Guard(
        "views/downloads.py",
        "if not may_view(user, model):",
        "if False:",
        (f"{_ORDINARY}::test_permission_of_any_model_that_shows_the_row_is_enough",),
    ),
    Guard(
        "views/downloads.py",
        "if may_view(user, model, row)",
        "if row",
        (f"{_ORDINARY}::test_backend_may_decide_for_each_row",),
    ),
    Guard(
        "views/downloads.py",
        "rows = manager.visible_to(user)",
        "rows = manager.all()",
        (f"{_ORDINARY}::test_permission_of_any_model_that_shows_the_row_is_enough",),
    ),
    Guard(
        "views/downloads.py",
        "manager: Any = model._default_manager",
        "manager: Any = model._base_manager",
        (f"{_ORDINARY}::test_all_that_is_not_visible_looks_the_same",),
    ),
    Guard(
        "views/downloads.py",
        'if ordinary.alias == self.kwargs["alias"] and is_storage_name(name)',
        "if is_storage_name(name)",
        (f"{_ORDINARY}::test_hostile_names_are_not_found",),
    ),
    Guard(
        "views/downloads.py",
        " and is_storage_name(name)",
        "",
        (f"{_ORDINARY}::test_hostile_names_are_not_found",),
    ),
    Guard(
        "serving/stored_file.py",
        "is_settled = timezone.now() - modified > timedelta(minutes=1)",
        "is_settled = True",
        (f"{_ORDINARY}::test_replaced_file_gets_another_entity_tag",),
    ),
    Guard(
        "serving/stored_file.py",
        '_etag("", f"{modified.timestamp()} {name}", size)',
        '_etag("", name, size)',
        (f"{_ORDINARY}::test_replaced_file_gets_another_entity_tag",),
    ),
]
