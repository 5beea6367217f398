"""Promise 5 of page(): the pages of a folder show every entry once."""

from __future__ import annotations

from collections.abc import Iterator

from ...storages.protocols import Page
from .._support.case import DeliveryStoreCase


class PageCases(DeliveryStoreCase):
    """Folders, page by page."""

    def pages(self, folder: str, limit: int) -> Iterator[Page]:
        """Yield all pages of a folder; fail after a hundred pages."""
        after = ""
        for _ in range(100):
            page = self.store.page(folder, after=after, limit=limit)
            yield page
            after = page.next_token
            if not after:
                return
        self.fail(f"the pages of {folder!r} have no end")

    def assert_paged(self, folder: str, folders: set[str], files: set[str]) -> None:
        """Assert that pages of any length show exactly these folders and files, each once."""
        for limit in (1, 2, 3, 1000):
            pages = list(self.pages(folder, limit))
            shown = [name for page in pages for name in page.folders]
            self.assertEqual(sorted(shown), sorted(folders))
            entries = [entry.name for page in pages for entry in page.files]
            self.assertEqual(sorted(entries), sorted(files))
            for page in pages:
                self.assertLessEqual(len(page.folders) + len(page.files), limit)

    def test_pages_show_every_entry_once(self) -> None:
        """Promise 5: the pages of a folder show each of its folders and files once."""
        for name in ("a/1", "a/2.txt", "a/10", "a/b/3.txt", "a/c/d/4", "a/é/5", "a/%41", "6"):
            self.save(name)
        inside = {"a/1", "a/2.txt", "a/10", "a/%41"}
        self.assert_paged("a", {"a/b", "a/c", "a/é"}, inside)
        self.assert_paged("", {"a"}, {"6"})

    def test_pages_show_size_and_time(self) -> None:
        """Promise 5: a page shows the same size and time as size() and get_modified_time()."""
        name = self.save("a/file.txt", b"12345")
        (entry,) = self.store.page("a").files
        self.assertEqual(entry, (name, 5, self.store.get_modified_time(name)))

    def test_pages_keep_their_order(self) -> None:
        """Promise 5: the pages of a folder keep their order, also when files are added."""
        for number in range(9):
            self.save(f"a/{number}5")
        before = [entry.name for page in self.pages("a", 4) for entry in page.files]
        first = self.store.page("a", limit=4)
        self.save("a/00")
        rest = self.store.page("a", after=first.next_token, limit=1000)
        entries = [*first.files, *rest.files]
        self.assertEqual([entry.name for entry in entries if entry.name != "a/00"], before)

    def test_page_of_a_missing_folder(self) -> None:
        """Promise 5: the page of a missing folder, a file or an empty store is empty."""
        self.assertEqual(self.store.page(""), ([], [], ""))
        self.save("a/file.txt")
        for folder in ("no/such/folder", "a/file.txt", "a/fil"):
            self.assertEqual(self.store.page(folder), ([], [], ""))

    def test_pages_of_prefix_siblings(self) -> None:
        """Promise 5: the page of folder 0/1 never shows the files of 0/10."""
        self.save("0/1/1005/17")
        self.save("0/10/10005/17")
        self.assertEqual(self.store.page("0/1"), (["0/1/1005"], [], ""))

    def test_forged_token_shows_nothing_else(self) -> None:
        """Promise 4: page() with a forged token shows nothing outside of its folder."""
        self.save("a/file.txt")
        self.save("b/secret.txt")
        for after in ("..", "../b", "/etc", "b/secret.txt", "%2e%2e", "\0", "\ud800", "x" * 5000):
            try:
                page = self.store.page("a", after=after)
            except (OSError, ValueError):
                continue  # A server may reject the token.
            names = [*page.folders, *(entry.name for entry in page.files)]
            self.assertLessEqual(set(names), {"a/file.txt"})

    def test_page_rejects_other_limits(self) -> None:
        """Promise 6: page() rejects a limit below 1 or above 1000."""
        for limit in (0, -1, 1001):
            with self.assertRaises(ValueError):
                self.store.page("", limit=limit)
