"""The contract of Django's Storage, for ordinary names and for uploads."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

from django.core.files import File
from django.core.files.base import ContentFile
from django.core.files.storage import Storage
from django.core.files.uploadedfile import InMemoryUploadedFile
from django.test import override_settings
from django.utils import timezone

from .._support.case import DeliveryStoreCase, needs, on_disk
from .._support.disk import DiskCase
from .._support.sources import chunked, only_once, piped, scripted


class DjangoContractCases(DeliveryStoreCase):
    """Saving, reading and naming, as Django and its users expect."""

    def test_saved_file_can_be_read(self) -> None:
        """Django: open() returns a saved file as a Django File."""
        name = self.store.save("avatars/me.png", ContentFile(b"image"))
        self.assertEqual(name, "avatars/me.png")
        with self.store.open(name) as file:
            self.assertIsInstance(file, File)
            self.assertEqual(file.read(), b"image")

    def test_opened_file_has_size_and_chunks(self) -> None:
        """Django: an opened File has a size and can be read in chunks."""
        data = b"0123456789" * 20_000
        with self.store.open(self.save("numbers.bin", data)) as file:
            self.assertEqual(file.size, len(data))
            self.assertEqual(b"".join(file.chunks(4096)), data)

    def test_name_of_content_is_used(self) -> None:
        """Django: save(None, content) uses the name of the content."""
        name = self.store.save(None, ContentFile(b"data", name="own/name.txt"))
        self.assertEqual(name, "own/name.txt")
        self.assert_stored(name, b"data")

    def test_plain_file_objects_can_be_saved(self) -> None:
        """Django: any object with read(), such as a BytesIO, can be saved."""
        self.assert_stored(self.store.save("plain.bin", io.BytesIO(b"plain")), b"plain")

    def test_content_is_read_from_its_beginning(self) -> None:
        """Django: content that was partly read is stored from its first byte."""
        source = File(io.BytesIO(b"from the beginning"), "source")
        source.read(9)
        self.assert_stored(self.store.save("rewound.txt", source), b"from the beginning")

    def test_pipe_can_be_saved(self) -> None:
        """Django: a pipe, which cannot seek, is stored completely."""
        with piped(b"through a pipe") as source:
            self.assert_stored(self.store.save("piped.txt", source), b"through a pipe")

    def test_content_is_read_once(self) -> None:
        """Django: content that can be read only once is stored, even if its name is taken."""
        for taken in (False, True):
            with self.subTest(taken=taken):
                name = self.store.save("once.bin", only_once(b"precious"))
                self.assertEqual(name != "once.bin", taken)
                self.assert_stored(name, b"precious")
        data = hashlib.sha256(b"seed").digest() * 300_000
        self.assert_stored(self.store.save("large.bin", only_once(data)), data)

    def test_many_small_chunks(self) -> None:
        """Django: content in a thousand chunks is stored in order."""
        data = bytes(range(256)) * 40
        name = self.store.save("pieces.bin", scripted(*chunked(data, 10)))
        self.assert_stored(name, data)

    def test_megabytes(self) -> None:
        """Django: a file of several megabytes is stored byte for byte."""
        data = hashlib.sha256(b"seed").digest() * 100_000 + b"odd"
        self.assert_stored(self.store.save("large.bin", ContentFile(data)), data)

    def test_empty_file(self) -> None:
        """Django: an empty file can be stored, read and listed."""
        name = self.save("empty.txt", b"")
        self.assert_stored(name, b"")
        self.assertEqual(list(self.store.stream(name)), [])
        self.assertEqual(self.scanned(), {name})

    def test_text_is_stored_as_utf8(self) -> None:
        """Django: text content is stored as UTF-8."""
        name = self.store.save("text.txt", ContentFile("blåbærsyltetøy 日本"))
        self.assertEqual(self.read(name), "blåbærsyltetøy 日本".encode())

    def test_text_modes_read_text(self) -> None:
        """Django: mode "r" reads an ordinary name as text, and a key as well."""
        data = "blåbær\n日本".encode()
        for name in (self.save("text.txt", data), str(self.stored(data).content)):
            for mode in ("r", "rt"):
                with self.store.open(name, mode) as file:
                    self.assertEqual(file.read(), "blåbær\n日本")

    def test_text_modes_write_text(self) -> None:
        """Django: mode "w" writes text to an ordinary name."""
        for mode in ("w", "wt"):
            self.save(f"{mode}.txt", b"old")
            with self.store.open(f"{mode}.txt", mode) as file:
                file.write("blåbær\n日本")
            self.assert_stored(f"{mode}.txt", "blåbær\n日本".encode())

    def test_backslashes_become_slashes(self) -> None:
        """Django: save() replaces backslashes in a name by slashes."""
        name = self.save("folder\\file.txt")
        self.assertEqual(name, "folder/file.txt")
        self.assert_stored(name, b"data")

    def test_deleted_file_is_gone(self) -> None:
        """Django: a deleted file is missing in every method, and its name is free again."""
        name = self.save("folder/file.txt", b"first")
        self.store.delete(name)
        self.assert_absent(name)
        self.assertEqual(self.save(name, b"second"), name)
        self.assert_stored(name, b"second")

    def test_callers_file_stays_open(self) -> None:
        """Django: save() leaves the caller's file open and readable."""
        source = File(io.BytesIO(b"data"), "source")
        self.store.save("a.txt", source)
        self.assertFalse(source.closed)
        source.seek(0)
        self.assertEqual(source.read(), b"data")

    def test_times_are_aware_under_use_tz(self) -> None:
        """Django: get_modified_time() is current, and aware exactly if USE_TZ is True."""
        with override_settings(USE_TZ=True):
            name = self.save("file.txt")
            modified = self.store.get_modified_time(name)
            self.assertTrue(timezone.is_aware(modified))
            self.assertLess(abs(timezone.now() - modified), timedelta(minutes=5))
        with override_settings(USE_TZ=False):
            name = self.save("naive.txt")
            self.assertTrue(timezone.is_naive(self.store.get_modified_time(name)))

    def test_generated_names_can_be_saved(self) -> None:
        """Django: a name from generate_filename() can be saved unchanged."""
        name = self.store.generate_filename("uploads/C&A (2). résumé.pdf")
        self.assertEqual(self.save(name), name)

    def test_names_may_be_paths(self) -> None:
        """Django: every method accepts a pathlib path as a name."""
        path = Path("folder/file.txt")
        self.assertEqual(self.store.save(path, ContentFile(b"data")), "folder/file.txt")  # type: ignore[arg-type]
        calls: dict[str, Callable[[Any], Any]] = {
            "exists": self.store.exists,
            "size": self.store.size,
            "get_modified_time": self.store.get_modified_time,
            "stream": lambda name: list(self.store.stream(name)),
            "listdir": lambda name: self.store.listdir(name.parent),
            "scan": lambda name: list(self.store.scan(name.parent)),
            "page": lambda name: self.store.page(name.parent),
        }
        for what, call in calls.items():
            self.assertTrue(call(path), what)
        with self.store.open(path) as file:  # type: ignore[arg-type]
            self.assertEqual(file.read(), b"data")
        for top in ("", Path("")):
            self.assertEqual(self.store.listdir(top), (["folder"], []))  # type: ignore[arg-type]
        self.store.delete(path)  # type: ignore[arg-type]
        self.assert_absent("folder/file.txt")

    def test_slash_may_follow_the_name_of_a_folder(self) -> None:
        """Django: listdir() accepts a slash after the name of a folder, also scan() and page()."""
        self.save("a/folder/file.txt")
        for folder in ("a/folder", "a/folder/"):
            self.assertEqual(self.store.listdir(folder), ([], ["file.txt"]))
            names = [
                entry.name for entry in (*self.store.scan(folder), *self.store.page(folder).files)
            ]
            self.assertEqual(names, ["a/folder/file.txt"] * 2)

    def test_names_of_other_types_are_rejected(self) -> None:
        """Django: a name that is neither text nor a path raises TypeError; None has no file."""
        wrong: list[Any] = [None, 7, b"name.txt", ["name.txt"]]
        for name in wrong:
            for method in (
                self.store.exists,
                self.store.open,
                self.store.size,
                self.store.listdir,
            ):
                with self.assertRaises(TypeError, msg=repr(name)):
                    method(name)

    def test_alternative_names_are_djangos(self) -> None:
        """Django: an alternative name keeps the extension that the installed Django keeps."""
        for name in ("b.tar.gz", "a.b/c", "a/.hidden", "v1.2 final.txt"):
            taken = self.save(name)
            seen: list[tuple[str, str]] = []
            with mock.patch.object(
                type(self.store),
                "get_alternative_name",
                lambda store, *parts, seen=seen: seen.append(parts) or f"free{len(seen)}",
            ):
                self.save(name)
                Storage.get_available_name(self.store, taken)
            self.assertEqual(seen[0], seen[1], name)

    def test_available_name_is_free(self) -> None:
        """Django: get_available_name() returns a free name of at most max_length characters."""
        taken = self.save("folder/name.txt")
        name = self.store.get_available_name(taken, max_length=30)
        self.assertNotEqual(name, taken)
        self.assertLessEqual(len(name), 30)
        self.assertFalse(self.store.exists(name))


class UploadCases(DiskCase):
    """Uploads as Django passes them: in memory or in a temporary file."""

    def test_upload_in_memory_is_stored(self) -> None:
        """Django: an upload in memory is stored."""
        upload = InMemoryUploadedFile(io.BytesIO(b"data"), None, "a.bin", None, 4, None)
        self.assert_stored(self.store.save("a.bin", upload), b"data")

    def test_temporary_upload_is_stored(self) -> None:
        """Django: an upload in a temporary file is stored."""
        upload = self.temporary_upload(b"data" * 100_000)
        upload.flush()
        self.assert_stored(self.store.save("a.bin", upload), b"data" * 100_000)

    def test_temporary_upload_stays_open(self) -> None:
        """Promise 1: save() leaves a temporary upload open and readable."""
        upload = self.temporary_upload(b"data")
        upload.flush()
        self.store.save("a.bin", upload)
        self.assertFalse(upload.closed)
        upload.seek(0)
        self.assertEqual(upload.read(), b"data")

    @needs("whole_or_absent")
    def test_temporary_upload_can_be_saved_twice(self) -> None:
        """Promise 1: a temporary upload can be saved again, for example after a rollback."""
        upload = self.temporary_upload(b"data")
        upload.flush()
        self.assert_stored(self.store.save("a.bin", upload), b"data")
        self.assert_stored(self.store.save("b.bin", upload), b"data")

    @needs("whole_or_absent")
    def test_unflushed_upload_is_stored_completely(self) -> None:
        """Promise 1: bytes that a temporary upload has not flushed yet are stored as well."""
        self.assert_stored(self.store.save("a.bin", self.temporary_upload(b"data")), b"data")

    @needs("whole_or_absent")
    def test_later_writes_to_an_upload_are_not_stored(self) -> None:
        """Promise 1: writing to an upload after its save does not change the stored file."""
        upload = self.temporary_upload(b"data")
        upload.flush()
        name = self.store.save("a.bin", upload)
        upload.seek(0)
        upload.write(b"other bytes")
        upload.flush()
        self.assert_stored(name, b"data")

    @on_disk
    def test_mode_of_stored_files(self) -> None:
        """Django: every stored file, uploads included, has the mode FILE_UPLOAD_PERMISSIONS."""
        for mode in (0o644, 0o640):
            with override_settings(FILE_UPLOAD_PERMISSIONS=mode), umask(0o077):
                upload = self.temporary_upload(b"data")
                upload.flush()
                names = [self.save("memory.bin"), self.store.save("temporary.bin", upload)]
            for name in names:
                self.assert_mode(name, mode)

    @on_disk
    def test_mode_of_new_folders(self) -> None:
        """Django: every new folder has the mode FILE_UPLOAD_DIRECTORY_PERMISSIONS."""
        with override_settings(FILE_UPLOAD_DIRECTORY_PERMISSIONS=0o750), umask(0o077):
            self.save("a/b/c/file.bin")
        for name in ("a", "a/b", "a/b/c"):
            self.assert_mode(name, 0o750)

    def assert_mode(self, name: str, expected: int) -> None:
        if not hasattr(self.store, "file_permissions_mode"):
            self.skipTest(f"{type(self.store).__name__} does not support Django's file modes")
        mode = Path(self.disk, name).stat().st_mode & 0o7777
        self.assertEqual(oct(mode), oct(expected), name)


@contextmanager
def umask(mask: int) -> Iterator[None]:
    """Set the process's umask inside the block."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)
