"""Promise 1 of writers: only a clean close() publishes the bytes."""

from __future__ import annotations

import gc
import hashlib
import io
import os
import unittest
import warnings
import zipfile
from collections.abc import Callable
from typing import Any

from .._support import abandoned_writers
from .._support.abandoned_writers import OpenWriter
from .._support.case import DeliveryStoreCase, needs, on_disk
from .._support.disk import in_processes
from .._support.sources import SourceBroke


class RewriteCases(DeliveryStoreCase):
    """Writers of ``open(name, "wb")``, which replace an ordinary name."""

    def assert_leaves_old_bytes(self, leave: Callable[[OpenWriter], None]) -> None:
        self.save("notes.txt", b"the old bytes, a bit longer")
        with self.assert_unchanged(), self.assertRaises(SourceBroke):
            leave(lambda: self.store.open("notes.txt", "wb"))

    @needs("whole_or_absent")
    def test_rewrite_with_an_exception_in_with(self) -> None:
        """Promise 1: an exception inside "with open(name, 'wb')" leaves the old bytes."""
        self.assert_leaves_old_bytes(abandoned_writers.by_with)

    @needs("whole_or_absent")
    def test_rewrite_with_an_exception_in_closing(self) -> None:
        """Promise 1: an exception inside contextlib.closing() leaves the old bytes."""
        self.assert_leaves_old_bytes(abandoned_writers.by_closing)

    @needs("whole_or_absent")
    def test_rewrite_with_an_exception_in_try_finally(self) -> None:
        """Promise 1: an exception before "finally: close()" leaves the old bytes."""
        self.assert_leaves_old_bytes(abandoned_writers.by_try_finally)

    @needs("whole_or_absent")
    def test_rewrite_with_an_exception_in_an_exit_stack(self) -> None:
        """Promise 1: an exception inside an ExitStack leaves the old bytes."""
        self.assert_leaves_old_bytes(abandoned_writers.by_exit_stack)

    @needs("whole_or_absent")
    def test_rewrite_with_an_exception_in_a_zip(self) -> None:
        """Promise 1: an incomplete archive leaves the old bytes, though ZipFile ends it."""
        self.assert_leaves_old_bytes(abandoned_writers.by_half_a_zip)

    @needs("whole_or_absent")
    def test_rewrite_in_a_dropped_generator(self) -> None:
        """Promise 1: a generator that is dropped while it writes leaves the old bytes."""
        self.assert_leaves_old_bytes(abandoned_writers.by_dropping_a_generator)

    @needs("whole_or_absent")
    def test_rewrite_never_closed(self) -> None:
        """Promise 1: a writer that is never closed leaves the old bytes."""
        self.assert_leaves_old_bytes(abandoned_writers.by_never_closing)

    @needs("whole_or_absent")
    def test_rewrite_with_a_second_exception(self) -> None:
        """Promise 1: a second exception, raised in an except block, leaves the old bytes."""
        self.assert_leaves_old_bytes(abandoned_writers.after_another_error)

    @needs("whole_or_absent")
    def test_rewrite_closed_in_an_except_block(self) -> None:
        """Promise 1: close() of open(name, "wb") in an except block discards and logs an error."""
        self.save("notes.txt", b"the old bytes, a bit longer")
        with self.assert_unchanged(), self.assertLogs("devilry_storage", "ERROR"):
            writer = abandoned_writers.closed_for_another_error(
                lambda: self.store.open("notes.txt", "wb")
            )
        self.assertIs(writer.discarded, True)

    @needs("whole_or_absent")
    @unittest.skipUnless(hasattr(os, "fork"), "this system has no fork()")
    def test_rewrite_in_a_forked_child(self) -> None:
        """Promise 1: a forked child cannot use its parent's open(name, "wb") or harm its bytes."""
        self.save("notes.txt", b"the old bytes, a bit longer")
        used = abandoned_writers.used_in_a_child(lambda: self.store.open("notes.txt", "wb"))
        self.assertEqual(used, [])
        self.assert_stored("notes.txt", b"before, and after")

    @needs("whole_or_absent")
    def test_rewrite_is_published_on_close(self) -> None:
        """Promise 1: open(name, "wb") publishes its bytes on close(), not before."""
        self.save("folder/other.txt")
        writer = self.store.open("folder/new.txt", "wb")
        writer.write(b"new bytes")
        writer.flush()
        try:
            self.assert_absent("folder/new.txt")
        finally:
            writer.close()
        self.assert_stored("folder/new.txt", b"new bytes")

    @needs("whole_or_absent")
    def test_rewrite_makes_folders_on_close(self) -> None:
        """Promise 1: open(name, "wb") makes missing folders on close()."""
        with self.store.open("new/folder/file.txt", "wb") as writer:
            writer.write(b"new bytes")
            self.assertEqual(self.store.listdir(""), ([], []))
        self.assert_stored("new/folder/file.txt", b"new bytes")

    @needs("whole_or_absent")
    def test_new_name_with_an_exception_in_with(self) -> None:
        """Promise 1: an exception inside "with open(name, 'wb')" of a new name leaves nothing."""
        self.save("folder/other.txt")
        with self.assertRaises(SourceBroke):
            abandoned_writers.by_with(lambda: self.store.open("folder/new.txt", "wb"))
        self.assert_absent("folder/new.txt")

    @needs("whole_or_absent")
    def test_rewrite_without_a_write_empties_the_file(self) -> None:
        """Promise 1: a writer that is closed without a write leaves an empty file."""
        self.save("notes.txt", b"the old bytes")
        with self.store.open("notes.txt", "wb"):
            pass
        self.assert_stored("notes.txt", b"")


class WriterCases(DeliveryStoreCase):
    """Writers of ``write_open(filemeta)``."""

    def assert_leaves_content(self, leave: Callable[[OpenWriter], None]) -> None:
        stored, fresh = self.stored(b"the old bytes"), self.filemeta(2, 2)
        before = (stored.content, stored.size, stored.sha256)
        with self.assert_unchanged():
            for filemeta in (stored, fresh):
                with self.assertRaises(SourceBroke):
                    leave(lambda it=filemeta: self.store.write_open(it))  # type: ignore[misc]
        self.assertEqual((stored.content, stored.size, stored.sha256), before)
        self.assertIsNone(fresh.content)

    def test_writer_with_an_exception_in_with(self) -> None:
        """Promise 1: an exception inside "with write_open()" stores and records nothing."""
        self.assert_leaves_content(abandoned_writers.by_with)

    def test_writer_with_an_exception_in_closing(self) -> None:
        """Promise 1: an exception inside closing(write_open()) stores nothing."""
        self.assert_leaves_content(abandoned_writers.by_closing)

    def test_writer_with_an_exception_in_try_finally(self) -> None:
        """Promise 1: an exception before "finally: close()" of write_open() stores nothing."""
        self.assert_leaves_content(abandoned_writers.by_try_finally)

    def test_writer_with_an_exception_in_an_exit_stack(self) -> None:
        """Promise 1: an exception inside an ExitStack with write_open() stores nothing."""
        self.assert_leaves_content(abandoned_writers.by_exit_stack)

    def test_writer_with_an_exception_in_a_zip(self) -> None:
        """Promise 1: an incomplete archive in write_open() is not stored."""
        self.assert_leaves_content(abandoned_writers.by_half_a_zip)

    def test_writer_in_a_dropped_generator(self) -> None:
        """Promise 1: write_open() in a generator that is dropped stores nothing."""
        self.assert_leaves_content(abandoned_writers.by_dropping_a_generator)

    def test_writer_never_closed(self) -> None:
        """Promise 1: write_open() without close() stores nothing."""
        self.assert_leaves_content(abandoned_writers.by_never_closing)

    def test_writer_with_a_second_exception(self) -> None:
        """Promise 1: write_open() in an except block that raises again stores nothing."""
        self.assert_leaves_content(abandoned_writers.after_another_error)

    def test_writer_used_in_an_except_block(self) -> None:
        """Promise 1: write_open() that is opened and closed in one except block stores."""
        filemeta = self.filemeta()
        try:
            int("not a number")
        except ValueError:
            writer = self.store.write_open(filemeta)
            writer.write(b"stored")
            writer.close()
        self.assert_stored(str(filemeta.content), b"stored")

    def test_writer_in_nested_except_blocks(self) -> None:
        """Promise 1: write_open() from a nested except block, closed in the outer one, stores."""
        filemeta = self.filemeta()
        abandoned_writers.opened_for_two_errors(lambda: self.store.write_open(filemeta))
        self.assert_stored(str(filemeta.content), b"new bytes")

    def test_writer_closed_in_an_except_block(self) -> None:
        """Promise 1: close() in an except block discards, logs an error and sets discarded."""
        filemeta = self.stored(b"the old bytes")
        before = (filemeta.content, filemeta.size, filemeta.sha256)
        with self.assert_unchanged(), self.assertLogs("devilry_storage", "ERROR"):
            writer = abandoned_writers.closed_for_another_error(
                lambda: self.store.write_open(filemeta)
            )
        self.assertEqual((filemeta.content, filemeta.size, filemeta.sha256), before)
        self.assertIs(writer.discarded, True)
        with self.store.write_open(filemeta) as writer:
            writer.write(b"new bytes")
        self.assertIs(writer.discarded, False)
        self.assert_stored(str(filemeta.content), b"new bytes")

    def test_writer_publishes_nothing_before_close(self) -> None:
        """Promise 1: before close() of a writer nothing is stored or recorded."""
        filemeta = self.filemeta()
        with self.store.write_open(filemeta) as writer:
            writer.write(b"x" * 300_000)
            writer.flush()
            self.assert_absent(self.key())
            self.assertIsNone(filemeta.content)
            self.assertFalse(self.store.exists(filemeta))
        self.assert_stored(self.key(), b"x" * 300_000)

    def test_writer_can_be_closed_twice(self) -> None:
        """Promise 1: closing a writer a second time does nothing."""
        filemeta = self.filemeta()
        with self.store.write_open(filemeta) as writer:
            writer.write(b"data")
            writer.close()
        writer.close()
        self.assertEqual(self.scanned(), {self.key()})
        self.assert_stored(self.key(), b"data")

    def test_closed_writer_rejects_writes(self) -> None:
        """Promise 1: writing to a closed writer raises ValueError and changes nothing."""
        filemeta = self.stored(b"data")
        writer = self.store.write_open(filemeta)
        writer.close()
        self.assertTrue(writer.closed)
        with self.assert_unchanged(), self.assertRaises(ValueError):
            writer.write(b"more")

    @on_disk
    def test_writer_dropped_in_a_forked_child(self) -> None:
        """Promise 1: a forked child that drops its copy of a writer changes nothing."""
        filemeta = self.filemeta()
        writers = [self.store.write_open(filemeta)]
        writers[0].write(b"written before the fork, ")

        def drop() -> bool:
            warnings.simplefilter("ignore", ResourceWarning)
            writers.clear()
            gc.collect()
            return True

        self.assertEqual(in_processes(drop), [True])
        with writers.pop() as writer:
            writer.write(b"and after it")
        self.assert_stored(self.key(), b"written before the fork, and after it")

    @unittest.skipUnless(hasattr(os, "fork"), "this system has no fork()")
    def test_writer_in_a_forked_child(self) -> None:
        """Promise 1: write() and close() raise in a forked child; the parent's bytes are kept."""
        filemeta = self.filemeta()
        used = abandoned_writers.used_in_a_child(lambda: self.store.write_open(filemeta))
        self.assertEqual(used, [])
        self.assertEqual(self.scanned(), {self.key()})
        self.assert_stored(self.key(), b"before, and after")

    def test_writer_has_size_and_sha256(self) -> None:
        """Promise 1: a writer has the size and SHA-256 of the bytes written so far."""
        with self.store.write_open(self.filemeta()) as writer:
            for written in (b"", b"a", b"ab"):
                self.assertEqual(writer.size, len(written))
                self.assertEqual(writer.sha256, hashlib.sha256(written).hexdigest())
                writer.write(b"ab"[len(written) : len(written) + 1])

    def test_writer_accepts_bytes_and_text(self) -> None:
        """Promise 1: a writer accepts bytes, bytearray, memoryview, and text as UTF-8."""
        filemeta = self.filemeta()
        pieces: list[Any] = [b"by", bytearray(b"te"), memoryview(b"--"), "blå"]
        with self.store.write_open(filemeta) as writer:
            writer.writelines(pieces)
        self.assert_stored(self.key(), b"byte--" + "blå".encode())
        self.assertEqual(filemeta.size, 10)

    def test_writer_can_seek(self) -> None:
        """Promise 1: a writer can go back, as image formats do, and records the final bytes."""
        filemeta = self.filemeta()
        self.save("image.tif", b"old")
        for name, open_writer in (
            ("image.tif", lambda: self.store.open("image.tif", "wb")),
            (self.key(), lambda: self.store.write_open(filemeta)),
        ):
            with open_writer() as writer:
                writer.write(b"????" + b"x" * 300_000)
                self.assertEqual(writer.tell(), 300_004)
                writer.seek(0)
                writer.write(b"head")
                writer.seek(0, os.SEEK_END)
                writer.write(b"tail")
            self.assert_stored(name, b"head" + b"x" * 300_000 + b"tail")
        self.assertEqual(filemeta.size, 300_008)
        self.assertEqual(filemeta.sha256, hashlib.sha256(self.read(self.key())).hexdigest())

    def test_zip_can_be_written(self) -> None:
        """Promise 1: an archive of nine megabytes can be written through a writer."""
        member = os.urandom(900_000)
        self.save("a.zip", b"")
        filemeta = self.filemeta()
        for open_writer in (
            lambda: self.store.open("a.zip", "wb"),
            lambda: self.store.write_open(filemeta),
        ):
            with open_writer() as writer, zipfile.ZipFile(writer, "w") as archive:
                for number in range(10):
                    archive.writestr(f"{number}.bin", member)
            name = str(filemeta.content or "a.zip")
            with zipfile.ZipFile(io.BytesIO(self.read(name))) as archive:
                self.assertIsNone(archive.testzip())
                self.assertEqual(archive.read("9.bin"), member)
