"""Promise 6: no operation keeps a whole large file in memory."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

from django.core.files.storage import InMemoryStorage

from .._support.case import DeliveryStoreCase, needs
from .._support.sources import endless

MIB = 1024 * 1024


class BoundedMemoryCases(DeliveryStoreCase):
    """Peak memory while a large file is stored, read or copied."""

    @property
    def bound(self) -> int:
        """How many bytes of memory an operation may use."""
        return 16 * MIB + self.store.transfer_memory

    @property
    def large(self) -> int:
        """The size of a large file."""
        return 2 * self.bound

    @contextmanager
    def assert_little_memory(self) -> Iterator[None]:
        """Assert that the block's peak of memory is far below the size of a large file."""
        self.store.exists("nothing")  # A client made at the first use is not counted.
        gc.collect()
        tracemalloc.start()
        try:
            yield
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        self.assertLess(peak, self.bound, f"bytes of memory for a file of {self.large}")

    def skip_if_in_memory(self) -> None:
        if isinstance(self.store, InMemoryStorage):
            self.skipTest(f"{type(self.store).__name__} keeps its files in memory")

    @needs("bounded_memory")
    def test_large_file_is_saved_with_little_memory(self) -> None:
        """Promise 6: save() keeps only a part of a large file in memory."""
        self.skip_if_in_memory()
        with self.assert_little_memory():
            name = self.store.save("large.bin", endless(self.large))
        self.assertEqual(self.store.size(name), self.large)

    @needs("bounded_memory")
    def test_large_file_is_written_with_little_memory(self) -> None:
        """Promise 6: write_open() keeps only a part of a large file in memory."""
        self.skip_if_in_memory()
        filemeta = self.filemeta()
        with self.assert_little_memory(), self.store.write_open(filemeta) as writer:
            for chunk in endless(self.large).chunks():
                writer.write(chunk)
        self.assertEqual(filemeta.size, self.large)

    @needs("bounded_memory")
    def test_large_file_is_streamed_with_little_memory(self) -> None:
        """Promise 6: stream() keeps only a part of a large file in memory."""
        name = self.store.save("large.bin", endless(self.large))
        with self.assert_little_memory():
            self.assertEqual(sum(map(len, self.store.stream(name))), self.large)

    @needs("bounded_memory")
    def test_large_file_is_read_with_little_memory(self) -> None:
        """Promise 6: open() keeps only the bytes of one read() in memory."""
        name = self.store.save("large.bin", endless(self.large))
        with self.assert_little_memory(), self.store.open(name) as file:
            read = 0
            while chunk := file.read(64 * 1024):
                read += len(chunk)
        self.assertEqual(read, self.large)

    @needs("bounded_memory")
    def test_large_file_is_copied_with_little_memory(self) -> None:
        """Promise 6: copy() keeps only a part of a large file in memory."""
        self.skip_if_in_memory()
        source, target = self.filemeta(1, 1), self.filemeta(2, 2)
        source.content = self.store.save(self.key(1, 1), endless(self.large))
        with self.assert_little_memory():
            self.store.copy(source, target)
        self.assertEqual(target.size, self.large)

    @needs("bounded_memory")
    def test_range_is_streamed_with_little_memory(self) -> None:
        """Promise 6: stream() of a range does not read the bytes before it into memory."""
        name = self.store.save("large.bin", endless(self.large))
        with self.assert_little_memory():
            read = b"".join(self.store.stream(name, self.large - 10, self.large - 5))
        self.assertEqual(read, b"x" * 5)
