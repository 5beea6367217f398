"""The interface of Devilry's delivery stores: each method takes a FileMeta."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace
from typing import Any

from .._support.case import DeliveryStoreCase
from ..filemeta import PlainFileMeta


class ContractCases(DeliveryStoreCase):
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
