"""Guards of what is sent to clients, of forms and of the admin's pages."""

from __future__ import annotations

from tests.guards import Guard

_HTTP = "tests/serving/test_http.py"
_DOWNLOADS = "tests/serving/test_downloads.py"
_ARCHIVES = "tests/archive/test_archives.py"
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

GUARDS: list[Guard] = [
    # -- HTTP --
    Guard(
        "rfc9110.py",
        'if not _lists(headers["If-Match"], found.etag, weak=False):',
        'if not _lists(headers["If-Match"], found.etag, weak=True):',
        (f"{_HTTP}::test_every_request_gets_the_answer_of_the_rfc",),
    ),
    Guard(
        "rfc9110.py",
        'return 304 if _lists(headers["If-None-Match"], found.etag, weak=True) else 0',
        'return 304 if _lists(headers["If-None-Match"], found.etag, weak=False) else 0',
        (f"{_HTTP}::test_every_request_gets_the_answer_of_the_rfc",),
    ),
    Guard(
        "rfc9110.py",
        'if method == "GET" and "Range" in headers and',
        'if "Range" in headers and',
        (f"{_HTTP}::test_every_request_gets_the_answer_of_the_rfc",),
    ),
    Guard(
        "rfc9110.py",
        ' and _if_range(headers.get("If-Range"), found):',
        ":",
        (f"{_HTTP}::test_every_request_gets_the_answer_of_the_rfc",),
    ),
    Guard(
        "rfc9110.py",
        "return bool(found.etag) and value == found.etag",
        'return bool(found.etag) and value.removeprefix("W/") == found.etag',
        (f"{_HTTP}::test_every_request_gets_the_answer_of_the_rfc",),
    ),
    Guard(
        "rfc9110.py",
        "return found.modified is not None and http_seconds(value) == found.modified",
        "return http_seconds(value) == found.modified",
        (f"{_HTTP}::test_what_has_no_tag_and_no_date_is_neither_known_nor_changed",),
    ),
    Guard(
        "rfc9110.py",
        'if unit.lower() != "bytes" or len(asked) != 1:',
        'if unit.lower() != "bytes" or not asked:',
        (f"{_HTTP}::test_every_request_gets_the_answer_of_the_rfc",),
    ),
    Guard(
        "rfc9110.py",
        "if last and _magnitude(last) < _magnitude(first):",
        "if last and last < first:",
        (f"{_HTTP}::test_a_range_is_what_arithmetic_says",),
    ),
    Guard(
        "rfc9110.py",
        'return limit if length > len(str(limit)) else min(int(significant or "0"), limit)',
        'return min(int(significant or "0"), limit)',
        (f"{_HTTP}::test_every_request_gets_the_answer_of_the_rfc",),
    ),
    Guard(
        "rfc9110.py",
        "return full - 100 if full > now + 50 else full",
        "return full",
        (f"{_HTTP}::test_a_year_of_two_digits_is_never_far_in_the_future",),
    ),
    Guard(
        "rfc9110.py",
        'plain = _NOT_PLAIN.sub("_", filename)',
        'plain = filename.replace("\\n", "_")',
        (
            f"{_HTTP}::test_a_filename_stays_within_its_parameter",
            f"{_HTTP}::test_a_hostile_name_injects_nothing_and_arrives_as_it_is",
        ),
    ),
    Guard(
        "rfc9110.py",
        'encoded = quote(filename, safe="!#$&+^`|~", errors="replace")',
        'encoded = quote(filename, safe="!#$&+^`|~\'()*;", errors="replace")',
        (
            f"{_HTTP}::test_a_filename_stays_within_its_parameter",
            f"{_HTTP}::test_a_hostile_name_injects_nothing_and_arrives_as_it_is",
        ),
    ),
    Guard(
        "media_types.py",
        "        if encoding is not None:\n            return _COMPRESSED.get(encoding, OCTETS)\n",
        "",
        ("tests/storages/s3/test_s3_urls.py::test_the_type_comes_from_the_filename",),
    ),
    # -- Serving --
    Guard(
        "serving/responses.py",
        '    response["X-Content-Type-Options"] = "nosniff"\n',
        "",
        (f"{_PROTECTING}::test_every_answer_of_a_download_is_protected",),
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
        (f"{_PROTECTING}::test_image_of_a_preview_is_protected",),
    ),
    Guard(
        "serving/responses.py",
        "_VIEWER if shown_as == PDF else _SANDBOX",
        "_VIEWER if shown_as else _SANDBOX",
        (f"{_PROTECTING}::test_pdf_that_is_shown_has_no_sandbox",),
    ),
    Guard(
        "serving/responses.py",
        '    patch_vary_headers(response, ["Cookie"])\n',
        "",
        (f"{_PROTECTING}::test_every_answer_of_a_download_is_protected",),
    ),
    Guard(
        "serving/responses.py",
        'response["Cache-Control"] = "private, no-cache"',
        'response["Cache-Control"] = "no-cache"',
        (f"{_PROTECTING}::test_archive_is_protected",),
    ),
    Guard(
        "serving/responses.py",
        "    file.validate(answer)\n"
        '    return protect(answer, shown_as=file.media_type if file.shown else "")\n\n\n'
        "def _streamed(",
        "    file.validate(answer)\n    return protect(answer, shown_as=file.media_type)\n\n\n"
        "def _streamed(",
        (f"{_PROTECTING}::test_pdf_that_is_shown_has_no_sandbox",),
    ),
    Guard(
        "serving/responses.py",
        'if request.method == "HEAD" or asked.status not in {200, 206}:',
        "if asked.status not in {200, 206}:",
        (f"{_TRANSFERS}::test_a_vanished_file_is_not_found_and_told_of[wsgi]",),
    ),
    Guard(
        "serving/responses.py",
        "chunks = file.store.stream(file.name, sha256=file.sha256 or None)",
        "chunks = file.store.stream(file.name)",
        (f"{_TRANSFERS}::test_the_whole_as_a_range_is_verified",),
    ),
    Guard(
        "serving/responses.py",
        "if asked.stop - asked.start == file.size:",
        "if asked.status == 200:",
        (f"{_TRANSFERS}::test_the_whole_as_a_range_is_verified",),
    ),
    Guard(
        "serving/responses.py",
        '(request.method == "HEAD" or file.size < conf.redirect_min_bytes)',
        "file.size < conf.redirect_min_bytes",
        (f"{_PROTECTING}::test_head_or_small_file_is_not_redirected",),
    ),
    Guard(
        "serving/responses.py",
        '    file = File(store, name, name.rpartition("/")[2], size, looked_at=True)\n',
        "    from .types import sent_type\n\n"
        '    leaf = name.rpartition("/")[2]\n'
        "    file = File(store, name, leaf, size, media_type=sent_type(leaf), shown=True)\n",
        (f"{_STORES}::test_bytes_without_a_row_are_attachments_of_no_type",),
    ),
    Guard(
        "serving/stored_file.py",
        "inline and media_type in conf.inline_types,",
        "inline,",
        (f"{_WAYS}::test_only_what_cannot_act_is_shown",),
    ),
    Guard(
        "serving/stored_file.py",
        "if isinstance(delivery, AbstractDelivery) and delivery.successful:",
        "if isinstance(delivery, AbstractDelivery):",
        (f"{_DOWNLOADS}::test_only_what_cannot_change_has_a_date",),
    ),
    Guard(
        "serving/stored_file.py",
        '        answer["Content-Encoding"] = "identity"\n',
        "",
        (f"{_PROTECTING}::test_answer_for_the_web_server_is_protected",),
    ),
    Guard(
        "serving/stored_file.py",
        "if not _SHA256.fullmatch(sha256):",
        "if not sha256:",
        (f"{_DOWNLOADS}::test_malformed_checksum_is_in_no_header",),
    ),
    Guard(
        "serving/stored_file.py",
        "if size != self.size:",
        "if size < self.size:",
        (f"{_TRANSFERS}::test_a_head_promises_no_length_that_is_not_there",),
    ),
    Guard(
        "media_types.py",
        "return _TYPES.get(extension, OCTETS)",
        'return _TYPES.get(extension, f"text/{extension}")',
        (f"{_WAYS}::test_only_what_cannot_act_is_shown",),
    ),
    Guard(
        "media_types.py",
        'return f"{media_type}; charset=utf-8" if media_type == _TEXT else media_type',
        "return media_type",
        (f"{_DOWNLOADS}::test_a_candidate_gets_the_whole_file",),
    ),
    Guard(
        "serving/streaming.py",
        "        if left:\n            yield chunk\n        else:\n            withheld = chunk\n",
        "        yield chunk\n",
        (f"{_STREAMING}::test_what_has_another_length_is_never_complete",),
    ),
    Guard(
        "serving/streaming.py",
        "        if len(chunk) > left:\n",
        "        if len(chunk) > length:\n",
        (f"{_STREAMING}::test_what_has_another_length_is_never_complete",),
    ),
    Guard(
        "serving/streaming.py",
        "    if left:\n        raise ChecksumMismatch(",
        "    if left == length > 0:\n        raise ChecksumMismatch(",
        (f"{_STREAMING}::test_what_has_another_length_is_never_complete",),
    ),
    Guard(
        "serving/streaming.py",
        "            if close is not None:\n                close()\n",
        "",
        (f"{_STREAMING}::test_closing_body_closes_source_and_reports_end_once",),
    ),
    Guard(
        "serving/streaming.py",
        "            if self._is_closed:\n                return\n",
        "",
        (f"{_STREAMING}::test_closing_body_closes_source_and_reports_end_once",),
    ),
    Guard(
        "serving/streaming.py",
        "            self._outcome = FAILED\n",
        "",
        (f"{_STREAMING}::test_closing_body_closes_source_and_reports_end_once",),
    ),
    Guard(
        "serving/streaming.py",
        "            await sync_to_async(self.close)()\n",
        "",
        (f"{_TRANSFERS}::test_a_damaged_file_is_a_broken_transfer[asgi-only whole chunks]",),
    ),
    Guard(
        "serving/streaming.py",
        "chunk = await asyncio.to_thread(next, self._body, None)",
        "chunk = next(self._body, None)",
        (f"{_TRANSFERS}::test_nothing_is_read_in_the_thread_of_the_event_loop",),
    ),
    Guard(
        "serving/access_log.py",
        'quote(str(getattr(user, "pk", None))),',
        'str(getattr(user, "pk", None)),',
        (f"{_DOWNLOADS}::test_what_stands_in_an_access_cannot_look_like_another",),
    ),
    Guard(
        "serving/access_log.py",
        "file_served.send_robust(",
        "file_served.send(",
        (f"{_DOWNLOADS}::test_a_receiver_that_fails_hurts_nobody",),
    ),
    Guard(
        "serving/access_log.py",
        'if instance is not None and request.method == "GET":',
        "if instance is not None:",
        (f"{_DOWNLOADS}::test_every_request_has_one_line",),
    ),
    Guard(
        "serving/responses.py",
        '    answer["Cache-Control"] = "no-store"\n',
        "",
        (f"{_PROTECTING}::test_redirect_is_protected_and_not_cached",),
    ),
    Guard(
        "serving/responses.py",
        "    answer = _Redirect(url)\n",
        "    answer = HttpResponseRedirect(url)\n",
        (f"{_PROTECTING}::test_redirect_is_protected_and_not_cached",),
    ),
    Guard(
        "serving/responses.py",
        "    file.look()  # by the store, which follows no symlink that was planted in it\n",
        "",
        (f"{_WAYS}::test_a_planted_symlink_is_not_left_to_the_web_server",),
    ),
    Guard(
        "serving/responses.py",
        '    if "X-Accel-Redirect" not in answer:\n',
        "    if answer:\n",
        (f"{_WAYS}::test_conditions_and_ranges_are_left_to_the_web_server",),
    ),
    Guard(
        "serving/responses.py",
        '        del answer["Content-Length"]\n',
        "        pass\n",
        (f"{_PROTECTING}::test_answer_for_the_web_server_is_protected",),
    ),
    Guard(
        "serving/responses.py",
        "        file.validate(answer)\n"
        '    return protect(answer, shown_as=file.media_type if file.shown else "")',
        "        file.validate(answer)\n    return answer",
        (f"{_PROTECTING}::test_answer_for_the_web_server_is_protected",),
    ),
    # -- Views --
    Guard(
        "views/base.py",
        "if not (user.is_authenticated and user.is_active):",
        "if not user.is_authenticated:",
        (f"{_DOWNLOADS}::test_whoever_is_nobody_is_led_to_the_login",),
    ),
    Guard(
        "views/base.py",
        "manager.visible_to(self.request.user)",
        "manager.all()",
        (f"{_DOWNLOADS}::test_a_file_is_for_whom_visible_to_says",),
    ),
    Guard(
        "views/base.py",
        "        self.object = self.get_object()\n"
        "        return super().dispatch(request, *args, **kwargs)",
        '        if request.method in {"GET", "HEAD"}:\n'
        "            self.object = self.get_object()\n"
        "        return super().dispatch(request, *args, **kwargs)",
        (f"{_DOWNLOADS}::test_whoever_may_not_see_a_row_learns_nothing",),
    ),
    Guard(
        "views/base.py",
        "str(pk) != str(given) or (",
        "(",
        (f"{_DOWNLOADS}::test_id_has_one_spelling_in_a_url",),
    ),
    Guard(
        "views/base.py",
        "            view = transaction.non_atomic_requests(using=alias)(view)\n",
        "            pass\n",
        (f"{_DOWNLOADS}::test_no_transaction_is_open_while_a_store_is_asked",),
    ),
    Guard(
        "views/downloads.py",
        'inline="inline" in request.GET',
        "inline=True",
        (f"{_WAYS}::test_only_what_cannot_act_is_shown",),
    ),
    Guard(
        "views/archives.py",
        'return protect(HttpResponse(str(exception), status=413, content_type="text/plain"))',
        'return HttpResponse(str(exception), status=413, content_type="text/plain")',
        (f"{_PROTECTING}::test_archive_is_protected",),
    ),
    Guard(
        "views/archives.py",
        '    answer["Content-Encoding"] = "identity"\n    return protect(answer)\n',
        "    return protect(answer)\n",
        (f"{_PROTECTING}::test_archive_is_protected",),
    ),
    Guard(
        "views/archives.py",
        '    answer["Content-Encoding"] = "identity"\n    return protect(answer)\n',
        '    answer["Content-Encoding"] = "identity"\n    return answer\n',
        (f"{_PROTECTING}::test_archive_is_protected",),
    ),
    Guard(
        "views/archives.py",
        '    answer["Content-Disposition"] = rfc9110.content_disposition(name)\n',
        '    answer["Content-Disposition"] = f\'attachment; filename="{filename}"\'\n',
        (f"{_ARCHIVES}::test_name_of_group_is_escaped_in_header_of_its_archive",),
    ),
    Guard(
        "views/archives.py",
        "if may_view(self.request.user, model.filemeta_model()):",
        "if self.request.user.is_authenticated:",
        (f"{_ARCHIVES}::test_an_archive_is_as_private_as_its_files",),
    ),
    Guard(
        "views/archives.py",
        "deliveries = self._readable(self.get_deliveries())",
        "deliveries = self.get_deliveries()",
        (f"{_ARCHIVES}::test_whoever_sees_no_file_of_a_delivery_does_not_learn_of_it",),
    ),
    Guard(
        "views/archives.py",
        "archive = partial(of_deliveries, self.object, self.get_files())",
        "archive = partial(of_deliveries, self.object)",
        (f"{_ARCHIVES}::test_a_file_that_its_model_hides_is_in_no_archive",),
    ),
    Guard(
        "views/archives.py",
        "    except OverflowError as exception:  # before",
        "    except KeyError as exception:  # before",
        (f"{_ARCHIVES}::test_a_time_at_the_edge_of_the_calendar_is_no_error_of_the_server",),
    ),
    # -- Archives --
    Guard(
        "archive/__init__.py",
        "finished = deliveries.filter(successful=True)",
        "finished = deliveries.all()",
        (f"{_ARCHIVES}::test_latest_is_the_last_finished_one_of_each_group_within_a_time",),
    ),
    Guard(
        "archive/__init__.py",
        "readable = {entry.name for entry in entries if is_storage_name(entry.name)}",
        "readable = {entry.name for entry in entries}",
        (f"{_ARCHIVES}::test_a_file_whose_name_no_store_takes_is_told_of_as_missing",),
    ),
    Guard(
        "archive/__init__.py",
        "            if entry.name in left_out:\n                continue\n",
        "",
        (f"{_STORES}::test_deleted_bytes_are_in_the_zip_of_a_folder_for_who_may_view_tombstones",),
    ),
    Guard(
        "archive/__init__.py",
        "    folders, counted = Folders([SUMS, MISSING]), Counted()\n",
        "    folders, counted = Folders([]), Counted()\n",
        (f"{_ARCHIVES}::test_files_called_like_those_of_the_archive_are_numbered",),
    ),
    Guard(
        "archive/__init__.py",
        "            counted.add(entry.size)\n",
        "",
        (f"{_ARCHIVES}::test_folder_of_too_many_files_or_bytes_is_refused",),
    ),
    Guard(
        "archive/entries.py",
        "if self._files > self._most_files:",
        "if self._files > self._most_files + 1:",
        (f"{_ARCHIVES}::test_too_many_files_or_bytes_are_refused_first",),
    ),
    Guard(
        "archive/entries.py",
        "if self._bytes > self._most_bytes:",
        "if size > self._most_bytes:",
        (f"{_ARCHIVES}::test_too_many_files_or_bytes_are_refused_first",),
    ),
    Guard(
        "archive/entries.py",
        "                        counted.add(size, files=0)\n",
        "",
        (f"{_ARCHIVES}::test_a_row_without_a_size_has_that_of_the_store",),
    ),
    Guard(
        "archive/entries.py",
        "elif size == member.size:",
        "elif size is not None:",
        (f"{_ARCHIVES}::test_what_is_missing_is_named",),
    ),
    Guard(
        "archive/paths.py",
        '_FORBIDDEN.sub("_", unicodedata.normalize("NFC", name))',
        '_FORBIDDEN.sub("_", name)',
        (f"{_ARCHIVES}::test_a_name_is_one_that_every_system_takes",),
    ),
    Guard(
        "archive/paths.py",
        '.strip().rstrip(" .")\n    text =',
        ".strip()\n    text =",
        (f"{_ARCHIVES}::test_a_name_is_one_that_every_system_takes",),
    ),
    Guard(
        "archive/paths.py",
        'return f"_{text}" if _DEVICE.fullmatch(text) else text',
        "return text",
        (f"{_ARCHIVES}::test_a_name_is_one_that_every_system_takes",),
    ),
    Guard(
        "archive/paths.py",
        "if len(text.encode()) <= limit:",
        "if len(text) <= limit:",
        (f"{_ARCHIVES}::test_limit_of_a_name_counts_bytes",),
    ),
    Guard(
        "archive/paths.py",
        'unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", name).casefold())',
        'unicodedata.normalize("NFKD", name)',
        (f"{_ARCHIVES}::test_names_that_some_system_takes_for_one_are_numbered",),
    ),
    Guard(
        "archive/paths.py",
        "            while seen in self._taken:\n                number += 1\n",
        "            if seen in self._taken:\n                number += 1\n",
        (f"{_ARCHIVES}::test_as_many_equal_names_as_one_likes_take_no_time",),
    ),
    Guard(
        "archive/paths.py",
        'own = self._folders[above].add(clean(name, FOLDER_BYTES, "folder"))',
        'own = clean(name, FOLDER_BYTES, "folder")',
        (f"{_ARCHIVES}::test_folders_of_two_owners_are_two",),
    ),
    Guard(
        "archive/zipping.py",
        "                    if size != member.size:\n"
        "                        raise ChecksumMismatch(",
        "                    if size > member.size:\n"
        "                        raise ChecksumMismatch(",
        (f"{_ARCHIVES}::test_file_without_checksum_of_another_size_breaks_the_archive",),
    ),
    Guard(
        "archive/zipping.py",
        "year = min(max(date[0], 1980), 2107)",
        "year = date[0]",
        (f"{_ARCHIVES}::test_years_that_a_zip_does_not_know_are_the_nearest",),
    ),
    Guard(
        "archive/readahead.py",
        "return store.stream(member.name, sha256=member.sha256 or None)",
        "return store.stream(member.name)",
        (f"{_ARCHIVES}::test_a_file_that_fails_later_breaks_the_archive[changes]",),
    ),
    # -- Forms --
    Guard(
        "upload_limits.py",
        "if not size and not self.allow_empty:",
        "if not size and self.allow_empty is None:",
        (f"{_FORMS}::test_empty_files_are_files_unless_the_limits_say_otherwise",),
    ),
    Guard(
        "upload_limits.py",
        "if size > self.most_bytes:",
        "if size >= self.most_bytes:",
        (f"{_FORMS}::test_limit_allows_what_is_below_and_at_it_and_refuses_what_is_above",),
    ),
    Guard(
        "upload_limits.py",
        "if len(sizes) > self.most_files:",
        "if len(sizes) > self.most_files + 1:",
        (f"{_FORMS}::test_limit_allows_what_is_below_and_at_it_and_refuses_what_is_above",),
    ),
    Guard(
        "upload_limits.py",
        "if sum(sizes) > self.most_total_bytes:",
        "if max(sizes, default=0) > self.most_total_bytes:",
        (f"{_FORMS}::test_limit_allows_what_is_below_and_at_it_and_refuses_what_is_above",),
    ),
    Guard(
        "upload_limits.py",
        "name.lower().endswith(each) and len(name) > len(each)",
        "name.lower().endswith(each)",
        (f"{_FORMS}::test_other_extension_is_refused_by_the_name_of_the_file",),
    ),
    Guard(
        "upload_limits.py",
        '            object.__setattr__(self, "extensions", tuple(self.extensions))\n',
        "            pass\n",
        (f"{_FORMS}::test_extensions_of_an_iterator_hold_for_the_second_form_too",),
    ),
    Guard(
        "forms.py",
        "faults = [fault for upload in uploads for fault in self._faults_of(upload)]",
        "faults = [*self._faults_of(uploads[-1])]",
        (f"{_FORMS}::test_every_file_is_validated_wherever_it_stands",),
    ),
    Guard(
        "forms.py",
        "            faults += _clashes([upload.name for upload in uploads])\n",
        "            pass\n",
        (f"{_FORMS}::test_names_that_are_one_in_nfc_are_refused",),
    ),
    Guard(
        "forms.py",
        'if cleaned.get("end") != EndInput.MARK:',
        'if cleaned.get("end") not in {EndInput.MARK, ""}:',
        (f"{_FORMS}::test_request_that_broke_off_is_refused_whatever_arrived",),
    ),
    Guard(
        "forms.py",
        "if current is not None and not current.successful:",
        "if current is not None:",
        (f"{_SAVING}::test_lost_reply_to_the_last_commit_deletes_nothing",),
    ),
    Guard(
        "forms.py",
        "            if transaction.get_connection(router.db_for_write(model)).needs_rollback:\n"
        "                raise  # nothing can be shown any more in the caller's transaction\n",
        "",
        (f"{_SAVING}::test_failure_that_broke_the_callers_transaction_is_raised",),
    ),
    Guard(
        "forms.py",
        "self.perhaps_delivered = isinstance(exception, UNCERTAIN)",
        "self.perhaps_delivered = False",
        (f"{_SAVING}::test_failing_finish_takes_the_rows_back_and_leaves_the_bytes",),
    ),
    Guard(
        "error_messages.py",
        'return _("the store of the deliveries failed; try again, or tell those who run '
        'this site")',
        "return str(exception)",
        (f"{_SAVING}::test_other_failure_of_a_store_is_told_without_its_words",),
    ),
    Guard(
        "error_messages.py",
        "    if isinstance(exception, UNCERTAIN):\n",
        "    if isinstance(exception, InterfaceError):\n",
        (f"{_SAVING}::test_lost_reply_to_the_last_commit_deletes_nothing",),
    ),
    # -- Admin: permissions --
    Guard(
        "admin/actions.py",
        '        permissions=["change"], description=gettext_lazy("Finish',
        '        permissions=["view"], description=gettext_lazy("Finish',
        (
            f"{_ACTIONS}::test_each_action_has_its_permission",
            f"{_PERMISSIONS}::test_only_who_may_change_deliveries_finishes_them",
        ),
    ),
    Guard(
        "admin/actions.py",
        '        permissions=["view_files"],\n',
        '        permissions=["view"],\n',
        (f"{_ACTIONS}::test_each_action_has_its_permission",),
    ),
    Guard(
        "admin/actions.py",
        "            and self.has_view_files_permission(request)\n",
        "",
        (f"{_ACTIONS}::test_nobody_reads_files_by_copying_them_to_a_group_of_their_own",),
    ),
    Guard(
        "admin/actions.py",
        '            and request.user.has_perm(f"{files.app_label}.add_{files.model_name}")\n',
        "",
        (f"{_ACTIONS}::test_each_action_has_its_permission",),
    ),
    Guard(
        "admin/actions.py",
        "archive = of_deliveries(queryset, files.visible_to(request.user))",
        "archive = of_deliveries(queryset)",
        (f"{_ACTIONS}::test_a_file_that_its_model_hides_is_not_in_the_zip",),
    ),
    Guard(
        "admin/actions.py",
        "if len(chosen) <= AT_ONCE:",
        "if chosen:",
        (f"{_ACTIONS}::test_not_too_many_are_worked_on_at_once",),
    ),
    Guard(
        "admin/actions.py",
        "filter(pk__in=names.keys(), content__in=names.values())",
        "filter(pk__in=names.keys())",
        (f"{_ACTIONS}::test_bytes_that_were_replaced_meanwhile_are_not_noted_as_verified",),
    ),
    Guard(
        "admin/actions.py",
        "for text in refused[:TOLD]:",
        "for text in refused:",
        (f"{_FINISHING}::test_not_every_reason_of_many_is_told",),
    ),
    Guard(
        "admin/tombstones.py",
        'return self._permits(request, "purge_tombstone") and self.has_view_permission(request)',
        'return self._permits(request, "purge_tombstone")',
        (f"{_RESTORING}::test_action_permission_alone_neither_restores_nor_removes",),
    ),
    Guard(
        "admin/tombstones.py",
        'return self._permits(request, "restore_tombstone") and self.has_view_permission(request)',
        'return self._permits(request, "restore_tombstone")',
        (f"{_RESTORING}::test_action_permission_alone_neither_restores_nor_removes",),
    ),
    Guard(
        "admin/tombstones.py",
        "super().get_queryset(request).filter(done=None)",
        "super().get_queryset(request)",
        (f"{_RESTORING}::test_removed_file_is_no_longer_shown",),
    ),
    Guard(
        "admin/tombstones.py",
        "state in {TombstoneState.DELETED, TombstoneState.ORPHAN}",
        "state is not None",
        (f"{_RESTORING}::test_restore_button_is_shown_where_it_helps",),
    ),
    Guard(
        "admin/tombstones.py",
        "state in {TombstoneState.DELETED, TombstoneState.ORPHAN}",
        "state is TombstoneState.DELETED",
        (f"{_RESTORING}::test_restore_button_is_shown_where_it_helps[orphan]",),
    ),
    Guard(
        "tables/tombstone.py",
        "        if self.claimed is not None:\n",
        "        if self.rows and self.claimed is not None:\n",
        (f"{_RESTORING}::test_a_claimed_orphan_is_shown_as_being_removed",),
    ),
    Guard(
        "tables/tombstone.py",
        "is_orphan = self.file_id is None and self.delivery_id is None",
        "is_orphan = True",
        (f"{_RESTORING}::test_restore_button_is_shown_where_it_helps[restored]",),
    ),
    Guard(
        "admin/tombstones.py",
        "if tombstone.state is TombstoneState.ORPHAN:",
        "if False:",
        (f"{_RESTORING}::test_bytes_without_a_row_are_kept",),
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
        (f"{_RESTORING}::test_due_tombstones_are_filtered_by_the_clock_of_the_database",),
    ),
    Guard(
        "admin/tombstones.py",
        "        if not permitted(request):\n            raise PermissionDenied\n",
        "",
        (f"{_RESTORING}::test_each_needs_its_own_permission",),
    ),
    Guard(
        "admin/tombstones.py",
        '        permissions=["carry_out"],',
        '        permissions=["view"],',
        (f"{_RESTORING}::test_each_needs_its_own_permission",),
    ),
    Guard(
        "admin/tombstones.py",
        '        permissions=["restore"],\n',
        "",
        (f"{_RESTORING}::test_each_needs_its_own_permission",),
    ),
    Guard(
        "admin/tombstones.py",
        'if "confirmed" not in request.POST:',
        'if "confirmed" in request.GET:',
        (f"{_RESTORING}::test_many_are_restored_or_removed_at_once",),
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
        'chosen = list(queryset.order_by("pk")[:AT_ONCE])',
        'chosen = list(queryset.order_by("pk"))',
        (f"{_RESTORING}::test_not_more_than_a_page_are_restored_or_removed_at_once",),
    ),
    Guard(
        "admin/tombstones.py",
        'self._restore(request, queryset.order_by("pk")[:AT_ONCE])',
        'self._restore(request, queryset.order_by("pk"))',
        (f"{_RESTORING}::test_not_more_than_a_page_are_restored_or_removed_at_once",),
    ),
    Guard(
        "admin/tombstones.py",
        "return format_html('<pre class=\"devilry-rows\">{}</pre>', text)",
        "from django.utils.safestring import mark_safe\n\n"
        "        return mark_safe(f'<pre class=\"devilry-rows\">{text}</pre>')",
        (f"{_RESTORING}::test_kept_row_is_escaped_on_the_page_of_its_tombstone",),
    ),
    Guard(
        "admin/permissions.py",
        "def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:\n"
        "        return False",
        "def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:\n"
        "        return super().has_delete_permission(request, obj)",
        (f"{_LISTS}::test_tombstones_are_read_only",),
    ),
    Guard(
        "admin/permissions.py",
        "def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:\n"
        "        return False",
        "def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:\n"
        "        return super().has_change_permission(request, obj)",
        (f"{_LISTS}::test_tombstones_are_read_only",),
    ),
    Guard(
        "admin/dashboard.py",
        'self._permits(request, "refresh_statistics") and self.has_view_permission(request)',
        'self._permits(request, "refresh_statistics")',
        (f"{_DASHBOARD}::test_refresh_needs_the_view_permission",),
    ),
    Guard(
        "admin/dashboard.py",
        "        if not self.has_refresh_permission(request):\n"
        "            raise PermissionDenied\n",
        "",
        (f"{_DASHBOARD}::test_refresh_needs_permission_post_and_token",),
    ),
    Guard(
        "admin/dashboard.py",
        '        if request.method != "POST":\n'
        '            return HttpResponseNotAllowed(["POST"])\n',
        "",
        (f"{_DASHBOARD}::test_refresh_needs_permission_post_and_token",),
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
        (f"{_PERMISSIONS}::test_page_does_not_tell_staff_without_permission_what_exists",),
    ),
    Guard(
        "admin/base.py",
        "        if everything and paginator.has_more:\n",
        "        if everything and paginator.has_more is None:\n",
        (f"{_MANY}::test_an_action_on_all_rows_is_one_on_those_that_are_shown",),
    ),
    Guard(
        "admin/base.py",
        "            for _told in messages.get_messages(request):\n",
        "            for _told in ():\n",
        (f"{_ADDING}::test_a_file_that_fails_keeps_what_was_to_be_deleted",),
    ),
    Guard(
        "admin/files.py",
        "        if isinstance(obj, AbstractDelivery) and obj.successful:\n"
        "            return False\n",
        "",
        (f"{_FINISHING}::test_a_finished_delivery_takes_no_file",),
    ),
    Guard(
        "admin/files.py",
        "        if obj is not None and host is not None and not "
        "host.has_change_permission(request, obj):\n"
        "            return False\n",
        "",
        (f"{_PERMISSIONS}::test_who_may_only_view_a_delivery_changes_nothing",),
    ),
    Guard(
        "admin/deliveries.py",
        "            with storing():\n                obj.refuse_finished()\n",
        "            pass\n",
        (f"{_FINISHING}::test_uploads_to_a_delivery_finished_meanwhile_are_refused",),
    ),
    Guard(
        "admin/deliveries.py",
        "self.kept_when_finished if obj.successful else ()",
        "()",
        (f"{_FINISHING}::test_a_finished_delivery_takes_no_file",),
    ),
    Guard(
        "admin/forms.py",
        "        if any(form.instance.pk is None for form in self.initial_forms):\n",
        "        if any(form.instance is None for form in self.initial_forms):\n",
        ("tests/admin/test_deleting.py::test_a_page_with_a_file_that_is_gone_is_told",),
    ),
    Guard(
        "admin/forms.py",
        "self._queryset = super().get_queryset()[: self.max_shown]",
        "self._queryset = super().get_queryset()",
        (f"{_PAGES}::test_only_the_first_files_of_many_are_on_the_page",),
    ),
    Guard(
        "admin/forms.py",
        "            rows = other.get_queryset(request)\n",
        "",
        (f"{_ACTIONS}::test_group_that_its_admin_hides_is_not_copied_to",),
    ),
    Guard(
        "admin/failures.py",
        "    if isinstance(exception, OSError) and exception.strerror:\n"
        '        return _("the delivery store failed: %(error)s") % {"error": '
        "exception.strerror}\n",
        "",
        (f"{_ACTIONS}::test_a_store_that_fails_makes_no_archive",),
    ),
    Guard(
        "admin/failures.py",
        "    if isinstance(exception, OperationalError):  # perhaps",
        "    if isinstance(exception, KeyError):  # perhaps",
        (f"{_ADDING}::test_a_busy_database_is_told",),
    ),
    # -- Admin: lists and searches --
    Guard(
        "admin/searching.py",
        "if term.isascii() and term.isdecimal() else None",
        "if term.isdecimal() else None",
        (f"{_LISTS}::test_digits_of_another_script_find_no_id",),
    ),
    Guard(
        "admin/searching.py",
        "int(term[:20])",
        "int(term)",
        (f"{_LISTS}::test_an_impossible_search_finds_nothing",),
    ),
    Guard(
        "admin/searching.py",
        "if number is None or number > LARGEST_ID:",
        "if number is None:",
        (f"{_LISTS}::test_an_impossible_search_finds_nothing",),
    ),
    Guard(
        "admin/searching.py",
        '        if "\\0" in term:\n            return queryset.none(), False\n',
        "",
        (f"{_MANY}::test_autocompletion_with_a_nul_finds_nothing",),
    ),
    Guard(
        "admin/searching.py",
        "condition = begins_with(field, text, rows.db) if exact else Q(**{lookup: text})",
        "condition = Q(**{lookup: text})",
        (f"{_MANY}::test_users_are_found_by_the_beginning_of_what_they_log_in_with",),
    ),
    Guard(
        "admin/searching.py",
        "self.complete &= len(pks) <= self.most",
        "self.complete &= len(pks) < self.most",
        (f"{_MANY}::test_too_many_matches_are_the_first_and_the_newest",),
    ),
    Guard(
        "admin/lists.py",
        "return min(self._counted, self.most)",
        "return self._counted",
        (f"{_MANY}::test_more_rows_than_are_counted_are_told_of",),
    ),
    Guard(
        "admin/lists.py",
        "return self._counted > self.most",
        "return self._counted >= self.most",
        (f"{_MANY}::test_no_more_rows_than_are_counted_are_all_there_is",),
    ),
    Guard(
        "admin/lists.py",
        "is_sortable = field_name in (self.sortable_by or ())",
        "is_sortable = True",
        (f"{_MANY}::test_an_order_without_an_index_is_not_heeded",),
    ),
    Guard(
        "admin/filters.py",
        "if self.chosen and possible_value(self.target, self.chosen) is None:",
        "if self.chosen and self.target is None:",
        (
            f"{_MANY}::test_a_group_that_cannot_be_breaks_no_list",
            f"{_MANY}::test_who_may_not_see_groups_breaks_no_list_either",
        ),
    ),
    Guard(
        "admin/filters.py",
        "        except OverflowError as exception:\n",
        "        except KeyError as exception:\n",
        (f"{_MANY}::test_a_date_that_cannot_be_is_told",),
    ),
    Guard(
        "admin/references.py",
        "return other if other.has_view_permission(request) else None",
        "return other",
        (
            f"{_MANY}::test_who_may_not_see_groups_cannot_search_for_them",
            f"{_ACTIONS}::test_whoever_may_not_see_groups_names_one_by_its_id",
        ),
    ),
    Guard(
        "admin/references.py",
        "looked_up = [each for each in value if possible_id(model, each) is not None]",
        "looked_up = [*value]",
        (f"{_LISTS}::test_a_reference_that_cannot_be_is_told",),
    ),
    # -- Admin: previews --
    Guard(
        "admin/previewing.py",
        "        return escape(line)\n",
        "        return mark_safe(line)\n",
        (f"{_PREVIEWS}::test_what_could_run_is_text",),
    ),
    Guard(
        "admin/previewing.py",
        "_mark(each) if _is_invisible(each) else escape(each)",
        "_mark(each) if _is_invisible(each) else each",
        (f"{_PREVIEWS}::test_what_cannot_be_seen_is_made_visible",),
    ),
    Guard(
        "admin/previewing.py",
        '_INVISIBLE = frozenset({"Cc", "Cf", "Co", "Cs", "Zl", "Zp"})',
        '_INVISIBLE = frozenset({"Cc", "Co", "Cs", "Zl", "Zp"})',
        (f"{_PREVIEWS}::test_a_bomb_of_directions_turns_nothing",),
    ),
    Guard(
        "admin/previewing.py",
        'data = b"".join(store_for(filemeta).stream(name, 0, TEXT_BYTES + 1))',
        'data = b"".join(store_for(filemeta).stream(name, 0, TEXT_BYTES))',
        (f"{_PREVIEWS}::test_a_text_of_just_that_size_is_whole",),
    ),
    Guard(
        "admin/previewing.py",
        'return "image" if (filemeta.size or 0) <= IMAGE_BYTES else ""',
        'return "image"',
        (f"{_PREVIEWS}::test_an_image_too_large_for_a_page_is_not_shown",),
    ),
    Guard(
        "admin/previews.py",
        '        if kind_of(row) not in {"image", "pdf"}:\n',
        "        if not kind_of(row):\n",
        (f"{_PREVIEWS}::test_no_other_bytes_are_served_for_a_preview",),
    ),
    Guard(
        "admin/previews.py",
        "        # Before it is looked up, so that nobody else learns what exists.\n"
        "        if not self.has_view_permission(request):\n            raise PermissionDenied\n",
        "",
        (f"{_PREVIEWS}::test_a_preview_is_for_whoever_may_view_files",),
    ),
    Guard(
        "admin/previews.py",
        "        if not self.has_view_permission(request, row):\n"
        "            raise PermissionDenied\n",
        "",
        (f"{_PREVIEWS}::test_rule_of_a_site_for_one_file_holds_for_its_preview",),
    ),
    Guard(
        "admin/previews.py",
        "self.admin_site.admin_view(require_safe(view))",
        "self.admin_site.admin_view(view)",
        (f"{_PREVIEWS}::test_who_may_view_files_previews_them",),
    ),
    Guard(
        "admin/previews.py",
        '        answer["Content-Security-Policy"] = _policy()\n',
        "",
        (f"{_PREVIEWS}::test_the_page_runs_and_loads_nothing_of_a_file",),
    ),
    Guard(
        "admin/previews.py",
        'return serve(request, row, inline=True, way="stream")',
        "return serve(request, row, inline=True)",
        (f"{_PROTECTING}::test_image_of_a_preview_is_protected",),
    ),
    Guard(
        "admin/previews.py",
        "wrapped = self.admin_site.admin_view(require_safe(view))",
        "wrapped = require_safe(view)",
        (f"{_PREVIEWS}::test_a_user_who_is_no_staff_has_no_previews",),
    ),
    # -- Admin: stores --
    Guard(
        "admin/browsing.py",
        "if text.isascii() and text.isdecimal() and len(text) <= 20:",
        "if text.isdecimal() and len(text) <= 20:",
        (f"{_STORES}::test_a_jump_leads_to_a_delivery_a_folder_or_a_name",),
    ),
    Guard(
        "admin/browsing.py",
        "if text.isascii() and text.isdecimal() and len(text) <= 20:",
        "if text.isascii() and text.isdecimal():",
        (f"{_STORES}::test_a_jump_leads_to_a_delivery_a_folder_or_a_name",),
    ),
    Guard(
        "admin/browsing.py",
        "return len(name) <= LONGEST and is_storage_name(name)",
        "return len(name) <= LONGEST",
        (f"{_STORES}::test_hostile_urls_show_nothing_of_elsewhere",),
    ),
    Guard(
        "admin/browsing.py",
        "    except UnsafeEntry:\n        page = Page",
        "    except KeyError:\n        page = Page",
        (f"{_STORES}::test_symlinked_folder_is_shown_as_one_without_files",),
    ),
    Guard(
        "admin/browsing.py",
        'return name.encode("utf-8", "backslashreplace").decode()',
        "return name",
        (f"{_STORES}::test_names_that_are_no_text_are_shown_and_lead_nowhere",),
    ),
    Guard(
        "admin/browsing.py",
        'for row in rows.order_by("pk")[:LOOKED_FOR]:',
        'for row in rows.order_by("pk"):',
        (f"{_STORES}::test_not_more_rows_than_a_bound_are_looked_for",),
    ),
    Guard(
        "admin/stores.py",
        'return self._permits(request, "browse_store")',
        "return request.user.is_staff",
        (f"{_STORES}::test_who_may_not_browse_sees_nothing",),
    ),
    Guard(
        "admin/stores.py",
        "        if not self.has_bury_permission(request):\n            raise PermissionDenied\n",
        "",
        (f"{_STORES}::test_who_may_browse_alone_neither_reads_files_nor_removes_orphans",),
    ),
    Guard(
        "admin/stores.py",
        "        if not self._may_fetch(request, verdict):\n            raise PermissionDenied\n",
        "",
        (f"{_STORES}::test_who_may_browse_alone_neither_reads_files_nor_removes_orphans",),
    ),
    Guard(
        "admin/stores.py",
        "        if not all(may_view(request.user, model) for model in configured.models):\n"
        "            raise PermissionDenied\n",
        "",
        (f"{_STORES}::test_who_may_browse_alone_neither_reads_files_nor_removes_orphans",),
    ),
    Guard(
        "admin/stores.py",
        " or verdict.entry is None or verdict.row is not None:",
        " or verdict.entry is None:",
        (f"{_STORES}::test_files_of_rows_are_not_sent_by_the_browser_of_stores",),
    ),
    Guard(
        "admin/stores.py",
        "without = None if may_view(request.user, Tombstone) else deleted",
        "without = None",
        (f"{_STORES}::test_deleted_bytes_are_in_the_zip_of_a_folder_for_who_may_view_tombstones",),
    ),
    Guard(
        "admin/stores.py",
        "return buried.keys() - rows_named(model, buried, using).keys()",
        "return set(buried)",
        (f"{_STORES}::test_file_with_row_and_tombstone_is_in_the_zip_of_a_folder",),
    ),
    Guard(
        "admin/stores.py",
        '        if request.method not in {"GET", "HEAD"}:\n'
        '            return HttpResponseNotAllowed(["GET", "HEAD"])\n',
        "",
        (f"{_STORES}::test_files_of_rows_are_not_sent_by_the_browser_of_stores",),
    ),
    Guard(
        "admin/stores.py",
        "        if name and not is_name(name):\n",
        "        if name and len(name) > LONGEST:\n",
        (f"{_STORES}::test_hostile_urls_show_nothing_of_elsewhere",),
    ),
    Guard(
        "admin/stores.py",
        "        if len(after) > _LONGEST_TOKEN:\n",
        "        if after is None:\n",
        (f"{_STORES}::test_token_of_page_has_a_longest_length",),
    ),
    Guard(
        "admin/stores.py",
        "if model_admin is not None and model_admin.has_view_permission(request, row):",
        "if model_admin is not None:",
        (f"{_STORES}::test_who_may_browse_alone_neither_reads_files_nor_removes_orphans",),
    ),
    Guard(
        "admin/stores.py",
        "if verdict is None or verdict.state is not State.ORPHAN:",
        "if verdict is None:",
        (f"{_STORES}::test_only_an_orphan_is_asked_about_and_removed",),
    ),
    Guard(
        "admin/stores.py",
        "path(route, self.admin_site.admin_view(view), name=self._url_name(page))",
        "path(route, view, name=self._url_name(page))",
        (f"{_STORES}::test_who_may_not_browse_sees_nothing",),
    ),
    Guard(
        "admin/stores.py",
        '"problem": "" if listed or after else configured.store.unavailable_reason(),',
        '"problem": "",',
        (f"{_STORES}::test_an_unmounted_disk_is_told",),
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
        (f"{_TOKENS}::test_page_that_asks_about_an_orphan_has_a_token",),
    ),
    Guard(
        "templates/admin/devilry_storage/tombstone/remove_confirmation.html",
        "{% csrf_token %}\n",
        "",
        (f"{_TOKENS}::test_page_that_asks_before_removing_has_a_token",),
    ),
    Guard(
        "templates/admin/devilry_storage/tombstone/change_form.html",
        "{% csrf_token %}\n",
        "",
        (f"{_TOKENS}::test_button_that_restores_has_a_token",),
    ),
    Guard(
        "templates/admin/devilry_storage/dashboard.html",
        "{% csrf_token %}\n",
        "",
        (f"{_TOKENS}::test_button_that_counts_again_has_a_token",),
    ),
    Guard(
        "templates/admin/devilry_storage/copy.html",
        "{% csrf_token %}\n",
        "\n",
        (f"{_TOKENS}::test_page_that_asks_for_a_group_has_a_token",),
    ),
    Guard(
        "templates/admin/devilry_storage/verified.html",
        "<td>{{ fault.filename }}</td>",
        "<td>{{ fault.filename|safe }}</td>",
        (f"{_ACTIONS}::test_filename_of_a_fault_is_escaped",),
    ),
    Guard(
        "templates/admin/devilry_storage/storebrowser/files.html",
        '<th scope="row">{{ line.leaf }}</th>',
        '<th scope="row">{{ line.leaf|safe }}</th>',
        (f"{_STORES}::test_bytes_without_a_row_are_attachments_of_no_type",),
    ),
    Guard(
        "templates/admin/devilry_storage/storebrowser/files.html",
        "{% else %}{{ owner.text }}{% endif %}",
        "{% else %}{{ owner.text|safe }}{% endif %}",
        (f"{_STORES}::test_owners_are_told_whatever_a_site_has_for_them",),
    ),
    Guard(
        "templates/admin/devilry_storage/storebrowser/folder.html",
        "Asked for: {{ name }}",
        "Asked for: {% endblocktranslate %}{{ name|safe }}{% blocktranslate %}",
        (f"{_STORES}::test_name_that_was_asked_for_is_escaped",),
    ),
    Guard(
        "templates/admin/devilry_storage/filter.html",
        'value="{{ field.value }}"',
        'value="{{ field.value|safe }}"',
        (f"{_MANY}::test_what_a_filter_sends_again_is_escaped",),
    ),
]
