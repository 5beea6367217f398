"""Promise 1 of saves: a name shows all of its bytes or does not exist."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Callable
from typing import Any

from django.core.files import File

from .._support.case import needs, on_disk
from .._support.disk import DiskCase, in_processes
from .._support.sources import Script, SourceBroke, breaks, scripted


class WholeOrAbsentCases(DiskCase):
    """Saves that fail, and saves in progress."""

    def assert_leaves_nothing(
        self, content: Any, error: type[BaseException] = SourceBroke
    ) -> BaseException:
        with self.assertRaises(error) as caught:
            self.store.save("folder/torn.bin", content)
        self.assert_absent("folder/torn.bin")
        self.assertEqual(self.scanned(), set())
        exception: BaseException = caught.exception
        return exception

    @needs("whole_or_absent")
    def test_raising_source_leaves_nothing(self) -> None:
        """Promise 1: content that raises halfway leaves nothing under the name."""
        self.assert_leaves_nothing(scripted(b"part", breaks))

    @needs("whole_or_absent")
    def test_source_that_raises_at_once_leaves_nothing(self) -> None:
        """Promise 1: content that raises before its first byte leaves no empty file."""
        self.assert_leaves_nothing(scripted(breaks))

    @needs("whole_or_absent")
    def test_plain_reader_that_raises_leaves_nothing(self) -> None:
        """Promise 1: a plain file object whose read() raises leaves nothing under the name."""
        self.assert_leaves_nothing(Script(b"part", breaks))

    @needs("whole_or_absent")
    def test_keyboard_interrupt_leaves_nothing(self) -> None:
        """Promise 1: Ctrl-C during a save leaves nothing under the name."""

        def interrupt() -> None:
            raise KeyboardInterrupt

        self.assert_leaves_nothing(scripted(b"part", interrupt), KeyboardInterrupt)

    @needs("whole_or_absent")
    def test_source_of_numbers_leaves_nothing(self) -> None:
        """Promise 1: content that yields something other than bytes or text leaves nothing."""

        class Numbers(File):  # type: ignore[type-arg]  # not generic at run time
            def chunks(self, chunk_size: int | None = None) -> Any:
                yield b"part"
                yield 17

        self.assert_leaves_nothing(Numbers(io.BytesIO(), "numbers"), TypeError)

    @needs("whole_or_absent")
    def test_vanished_temporary_upload_leaves_nothing(self) -> None:
        """Promise 1: an upload whose temporary file has vanished leaves nothing under the name."""

        class Vanished(File):  # type: ignore[type-arg]  # not generic at run time
            def temporary_file_path(self) -> str:
                return "/nonexistent/upload"

            def chunks(self, chunk_size: int | None = None) -> Any:
                yield b"part"
                raise FileNotFoundError("the upload vanished")

        self.assert_leaves_nothing(Vanished(io.BytesIO(), "upload"), FileNotFoundError)

    def test_error_of_the_source_reaches_the_caller(self) -> None:
        """Promise 1: the caller gets the exception that the content raised."""
        error = SourceBroke("the source's own")

        def broken() -> None:
            raise error

        with self.assertRaises(SourceBroke) as caught:
            self.store.save("torn.bin", scripted(b"part", broken))
        self.assertIs(caught.exception, error)

    @needs("whole_or_absent")
    def test_file_exists_error_of_the_source_is_not_retried(self) -> None:
        """Promise 1: a FileExistsError of the content reaches the caller and is not retried."""
        error = FileExistsError("the source's own")
        reads = []

        def exists() -> None:
            reads.append(1)
            self.assertLess(len(reads), 10, "save() retries without end")
            raise error

        for size in (0, 100):
            with self.assert_unchanged(), self.assertRaises(FileExistsError) as raised:
                self.store.save("a.bin", scripted(b"x" * size, exists))
            self.assertIs(raised.exception, error)
        self.assertEqual(len(reads), 2)

    def test_callers_file_stays_open_after_an_error(self) -> None:
        """Promise 1: a failed save leaves the caller's file open."""
        source = scripted(b"part", breaks)
        with self.assertRaises(SourceBroke):
            self.store.save("torn.bin", source)
        self.assertFalse(source.closed)

    @needs("whole_or_absent")
    def test_failed_save_can_be_repeated(self) -> None:
        """Promise 1: after a failed save the next save gets the same name."""
        with self.assertRaises(SourceBroke):
            self.store.save("folder/again.bin", scripted(b"part", breaks))
        name = self.save("folder/again.bin", b"whole")
        self.assertEqual(name, "folder/again.bin")
        self.assert_stored(name, b"whole")

    @needs("whole_or_absent")
    def test_file_is_invisible_during_its_save(self) -> None:
        """Promise 1: during a save no method shows the file."""
        name = "folder/growing.bin"

        def check() -> None:
            self.assert_absent(name)

        self.store.save(name, scripted(b"x" * 100_000, check, b"y" * 100_000, check))
        self.assert_stored(name, b"x" * 100_000 + b"y" * 100_000)

    @needs("whole_or_absent")
    def test_temporary_files_are_invisible(self) -> None:
        """Promise 1: scans and listings show no temporary file, during a save or after it."""
        seen: list[object] = []

        def check() -> None:
            seen.extend(self.scanned())
            seen.extend(self.store.listdir("")[1])

        self.store.save("folder/name.bin", scripted(b"x" * 100_000, check, b"y"))
        self.assertEqual(seen, [])
        self.assertEqual(self.scanned(), {"folder/name.bin"})
        self.assertEqual(self.store.listdir(""), (["folder"], []))

    @needs("whole_or_absent")
    def test_old_bytes_are_readable_during_a_rewrite(self) -> None:
        """Promise 1: while an ordinary name is rewritten, readers get all of the old bytes."""
        name = self.save("notes.txt", b"old" * 50_000)
        writer = self.store.open(name, "wb")
        writer.write(b"new" * 60_000)
        try:
            self.assert_stored(name, b"old" * 50_000)
        finally:
            writer.close()
        self.assert_stored(name, b"new" * 60_000)

    @needs("whole_or_absent")
    def test_failed_copy_leaves_nothing(self) -> None:
        """Promise 1: copy() of a missing file records and stores nothing."""
        source, target = self.stored(b"hello"), self.filemeta(2, 2)
        assert source.content is not None
        self.store.delete(source.content)
        with self.assertRaises(FileNotFoundError):
            self.store.copy(source, target)
        self.assertIsNone(target.content)
        self.assertEqual(self.scanned(), set())

    @on_disk
    @needs("whole_or_absent")
    def test_full_disk_leaves_nothing(self) -> None:
        """Promise 1: a full disk raises an error and leaves nothing under the name."""
        import resource  # not on Windows

        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        content = scripted(*[b"x" * 65_536] * 8)
        # Python ignores SIGXFSZ, so write() raises OSError, as it does on a full disk.
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
        try:
            with self.assertRaises(OSError):
                self.store.save("folder/torn.bin", content)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        self.assert_absent("folder/torn.bin")
        self.assertEqual(self.save("folder/torn.bin", b"whole"), "folder/torn.bin")

    @on_disk
    @needs("whole_or_absent")
    def test_killed_writer_leaves_nothing(self) -> None:
        """Promise 1: a process that is killed during a save leaves nothing under the name."""
        self.assert_killed_process_leaves_nothing(
            lambda die: self.store.save("folder/torn.bin", scripted(b"x" * 100_000, die, b"y"))
        )

    @on_disk
    @needs("whole_or_absent")
    def test_killed_rewrite_leaves_the_old_bytes(self) -> None:
        """Promise 1: a process that is killed before close() of a writer leaves the old bytes."""
        self.save("notes.txt", b"old bytes")

        def rewrite(die: Callable[[], None]) -> None:
            writer = self.store.open("notes.txt", "wb")
            writer.write(b"new")
            writer.flush()
            die()

        with self.assert_unchanged():
            self.assert_killed_process_leaves_nothing(rewrite)

    def assert_killed_process_leaves_nothing(
        self, work: Callable[[Callable[[], None]], object]
    ) -> None:
        """Call ``work(die)`` in a forked process, which ``die()`` kills."""

        def killed() -> None:
            work(lambda: os.kill(os.getpid(), signal.SIGKILL))

        self.assertEqual(in_processes(killed), [None], "the process was not killed")
        self.assertFalse(self.store.exists("folder/torn.bin"))
        self.assertNotIn("folder/torn.bin", self.scanned())
