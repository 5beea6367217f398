"""The interface of delivery stores: methods that take a FileMeta, and additions to Storage."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from ...exceptions import ChecksumMismatch, WrongSize
from .._support.case import DeliveryStoreCase
from ..filemeta import PlainFileMeta


class FileMetaMethodCases(DeliveryStoreCase):
    """The five methods that take a FileMeta."""

    def test_life_cycle(self) -> None:
        """Interface: absent, written, there, removed, absent; what is absent raises."""
        filemeta = self.filemeta()
        self.assertFalse(self.store.exists(filemeta))
        with self.assertRaises(FileNotFoundError):
            self.store.read_open(filemeta)
        with self.store.write_open(filemeta) as writer:
            writer.write(b"hello")
        self.assertTrue(self.store.exists(filemeta))
        with self.store.read_open(filemeta) as file:
            self.assertEqual(file.read(), b"hello")
        self.store.remove(filemeta)
        self.assertFalse(self.store.exists(filemeta))
        with self.assertRaises(FileNotFoundError):
            self.store.remove(filemeta)

    def test_several_writes_read_back_as_one(self) -> None:
        """Interface: what was written in several pieces is read as one file."""
        filemeta = self.filemeta()
        writer = self.store.write_open(filemeta)
        for piece in (b"hello", b" ", b"", b"wor", b"ld"):
            writer.write(piece)
        writer.close()
        with self.store.read_open(filemeta) as file:
            self.assertEqual(file.read(), b"hello world")

    def test_copy(self) -> None:
        """Interface: a copy has the same bytes and a life of its own."""
        source, target = self.stored(b"hello"), self.filemeta(2, 2)
        self.store.copy(source, target)
        self.store.remove(source)
        with self.store.read_open(target) as file:
            self.assertEqual(file.read(), b"hello")

    def test_copy_onto_stored_content_replaces_it(self) -> None:
        """Interface: a copy onto a file that has content takes its place under a fresh name."""
        source, target = self.stored(b"new"), self.stored(b"old", 2, 2)
        replaced = target.content
        self.store.copy(source, target)
        self.assertNotEqual(target.content, replaced)
        with self.store.read_open(target) as file:
            self.assertEqual(file.read(), b"new")

    def test_copy_keeps_the_source(self) -> None:
        """Interface: copying changes neither the source's record nor its bytes."""
        source = self.stored(b"hello")
        before = (source.content, source.size, source.sha256)
        self.store.copy(source, self.filemeta(2, 2))
        self.assertEqual((source.content, source.size, source.sha256), before)
        with self.store.read_open(source) as file:
            self.assertEqual(file.read(), b"hello")

    def test_what_is_stored_is_recorded(self) -> None:
        """Interface: name, size and SHA-256 reach the FileMeta when the writer is closed."""
        data = bytes(range(256)) * 700
        filemeta = self.stored(data, 1005, 17)
        self.assertEqual(filemeta.content, self.key(1005, 17))
        self.assertEqual(filemeta.size, len(data))
        self.assertEqual(filemeta.sha256, hashlib.sha256(data).hexdigest())

    def test_what_is_copied_is_recorded(self) -> None:
        """Interface: name, size and SHA-256 of a copy reach its FileMeta."""
        target = self.filemeta(2, 3)
        self.store.copy(self.stored(b"hello"), target)
        self.assertEqual(target.content, self.key(2, 3))
        self.assertEqual(target.size, 5)
        self.assertEqual(target.sha256, hashlib.sha256(b"hello").hexdigest())

    def test_remove_takes_one_file_only(self) -> None:
        """Interface: removing a file leaves its neighbours in the delivery alone."""
        filemeta, neighbour = self.stored(b"hello", 1, 1), self.stored(b"stays", 1, 2)
        name = filemeta.content
        self.store.remove(filemeta)
        self.assertIsNone(filemeta.content)
        assert name is not None
        self.assert_absent(name)
        with self.store.read_open(neighbour) as file:
            self.assertEqual(file.read(), b"stays")

    def test_written_after_removal(self) -> None:
        """Interface: a file that was removed can be written again."""
        filemeta = self.stored(b"first")
        self.store.remove(filemeta)
        with self.store.write_open(filemeta) as writer:
            writer.write(b"second")
        with self.store.read_open(filemeta) as file:
            self.assertEqual(file.read(), b"second")

    def test_unsaved_filemeta_is_refused(self) -> None:
        """Interface: a FileMeta without ids is a ValueError, and nothing is stored."""
        source = self.stored(b"hello")
        with self.assert_unchanged():
            for ids in ((None, 1), (1, None), (None, None)):
                unsaved = self.filemeta(*ids)
                with self.assertRaises(ValueError):
                    self.store.write_open(unsaved)
                with self.assertRaises(ValueError):
                    self.store.copy(source, unsaved)

    def test_recorded_name_is_the_truth(self) -> None:
        """Interface: a file is read where its record says, not where a key would be computed."""
        name = self.save("0.001/0.0/imported file", b"imported")
        self.stored(b"at the computed key", 7, 7)
        filemeta = PlainFileMeta(self.store, 7, 7, name)
        self.assertTrue(self.store.exists(filemeta))
        with self.store.read_open(filemeta) as file:
            self.assertEqual(file.read(), b"imported")
        self.store.remove(filemeta)
        self.assert_absent(name)
        self.assertTrue(self.store.exists(self.key(7, 7)))

    def test_content_may_be_a_field_file(self) -> None:
        """Interface: content is a name or an object that has a name, as Django's FieldFile."""
        filemeta: Any = self.stored(b"hello")
        filemeta.content = SimpleNamespace(name=filemeta.content)
        self.assertTrue(self.store.exists(filemeta))
        with self.store.read_open(filemeta) as file:
            self.assertEqual(file.read(), b"hello")

    def test_failing_record_keeps_old_content(self) -> None:
        """Interface: an error from the record reaches the caller; its old bytes stay readable."""

        class Locked(PlainFileMeta):
            def record_stored(self, name: str, size: int, sha256: str) -> None:
                raise RuntimeError("the row is locked")

        old = self.stored(b"old")
        filemeta = Locked(self.store, 1, 1, old.content)
        writer = self.store.write_open(filemeta)
        writer.write(b"new")
        with self.assertRaises(RuntimeError):
            writer.close()
        with self.store.read_open(filemeta) as file:
            self.assertEqual(file.read(), b"old")


class StoreMethodCases(DeliveryStoreCase):
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
