"""Uploads as Django hands them over: in memory, or in a temporary file that tempts to be moved."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.core.files.uploadedfile import InMemoryUploadedFile
from django.test import override_settings

from .._support.case import needs, on_disk
from .._support.disk import DiskCase


class UploadCases(DiskCase):
    """Uploads as content."""

    def test_upload_in_memory_is_stored(self) -> None:
        """Django: an upload that was small enough to stay in memory is stored."""
        upload = InMemoryUploadedFile(io.BytesIO(b"data"), None, "a.bin", None, 4, None)
        self.assert_holds(self.store.save("a.bin", upload), b"data")

    def test_temporary_upload_is_stored(self) -> None:
        """Django: an upload in a temporary file is stored."""
        upload = self.temporary_upload(b"data" * 100_000)
        upload.flush()
        self.assert_holds(self.store.save("a.bin", upload), b"data" * 100_000)

    def test_temporary_upload_stays_open(self) -> None:
        """Promise 1: after its save a temporary upload is still open and readable."""
        upload = self.temporary_upload(b"data")
        upload.flush()
        self.store.save("a.bin", upload)
        self.assertFalse(upload.closed)
        upload.seek(0)
        self.assertEqual(upload.read(), b"data")

    @needs("whole_or_absent")
    def test_temporary_upload_can_be_saved_twice(self) -> None:
        """Promise 1: a temporary upload can be saved again, as after a failed transaction."""
        upload = self.temporary_upload(b"data")
        upload.flush()
        self.assert_holds(self.store.save("a.bin", upload), b"data")
        self.assert_holds(self.store.save("b.bin", upload), b"data")

    @needs("whole_or_absent")
    def test_unflushed_upload_is_stored_whole(self) -> None:
        """Promise 1: bytes that a temporary upload has not flushed yet are stored, too."""
        self.assert_holds(self.store.save("a.bin", self.temporary_upload(b"data")), b"data")

    @needs("whole_or_absent")
    def test_stored_upload_is_cut_off_from_its_handle(self) -> None:
        """Promise 1: writing on to an upload after its save does not change what was stored."""
        upload = self.temporary_upload(b"data")
        upload.flush()
        name = self.store.save("a.bin", upload)
        upload.seek(0)
        upload.write(b"other bytes")
        upload.flush()
        self.assert_holds(name, b"data")

    @on_disk
    def test_mode_of_stored_files(self) -> None:
        """Django: every stored file has the mode of FILE_UPLOAD_PERMISSIONS, uploads included."""
        for mode in (0o644, 0o640):
            with override_settings(FILE_UPLOAD_PERMISSIONS=mode), umask(0o077):
                upload = self.temporary_upload(b"data")
                upload.flush()
                names = [self.save("memory.bin"), self.store.save("temporary.bin", upload)]
            for name in names:
                self.assert_mode(name, mode)

    @on_disk
    def test_mode_of_new_folders(self) -> None:
        """Django: new folders, intermediate ones too, have FILE_UPLOAD_DIRECTORY_PERMISSIONS."""
        with override_settings(FILE_UPLOAD_DIRECTORY_PERMISSIONS=0o750), umask(0o077):
            self.save("a/b/c/file.bin")
        for name in ("a", "a/b", "a/b/c"):
            self.assert_mode(name, 0o750)

    def assert_mode(self, name: str, expected: int) -> None:
        if not hasattr(self.store, "file_permissions_mode"):
            self.skipTest(f"{type(self.store).__name__} does not take Django's modes")
        mode = Path(self.disk, name).stat().st_mode & 0o7777
        self.assertEqual(oct(mode), oct(expected), name)


@contextmanager
def umask(mask: int) -> Iterator[None]:
    """Set the process's umask for a while."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)
