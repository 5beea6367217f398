"""Promise 4 on disk: a symlink that somebody planted among the files leads nowhere."""

from __future__ import annotations

from contextlib import suppress

from .._support.case import needs, on_disk
from .._support.disk import REFUSED, DiskCase


class SymlinkCases(DiskCase):
    """Symlinks in the root, and the root as one."""

    @on_disk
    @needs("confined")
    def test_symlink_to_a_file_is_not_read(self) -> None:
        """Promise 4: a symlink out of the root is not read, sized or said to exist."""
        self.plant_symlink("folder/link.txt", self.outside() / "victim.txt")
        self.assert_reads_nothing("folder/link.txt")

    @on_disk
    @needs("confined")
    def test_symlink_to_a_folder_is_not_read(self) -> None:
        """Promise 4: nothing is read through a symlinked folder."""
        self.plant_symlink("folder/link", self.outside())
        self.assert_reads_nothing("folder/link/victim.txt")

    @on_disk
    @needs("confined")
    def test_symlinks_are_not_listed(self) -> None:
        """Promise 4: listings and scans do not go through symlinks."""
        outside = self.outside()
        self.save("folder/file.txt")
        self.plant_symlink("folder/link", outside)
        self.plant_symlink("folder/link.txt", outside / "victim.txt")
        self.assertEqual(self.scanned(), {"folder/file.txt"})
        self.try_to(lambda: self.assertEqual(self.store.listdir("folder/link"), ([], [])))
        self.try_to(lambda: self.assertEqual(self.store.page("folder/link"), ([], [], "")))
        self.try_to(lambda: self.assertEqual(self.scanned("folder/link"), set()))

    @on_disk
    @needs("confined")
    def test_symlink_cycle_is_not_followed(self) -> None:
        """Promise 4: a symlink back to its own folder does not multiply what a scan shows."""
        self.save("folder/file.txt")
        self.plant_symlink("folder/again", self.disk / "folder")
        self.assertEqual(self.scanned(), {"folder/file.txt"})

    @on_disk
    @needs("confined")
    def test_nothing_is_saved_through_a_symlinked_folder(self) -> None:
        """Promise 4: a save into a symlinked folder is refused and writes nothing outside."""
        outside = self.outside()
        self.plant_symlink("folder", outside)
        for name in ("folder/new.txt", "folder/below/new.txt", "folder/victim.txt"):
            with self.assertRaises(REFUSED):
                self.save(name)
        self.assert_untouched(outside)

    @on_disk
    def test_nothing_is_saved_through_a_symlink(self) -> None:
        """Promise 4: a save under the name of a symlink does not write to where it leads."""
        outside = self.outside()
        self.plant_symlink("dangling.txt", outside / "new.txt")
        self.plant_symlink("link.txt", outside / "victim.txt")
        self.try_to(lambda: self.save("dangling.txt"), lambda: self.save("link.txt"))
        self.assert_untouched(outside)

    @on_disk
    @needs("confined")
    def test_nothing_is_rewritten_through_a_symlink(self) -> None:
        """Promise 4: open(name, "wb") of a symlink does not write to where it leads."""
        outside = self.outside()
        self.plant_symlink("dangling.txt", outside / "new.txt")
        self.plant_symlink("link.txt", outside / "victim.txt")
        self.plant_symlink("folder", outside)
        for name in ("dangling.txt", "link.txt", "folder/victim.txt", "folder/new.txt"):
            self.try_to(lambda name=name: self.rewrite(name))  # type: ignore[misc]
        self.assert_untouched(outside)

    @on_disk
    @needs("confined")
    def test_nothing_is_deleted_through_a_symlink(self) -> None:
        """Promise 4: deletes, one or many, remove nothing outside the root."""
        outside = self.outside()
        self.plant_symlink("folder", outside)
        self.plant_symlink("link.txt", outside / "victim.txt")
        self.try_to(
            lambda: self.store.delete("link.txt"),
            lambda: self.store.delete("folder/victim.txt"),
            lambda: self.store.delete("folder"),
        )
        self.assert_untouched(outside)
        # The symlink itself is inside: a store is free to remove it.
        with suppress(FileExistsError):
            self.plant_symlink("folder", outside)
        self.store.delete_many(["folder/victim.txt", "folder"])
        self.assert_untouched(outside)

    @on_disk
    def test_root_may_be_a_symlink(self) -> None:
        """Promise 4: the root itself may be a symlink; it is resolved when it is used."""
        name = self.save("folder/file.txt", b"data")
        elsewhere = self.disk.with_name(self.disk.name + "-elsewhere")
        self.disk.rename(elsewhere)
        self.disk.symlink_to(elsewhere)
        try:
            self.assert_holds(name, b"data")
            self.assert_holds(self.save("folder/new.txt", b"new"), b"new")
            self.assertEqual(self.scanned(), {name, "folder/new.txt"})
            self.assertTrue((elsewhere / "folder/new.txt").is_file())
        finally:
            self.disk.unlink()
            elsewhere.rename(self.disk)
