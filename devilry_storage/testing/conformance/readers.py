"""Promise 5 of opened files: readers behave like Python files, whatever the backend."""

from __future__ import annotations

import io
import threading
import zipfile
from collections.abc import Callable
from typing import Any

from django.core.files import File
from django.core.files.base import ContentFile

from .._support.case import DeliveryStoreCase, needs
from .._support.rivals import in_threads

LINES = b"first\nsecond\r\nthird"


class ReaderCases(DeliveryStoreCase):
    """The readers of open() and read_open()."""

    def both(self, data: bytes) -> tuple[Callable[[], File[Any]], ...]:
        """Store the bytes twice, and return a function for each way to open them."""
        name, filemeta = self.save("reader.bin", data), self.stored(data)
        return (lambda: self.store.open(name), lambda: self.store.read_open(filemeta))

    def test_reader_seeks(self) -> None:
        """Promise 5: a reader can seek from the beginning, its position and the end."""
        for open_reader in self.both(b"0123456789"):
            with open_reader() as file:
                self.assertTrue(file.seekable())
                file.seek(4)
                self.assertEqual((file.tell(), file.read(2), file.tell()), (4, b"45", 6))
                file.seek(-3, io.SEEK_END)
                self.assertEqual(file.read(), b"789")
                file.seek(0)
                file.seek(2, io.SEEK_CUR)
                self.assertEqual(file.read(1), b"2")

    def test_reader_reads_in_pieces(self) -> None:
        """Promise 5: read(size) returns at most this number of bytes, and b"" at the end."""
        for open_reader in self.both(b"0123456789"):
            with open_reader() as file:
                pieces = [file.read(size) for size in (0, 3, 100, 100, -1)]
            self.assertEqual(pieces, [b"", b"012", b"3456789", b"", b""])

    def test_reader_past_the_end(self) -> None:
        """Promise 5: reading past the end returns b"" and is not an error."""
        for open_reader in self.both(b"0123456789"):
            with open_reader() as file:
                file.seek(50)
                self.assertEqual(file.read(), b"")
                file.seek(9)
                self.assertEqual(file.read(5), b"9")

    def test_reader_yields_lines(self) -> None:
        """Promise 5: a reader iterates over its lines and keeps their ends."""
        for open_reader in self.both(LINES):
            with open_reader() as file:
                self.assertEqual(list(file), LINES.splitlines(keepends=True))
            with open_reader() as file:
                self.assertEqual(file.readline(), b"first\n")

    def test_reader_is_a_django_file(self) -> None:
        """Promise 5: a reader is a Django File with a size and chunks."""
        data = b"x" * 200_000
        for open_reader in self.both(data):
            with open_reader() as file:
                self.assertIsInstance(file, File)
                self.assertEqual(file.size, len(data))
                self.assertTrue(file.multiple_chunks())
                self.assertEqual(b"".join(file.chunks()), data)
                self.assertEqual(
                    b"".join(file.chunks()), data, "chunks() starts at the beginning again"
                )

    def test_reader_closes(self) -> None:
        """Promise 5: leaving "with" closes the reader; the file can be opened again."""
        for open_reader in self.both(b"0123456789"):
            with open_reader() as file:
                self.assertFalse(file.closed)
            file.close()
            with open_reader() as again:
                self.assertEqual(again.read(), b"0123456789")

    def test_closed_reader_opens_again(self) -> None:
        """Promise 5: a closed reader can be opened again, as FieldFile.open() does."""
        for open_reader in self.both(b"0123456789"):
            file = open_reader()
            self.assertEqual(file.read(5), b"01234")
            file.close()
            with file.open("rb") as again:
                self.assertEqual(again.read(), b"0123456789")

    def test_open_reader_reopens_at_the_beginning(self) -> None:
        """Promise 5: open() of an open reader returns to the beginning."""
        for open_reader in self.both(b"0123456789"):
            with open_reader() as file:
                file.read()
                self.assertEqual(file.open("rb").read(), b"0123456789")

    def test_reader_can_be_saved(self) -> None:
        """Promise 5: a reader can be the content of another save."""
        for number, open_reader in enumerate(self.both(b"0123456789")):
            with open_reader() as file:
                self.assert_stored(self.store.save(f"copy{number}", file), b"0123456789")

    def test_zip_can_be_read(self) -> None:
        """Promise 5: an archive can be read through a reader."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for number in range(20):
                archive.writestr(f"{number}.txt", b"member %d" % number)
        for open_reader in self.both(buffer.getvalue()):
            with open_reader() as file, zipfile.ZipFile(file) as archive:
                self.assertIsNone(archive.testzip())
                self.assertEqual(archive.read("17.txt"), b"member 17")

    @needs("whole_or_absent")
    def test_eight_threads_read_one_file(self) -> None:
        """Promise 5: eight threads that stream one file all get the whole file."""
        data = bytes(range(256)) * 2000
        name = self.save("read.bin", data)
        all_opened = threading.Barrier(8)

        def read() -> bool:
            chunks = self.store.stream(name)
            first = next(chunks)
            all_opened.wait(30)
            return first + b"".join(chunks) == data

        self.assertEqual(in_threads([read] * 8), [True] * 8)

    def test_text_reader_of_a_missing_file(self) -> None:
        """Promise 5: opening a missing file as text raises FileNotFoundError."""
        self.store.save("there.txt", ContentFile(b"x"))
        with self.assertRaises(FileNotFoundError):
            self.store.open("missing.txt", "r")
