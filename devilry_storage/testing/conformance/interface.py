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
    """Devilry's five methods, which take a FileMeta."""

    def test_life_cycle(self) -> None:
        """Interface: a file can be written, read and removed; a missing file raises an error."""
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

    def test_several_writes_make_one_file(self) -> None:
        """Interface: several write() calls make one file."""
        filemeta = self.filemeta()
        writer = self.store.write_open(filemeta)
        for piece in (b"hello", b" ", b"", b"wor", b"ld"):
            writer.write(piece)
        writer.close()
        with self.store.read_open(filemeta) as file:
            self.assertEqual(file.read(), b"hello world")

    def test_copy(self) -> None:
        """Interface: a copy has the same bytes and is independent of its source."""
        source, target = self.stored(b"hello"), self.filemeta(2, 2)
        self.store.copy(source, target)
        self.store.remove(source)
        with self.store.read_open(target) as file:
            self.assertEqual(file.read(), b"hello")

    def test_copy_replaces_stored_content(self) -> None:
        """Interface: copy() to a FileMeta with content replaces it, under a new name."""
        source, target = self.stored(b"new"), self.stored(b"old", 2, 2)
        replaced = target.content
        self.store.copy(source, target)
        self.assertNotEqual(target.content, replaced)
        with self.store.read_open(target) as file:
            self.assertEqual(file.read(), b"new")

    def test_copy_keeps_the_source(self) -> None:
        """Interface: copy() changes neither the record nor the bytes of its source."""
        source = self.stored(b"hello")
        before = (source.content, source.size, source.sha256)
        self.store.copy(source, self.filemeta(2, 2))
        self.assertEqual((source.content, source.size, source.sha256), before)
        with self.store.read_open(source) as file:
            self.assertEqual(file.read(), b"hello")

    def test_stored_file_is_recorded(self) -> None:
        """Interface: close() of a writer records name, size and SHA-256 in the FileMeta."""
        data = bytes(range(256)) * 700
        filemeta = self.stored(data, 1005, 17)
        self.assertEqual(filemeta.content, self.key(1005, 17))
        self.assertEqual(filemeta.size, len(data))
        self.assertEqual(filemeta.sha256, hashlib.sha256(data).hexdigest())

    def test_copied_file_is_recorded(self) -> None:
        """Interface: copy() records name, size and SHA-256 in the target FileMeta."""
        target = self.filemeta(2, 3)
        self.store.copy(self.stored(b"hello"), target)
        # A store may give copies alternative names.
        self.assertEqual(self.store.layout.parse(str(target.content)), (2, 3))
        self.assertEqual(target.size, 5)
        self.assertEqual(target.sha256, hashlib.sha256(b"hello").hexdigest())

    def test_remove_deletes_one_file_only(self) -> None:
        """Interface: remove() leaves the other files of the delivery alone."""
        filemeta, neighbour = self.stored(b"hello", 1, 1), self.stored(b"kept", 1, 2)
        name = filemeta.content
        self.store.remove(filemeta)
        self.assertIsNone(filemeta.content)
        assert name is not None
        self.assert_absent(name)
        with self.store.read_open(neighbour) as file:
            self.assertEqual(file.read(), b"kept")

    def test_removed_file_can_be_written_again(self) -> None:
        """Interface: a removed file can be written again."""
        filemeta = self.stored(b"first")
        self.store.remove(filemeta)
        with self.store.write_open(filemeta) as writer:
            writer.write(b"second")
        with self.store.read_open(filemeta) as file:
            self.assertEqual(file.read(), b"second")

    def test_unsaved_filemeta_is_rejected(self) -> None:
        """Interface: a FileMeta without ids raises ValueError, and nothing is stored."""
        source = self.stored(b"hello")
        with self.assert_unchanged():
            for ids in ((None, 1), (1, None), (None, None)):
                unsaved = self.filemeta(*ids)
                with self.assertRaises(ValueError):
                    self.store.write_open(unsaved)
                with self.assertRaises(ValueError):
                    self.store.copy(source, unsaved)

    def test_file_is_found_by_its_recorded_name(self) -> None:
        """Interface: a file is read under its recorded name, not under a computed key."""
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
        """Interface: content may be a name or an object with a name, such as a FieldFile."""
        filemeta: Any = self.stored(b"hello")
        filemeta.content = SimpleNamespace(name=filemeta.content)
        self.assertTrue(self.store.exists(filemeta))
        with self.store.read_open(filemeta) as file:
            self.assertEqual(file.read(), b"hello")

    def test_failing_record_keeps_old_content(self) -> None:
        """Interface: an error of record_stored() reaches the caller; the old bytes are kept."""

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
    """scan(), stream(), duplicate(), delete_many() and current_time()."""

    def test_scan_describes_every_file(self) -> None:
        """Interface: scan() yields the name, size and modified time of every file."""
        sizes = {
            self.save(self.key(d, f), b"x" * (d + f)): d + f for d in (1, 1005) for f in (1, 2)
        }
        sizes[self.save("top.txt", b"")] = 0
        entries = list(self.store.scan())
        self.assertEqual({entry.name: entry.size for entry in entries}, sizes)
        for entry in entries:
            self.assertEqual(entry.modified, self.store.get_modified_time(entry.name))

    def test_scan_of_a_folder(self) -> None:
        """Interface: scan() of a folder yields all files below it, with their full names."""
        names = {self.save("a/b/1.txt"), self.save("a/b/c/2.txt")}
        self.save("a/3.txt")
        self.assertEqual(self.scanned("a/b"), names)

    def test_reserved_name_is_ordinary_in_a_folder(self) -> None:
        """Interface: the name that the store reserves at the top is ordinary in a folder."""
        name = self.save("a/.devilry-storage/x")
        self.assertEqual(self.store.listdir("a"), ([".devilry-storage"], []))
        self.assertEqual(self.store.listdir("a/.devilry-storage"), ([], ["x"]))
        self.assertEqual(self.scanned("a"), {name})

    def test_scan_is_lazy(self) -> None:
        """Interface: scan() returns an iterator and yields entries before it has listed all."""
        for number in range(5):
            self.save(f"{number}/file.txt")
        entries = self.store.scan()
        self.assertIsInstance(entries, Iterator)
        first = next(entries)
        self.store.delete(first.name)
        self.assertEqual(len({first.name, *(entry.name for entry in entries)}), 5)

    def test_stream_yields_all_bytes(self) -> None:
        """Interface: stream() yields the whole file in chunks of bytes."""
        data = bytes(range(256)) * 1000
        chunks = list(self.store.stream(self.save("a.bin", data)))
        self.assertEqual({type(chunk) for chunk in chunks}, {bytes})
        self.assertNotIn(b"", chunks)
        self.assertEqual(b"".join(chunks), data)

    def test_stream_of_a_range(self) -> None:
        """Interface: stream() yields the bytes from start up to, but not including, stop."""
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
        """Interface: stream(sha256=...) yields a matching file; upper and lower case are equal."""
        data = bytes(range(256)) * 1000
        sha256 = hashlib.sha256(data).hexdigest()
        name = self.save("a.bin", data)
        for digest in (sha256, sha256.upper()):
            self.assertEqual(b"".join(self.store.stream(name, sha256=digest)), data)
        nothing = hashlib.sha256(b"").hexdigest()
        self.assertEqual(list(self.store.stream(self.save("empty", b""), sha256=nothing)), [])

    def test_damaged_file_is_not_streamed_to_its_end(self) -> None:
        """Interface: if the SHA-256 differs, stream() raises before it yields the last bytes."""
        data = bytes(range(256)) * 1000
        received = bytearray()
        with self.assertRaises(ChecksumMismatch):
            for chunk in self.store.stream(self.save("a.bin", data), sha256="0" * 64):
                received += chunk
        self.assertLess(len(received), len(data))
        with self.assertRaises(ChecksumMismatch):
            list(self.store.stream(self.save("empty", b""), sha256="0" * 64))

    def test_stream_rejects_sha256_with_a_range(self) -> None:
        """Interface: stream() rejects a range together with the SHA-256 of the whole file."""
        name = self.save("a.bin")
        for start, stop in ((1, None), (0, 4)):
            with self.assertRaises(ValueError):
                self.store.stream(name, start, stop, sha256="0" * 64)

    def test_delete_many(self) -> None:
        """Interface: delete_many() deletes the named files; it accepts any iterable."""
        names = [self.save(self.key(1, number)) for number in range(5)]
        self.assertEqual(self.store.delete_many(iter(names[:4])), {})
        self.assertEqual(self.scanned(), {names[4]})

    def test_delete_many_of_missing_files(self) -> None:
        """Interface: delete_many() does not report missing files as failures."""
        name = self.save("there.txt")
        self.assertEqual(self.store.delete_many(["missing.txt", name, "a/b/missing.txt"]), {})
        self.assertEqual(self.scanned(), set())

    def test_delete_many_continues_after_a_failure(self) -> None:
        """Interface: delete_many() continues after a failure and returns the errors."""
        names = [self.save("a.txt"), "../outside.txt", self.save("b.txt")]
        failures = self.store.delete_many(names)
        self.assertEqual(list(failures), ["../outside.txt"])
        self.assertIsInstance(failures["../outside.txt"], ValueError)
        self.assertEqual(self.scanned(), set())

    def test_delete_many_keeps_files_of_other_sizes(self) -> None:
        """Interface: delete_many(sizes=...) keeps and reports files of another size."""
        names = [self.save(name, b"12345") for name in ("a.txt", "b.txt", "c.txt")]
        sizes = {"a.txt": 5, "b.txt": 4, "missing.txt": 3}
        failures = self.store.delete_many([*names, "missing.txt"], sizes=sizes)
        self.assertEqual(list(failures), ["b.txt"])
        self.assertIsInstance(failures["b.txt"], WrongSize)
        self.assertEqual(self.scanned(), {"b.txt"})

    def test_duplicate(self) -> None:
        """Interface: duplicate() stores a copy under an alternative name, even of a free key."""
        key = self.key(1, 1)
        name = self.save("a.txt", b"12345")
        other = self.store.duplicate(name, key, filename="a.txt", size=5)
        self.assertNotIn(other, {name, key})
        self.assertEqual(self.store.layout.parse(other), (1, 1))
        self.store.delete(name)
        self.assertEqual(self.read(other), b"12345")
        self.assertEqual(self.scanned(), {other})

    def test_duplicate_of_a_missing_file(self) -> None:
        """Interface: duplicate() of a missing file raises FileNotFoundError and stores nothing."""
        with self.assertRaises(FileNotFoundError):
            self.store.duplicate("missing.txt", self.key(1, 1))
        self.assertEqual(self.scanned(), set())

    def test_current_time_matches_new_files(self) -> None:
        """Interface: current_time() uses the clock that sets the modified times of files."""
        name = self.save("a.txt")
        age = self.store.current_time() - self.store.get_modified_time(name)
        self.assertLess(abs(age.total_seconds()), 60)
