"""The base class of all cases of the conformance suite."""

from __future__ import annotations

import shutil
import tempfile
import unittest
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from django.core.files.base import ContentFile
from django.core.files.uploadedfile import TemporaryUploadedFile
from django.test import override_settings

from ...storages import DeliveryStoreMixin
from ...storages.protocols import FLAGS
from ..filemeta import PlainFileMeta

if TYPE_CHECKING:
    from unittest import TestCase as _Base
else:
    # A mixin at run time, so that pytest collects nothing from a module that imports it.
    _Base = object

_Test = TypeVar("_Test", bound=Callable[..., None])

#: The beginning of the skip reason of a case that the machine, not the store, cannot run.
NOT_POSSIBLE_HERE = "not possible here: "


def needs(*flags: str) -> Callable[[_Test], _Test]:
    """Skip the decorated case for stores that declare one of these flags as False."""
    assert set(flags) <= set(FLAGS), flags

    def mark(test: _Test) -> _Test:
        test.needs = flags  # type: ignore[attr-defined]
        return test

    return mark


def on_disk(test: _Test) -> _Test:
    """Mark a case that needs the store's folder on disk; see ``disk_root()``."""
    test.on_disk = True  # type: ignore[attr-defined]
    return test


class DeliveryStoreCase(_Base):
    """The store under test, a temporary folder, and helpers for cases."""

    store: DeliveryStoreMixin
    #: A temporary folder for the test, removed afterwards.
    tmp_path: Path
    #: The folder of the store's files; set for cases marked ``on_disk``.
    disk: Path
    #: Seconds after which a call is considered to hang.
    patience = 20.0

    #: Read by pytest; a subclass that is a TestCase is collected.
    __test__ = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__test__" not in vars(cls):
            cls.__test__ = issubclass(cls, unittest.TestCase)

    # -- Methods to override --

    def make_store(self) -> DeliveryStoreMixin:
        """Return an empty store to test; called once for each case."""
        return self.get_storageobj()

    def get_storageobj(self) -> DeliveryStoreMixin:
        """Return an empty store to test; Devilry's name of ``make_store()``."""
        raise NotImplementedError(
            f"{type(self).__name__} has no store to test: define make_store(self)."
        )

    def disk_root(self) -> Path | None:
        """Return the folder in which the store keeps its files under their names, or None.

        The default implementation saves a file and looks for it at ``store.path()``.
        """
        name = self.store.save("probe/of/the/folder.txt", ContentFile(b"probe"))
        try:
            path = Path(self.store.path(name))
            found = path.is_file() and path.read_bytes() == b"probe"
        except NotImplementedError:
            found = False
        finally:
            self.store.delete(name)
        if not found:
            return None
        root = path.parents[name.count("/")]
        for folder in ("probe/of/the", "probe/of", "probe"):
            if (root / folder).is_dir():
                (root / folder).rmdir()
        return root

    # -- unittest --

    def setUp(self) -> None:
        super().setUp()
        self.tmp_path = Path(tempfile.mkdtemp(prefix="delivery-store-"))
        self.addCleanup(shutil.rmtree, self.tmp_path)
        self.store = self.make_store()
        test = getattr(self, self._testMethodName)
        for flag in getattr(test, "needs", ()):
            if getattr(self.store, flag) is False:
                self.skipTest(f"{type(self.store).__name__} declares {flag} = False")
        if getattr(test, "on_disk", False):
            root = self.disk_root()
            if root is None:
                self.skipTest(f"{type(self.store).__name__} has no files at path()")
            self.disk = root

    # -- Helpers --

    def key(self, delivery_id: int = 1, filemeta_id: int = 1) -> str:
        return self.store.layout.key(delivery_id, filemeta_id)

    def filemeta(self, delivery_id: int | None = 1, filemeta_id: int | None = 1) -> PlainFileMeta:
        return PlainFileMeta(self.store, delivery_id, filemeta_id)

    def stored(self, data: bytes, delivery_id: int = 1, filemeta_id: int = 1) -> PlainFileMeta:
        """Store bytes with ``write_open()`` and return their FileMeta."""
        filemeta = self.filemeta(delivery_id, filemeta_id)
        with self.store.write_open(filemeta) as writer:
            writer.write(data)
        return filemeta

    def save(self, name: str, data: bytes = b"data") -> str:
        return self.store.save(name, ContentFile(data))

    def temporary_upload(self, data: bytes) -> TemporaryUploadedFile:
        """Return an upload in a temporary file, with unflushed bytes; it is closed after the test.

        Its file is in ``tmp_path``: Django's own storages move a file of the same file system.
        """
        with override_settings(FILE_UPLOAD_TEMP_DIR=str(self.tmp_path)):
            upload = TemporaryUploadedFile("upload.bin", "text/plain", len(data), None)
        self.addCleanup(upload.close)
        upload.write(data)
        return upload

    def read(self, name: str) -> bytes:
        with self.store.open(name) as file:
            data: bytes = file.read()
        return data

    def scanned(self, prefix: str = "") -> set[str]:
        """Return the names that ``scan()`` yields; fail if it yields a name twice."""
        names = [entry.name for entry in self.store.scan(prefix)]
        self.assertEqual(len(names), len(set(names)), "scan() yields a name twice")
        return set(names)

    def assert_absent(self, name: str) -> None:
        """Assert that no method finds a file of this name."""
        self.assertFalse(self.store.exists(name), f"{name!r} exists")
        with self.assertRaises(FileNotFoundError):
            self.store.open(name).close()
        with self.assertRaises(FileNotFoundError):
            self.store.size(name)
        folder, _, leaf = name.rpartition("/")
        self.assertNotIn(leaf, self.store.listdir(folder)[1])
        self.assertNotIn(name, self.scanned())

    def assert_stored(self, name: str, data: bytes) -> None:
        """Assert that the file exists and has exactly these bytes."""
        self.assertTrue(self.store.exists(name), f"{name!r} does not exist")
        # assertEqual() would show a diff of megabytes.
        found = self.read(name)
        if found != data:
            self.fail(
                f"{name!r} has {len(found)} bytes {found[:20]!r}…, not {len(data)} {data[:20]!r}…"
            )
        self.assertEqual(self.store.size(name), len(data))

    @contextmanager
    def assert_unchanged(self) -> Iterator[None]:
        """Assert that the block changes neither names nor bytes in the store."""
        before = {name: self.read(name) for name in self.scanned()}
        yield
        self.assertEqual({name: self.read(name) for name in self.scanned()}, before)
