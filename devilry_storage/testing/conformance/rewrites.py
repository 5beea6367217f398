"""Promise 1 of ``open(name, "wb")``: an ordinary name is replaced by a clean close() alone."""

from __future__ import annotations

import os
import unittest
from collections.abc import Callable

from .._support.case import DeliveryStoreCase, needs
from .._support.sources import SourceBroke
from . import leaving_writers


class RewriteCases(DeliveryStoreCase):
    """``open(name, "wb")`` of an ordinary name."""

    def assert_leaves_old_bytes(self, leave: Callable[[leaving_writers.OpenWriter], None]) -> None:
        self.save("notes.txt", b"the old bytes, a bit longer")
        with self.assert_unchanged(), self.assertRaises(SourceBroke):
            leave(lambda: self.store.open("notes.txt", "wb"))

    @needs("whole_or_absent")
    def test_rewrite_left_by_with(self) -> None:
        """Promise 1: an exception inside "with open(name, 'wb')" leaves the old bytes."""
        self.assert_leaves_old_bytes(leaving_writers.by_with)

    @needs("whole_or_absent")
    def test_rewrite_left_by_closing(self) -> None:
        """Promise 1: an exception inside contextlib.closing() leaves the old bytes."""
        self.assert_leaves_old_bytes(leaving_writers.by_closing)

    @needs("whole_or_absent")
    def test_rewrite_left_by_try_finally(self) -> None:
        """Promise 1: an exception that passes a "finally: close()" leaves the old bytes."""
        self.assert_leaves_old_bytes(leaving_writers.by_try_finally)

    @needs("whole_or_absent")
    def test_rewrite_left_by_exit_stack(self) -> None:
        """Promise 1: an exception that unwinds an ExitStack leaves the old bytes."""
        self.assert_leaves_old_bytes(leaving_writers.by_exit_stack)

    @needs("whole_or_absent")
    def test_rewrite_left_by_half_a_zip(self) -> None:
        """Promise 1: half an archive leaves the old bytes, though ZipFile closes itself."""
        self.assert_leaves_old_bytes(leaving_writers.by_half_a_zip)

    @needs("whole_or_absent")
    def test_rewrite_left_by_dropping_a_generator(self) -> None:
        """Promise 1: a generator dropped in the middle of writing leaves the old bytes."""
        self.assert_leaves_old_bytes(leaving_writers.by_dropping_a_generator)

    @needs("whole_or_absent")
    def test_rewrite_never_closed(self) -> None:
        """Promise 1: a writer that is never closed leaves the old bytes."""
        self.assert_leaves_old_bytes(leaving_writers.by_never_closing)

    @needs("whole_or_absent")
    def test_rewrite_left_while_another_error_is_handled(self) -> None:
        """Promise 1: a writer opened in an except block and left by a new error is discarded."""
        self.assert_leaves_old_bytes(leaving_writers.after_another_error)

    @needs("whole_or_absent")
    def test_rewrite_closed_while_an_error_is_handled(self) -> None:
        """Promise 1: close() of open(name, "wb") in an except block discards and logs an error."""
        self.save("notes.txt", b"the old bytes, a bit longer")
        with self.assert_unchanged(), self.assertLogs("devilry_storage", "ERROR"):
            writer = leaving_writers.closed_for_another_error(
                lambda: self.store.open("notes.txt", "wb")
            )
        self.assertIs(writer.discarded, True)

    @needs("whole_or_absent")
    @unittest.skipUnless(hasattr(os, "fork"), "this system has no fork()")
    def test_rewrite_in_a_forked_child(self) -> None:
        """Promise 1: a forked child cannot use open(name, "wb"); the parent's bytes are kept."""
        self.save("notes.txt", b"the old bytes, a bit longer")
        used = leaving_writers.used_in_a_child(lambda: self.store.open("notes.txt", "wb"))
        self.assertEqual(used, [])
        self.assert_holds("notes.txt", b"before, and after")

    @needs("whole_or_absent")
    def test_rewrite_is_seen_on_close(self) -> None:
        """Promise 1: what open(name, "wb") writes is seen on close(), not before."""
        self.save("folder/other.txt")
        writer = self.store.open("folder/new.txt", "wb")
        writer.write(b"new bytes")
        writer.flush()
        try:
            self.assert_absent("folder/new.txt")
        finally:
            writer.close()
        self.assert_holds("folder/new.txt", b"new bytes")

    @needs("whole_or_absent")
    def test_new_name_in_a_new_folder(self) -> None:
        """Promise 1: open(name, "wb") makes the folders that the name needs, on close()."""
        with self.store.open("new/folder/file.txt", "wb") as writer:
            writer.write(b"new bytes")
            self.assertEqual(self.store.listdir(""), ([], []))
        self.assert_holds("new/folder/file.txt", b"new bytes")

    @needs("whole_or_absent")
    def test_new_name_left_by_with(self) -> None:
        """Promise 1: an exception inside "with open(name, 'wb')" of a new name leaves nothing."""
        self.save("folder/other.txt")
        with self.assertRaises(SourceBroke):
            leaving_writers.by_with(lambda: self.store.open("folder/new.txt", "wb"))
        self.assert_absent("folder/new.txt")

    @needs("whole_or_absent")
    def test_rewrite_of_nothing(self) -> None:
        """Promise 1: a writer that is closed without a write leaves an empty file."""
        self.save("notes.txt", b"the old bytes")
        with self.store.open("notes.txt", "wb"):
            pass
        self.assert_holds("notes.txt", b"")
