"""Promise 4: hostile names are rejected."""

from __future__ import annotations

import io
from collections.abc import Callable

from django.core.exceptions import SuspiciousFileOperation
from django.core.files import File
from django.core.files.base import ContentFile

from .._support.case import DeliveryStoreCase
from ..filemeta import PlainFileMeta

HOSTILE_NAMES = (
    *("..", "../a", "../../etc/passwd", "a/..", "a/../..", "a/../b", "a/b/../../../c", "a/../a"),
    *("/", "/a", "/etc/passwd", "//a", "//server/share/a", "/../a"),
    *(".", "./a", "a/.", "a/./b", "a//b", "a/", "a//"),
    *("a\0", "a\0.txt", "\0", "a\nb", "a\rb", "a\tb", "\x1b[2J", "a\x7f", "a\x85b"),
    *("\ud800", "a/\udfff.txt"),
    *(".devilry-storage", ".devilry-storage/tmp/a", ".devilry-storage-2/a"),
)
# save() replaces backslashes by slashes, as Django does; other methods reject them.
HOSTILE_BACKSLASHES = ("..\\a", "a\\..\\..\\b", "\\a", "\\\\server\\share\\a", "a\\\\b", "a\\")


class ConfinementCases(DeliveryStoreCase):
    """Hostile names as arguments, in records and from overridden methods."""

    def assert_rejected(
        self, call: Callable[[str], object], *more: str, folders: bool = False
    ) -> None:
        """Assert that the call rejects every hostile name and changes nothing.

        Calls that take ``folders`` accept one slash at the end of a name.
        """
        self.save("a/b/c.txt", b"kept")
        with self.assert_unchanged():
            for name in {*HOSTILE_NAMES, *more} - ({"a/"} if folders else set()):
                with self.assertRaises(SuspiciousFileOperation, msg=ascii(name)):
                    call(name)

    def test_save_rejects_hostile_names(self) -> None:
        """Promise 4: save() rejects absolute names, '..', NUL and other hostile names."""
        self.assert_rejected(
            lambda name: self.store.save(name, ContentFile(b"x")), "", *HOSTILE_BACKSLASHES
        )

    def test_save_rejects_hostile_names_of_content(self) -> None:
        """Promise 4: save(None, content) rejects a hostile name of the content."""
        with self.assert_unchanged():
            for name in ("../a", "/etc/passwd", "a/../../b"):
                with self.assertRaises(SuspiciousFileOperation):
                    self.store.save(None, File(io.BytesIO(b"x"), name))

    def test_open_rejects_hostile_names(self) -> None:
        """Promise 4: open() rejects hostile names, for reading and for writing."""
        self.assert_rejected(lambda name: self.store.open(name).close(), "", *HOSTILE_BACKSLASHES)
        self.assert_rejected(lambda name: self.store.open(name, "wb"), "", *HOSTILE_BACKSLASHES)

    def test_stream_rejects_hostile_names(self) -> None:
        """Promise 4: stream() rejects hostile names when it is called."""
        self.assert_rejected(self.store.stream, "", *HOSTILE_BACKSLASHES)

    def test_exists_size_and_times_reject_hostile_names(self) -> None:
        """Promise 4: exists(), size() and get_modified_time() reject hostile names."""
        self.assert_rejected(self.store.exists, *HOSTILE_BACKSLASHES)
        for method in (self.store.size, self.store.get_modified_time):
            self.assert_rejected(method, "", *HOSTILE_BACKSLASHES)

    def test_delete_rejects_hostile_names(self) -> None:
        """Promise 4: delete() rejects hostile names, and the empty name (the whole store)."""
        self.assert_rejected(self.store.delete, "", *HOSTILE_BACKSLASHES)

    def test_delete_many_reports_hostile_names(self) -> None:
        """Promise 4: delete_many() reports every hostile name and deletes nothing for it."""
        self.save("a/b/c.txt")
        with self.assert_unchanged():
            failures = self.store.delete_many(["", *HOSTILE_NAMES, *HOSTILE_BACKSLASHES])
        self.assertEqual(set(failures), {"", *HOSTILE_NAMES, *HOSTILE_BACKSLASHES})
        for failure in failures.values():
            self.assertIsInstance(failure, SuspiciousFileOperation)

    def test_listings_reject_hostile_names(self) -> None:
        """Promise 4: listdir(), scan() and page() reject hostile folders; "" is the root."""
        for method in (
            self.store.listdir,
            self.store.page,
            lambda name: list(self.store.scan(name)),
        ):
            self.assert_rejected(method, *HOSTILE_BACKSLASHES, folders=True)
        self.assertEqual(self.store.listdir(""), (["a"], []))

    def test_path_and_url_reject_hostile_names(self) -> None:
        """Promise 4: path() and url() reject hostile names."""
        for method in (self.store.path, self.store.url):
            try:
                method("a.txt")
            except (NotImplementedError, ValueError):
                continue  # Both are optional.
            self.assert_rejected(method, *HOSTILE_BACKSLASHES, folders=True)

    def test_hostile_recorded_names_are_rejected(self) -> None:
        """Promise 4: a FileMeta with a hostile name cannot be read, copied or removed."""
        for name in HOSTILE_NAMES:
            filemeta = PlainFileMeta(self.store, 1, 1, name)
            for method in (
                self.store.read_open,
                self.store.exists,
                self.store.remove,
                lambda hostile: self.store.copy(hostile, self.filemeta(3, 3)),
            ):
                with self.assertRaises(SuspiciousFileOperation, msg=ascii(name)):
                    method(filemeta)

    def test_generate_filename_rejects_hostile_names(self) -> None:
        """Promise 4: generate_filename() rejects names that lead out of the store."""
        for name in ("../a.txt", "a/../../b.txt", "..\\a.txt", "/a/../../b.txt"):
            with self.assertRaises(SuspiciousFileOperation):
                self.store.generate_filename(name)

    def test_hostile_alternative_names_are_rejected(self) -> None:
        """Promise 4: a hostile name from get_alternative_name() is rejected (CVE-2024-39330)."""
        self.save("name.txt", b"first")
        hostile = iter(["../../outside.txt", "/outside.txt", "a/../../outside.txt", "a\0.txt"])
        self.store.get_alternative_name = (  # type: ignore[method-assign]
            lambda file_root, file_ext: next(hostile)
        )
        for _ in range(4):
            with self.assert_unchanged(), self.assertRaises(SuspiciousFileOperation):
                self.save("name.txt", b"second")

    def test_file_cannot_be_used_as_a_folder(self) -> None:
        """Promise 4: a name below a stored file is missing; saving there keeps the file."""
        self.save("file.txt", b"kept")
        with self.assertRaises(OSError):
            self.store.open("file.txt/below.txt").close()
        try:
            below = self.save("file.txt/below.txt", b"below")
        except (OSError, SuspiciousFileOperation):
            self.assertEqual(self.scanned(), {"file.txt"})
        else:
            # An object store has no folders.
            self.assert_stored(below, b"below")
        self.assert_stored("file.txt", b"kept")
