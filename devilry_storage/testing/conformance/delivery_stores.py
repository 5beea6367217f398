"""Cases for what delivery stores have beyond Django's contract."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from ...exceptions import ChecksumMismatch, WrongSize
from .._support.case import DeliveryStoreCase


class BeyondCases(DeliveryStoreCase):
    """Scan, stream, duplicate, delete_many and the time."""

    def test_scan_describes_every_file(self) -> None:
        """Interface: a scan shows each file's name, size and modified time."""
        sizes = {
            self.save(self.key(d, f), b"x" * (d + f)): d + f for d in (1, 1005) for f in (1, 2)
        }
        sizes[self.save("top.txt", b"")] = 0
        entries = list(self.store.scan())
        self.assertEqual({entry.name: entry.size for entry in entries}, sizes)
        for entry in entries:
            self.assertEqual(entry.modified, self.store.get_modified_time(entry.name))

    def test_scan_of_a_folder(self) -> None:
        """Interface: a scan of a folder shows what lies below it, by full names."""
        names = {self.save("a/b/1.txt"), self.save("a/b/c/2.txt")}
        self.save("a/3.txt")
        self.assertEqual(self.scanned("a/b"), names)

    def test_own_name_below_the_top_is_an_ordinary_one(self) -> None:
        """Interface: the name that a store keeps for itself at the top is any other below it."""
        name = self.save("a/.devilry-storage/x")
        self.assertEqual(self.store.listdir("a"), ([".devilry-storage"], []))
        self.assertEqual(self.store.listdir("a/.devilry-storage"), ([], ["x"]))
        self.assertEqual(self.scanned("a"), {name})

    def test_scan_is_lazy(self) -> None:
        """Interface: a scan is an iterator; its first entry comes before the rest is listed."""
        for number in range(5):
            self.save(f"{number}/file.txt")
        entries = self.store.scan()
        self.assertIsInstance(entries, Iterator)
        first = next(entries)
        self.store.delete(first.name)
        self.assertEqual(len({first.name, *(entry.name for entry in entries)}), 5)

    def test_stream_gives_all_bytes(self) -> None:
        """Interface: stream() yields the file in chunks of bytes."""
        data = bytes(range(256)) * 1000
        chunks = list(self.store.stream(self.save("a.bin", data)))
        self.assertEqual({type(chunk) for chunk in chunks}, {bytes})
        self.assertNotIn(b"", chunks)
        self.assertEqual(b"".join(chunks), data)

    def test_stream_of_a_range(self) -> None:
        """Interface: stream() yields the bytes from start to stop, stop exclusive."""
        data = bytes(range(256)) * 1000
        name = self.save("a.bin", data)
        end = len(data)
        for start, stop in (
            *((0, 1), (0, end), (1, 2), (255, 70_000), (end - 1, end), (7, None), (end - 1, None)),
            *((0, 0), (5, 5), (end, None), (end, end), (end + 5, None), (9, 3)),
            (end - 3, end + 100),
        ):
            found = b"".join(self.store.stream(name, start, stop))
            self.assertEqual(found, data[start:stop], f"{start} to {stop}")

    def test_stream_checks_its_arguments_at_once(self) -> None:
        """Interface: stream() raises ValueError for a negative position when it is called."""
        name = self.save("a.bin")
        for start, stop in ((-1, None), (0, -1), (-5, -1)):
            with self.assertRaises(ValueError):
                self.store.stream(name, start, stop)

    def test_stream_verifies_a_whole_file(self) -> None:
        """Interface: with the file's SHA-256, in whatever case, stream() yields all of it."""
        data = bytes(range(256)) * 1000
        sha256 = hashlib.sha256(data).hexdigest()
        name = self.save("a.bin", data)
        for digest in (sha256, sha256.upper()):
            self.assertEqual(b"".join(self.store.stream(name, sha256=digest)), data)
        nothing = hashlib.sha256(b"").hexdigest()
        self.assertEqual(list(self.store.stream(self.save("empty", b""), sha256=nothing)), [])

    def test_damaged_file_is_not_streamed_to_its_end(self) -> None:
        """Interface: where the SHA-256 disagrees stream() raises, and keeps back the end."""
        data = bytes(range(256)) * 1000
        received = bytearray()
        with self.assertRaises(ChecksumMismatch):
            for chunk in self.store.stream(self.save("a.bin", data), sha256="0" * 64):
                received += chunk
        self.assertLess(len(received), len(data))
        with self.assertRaises(ChecksumMismatch):
            list(self.store.stream(self.save("empty", b""), sha256="0" * 64))

    def test_range_cannot_be_verified(self) -> None:
        """Interface: stream() refuses a SHA-256, which is that of the whole file, with a range."""
        name = self.save("a.bin")
        for start, stop in ((1, None), (0, 4)):
            with self.assertRaises(ValueError):
                self.store.stream(name, start, stop, sha256="0" * 64)

    def test_delete_many(self) -> None:
        """Interface: delete_many() removes the named files, whatever iterable names them."""
        names = [self.save(self.key(1, number)) for number in range(5)]
        self.assertEqual(self.store.delete_many(iter(names[:4])), {})
        self.assertEqual(self.scanned(), {names[4]})

    def test_delete_many_of_missing_files(self) -> None:
        """Interface: for delete_many() a missing file is no failure."""
        name = self.save("there.txt")
        self.assertEqual(self.store.delete_many(["missing.txt", name, "a/b/missing.txt"]), {})
        self.assertEqual(self.scanned(), set())

    def test_delete_many_goes_on_after_a_failure(self) -> None:
        """Interface: delete_many() returns what failed, and how, and removes the rest."""
        names = [self.save("a.txt"), "../outside.txt", self.save("b.txt")]
        failures = self.store.delete_many(names)
        self.assertEqual(list(failures), ["../outside.txt"])
        self.assertIsInstance(failures["../outside.txt"], ValueError)
        self.assertEqual(self.scanned(), set())

    def test_delete_many_keeps_files_of_other_sizes(self) -> None:
        """Interface: delete_many() keeps and reports files of other sizes than those given."""
        names = [self.save(name, b"12345") for name in ("a.txt", "b.txt", "c.txt")]
        sizes = {"a.txt": 5, "b.txt": 4, "missing.txt": 3}
        failures = self.store.delete_many([*names, "missing.txt"], sizes=sizes)
        self.assertEqual(list(failures), ["b.txt"])
        self.assertIsInstance(failures["b.txt"], WrongSize)
        self.assertEqual(self.scanned(), {"b.txt"})

    def test_duplicate(self) -> None:
        """Interface: duplicate() stores a file under an alternative name of a key, too."""
        key = self.key(1, 1)
        name = self.save("a.txt", b"12345")
        other = self.store.duplicate(name, key, filename="a.txt", size=5)
        self.assertNotIn(other, {name, key})
        self.assertEqual(self.store.layout.parse(other), (1, 1))
        self.store.delete(name)
        self.assertEqual(self.read(other), b"12345")
        self.assertEqual(self.scanned(), {other})

    def test_duplicate_of_a_missing_file(self) -> None:
        """Interface: duplicate() of a missing file is a FileNotFoundError, and stores nothing."""
        with self.assertRaises(FileNotFoundError):
            self.store.duplicate("missing.txt", self.key(1, 1))
        self.assertEqual(self.scanned(), set())

    def test_current_time_is_that_of_new_files(self) -> None:
        """Interface: current_time() is by the clock that gives files their times."""
        name = self.save("a.txt")
        age = self.store.current_time() - self.store.get_modified_time(name)
        self.assertLess(abs(age.total_seconds()), 60)
