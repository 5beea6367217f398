"""What every case of the conformance suite stands on."""

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
    # A mixin at run time, so that importing it into a test module collects nothing.
    _Base = object

_Test = TypeVar("_Test", bound=Callable[..., None])

#: How the reason begins where the machine, not the store, keeps a case from being run.
NOT_POSSIBLE_HERE = "not possible here: "


def needs(*flags: str) -> Callable[[_Test], _Test]:
    """Name the flags without which a store cannot pass the case; one of them False skips it."""
    assert set(flags) <= set(FLAGS), flags

    def mark(test: _Test) -> _Test:
        test.needs = flags  # type: ignore[attr-defined]
        return test

    return mark


def on_disk(test: _Test) -> _Test:
    """Mark a case that has to reach the store's folder itself; see ``disk_root()``."""
    test.on_disk = True  # type: ignore[attr-defined]
    return test


class DeliveryStoreCase(_Base):
    """The store under test, a temporary folder, and the questions that cases ask."""

    store: DeliveryStoreMixin
    #: A temporary folder for the test, removed afterwards.
    tmp_path: Path
    #: Where the store's files lie; set for the cases marked ``on_disk``.
    disk: Path
    #: Seconds after which an operation is said to hang.
    patience = 20.0

    #: Read by pytest; a subclass that is a TestCase is collected.
    __test__ = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__test__" not in vars(cls):
            cls.__test__ = issubclass(cls, unittest.TestCase)

    # -- What a site overrides --

    def make_store(self) -> DeliveryStoreMixin:
        """Return the store to test, empty; called once for each case."""
        return self.get_storageobj()

    def get_storageobj(self) -> DeliveryStoreMixin:
        """The name that ``make_store()`` had in Devilry."""
        raise NotImplementedError(
            f"{type(self).__name__} does not say which store to test: define make_store(self)."
        )

    def disk_root(self) -> Path | None:
        """Return the folder on disk in which the store's files lie under their names, or None.

        By default found by saving a file and looking for it at ``store.path()``.
        """
        name = self.store.save("probe/of/the/place.txt", ContentFile(b"probe"))
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
                self.skipTest(f"{type(self.store).__name__} keeps no files at path()")
            self.disk = root

    # -- Vocabulary of the cases --

    def key(self, delivery_id: int = 1, filemeta_id: int = 1) -> str:
        return self.store.layout.key(delivery_id, filemeta_id)

    def filemeta(self, delivery_id: int | None = 1, filemeta_id: int | None = 1) -> PlainFileMeta:
        return PlainFileMeta(self.store, delivery_id, filemeta_id)

    def stored(self, data: bytes, delivery_id: int = 1, filemeta_id: int = 1) -> PlainFileMeta:
        """Return a FileMeta whose bytes are in the store."""
        filemeta = self.filemeta(delivery_id, filemeta_id)
        with self.store.write_open(filemeta) as writer:
            writer.write(data)
        return filemeta

    def save(self, name: str, data: bytes = b"data") -> str:
        return self.store.save(name, ContentFile(data))

    def temporary_upload(self, data: bytes) -> TemporaryUploadedFile:
        """Return an upload in a temporary file, its bytes not flushed; closed after the test.

        It lies on one file system with ``tmp_path``: there Django moves it into place.
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
        """Return the names that a scan shows; no name may be shown twice."""
        names = [entry.name for entry in self.store.scan(prefix)]
        self.assertEqual(len(names), len(set(names)), "the scan shows a name twice")
        return set(names)

    def assert_absent(self, name: str) -> None:
        """Nothing shows a file of this name, in part or in whole."""
        self.assertFalse(self.store.exists(name), f"{name!r} exists")
        with self.assertRaises(FileNotFoundError):
            self.store.open(name).close()
        with self.assertRaises(FileNotFoundError):
            self.store.size(name)
        folder, _, leaf = name.rpartition("/")
        self.assertNotIn(leaf, self.store.listdir(folder)[1])
        self.assertNotIn(name, self.scanned())

    def assert_holds(self, name: str, data: bytes) -> None:
        """The file is there with exactly these bytes, whoever is asked."""
        self.assertTrue(self.store.exists(name), f"{name!r} does not exist")
        # Compared by hand: a diff of megabytes helps nobody.
        found = self.read(name)
        if found != data:
            self.fail(
                f"{name!r} holds {len(found)} bytes {found[:20]!r}…, not {len(data)} "
                f"{data[:20]!r}…"
            )
        self.assertEqual(self.store.size(name), len(data))

    @contextmanager
    def assert_unchanged(self) -> Iterator[None]:
        """The store shows the same names with the same bytes afterwards."""
        before = {name: self.read(name) for name in self.scanned()}
        yield
        self.assertEqual({name: self.read(name) for name in self.scanned()}, before)
