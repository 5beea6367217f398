"""Promise 5: every store has the same results and errors."""

from __future__ import annotations

from collections.abc import Callable

from .._support.case import DeliveryStoreCase, needs
from ..filemeta import PlainFileMeta

UNUSUAL_NAMES = (
    *("with space.txt", " leading", "trailing ", "-rf", "--help", "~", "~/x", "$HOME", "%2e%2e"),
    *("a'b", 'a"b', "a;b", "a|b", "a&b", "a?b", "a#b", "a*b", "a:b", "<b>", "[x]", "{x}", "...x"),
    *(".hidden", "a..b", "x.", "blåbær.txt", "日本/語.txt", "🎓.pdf", "e\u0301", "nul", "con.txt"),
    *(
        "n" * 200,
        "CASE.txt",
        "case.txt",
        "a.tar.gz",
        "a,b",
        "a=b+c",
        "@",
        "100%",
        "`x`",
        "\u00a0x",
    ),
)


class SameBehaviourCases(DeliveryStoreCase):
    """Missing files, folders, listings and unusual names."""

    def missing_names(self) -> tuple[str, ...]:
        self.save("there/file.txt")
        return ("missing.txt", "there/missing.txt", "no/such/folder/file.txt", self.key(404, 1))

    def assert_missing(self, call: Callable[[str], object]) -> None:
        """Assert that a call with the name of a missing file raises FileNotFoundError."""
        for name in self.missing_names():
            with self.assertRaises(FileNotFoundError, msg=name):
                call(name)

    def test_open_of_a_missing_file(self) -> None:
        """Promise 5: open() of a missing file raises FileNotFoundError."""
        self.assert_missing(lambda name: self.store.open(name).close())

    def test_size_of_a_missing_file(self) -> None:
        """Promise 5: size() of a missing file raises FileNotFoundError."""
        self.assert_missing(self.store.size)

    def test_times_of_a_missing_file(self) -> None:
        """Promise 5: the times of a missing file raise FileNotFoundError."""
        self.assert_missing(self.store.get_modified_time)
        for method in (self.store.get_accessed_time, self.store.get_created_time):
            try:
                method(self.save("there.txt"))
            except NotImplementedError:
                continue  # An object store has only one time.
            self.assert_missing(method)

    def test_stream_of_a_missing_file(self) -> None:
        """Promise 5: stream() of a missing file raises FileNotFoundError at the first chunk."""
        for name in self.missing_names():
            chunks = self.store.stream(name)
            with self.assertRaises(FileNotFoundError):
                next(chunks)

    def test_delete_of_a_missing_file(self) -> None:
        """Promise 5: delete() of a missing file does nothing."""
        for name in self.missing_names():
            with self.assert_unchanged():
                self.store.delete(name)

    def test_exists_of_a_missing_file(self) -> None:
        """Promise 5: exists() of a missing file is False."""
        for name in self.missing_names():
            self.assertFalse(self.store.exists(name), name)

    def test_errors_have_the_filemeta(self) -> None:
        """Promise 5: errors of read_open(), remove() and copy() have the FileMeta."""
        never_stored, vanished = self.filemeta(1, 1), self.stored(b"vanishes", 2, 2)
        self.store.delete(str(vanished.content))
        for filemeta in (never_stored, vanished):
            for method in (
                self.store.read_open,
                self.store.remove,
                lambda missing: self.store.copy(missing, self.filemeta(3, 3)),
            ):
                with self.assertRaises(FileNotFoundError) as caught:
                    method(filemeta)
                self.assertIs(getattr(caught.exception, "filemeta", None), filemeta)

    def test_exists_of_a_filemeta(self) -> None:
        """Promise 5: exists(filemeta) is True if the FileMeta has content and its file exists."""
        filemeta = self.stored(b"hello")
        self.assertTrue(self.store.exists(filemeta))
        self.assertFalse(self.store.exists(PlainFileMeta(self.store, 1, 1)))
        self.store.delete(str(filemeta.content))
        self.assertFalse(self.store.exists(filemeta))

    def test_folder_cannot_be_used_as_a_file(self) -> None:
        """Promise 5: a folder does not exist as a file and cannot be opened."""
        self.save("a/folder/file.txt")
        for name in ("a", "a/folder"):
            self.assertFalse(self.store.exists(name), name)
            with self.assertRaises(OSError):
                self.store.open(name).close()

    def test_delete_keeps_folders(self) -> None:
        """Promise 5: delete() of a folder removes no file below it."""
        self.save("a/folder/file.txt")
        with self.assert_unchanged():
            for name in ("a", "a/folder"):
                try:
                    self.store.delete(name)
                except OSError:
                    continue

    def test_folder_is_not_overwritten(self) -> None:
        """Promise 5: saving or writing under the name of a folder harms no file below it."""
        name = self.save("a/folder/file.txt", b"kept")
        self.assert_stored(self.save("a/folder", b"saved"), b"saved")
        try:
            with self.store.open("a", "wb") as writer:
                writer.write(b"written")
        except OSError:
            self.assertFalse(self.store.exists("a"))
        self.assert_stored(name, b"kept")

    def test_name_too_long_for_the_store_is_missing(self) -> None:
        """Promise 5: a name that is too long for the backend is a missing file."""
        self.save("folder/file.txt")
        for name in (
            "n" * 300,
            "folder/" + "n" * 300,
            "n" * 300 + "/file",
            "/".join(["n"] * 3000),
        ):
            self.assertFalse(self.store.exists(name))
            with self.assertRaises(OSError):
                self.store.open(name).close()

    def test_listing_of_a_file(self) -> None:
        """Promise 5: the listing and the scan of a file are empty."""
        self.save("a/file.txt")
        self.assertEqual(self.store.listdir("a/file.txt"), ([], []))
        self.assertEqual(self.scanned("a/file.txt"), set())

    def test_listing_of_a_missing_folder(self) -> None:
        """Promise 5: the listing and the scan of a missing folder or an empty store are empty."""
        self.assertEqual(self.store.listdir(""), ([], []))
        self.assertEqual(self.store.listdir("no/such/folder"), ([], []))
        self.assertEqual(list(self.store.scan()), [])
        self.assertEqual(list(self.store.scan("no/such/folder")), [])

    def test_listing_of_a_folder(self) -> None:
        """Promise 5: listdir() returns the names of folders and files without their parent."""
        for name in ("a/1.txt", "a/2.txt", "a/b/3.txt", "a/c/d/4.txt", "5.txt"):
            self.save(name)
        folders, files = self.store.listdir("a")
        self.assertEqual((sorted(folders), sorted(files)), (["b", "c"], ["1.txt", "2.txt"]))
        self.assertEqual(self.store.listdir(""), (["a"], ["5.txt"]))

    def test_prefix_siblings_are_not_listed(self) -> None:
        """Promise 5: folder 0/1 never shows the files of 0/10."""
        inside = self.save("0/1/1005/17")
        self.save("0/10/10005/17")
        self.save("0/1.txt")
        self.assertEqual(self.store.listdir("0/1"), (["1005"], []))
        self.assertEqual(self.scanned("0/1"), {inside})
        self.assertEqual(self.scanned("0/1/100"), set())

    @needs("whole_or_absent")
    def test_readers_have_independent_positions(self) -> None:
        """Promise 5: two open readers of one file have independent positions."""
        name = self.save("a.txt", b"0123456789")
        with self.store.open(name) as one, self.store.open(name) as other:
            self.assertEqual(one.read(4), b"0123")
            self.assertEqual(other.read(), b"0123456789")
            self.assertEqual(one.read(), b"456789")

    @needs("whole_or_absent")
    def test_shorter_rewrite_leaves_no_tail(self) -> None:
        """Promise 5: rewriting an ordinary name with fewer bytes leaves none of the old ones."""
        name = self.save("notes.txt", b"a long text with a tail")
        with self.store.open(name, "wb") as writer:
            writer.write(b"short")
        self.assert_stored(name, b"short")

    def test_bytes_are_stored_unchanged(self) -> None:
        """Promise 5: no byte is changed: NUL, CR LF, 0xFF, a BOM, half a UTF-8 character."""
        data = b"\xef\xbb\xbf" + bytes(range(256)) + b"\r\n\n\r\x1a\x00\xff\xc3"
        self.assert_stored(self.save("a.txt", data), data)
        filemeta = self.stored(data)
        with self.store.read_open(filemeta) as file:
            self.assertEqual(file.read(), data)

    def test_unusual_names_are_kept(self) -> None:
        """Promise 5: unusual but valid names are stored, found and listed unchanged."""
        names = {f"{number}/{name}" for number, name in enumerate(UNUSUAL_NAMES)}
        for name in names:
            self.assertEqual(self.save(name, name.encode()), name)
        for name in names:
            self.assert_stored(name, name.encode())
        self.assertEqual(self.scanned(), names)

    def test_save_returns_names_with_slashes(self) -> None:
        """Promise 5: save() returns the relative name with slashes."""
        for name in ("file.txt", "a/b/c.txt", self.key(1005, 17)):
            self.assertEqual(self.save(name), name)
