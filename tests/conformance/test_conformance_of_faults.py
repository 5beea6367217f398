"""Stores with one fault each, as they are easily made: the suite finds every one."""

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

from devilry_storage.storages import (
    DeliveryStoreMixin,
    Entry,
    FileMetaLike,
    FsDeliveryStore,
    MemoryDeliveryStore,
)
from devilry_storage.storages.protocols import Page
from devilry_storage.storages.writer import Writer
from devilry_storage.testing import TestDeliveryStoreMixin as Suite

from ..harness import conformance


class ClosesTheSource(MemoryDeliveryStore):
    def save(self, name: str | None, content: Any, max_length: int | None = None) -> str:
        with content:
            return super().save(name, content, max_length)


class ReadsOnFromThePosition(MemoryDeliveryStore):
    def _create_first(self, names: Iterable[str], content: File[Any]) -> str:
        return super()._create_first(names, ContentFile(content.read()))


class LooksThenWrites(MemoryDeliveryStore):
    """As a store of objects does whose server knows no conditional writes."""

    def _create(self, name: str, content: File[Any]) -> str:
        if self.exists(name):
            raise FileExistsError
        data = b"".join(content.chunks())
        self.delete(name)
        return super()._create(name, ContentFile(data))


class KeepsAPlaceFirst(MemoryDeliveryStore):
    def _create(self, name: str, content: File[Any]) -> str:
        super()._create(name, ContentFile(b""))
        data = b"".join(content.chunks())
        self.delete(name)
        return super()._create(name, ContentFile(data))


class TakesAFreshNameOnlyIfThereIsAFile(MemoryDeliveryStore):
    """An empty file does not count."""

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


class TakesAnyMode(MemoryDeliveryStore):
    def open(self, name: str, mode: str = "rb") -> Any:
        return super().open(name, "wb" if set(mode) & set("wax+") else "rb")


class ListsByPrefix(MemoryDeliveryStore):
    def _scan(self, prefix: str) -> Iterator[Entry]:
        return (entry for entry in super()._scan("") if entry.name.startswith(prefix))


class TellsFoldersAsFiles(MemoryDeliveryStore):
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


class KnowsNoEmptyFile(MemoryDeliveryStore):
    def exists(self, name: Any) -> bool:
        return super().exists(name) and (hasattr(name, "key_ids") or self.size(name) > 0)


class TellsNaiveTimes(MemoryDeliveryStore):
    def get_modified_time(self, name: str) -> datetime:
        return super().get_modified_time(name).replace(tzinfo=None)


class CountsItsPages(MemoryDeliveryStore):
    """By numbers of what was shown, in the order in which it was stored."""

    def _page(self, folder: str, after: str, limit: int) -> Page:
        whole = super()._page(folder, "", 1000)
        files = sorted(whole.files, key=lambda entry: entry.modified, reverse=True)
        both = [*((name, None) for name in whole.folders), *((file.name, file) for file in files)]
        start = int(after) if after.isdecimal() else 0
        shown = both[start : start + limit]
        following = str(start + limit) if len(both) > start + limit else ""
        return Page(
            [name for name, file in shown if file is None],
            [file for _name, file in shown if file is not None],
            following,
        )


class ShowsAFolderOnEachPage(MemoryDeliveryStore):
    def _page(self, folder: str, after: str, limit: int) -> Page:
        page, whole = super()._page(folder, after, limit), super()._page(folder, "", 1000)
        return page._replace(folders=whole.folders)


class TellsTheSizesOfOthers(MemoryDeliveryStore):
    def _page(self, folder: str, after: str, limit: int) -> Page:
        page = super()._page(folder, after, limit)
        return page._replace(files=[each._replace(size=0) for each in page.files])


class HasPagesOfFiles(MemoryDeliveryStore):
    def _page(self, folder: str, after: str, limit: int) -> Page:
        page = super()._page(folder, after, limit)
        if not folder or page != ([], [], ""):
            return page
        return Page([], [each for each in self.scan() if each.name.startswith(folder)], "")


class PagesByPrefix(MemoryDeliveryStore):
    def _page(self, folder: str, after: str, limit: int) -> Page:
        page = super()._page(folder, after, limit)
        above, _, leaf = folder.rpartition("/")
        siblings = [name for name in self.listdir(above)[0] if name.startswith(leaf)]
        return page._replace(folders=[*page.folders, *siblings])


class GoesWhereTheTokenSays(MemoryDeliveryStore):
    def _page(self, folder: str, after: str, limit: int) -> Page:
        if "/" in after:
            folder, _, after = posixpath.normpath(posixpath.join(folder, after)).rpartition("/")
        return super()._page(folder, "", limit)


class TakesAnyLimit(MemoryDeliveryStore):
    def page(self, folder: str = "", *, after: str = "", limit: int = 100) -> Page:
        return self._page(folder, after, limit)


class StreamsTheStopToo(MemoryDeliveryStore):
    def _stream(self, name: str, start: int, stop: int | None) -> Iterator[bytes]:
        return super()._stream(name, start, None if stop is None else stop + 1)


class StreamsWithoutALook(MemoryDeliveryStore):
    """A generator checks its arguments only when it is read."""

    def stream(
        self, name: str, start: int = 0, stop: int | None = None, *, sha256: str | None = None
    ) -> Iterator[bytes]:
        yield from super().stream(name, start, stop, sha256=sha256)


class VerifiesNothing(MemoryDeliveryStore):
    def stream(
        self, name: str, start: int = 0, stop: int | None = None, *, sha256: str | None = None
    ) -> Iterator[bytes]:
        return super().stream(name, start, stop)


class ReadsNothingOfTheMissing(MemoryDeliveryStore):
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


class HasAClockOfItsOwn(MemoryDeliveryStore):
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


class PublishesWhateverHappens(MemoryDeliveryStore):
    def write_open(self, filemeta: FileMetaLike) -> Writer:
        writer = super().write_open(filemeta)
        writer.__class__ = CarelessWriter
        return writer


class SilentWriter(Writer):
    """Discards as the writer does, and does not report it."""

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


FAULTS: dict[type[DeliveryStoreMixin], str] = {
    ClosesTheSource: "test_callers_file_stays_open",
    ReadsOnFromThePosition: "test_content_is_read_from_its_beginning",
    LooksThenWrites: """
        test_name_taken_during_a_save test_key_taken_during_a_save
        test_eight_saves_of_one_name_under_way
    """,
    KeepsAPlaceFirst: """
        test_growing_file_is_not_seen test_raising_source_leaves_nothing
        test_source_that_raises_at_once_leaves_nothing test_keyboard_interrupt_leaves_nothing
    """,
    TakesAFreshNameOnlyIfThereIsAFile: "test_empty_file_keeps_its_name",
    ForgetsMaxLength: """
        test_alternative_name_keeps_to_max_length test_too_long_name_is_shortened
        test_name_that_cannot_be_shortened_is_refused
    """,
    MiscountsMaxLength: "test_names_one_character_too_long_are_shortened",
    TrustsAlternatives: """
        test_alternative_names_are_not_trusted test_alternatives_without_end_are_given_up
        test_save_refuses_hostile_names
    """,
    TakesAnyMode: "test_other_modes_are_refused",
    ListsByPrefix: "test_prefix_siblings_are_not_shown",
    TellsFoldersAsFiles: "test_folder_is_no_file",
    DeletesFolders: "test_folder_is_not_deleted",
    CleansNames: "test_unusual_names_are_kept",
    TranslatesLineEnds: "test_bytes_are_bytes",
    StoresTextAsLatin1: "test_text_is_stored_as_utf8",
    StoresTheFirstChunk: "test_many_small_chunks test_megabytes",
    KnowsNoEmptyFile: "test_empty_file",
    TellsNaiveTimes: "test_times_are_aware_under_use_tz",
    CountsItsPages: "test_pages_keep_their_order",
    ShowsAFolderOnEachPage: "test_pages_show_a_folder_once",
    TellsTheSizesOfOthers: "test_pages_tell_size_and_time",
    HasPagesOfFiles: "test_page_of_nothing",
    PagesByPrefix: "test_pages_of_prefix_siblings",
    GoesWhereTheTokenSays: "test_any_text_as_a_token",
    TakesAnyLimit: "test_length_of_a_page",
    StreamsTheStopToo: "test_stream_of_a_range",
    VerifiesNothing: """
        test_damaged_file_is_not_streamed_to_its_end test_range_cannot_be_verified
    """,
    StreamsWithoutALook: """
        test_stream_checks_its_arguments_at_once test_stream_refuses_hostile_names
    """,
    ReadsNothingOfTheMissing: "test_size_of_a_missing_file",
    StopsAtAFailure: "test_delete_many_goes_on_after_a_failure",
    DeletesFilesOfAnySize: "test_delete_many_keeps_files_of_other_sizes",
    DuplicatesUnderTheKey: "test_duplicate",
    DuplicatesAnEmptyFile: "test_duplicate_of_a_missing_file",
    HasAClockOfItsOwn: "test_current_time_is_that_of_new_files",
    ReadsAtTheComputedKey: "test_recorded_name_is_the_truth test_errors_carry_the_filemeta",
    ExistsByTheRecordAlone: "test_exists_follows_the_record",
    WritesAtTheSameKey: """
        test_new_content_gets_a_fresh_name test_old_content_is_there_until_the_new_is_recorded
        test_writer_left_by_with
    """,
    PublishesWhateverHappens: """
        test_writer_left_by_with test_writer_left_by_closing test_writer_left_by_try_finally
        test_writer_left_by_exit_stack test_writer_left_by_half_a_zip test_writer_never_closed
        test_writer_left_by_dropping_a_generator
    """,
    DiscardsSilently: """
        test_writer_closed_while_an_error_is_handled test_writer_in_nested_except_blocks
        test_rewrite_closed_while_an_error_is_handled
    """,
    LetsChildrenWrite: "test_writer_in_a_forked_child test_rewrite_in_a_forked_child",
    ReadsIntoMemory: "test_large_file_is_saved_with_little_memory",
    StreamsFromMemory: """
        test_large_file_is_streamed_with_little_memory test_range_is_streamed_with_little_memory
        test_large_file_is_copied_with_little_memory
    """,
}


@pytest.mark.parametrize("store", FAULTS, ids=lambda store: store.__name__)
def test_a_fault_is_found(store: type[DeliveryStoreMixin]) -> None:
    """Every case that is about the fault fails."""

    class Cases(Suite, SimpleTestCase):
        def make_store(self) -> DeliveryStoreMixin:
            if issubclass(store, FsDeliveryStore):
                return store(self.tmp_path / "store")
            return store()

    found = conformance.outcomes(Cases, FAULTS[store].split())
    assert set(found.values()) == {conformance.FAILED}, found
