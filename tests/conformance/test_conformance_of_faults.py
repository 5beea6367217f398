"""The conformance suite finds the faults of stores that have one typical fault each."""

from __future__ import annotations

import posixpath
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core.files import File
from django.core.files.base import ContentFile
from django.test import SimpleTestCase

from devilry_storage.storages import DeliveryStoreMixin, Entry, FileMetaLike, FsDeliveryStore
from devilry_storage.storages.protocols import Page
from devilry_storage.storages.writer import Writer
from devilry_storage.testing import MemoryDeliveryStore
from devilry_storage.testing import TestDeliveryStoreMixin as Suite

from ..harness import conformance


class ClosesTheSource(MemoryDeliveryStore):
    def save(self, name: str | None, content: Any, max_length: int | None = None) -> str:
        with content:
            return super().save(name, content, max_length)


class ReadsOnFromThePosition(MemoryDeliveryStore):
    def _create_first(self, names: Iterable[str], content: File[Any]) -> str:
        return super()._create_first(names, ContentFile(content.read()))


class ChecksThenWrites(MemoryDeliveryStore):
    """Like an object store whose server does not support conditional writes."""

    def _create(self, name: str, content: File[Any]) -> str:
        if self.exists(name):
            raise FileExistsError
        data = b"".join(content.chunks())
        self.delete(name)
        return super()._create(name, ContentFile(data))


class CreatesAnEmptyFileFirst(MemoryDeliveryStore):
    def _create(self, name: str, content: File[Any]) -> str:
        super()._create(name, ContentFile(b""))
        data = b"".join(content.chunks())
        self.delete(name)
        return super()._create(name, ContentFile(data))


class OverwritesEmptyFiles(MemoryDeliveryStore):
    def _create(self, name: str, content: File[Any]) -> str:
        if self.exists(name) and not self.size(name):
            self.delete(name)
        return super()._create(name, content)


class ForgetsMaxLength(MemoryDeliveryStore):
    def save(self, name: str | None, content: Any, max_length: int | None = None) -> str:
        return super().save(name, content)


class MiscountsMaxLength(MemoryDeliveryStore):
    def save(self, name: str | None, content: Any, max_length: int | None = None) -> str:
        return super().save(name, content, max_length and max_length + 1)


class TrustsAlternatives(MemoryDeliveryStore):
    def _candidates(self, name: str, *args: Any, **kwargs: Any) -> Iterator[str]:
        yield name
        while True:
            yield self.get_alternative_name(name, "")

    def save(self, name: str | None, content: Any, max_length: int | None = None) -> str:
        return self._create_first(self._candidates(str(name)), content)


class AcceptsAnyMode(MemoryDeliveryStore):
    def open(self, name: str, mode: str = "rb") -> Any:
        return super().open(name, "wb" if set(mode) & set("wax+") else "rb")


class ListsByPrefix(MemoryDeliveryStore):
    def _scan(self, prefix: str) -> Iterator[Entry]:
        return (entry for entry in super()._scan("") if entry.name.startswith(prefix))


class ReportsFoldersAsFiles(MemoryDeliveryStore):
    def exists(self, name: Any) -> bool:
        return super().exists(name) or self.listdir(str(name)) != ([], [])


class DeletesFolders(MemoryDeliveryStore):
    def delete(self, name: str) -> None:
        super().delete(name)
        for entry in list(self.scan(name)):
            super().delete(entry.name)


class CleansNames(MemoryDeliveryStore):
    def save(self, name: str | None, content: Any, max_length: int | None = None) -> str:
        return super().save(str(name).strip(), content, max_length)


class TranslatesLineEnds(MemoryDeliveryStore):
    def _create(self, name: str, content: File[Any]) -> str:
        data = b"".join(
            part.encode() if isinstance(part, str) else part for part in content.chunks()
        )
        return super()._create(name, ContentFile(data.replace(b"\r\n", b"\n")))


class StoresTextAsLatin1(MemoryDeliveryStore):
    def _create(self, name: str, content: File[Any]) -> str:
        data = content.read()
        return super()._create(
            name, ContentFile(data.encode("latin-1", "replace") if isinstance(data, str) else data)
        )


class StoresTheFirstChunk(MemoryDeliveryStore):
    def _create(self, name: str, content: File[Any]) -> str:
        return super()._create(name, ContentFile(next(iter(content.chunks()), b"")))


class IgnoresEmptyFiles(MemoryDeliveryStore):
    def exists(self, name: Any) -> bool:
        return super().exists(name) and (hasattr(name, "key_ids") or self.size(name) > 0)


class ReturnsNaiveTimes(MemoryDeliveryStore):
    def get_modified_time(self, name: str) -> datetime:
        return super().get_modified_time(name).replace(tzinfo=None)


class NumbersItsPages(MemoryDeliveryStore):
    """The token is the number of entries shown so far, newest files first."""

    def _page(self, folder: str, after: str, limit: int) -> Page:
        whole = super()._page(folder, "", 1000)
        files = sorted(whole.files, key=lambda entry: entry.modified, reverse=True)
        both = [*((name, None) for name in whole.folders), *((file.name, file) for file in files)]
        start = int(after) if after.isdecimal() else 0
        shown = both[start : start + limit]
        next_token = str(start + limit) if len(both) > start + limit else ""
        return Page(
            [name for name, file in shown if file is None],
            [file for _name, file in shown if file is not None],
            next_token,
        )


class ShowsFoldersOnEveryPage(MemoryDeliveryStore):
    def _page(self, folder: str, after: str, limit: int) -> Page:
        page, whole = super()._page(folder, after, limit), super()._page(folder, "", 1000)
        return page._replace(folders=whole.folders)


class ShowsWrongSizes(MemoryDeliveryStore):
    def _page(self, folder: str, after: str, limit: int) -> Page:
        page = super()._page(folder, after, limit)
        return page._replace(files=[entry._replace(size=0) for entry in page.files])


class PagesThroughFiles(MemoryDeliveryStore):
    def _page(self, folder: str, after: str, limit: int) -> Page:
        page = super()._page(folder, after, limit)
        if not folder or page != ([], [], ""):
            return page
        return Page([], [entry for entry in self.scan() if entry.name.startswith(folder)], "")


class PagesByPrefix(MemoryDeliveryStore):
    def _page(self, folder: str, after: str, limit: int) -> Page:
        page = super()._page(folder, after, limit)
        above, _, leaf = folder.rpartition("/")
        siblings = [name for name in self.listdir(above)[0] if name.startswith(leaf)]
        return page._replace(folders=[*page.folders, *siblings])


class TrustsTokens(MemoryDeliveryStore):
    def _page(self, folder: str, after: str, limit: int) -> Page:
        if "/" in after:
            folder, _, after = posixpath.normpath(posixpath.join(folder, after)).rpartition("/")
        return super()._page(folder, "", limit)


class AcceptsAnyLimit(MemoryDeliveryStore):
    def page(self, folder: str = "", *, after: str = "", limit: int = 100) -> Page:
        return self._page(folder, after, limit)


class StreamsTheStopToo(MemoryDeliveryStore):
    def _stream(self, name: str, start: int, stop: int | None) -> Iterator[bytes]:
        return super()._stream(name, start, None if stop is None else stop + 1)


class ValidatesLate(MemoryDeliveryStore):
    """stream() is a generator, which validates its arguments at the first chunk."""

    def stream(
        self, name: str, start: int = 0, stop: int | None = None, *, sha256: str | None = None
    ) -> Iterator[bytes]:
        yield from super().stream(name, start, stop, sha256=sha256)


class VerifiesNothing(MemoryDeliveryStore):
    def stream(
        self, name: str, start: int = 0, stop: int | None = None, *, sha256: str | None = None
    ) -> Iterator[bytes]:
        return super().stream(name, start, stop)


class ReportsMissingFilesAsEmpty(MemoryDeliveryStore):
    def size(self, name: str) -> int:
        return super().size(name) if self.exists(name) else 0


class StopsAtAFailure(MemoryDeliveryStore):
    def delete_many(
        self, names: Iterable[str], *, sizes: Mapping[str, int] | None = None
    ) -> dict[str, Exception]:
        for name in names:
            self.delete(name)
        return {}


class DeletesFilesOfAnySize(MemoryDeliveryStore):
    def delete_many(
        self, names: Iterable[str], *, sizes: Mapping[str, int] | None = None
    ) -> dict[str, Exception]:
        return super().delete_many(names)


class DuplicatesUnderTheKey(MemoryDeliveryStore):
    def duplicate(self, name: str, key: str, **recorded: Any) -> str:
        with self.open(name) as file:
            return self.save(key, file)


class DuplicatesAnEmptyFile(MemoryDeliveryStore):
    def duplicate(self, name: str, key: str, **recorded: Any) -> str:
        other = next(self._candidates(key, fresh=True))
        self.save(other, ContentFile(b"" if not self.exists(name) else self.open(name).read()))
        return other


class UsesAnotherClock(MemoryDeliveryStore):
    def current_time(self) -> datetime:
        return super().current_time() + timedelta(hours=1)


class ReadsAtTheComputedKey(MemoryDeliveryStore):
    def read_open(self, filemeta: FileMetaLike) -> File[bytes]:
        file: File[bytes] = self.open(self.layout.key(*filemeta.key_ids()))
        return file


class ExistsByTheRecordAlone(MemoryDeliveryStore):
    def exists(self, name: Any) -> bool:
        return bool(name.content) if hasattr(name, "key_ids") else super().exists(name)


class WritesAtTheSameKey(MemoryDeliveryStore):
    def write_open(self, filemeta: FileMetaLike) -> Writer:
        if filemeta.content:
            filemeta.record_removed()
        return super().write_open(filemeta)


class CarelessWriter(Writer):
    def discard(self) -> None:
        self._close_cleanly()


class PublishesAfterErrors(MemoryDeliveryStore):
    def write_open(self, filemeta: FileMetaLike) -> Writer:
        writer = super().write_open(filemeta)
        writer.__class__ = CarelessWriter
        return writer


class SilentWriter(Writer):
    """Discard the bytes without reporting it."""

    def close(self) -> None:
        if sys.exc_info()[1] is None:
            self._close_cleanly()
        else:
            self.discard()
            self.discarded = False


class DiscardsSilently(MemoryDeliveryStore):
    def write_open(self, filemeta: FileMetaLike) -> Writer:
        writer = super().write_open(filemeta)
        writer.__class__ = SilentWriter
        return writer

    def _open_to_write(self, name: str, mode: str) -> Writer:
        writer = super()._open_to_write(name, mode)
        writer.__class__ = SilentWriter
        return writer


class BelongsToEveryProcess:
    def require(self, name: str | None) -> None: ...

    def is_this_process(self) -> bool:
        return True


class LetsChildrenWrite(FsDeliveryStore):
    def write_open(self, filemeta: FileMetaLike) -> Writer:
        return _shared(super().write_open(filemeta))

    def _open_to_write(self, name: str, mode: str) -> Writer:
        return _shared(super()._open_to_write(name, mode))


def _shared(writer: Writer) -> Writer:
    writer._owner = BelongsToEveryProcess()  # type: ignore[assignment]
    writer.sink._owner = writer._owner  # type: ignore[attr-defined]
    return writer


class ReadsIntoMemory(FsDeliveryStore):
    def _create_first(self, names: Iterable[str], content: File[Any]) -> str:
        return super()._create_first(names, ContentFile(content.read()))


class StreamsFromMemory(FsDeliveryStore):
    def _stream(self, name: str, start: int, stop: int | None) -> Iterator[bytes]:
        with self.open(name) as file:
            yield file.read()[start:stop]


class IgnoresOverriddenMethods(MemoryDeliveryStore):
    def _names(self, name: str, max_length: int | None) -> Iterator[str]:
        return self._candidates(name, max_length)


class AppendsAfterSeek(MemoryDeliveryStore):
    def _sink(self, filename: str = "") -> Any:
        sink: Any = super()._sink(filename)
        sink.seek = lambda position: None
        return sink


class TakesOnlyText(MemoryDeliveryStore):
    def size(self, name: str) -> int:
        return super().size(name + "")


FAULTS: dict[type[DeliveryStoreMixin], str] = {
    IgnoresOverriddenMethods: "test_available_name_is_asked",
    AppendsAfterSeek: "test_writer_can_seek test_zip_can_be_written",
    TakesOnlyText: "test_names_may_be_paths",
    ClosesTheSource: "test_callers_file_stays_open",
    ReadsOnFromThePosition: "test_content_is_read_from_its_beginning",
    ChecksThenWrites: """
        test_name_taken_during_a_save test_key_taken_during_a_save
        test_eight_nested_saves_of_one_name
    """,
    CreatesAnEmptyFileFirst: """
        test_file_is_invisible_during_its_save test_raising_source_leaves_nothing
        test_source_that_raises_at_once_leaves_nothing test_keyboard_interrupt_leaves_nothing
    """,
    OverwritesEmptyFiles: "test_empty_file_keeps_its_name",
    ForgetsMaxLength: """
        test_alternative_name_respects_max_length test_too_long_name_is_shortened
        test_name_that_cannot_be_shortened_is_rejected
    """,
    MiscountsMaxLength: "test_names_one_character_too_long_are_shortened",
    TrustsAlternatives: """
        test_hostile_alternative_names_are_rejected test_save_rejects_hostile_names
        test_save_gives_up_if_every_alternative_is_taken
    """,
    AcceptsAnyMode: "test_open_rejects_other_modes",
    ListsByPrefix: "test_prefix_siblings_are_not_listed",
    ReportsFoldersAsFiles: "test_folder_cannot_be_used_as_a_file",
    DeletesFolders: "test_delete_keeps_folders",
    CleansNames: "test_unusual_names_are_kept",
    TranslatesLineEnds: "test_bytes_are_stored_unchanged",
    StoresTextAsLatin1: "test_text_is_stored_as_utf8",
    StoresTheFirstChunk: "test_many_small_chunks test_megabytes",
    IgnoresEmptyFiles: "test_empty_file",
    ReturnsNaiveTimes: "test_times_are_aware_under_use_tz",
    NumbersItsPages: "test_pages_keep_their_order",
    ShowsFoldersOnEveryPage: "test_pages_show_every_entry_once",
    ShowsWrongSizes: "test_pages_show_size_and_time",
    PagesThroughFiles: "test_page_of_a_missing_folder",
    PagesByPrefix: "test_pages_of_prefix_siblings",
    TrustsTokens: "test_forged_token_shows_nothing_else",
    AcceptsAnyLimit: "test_page_rejects_other_limits",
    StreamsTheStopToo: "test_stream_of_a_range",
    VerifiesNothing: """
        test_damaged_file_is_not_streamed_to_its_end test_stream_rejects_sha256_with_a_range
    """,
    ValidatesLate: """
        test_stream_checks_its_arguments_at_once test_stream_rejects_hostile_names
    """,
    ReportsMissingFilesAsEmpty: "test_size_of_a_missing_file",
    StopsAtAFailure: "test_delete_many_continues_after_a_failure",
    DeletesFilesOfAnySize: "test_delete_many_keeps_files_of_other_sizes",
    DuplicatesUnderTheKey: "test_duplicate",
    DuplicatesAnEmptyFile: "test_duplicate_of_a_missing_file",
    UsesAnotherClock: "test_current_time_matches_new_files",
    ReadsAtTheComputedKey: "test_file_is_found_by_its_recorded_name test_errors_have_the_filemeta",
    ExistsByTheRecordAlone: "test_exists_of_a_filemeta",
    WritesAtTheSameKey: """
        test_new_content_gets_a_new_name test_old_content_is_readable_until_new_is_recorded
        test_writer_with_an_exception_in_with
    """,
    PublishesAfterErrors: """
        test_writer_with_an_exception_in_with test_writer_with_an_exception_in_closing
        test_writer_with_an_exception_in_try_finally test_writer_with_an_exception_in_a_zip
        test_writer_with_an_exception_in_an_exit_stack test_writer_in_a_dropped_generator
        test_writer_never_closed
    """,
    DiscardsSilently: """
        test_writer_closed_in_an_except_block test_writer_in_nested_except_blocks
        test_rewrite_closed_in_an_except_block
    """,
    LetsChildrenWrite: "test_writer_in_a_forked_child test_rewrite_in_a_forked_child",
    ReadsIntoMemory: "test_large_file_is_saved_with_little_memory",
    StreamsFromMemory: """
        test_large_file_is_streamed_with_little_memory test_range_is_streamed_with_little_memory
        test_large_file_is_copied_with_little_memory
    """,
}


@pytest.mark.parametrize("store", FAULTS, ids=lambda store: store.__name__)
def test_fault_is_found(store: type[DeliveryStoreMixin]) -> None:
    """Every case that covers the fault fails."""

    class Cases(Suite, SimpleTestCase):
        def make_store(self) -> DeliveryStoreMixin:
            if issubclass(store, FsDeliveryStore):
                return store(self.tmp_path / "store")
            return store()

    found = conformance.outcomes(Cases, FAULTS[store].split())
    assert set(found.values()) == {conformance.FAILED}, found
