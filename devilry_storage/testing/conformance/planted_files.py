"""Promise 4 on disk: planted symlinks, FIFOs, devices and hard links do no harm."""

from __future__ import annotations

import os
from contextlib import suppress

from .._support.case import needs, on_disk
from .._support.disk import REJECTED, DiskCase


class SymlinkCases(DiskCase):
    """Symlinks in the root, and a root that is a symlink."""

    @on_disk
    @needs("confined")
    def test_symlink_to_a_file_is_not_read(self) -> None:
        """Promise 4: a symlink to a file outside cannot be read and does not exist."""
        self.plant_symlink("folder/link.txt", self.outside() / "victim.txt")
        self.assert_unreadable("folder/link.txt")

    @on_disk
    @needs("confined")
    def test_symlink_to_a_folder_is_not_read(self) -> None:
        """Promise 4: no file can be read through a symlink to a folder."""
        self.plant_symlink("folder/link", self.outside())
        self.assert_unreadable("folder/link/victim.txt")

    @on_disk
    @needs("confined")
    def test_symlinks_are_not_listed(self) -> None:
        """Promise 4: listings and scans neither show nor follow symlinks."""
        outside = self.outside()
        self.save("folder/file.txt")
        self.plant_symlink("folder/link", outside)
        self.plant_symlink("folder/link.txt", outside / "victim.txt")
        self.assertEqual(self.scanned(), {"folder/file.txt"})
        self.allow_rejection(lambda: self.assertEqual(self.store.listdir("folder/link"), ([], [])))
        self.allow_rejection(
            lambda: self.assertEqual(self.store.page("folder/link"), ([], [], ""))
        )
        self.allow_rejection(lambda: self.assertEqual(self.scanned("folder/link"), set()))

    @on_disk
    @needs("confined")
    def test_symlink_cycle_is_not_followed(self) -> None:
        """Promise 4: a scan does not follow a symlink to its own folder."""
        self.save("folder/file.txt")
        self.plant_symlink("folder/again", self.disk / "folder")
        self.assertEqual(self.scanned(), {"folder/file.txt"})

    @on_disk
    @needs("confined")
    def test_save_rejects_symlinked_folders(self) -> None:
        """Promise 4: save() into a symlinked folder raises and writes nothing outside."""
        outside = self.outside()
        self.plant_symlink("folder", outside)
        for name in ("folder/new.txt", "folder/below/new.txt", "folder/victim.txt"):
            with self.assertRaises(REJECTED):
                self.save(name)
        self.assert_untouched(outside)

    @on_disk
    def test_save_does_not_follow_symlinks(self) -> None:
        """Promise 4: save() under the name of a symlink does not write to its target."""
        outside = self.outside()
        self.plant_symlink("dangling.txt", outside / "new.txt")
        self.plant_symlink("link.txt", outside / "victim.txt")
        self.allow_rejection(lambda: self.save("dangling.txt"), lambda: self.save("link.txt"))
        self.assert_untouched(outside)

    @on_disk
    @needs("confined")
    def test_rewrite_does_not_follow_symlinks(self) -> None:
        """Promise 4: open(name, "wb") of a symlink does not write to its target."""
        outside = self.outside()
        self.plant_symlink("dangling.txt", outside / "new.txt")
        self.plant_symlink("link.txt", outside / "victim.txt")
        self.plant_symlink("folder", outside)
        for name in ("dangling.txt", "link.txt", "folder/victim.txt", "folder/new.txt"):
            self.allow_rejection(lambda name=name: self.rewrite(name))  # type: ignore[misc]
        self.assert_untouched(outside)

    @on_disk
    @needs("confined")
    def test_delete_does_not_follow_symlinks(self) -> None:
        """Promise 4: delete() and delete_many() remove nothing outside of the root."""
        outside = self.outside()
        self.plant_symlink("folder", outside)
        self.plant_symlink("link.txt", outside / "victim.txt")
        self.allow_rejection(
            lambda: self.store.delete("link.txt"),
            lambda: self.store.delete("folder/victim.txt"),
            lambda: self.store.delete("folder"),
        )
        self.assert_untouched(outside)
        # The store may remove the symlink itself, which is in the root.
        with suppress(FileExistsError):
            self.plant_symlink("folder", outside)
        self.store.delete_many(["folder/victim.txt", "folder"])
        self.assert_untouched(outside)

    @on_disk
    def test_root_may_be_a_symlink(self) -> None:
        """Promise 4: the root itself may be a symlink, which is resolved at each use."""
        name = self.save("folder/file.txt", b"data")
        elsewhere = self.disk.with_name(self.disk.name + "-elsewhere")
        self.disk.rename(elsewhere)
        self.disk.symlink_to(elsewhere)
        try:
            self.assert_stored(name, b"data")
            self.assert_stored(self.save("folder/new.txt", b"new"), b"new")
            self.assertEqual(self.scanned(), {name, "folder/new.txt"})
            self.assertTrue((elsewhere / "folder/new.txt").is_file())
        finally:
            self.disk.unlink()
            elsewhere.rename(self.disk)


class SpecialFileCases(DiskCase):
    """FIFOs, devices and hard links in the root."""

    @on_disk
    @needs("confined")
    def test_fifo_is_not_read(self) -> None:
        """Promise 4: a FIFO in the store is not opened for reading; no call hangs."""
        self.plant_fifo("folder/fifo")
        for read in (
            lambda: self.store.open("folder/fifo").close(),
            lambda: next(self.store.stream("folder/fifo")),
        ):
            self.assertIsInstance(self.assert_returns(read, "folder/fifo"), REJECTED)
        self.assert_unreadable("folder/fifo")

    @on_disk
    @needs("confined")
    def test_fifo_is_not_rewritten(self) -> None:
        """Promise 4: a FIFO in the store is not opened for writing; no call hangs."""
        self.plant_fifo("fifo")
        self.assert_returns(lambda: self.rewrite("fifo"), "fifo")

    @on_disk
    def test_fifo_is_not_saved_to(self) -> None:
        """Promise 4: save() under the name of a FIFO, or below it, does not hang."""
        self.plant_fifo("fifo")
        self.assert_returns(lambda: self.save("fifo"), "fifo")
        self.assert_returns(lambda: self.save("fifo/below.txt"), "fifo")

    @on_disk
    @needs("confined")
    def test_fifo_is_not_listed(self) -> None:
        """Promise 4: scans and listings do not show a FIFO, and do not hang."""
        self.plant_fifo("folder/fifo")
        self.save("folder/file.txt")
        shown: list[object] = []
        self.assert_returns(lambda: shown.append(self.scanned()), "folder/fifo")
        self.assert_returns(lambda: shown.append(self.store.listdir("folder")), "folder/fifo")
        self.assertEqual(shown, [{"folder/file.txt"}, ([], ["file.txt"])])

    @on_disk
    @needs("confined")
    def test_device_is_not_read(self) -> None:
        """Promise 4: a device in the store cannot be read and does not exist."""
        self.plant_device("folder/zero")
        self.assert_unreadable("folder/zero")

    @on_disk
    @needs("confined")
    def test_rewrite_does_not_change_hard_links(self) -> None:
        """Promise 4: rewriting a hard-linked file does not change the bytes of its other name."""
        outside = self.outside()
        self.save("other.txt")
        os.link(outside / "victim.txt", self.disk / "hard.txt")
        self.assert_stored("hard.txt", b"outside")
        self.rewrite("hard.txt")
        self.assert_stored("hard.txt", b"rewritten")
        self.assert_untouched(outside)

    @on_disk
    def test_delete_does_not_change_hard_links(self) -> None:
        """Promise 4: deleting a hard-linked file keeps its other name."""
        outside = self.outside()
        self.save("other.txt")
        os.link(outside / "victim.txt", self.disk / "hard.txt")
        self.store.delete("hard.txt")
        self.assertFalse(self.store.exists("hard.txt"))
        self.assert_untouched(outside)

    @on_disk
    def test_save_does_not_change_hard_links(self) -> None:
        """Promise 4: saving under the name of a hard-linked file uses an alternative name."""
        outside = self.outside()
        self.save("other.txt")
        os.link(outside / "victim.txt", self.disk / "hard.txt")
        self.assert_stored(self.save("hard.txt", b"new"), b"new")
        self.assert_stored("hard.txt", b"outside")
        self.assert_untouched(outside)
